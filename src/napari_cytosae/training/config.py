"""How a sparse autoencoder is trained, as data."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, Final, Literal, get_args

from napari_cytosae.errors import TrainingError

Activation = Literal["relu", "topk", "batchtopk"]
DecoderBias = Literal["geometric_median", "token_geometric_median", "mean", "zeros"]

SAELENS_ARCHITECTURES: Final = (
    "standard",
    "gated",
    "jumprelu",
    "batchtopk",
    "matryoshka_batchtopk",
)
"""What SAELens trains and a bundle can hold; its ``topk`` keeps no threshold."""

TOKENS_PER_IMAGE: Final = 257
"""Tokens of one image: the class token and 16 × 16 patches."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SaeTrainingConfig:
    """The CytoSAE recipe and its variations; the defaults are the paper's.

    Parameters
    ----------
    expansion
        Concepts per dimension of a token: d_sae = expansion · d_model.
    d_sae
        Number of concepts, instead of `expansion`.
    l1
        λ, the weight of the mean L1 norm of a token's activations. Not used by TopK and BatchTopK,
        whose sparsity is `k`.
    lr
        Adam's learning rate after the warm-up.
    warmup_steps
        Steps over which the learning rate rises linearly from lr / warmup_steps; constant then.
    steps
        Length of the training. The paper's 1,000,000 images at 64 a step are 15,625.
    batch_images
        Images per step, all of whose tokens are used (64 in the paper).
    batch_tokens
        Tokens per step, drawn from all images, instead of `batch_images`.
    shuffle_images
        Images that are in memory together, and whose order, or whose tokens' order, is shuffled
        there; at width 768 each is 0.4 MB. Tokens that are in memory anyway are shuffled all.
    seed
        Of the initial weights and of the order of the tokens.
    ghost_gradients
        Whether silent concepts get a gradient from what the others leave unexplained. None: with
        ReLU, which they were made for; trainings with BatchTopK were seen to diverge with them,
        and not without.
    dead_feature_window
        A concept is silent once it has not been active for more than so many steps.
    b_dec_init
        The decoder's bias at the start: Weiszfeld's geometric median over whole images, then the
        mean over tokens (the paper's); the geometric median over tokens; their mean; or zeros.
    b_dec_images
        Images, from the first ones of the training, over which it is computed; 257 times as many
        of plain tokens.
    activation
        ``"relu"``; ``"topk"``: the `k` largest of each token; ``"batchtopk"``: the `k` · n largest
        of the n tokens of a step.
    k
        Active concepts per token; only for TopK and BatchTopK, which need it.
    class_token_only
        Train on class tokens alone.
    precision
        Of the matrix products: ``"auto"`` takes bfloat16 where the device does it in hardware.
        Weights, gradients' sums and the optimiser are float32 in either case.
    prefixes
        Also reconstruct from only the first so many concepts, and take the mean of these losses
        and the whole's (Bussmann et al. 2025, "Learning Multi-Level Features with Matryoshka
        Sparse Autoencoders"). Empty: the plain loss.
    saelens
        Train another architecture by SAELens (``napari-cytosae[saelens]``), with its loss: the
        ``architecture``, one of `SAELENS_ARCHITECTURES`, and settings by SAELens' own names, such as
        ``l0_coefficient``. `l1`, `activation`, `k`, `ghost_gradients`, `b_dec_init`, `precision` and
        `prefixes` are not used then. None: the recipe of this package.
    """

    expansion: int = 64
    d_sae: int | None = None
    l1: float = 8e-5
    lr: float = 4e-4
    warmup_steps: int = 500
    steps: int = 15_625
    batch_images: int | None = None
    batch_tokens: int | None = None
    shuffle_images: int = 1024
    seed: int = 0
    ghost_gradients: bool | None = None
    dead_feature_window: int = 64
    b_dec_init: DecoderBias = "geometric_median"
    b_dec_images: int = 64
    activation: Activation = "relu"
    k: int | None = None
    class_token_only: bool = False
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    prefixes: tuple[int, ...] = ()
    saelens: Mapping[str, Any] | None = None

    def __post_init__(self) -> None:
        if self.batch_images is None and self.batch_tokens is None:
            object.__setattr__(self, "batch_images", 64)
        if self.ghost_gradients is None:
            object.__setattr__(self, "ghost_gradients", self.activation == "relu")
        object.__setattr__(self, "prefixes", tuple(self.prefixes))
        for name, words in _problems(self):
            raise TrainingError(f"{name} is {getattr(self, name)!r}; {words}.")

    def concepts(self, d_model: int) -> int:
        """Give the number of concepts for tokens of a width.

        Raises
        ------
        TrainingError
            It does not go with `k` or `prefixes`.
        """
        d_sae = self.expansion * d_model if self.d_sae is None else self.d_sae
        if self.k is not None and self.k > d_sae:
            raise TrainingError(f"k is {self.k}, but there are only {d_sae} concepts.")
        if self.prefixes and self.prefixes[-1] >= d_sae:
            raise TrainingError(
                f"prefixes go up to {self.prefixes[-1]}, but there are only {d_sae} concepts; the "
                "whole is reconstructed anyway."
            )
        return d_sae

    def learning_rate(self, step: int) -> float:
        """Give the learning rate of a step, counted from 0."""
        return self.lr * min(1.0, (step + 1) / max(self.warmup_steps, 1))

    def to_json(self) -> dict[str, Any]:
        """Give the fields as JSON has them."""
        saelens = None if self.saelens is None else dict(self.saelens)
        return {**asdict(self), "prefixes": list(self.prefixes), "saelens": saelens}

    @classmethod
    def from_json(cls, content: Any, where: str) -> "SaeTrainingConfig":
        """Read fields; those that are absent keep their defaults.

        Parameters
        ----------
        content
            A JSON object.
        where
            What messages call it.

        Raises
        ------
        TrainingError
            A field is unknown, or its value is not possible.
        """
        if not isinstance(content, Mapping):
            raise TrainingError(f"{where} should hold an object with the training's settings.")
        known = [field.name for field in fields(cls)]
        if unknown := sorted(set(content) - set(known)):
            raise TrainingError(
                f"{where}: {', '.join(map(str, unknown))} unknown; there are {', '.join(known)}."
            )
        try:
            return cls(**content)
        except (TypeError, ValueError, TrainingError) as error:
            raise TrainingError(f"{where}: {error}") from None

    @classmethod
    def read(cls, path: str | Path) -> "SaeTrainingConfig":
        """Read a JSON file of settings.

        Raises
        ------
        TrainingError
            The file cannot be read, or a setting is not possible.
        """
        try:
            content = json.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise TrainingError(f"{path} cannot be read: {error}.") from None
        return cls.from_json(content, str(path))


def _problems(config: SaeTrainingConfig) -> list[tuple[str, str]]:
    """Name the fields whose values are not possible, and say what is."""
    found = []
    whole = ("expansion", "steps", "b_dec_images", "shuffle_images")
    optional = ("d_sae", "k", "batch_images", "batch_tokens")
    for name in (*whole, *optional, "warmup_steps", "dead_feature_window", "seed"):
        value = getattr(config, name)
        if name in optional and value is None:
            continue
        least = 1 if name in (*whole, *optional) else 0
        if type(value) is not int or value < least:
            found.append((name, f"give a whole number from {least}"))
    for name in ("l1", "lr"):
        value = getattr(config, name)
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < 1e6:
            found.append((name, "give a number from 0"))
    for name in ("ghost_gradients", "class_token_only"):
        if type(getattr(config, name)) is not bool:
            found.append((name, "give true or false"))
    for name, choices in (
        ("activation", get_args(Activation)),
        ("b_dec_init", get_args(DecoderBias)),
        ("precision", ("auto", "float32", "bfloat16")),
    ):
        if getattr(config, name) not in choices:
            found.append((name, f"choose one of {', '.join(choices)}"))
    if config.batch_images is not None and config.batch_tokens is not None:
        found.append(("batch_tokens", "give this or batch_images, not both"))
    if (config.k is None) != (config.activation == "relu"):
        found.append(("k", "TopK and BatchTopK need it, ReLU does not take it"))
    if config.saelens is not None:
        chosen = config.saelens.get("architecture") if isinstance(config.saelens, Mapping) else None
        if chosen not in SAELENS_ARCHITECTURES:
            words = f"give an object whose architecture is {', '.join(SAELENS_ARCHITECTURES)}"
            found.append(("saelens", words))
    sizes = config.prefixes
    if any(type(size) is not int or size < 1 for size in sizes) or list(sizes) != sorted(
        set(sizes)
    ):
        found.append(("prefixes", "give rising numbers of concepts, each from 1"))
    return found
