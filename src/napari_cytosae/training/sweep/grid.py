"""Which settings a sweep trains, as data."""

import hashlib
import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
from typing import Any, Final

from napari_cytosae.errors import TrainingError
from napari_cytosae.training.config import SaeTrainingConfig

BLOCK: Final = "block"
"""The axis that is no setting of the training: the backbone's block that tokens come from."""

PAPER_AXES: Final[Mapping[str, tuple[Any, ...]]] = {
    "expansion": (16, 32, 64, 128),
    "l1": (8e-4, 8e-5, 8e-6),
    "lr": (4e-3, 4e-4, 4e-5),
    BLOCK: (2, 5, 11, 12),
    "ghost_gradients": (True, False),
    "b_dec_init": ("geometric_median", "mean", "zeros"),
}
"""The ablations of the CytoSAE paper. Its blocks are of a backbone of 24 or more; choose from what
yours has."""


@dataclass(frozen=True, slots=True)
class SweepPoint:
    """One training of a sweep.

    Attributes
    ----------
    axis
        Which setting differs from the base; empty for the base itself and in a full grid.
    values
        The swept settings and their values here.
    block
        The block whose tokens it is trained on.
    config
        The whole recipe.
    """

    axis: str
    values: Mapping[str, Any]
    block: int
    config: SaeTrainingConfig

    @property
    def key(self) -> str:
        """Name of the point's folder: settings that give the same training have the same key."""
        content = json.dumps({BLOCK: self.block, **self.config.to_json()}, sort_keys=True)
        return hashlib.sha256(content.encode()).hexdigest()[:16]


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepGrid:
    """A base recipe and the settings to vary.

    Parameters
    ----------
    base
        Every setting that an axis does not name.
    block
        The base's block.
    axes
        Values by name of a field of `SaeTrainingConfig`, or ``"block"``.
    full
        Every combination of all values, instead of one axis at a time around the base as in the
        paper.
    seeds
        Each point is trained from each of these; more than one shows what is noise.
    """

    base: SaeTrainingConfig = field(default_factory=SaeTrainingConfig)
    block: int = -2
    axes: Mapping[str, tuple[Any, ...]] = field(default_factory=dict)
    full: bool = False
    seeds: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        known = {item.name for item in fields(SaeTrainingConfig)} - {"seed"} | {BLOCK}
        for name, values in self.axes.items():
            if name not in known:
                raise TrainingError(
                    f"{name!r} is nothing that a sweep can vary. Choose from "
                    f"{', '.join(sorted(known))}."
                )
            if not values:
                raise TrainingError(f"The sweep over {name} has no values.")
        if not self.seeds:
            raise TrainingError("A sweep needs at least one seed.")

    def points(self) -> tuple[SweepPoint, ...]:
        """Give every training, none twice; the base first unless the grid is full.

        Raises
        ------
        TrainingError
            A combination of settings is not possible.
        """
        combined: list[tuple[str, dict[str, Any]]] = []
        if self.full:
            product = itertools.product(*self.axes.values())
            combined = [("", dict(zip(self.axes, values, strict=True))) for values in product]
        else:
            combined = [("", {})]
            combined += [(name, {name: value}) for name in self.axes for value in self.axes[name]]
        found: dict[str, SweepPoint] = {}
        for seed in self.seeds:
            for axis, values in combined:
                point = self._point(axis, values, seed)
                found.setdefault(point.key, point)
        return tuple(found.values())

    def value_of(self, name: str) -> Any:
        """Give the base's value of an axis."""
        return self.block if name == BLOCK else getattr(self.base, name)

    def blocks(self) -> tuple[int, ...]:
        """Give the blocks that tokens are needed of."""
        return tuple(dict.fromkeys(point.block for point in self.points()))

    def to_json(self) -> dict[str, Any]:
        """Give the grid as JSON has it."""
        return {
            "base": self.base.to_json(),
            BLOCK: self.block,
            "axes": {name: list(values) for name, values in self.axes.items()},
            "full": self.full,
            "seeds": list(self.seeds),
        }

    @classmethod
    def from_json(cls, content: Any, where: str) -> "SweepGrid":
        """Read a grid.

        Raises
        ------
        TrainingError
            It is none.
        """
        if not isinstance(content, Mapping) or not isinstance(content.get("axes", {}), Mapping):
            raise TrainingError(f"{where} should hold an object with 'base' and 'axes'.")
        if unknown := sorted(set(content) - {"base", BLOCK, "axes", "full", "seeds"}):
            raise TrainingError(f"{where}: {', '.join(map(str, unknown))} unknown.")
        axes = content.get("axes", {})
        if bad := [name for name, values in axes.items() if not isinstance(values, list)]:
            raise TrainingError(f"{where}: {', '.join(bad)} should be lists of values.")
        try:
            return cls(
                base=SaeTrainingConfig.from_json(content.get("base", {}), where),
                block=int(content.get(BLOCK, -2)),
                axes={name: tuple(values) for name, values in axes.items()},
                full=bool(content.get("full", False)),
                seeds=tuple(int(seed) for seed in content.get("seeds", (0,))),
            )
        except (TypeError, ValueError) as error:
            raise TrainingError(f"{where}: {error}") from None

    def _point(self, axis: str, values: Mapping[str, Any], seed: int) -> SweepPoint:
        settings = dict(values)
        block = settings.pop(BLOCK, self.block)
        if settings.get("expansion") is not None and "d_sae" not in settings:
            settings["d_sae"] = None  # the base's size would win
        if "batch_tokens" in settings:
            settings["batch_images"] = None
        elif "batch_images" in settings:
            settings["batch_tokens"] = None
        try:
            config = replace(self.base, seed=seed, **settings)
        except TrainingError as error:
            said = ", ".join(f"{name}={value}" for name, value in values.items())
            raise TrainingError(f"The sweep's point {said} is not possible: {error}") from None
        if type(block) is not int:
            raise TrainingError(f"A block is a whole number, not {block!r}.")
        return SweepPoint(axis, dict(values), block, config)


def read_axis(text: str) -> tuple[str, tuple[Any, ...]]:
    """Read an axis as a person types it: ``l1=8e-4,8e-5`` or ``ghost_gradients=true,false``.

    Raises
    ------
    TrainingError
        There is no ``=``, or nothing behind it.
    """
    name, equals, behind = text.partition("=")
    words = [word.strip() for word in behind.split(",") if word.strip()]
    if not (equals and name.strip() and words):
        raise TrainingError(f"{text!r} is no axis: give a name and values, as in l1=8e-4,8e-5.")
    return name.strip(), tuple(_value(word) for word in words)


def _value(word: str) -> Any:
    if word.lower() in ("true", "false"):
        return word.lower() == "true"
    for kind in (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word
