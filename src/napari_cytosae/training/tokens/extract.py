"""Make the tokens of images, once, into a store; stopped anywhere, it goes on where it was."""

import json
import re
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Literal

import torch

from napari_cytosae.concepts.durable import (
    explain_write_error,
    only_process,
    write_durably,
    write_json_durably,
)
from napari_cytosae.concepts.prefetch import prefetch
from napari_cytosae.errors import Cancelled, TrainingError
from napari_cytosae.models import Bundle
from napari_cytosae.models.tensor_files import write_tensors
from napari_cytosae.training.config import TOKENS_PER_IMAGE
from napari_cytosae.training.tokens import store
from napari_cytosae.training.tokens.crops import (
    Crop,
    CropOptions,
    CropPlan,
    CropReader,
    Skipped,
    plan_crops,
)
from napari_cytosae.training.tokens.images import LabelledImage, gather_images
from napari_cytosae.training.tokens.model import TokenModel
from napari_cytosae.training.tokens.shards import (
    ShardAbout,
    is_whole,
    read_about,
    write_shard,
)

SHARD_IMAGES: Final = 128
"""Images per shard: what a kill costs at most; 50 MB at width 768."""

_BOXES: Final = "boxes.json"
_SUFFIX: Final = ".safetensors"
# Room that is left free on the disk.
_SPARE_BYTES: Final = 64 * 2**20


@dataclass(frozen=True, slots=True)
class ExtractionProgress:
    """How far an extraction is.

    Parameters
    ----------
    stage
        ``"look"`` counts images that are looked through for cells, ``"check"`` shards that are
        compared with what was written, ``"extract"`` crops whose tokens are made.
    done, total
        How many of them.
    """

    stage: Literal["look", "check", "extract"]
    done: int
    total: int


def extract_tokens(
    images: Iterable[str | Path | LabelledImage],
    model: str | Path | Bundle | TokenModel,
    out: str | Path,
    *,
    options: CropOptions | None = None,
    class_token_only: bool = False,
    device: str = "auto",
    precision: str = "auto",
    batch_images: int = 16,
    shard_images: int = SHARD_IMAGES,
    overwrite: bool = False,
    progress: Callable[[ExtractionProgress], None] = lambda step: None,
    cancelled: Callable[[], bool] = lambda: False,
) -> store.TokenStore:
    """Make tokens of images into a store, or what of them it does not hold yet.

    What is there is known by the content of images, backbone and preprocessing, never by names or
    times. A finished store that is made again is read through, and what is damaged is made anew. Of
    the images, only their list is held in memory, some 1.3 kB each.

    Parameters
    ----------
    images
        See `gather_images`.
    model
        A bundle, its name or folder, or a backbone alone; see `TokenModel`.
    out
        The store's folder.
    options
        How crops are cut from images.
    class_token_only
        Keep the class token alone.
    device, precision
        Where and in which precision the backbone runs; a store that is gone on with keeps its own
        precision where ``"auto"`` is asked.
    batch_images
        Crops per forward pass.
    shard_images
        Crops per shard.
    overwrite
        Drop what the store holds of images that are not among these, or of another backbone.
    progress
        Called now and then.
    cancelled
        Asked now and then; what is written stays.

    Returns
    -------
    TokenStore

    Raises
    ------
    TrainingError
        There are no images that can be read, or the store holds others.
    Cancelled
        When `cancelled` says so.
    RunError
        The folder cannot be written to, or another process works in it.
    """
    listed = listed_images(images)
    options = options or CropOptions()
    out = Path(out)
    try:
        (out / store.SHARDS).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise explain_write_error(error, out) from error
    with only_process(out):
        about = store.read_about(out) if (out / store.ABOUT).exists() else {}
        if precision == "auto" and about:
            precision = str(about.get("precision", "auto"))
        whole = model if isinstance(model, TokenModel) else TokenModel.of(model)
        made = whole.to(device, precision)
        plan = _look(listed, options, out, progress, cancelled)
        if not plan.crops:
            raise TrainingError(nothing_to_use(plan.skipped))
        key = f"{made.digest} {'class token' if class_token_only else 'all tokens'}"
        work = _Extraction(made, out, key, 1 if class_token_only else TOKENS_PER_IMAGE)
        kept = work.keep(plan, bool(about), overwrite)
        if about.get("state") == "finished":
            kept = work.check(kept, progress, cancelled)
        work.begin()
        work.extract(plan, kept, shard_images, batch_images, progress, cancelled)
        work.finish(plan)
    return store.TokenStore(out)


class _Extraction:
    """An extraction at work in a folder that is locked for it."""

    def __init__(self, model: TokenModel, out: Path, key: str, tokens: int) -> None:
        self.model = model
        self.out = out
        self.key = key
        self.tokens = tokens

    def keep(self, plan: CropPlan, begun: bool, overwrite: bool) -> list[ShardAbout]:
        """Give the shards that are as good as new, and delete the others.

        Raises
        ------
        TrainingError
            Others would be deleted that are whole, and `overwrite` does not allow it; or the
            folder's files are not a store's.
        """
        if not begun and self._shards():
            # A store's description is written before its first shard.
            raise TrainingError(
                f"{self.out / store.SHARDS} holds files already, but {self.out} is no token store. "
                "Choose another folder."
            )
        wanted = {crop.id for crop in plan.crops}
        good, damaged, others = [], [], []
        taken: set[str] = set()
        for path in self._shards():
            about = read_about(path)
            if about is None:
                damaged.append(path)
            elif about.key == self.key and about.covered <= wanted and not about.covered & taken:
                good.append(about)
                taken |= about.covered
            else:
                others.append(about)
        if others and not overwrite:
            raise TrainingError(self._refusal(others, wanted))
        for path in [*damaged, *(about.path for about in others)]:
            path.unlink()
        return good

    def check(
        self,
        kept: list[ShardAbout],
        progress: Callable[[ExtractionProgress], None],
        cancelled: Callable[[], bool],
    ) -> list[ShardAbout]:
        """Give the shards whose tokens are as they were written, and delete the others."""
        whole = []
        for number, about in enumerate(kept):
            if cancelled():
                raise Cancelled("Stopped while the tokens were checked; repeat it to go on.")
            progress(ExtractionProgress("check", number, len(kept)))
            if is_whole(about):
                whole.append(about)
            else:
                about.path.unlink()
        progress(ExtractionProgress("check", len(kept), len(kept)))
        return whole

    def begin(self) -> None:
        """Say what the folder is for, and keep the backbone with it."""
        state = self.model.exact.backbone if self.model.exact else self.model.backbone
        tensors = {name: value.contiguous() for name, value in state.dinov2_state().items()}
        write_durably(
            self.out / store.BACKBONE,
            lambda temporary: write_tensors(tensors, temporary),
            needed_bytes=sum(value.nbytes for value in tensors.values()),
        )
        write_json_durably(self.out / store.ABOUT, self._about("extracting"))

    def extract(
        self,
        plan: CropPlan,
        kept: list[ShardAbout],
        shard_images: int,
        batch_images: int,
        progress: Callable[[ExtractionProgress], None],
        cancelled: Callable[[], bool],
    ) -> None:
        """Write the shards that are missing."""
        covered = set().union(*(about.covered for about in kept))
        missing = [crop for crop in plan.crops if crop.id not in covered]
        self._check_room(len(missing))
        reader = CropReader(plan.states)
        number = 1 + max((int(path.stem) for path in self._shards()), default=-1)
        done = len(covered)
        progress(ExtractionProgress("extract", done, len(plan.crops)))

        def batches() -> Iterator[Sequence[Crop]]:
            # Batches are cut shard by shard, so that a stopped extraction forms the same ones.
            for shard in _cut(missing, shard_images):
                yield from _cut(shard, batch_images)

        with closing(prefetch(batches(), reader.read_all)) as ready:
            for shard in _cut(missing, shard_images):
                ids: list[str] = []
                unread: dict[str, str] = {}
                parts: list[torch.Tensor] = []
                for _batch in _cut(shard, batch_images):
                    if cancelled():
                        raise Cancelled(
                            f"Stopped with {done:,} of {len(plan.crops):,} crops done. They are "
                            "kept: repeat it, and it goes on from there."
                        )
                    read, pixels, failed = next(ready)
                    if read:
                        parts.append(self.model.tokens(pixels)[:, : self.tokens])
                    ids += [crop.id for crop in read]
                    unread |= failed
                    progress(ExtractionProgress("extract", done + len(ids), len(plan.crops)))
                empty = torch.empty(0, self.tokens, self.model.d_model, dtype=torch.float16)
                tokens = torch.cat(parts) if parts else empty
                path = self.out / store.SHARDS / f"{number:06d}{_SUFFIX}"
                write_shard(path, self.key, ids, unread, tokens)
                number += 1
                done += len(shard)
                progress(ExtractionProgress("extract", done, len(plan.crops)))

    def finish(self, plan: CropPlan) -> None:
        """Say that all is there, and where.

        Raises
        ------
        TrainingError
            No crop could be read.
        """
        crops = {crop.id: crop for crop in plan.crops}
        shards = [about for path in self._shards() if (about := read_about(path)) is not None]
        ids = [name for about in shards for name in about.ids]
        skipped = list(plan.skipped)
        for about in shards:
            skipped += [Skipped(crops[name].path, why) for name, why in about.unread.items()]
        if not ids:
            raise TrainingError(nothing_to_use(skipped))
        write_durably(
            self.out / store.IMAGES,
            lambda temporary: store.write_crop_table(temporary, [crops[name] for name in ids]),
        )
        identity = store.identity_of(self.key, ids)
        content = {
            **self._about("finished"),
            "shape": [len(ids), self.tokens, self.model.d_model],
            "shards": [
                [about.path.name, len(about.ids), about.seal] for about in shards if about.ids
            ],
            "identity": identity,
            "skipped": [[str(item.path), item.reason] for item in skipped],
        }
        write_json_durably(self.out / store.ABOUT, content)

    def _about(self, state: str) -> dict[str, Any]:
        return {
            "format": store.FORMAT,
            "version": store.VERSION,
            "state": state,
            "key": self.key,
            "backbone": self.model.name or (self.model.exact.name if self.model.exact else ""),
            "block": self.model.block,
            "depth": self.model.backbone.depth,
            "precision": self.model.precision,
            "preprocessing": self.model.preprocessing.to_json(),
        }

    def _shards(self) -> list[Path]:
        found = (self.out / store.SHARDS).glob(f"*{_SUFFIX}")
        return sorted(path for path in found if re.fullmatch(r"\d{6,}", path.stem, re.ASCII))

    def _check_room(self, missing: int) -> None:
        needed = missing * self.tokens * self.model.d_model * 2
        free = shutil.disk_usage(self.out).free
        if needed + _SPARE_BYTES > free:
            raise TrainingError(
                f"The tokens of {missing:,} crops take {needed / 1e9:,.1f} GB, but only "
                f"{free / 1e9:,.1f} GB are free in {self.out}. Choose another disk, fewer images, "
                "or class tokens alone; or stream the tokens without a store."
            )

    def _refusal(self, others: list[ShardAbout], wanted: set[str]) -> str:
        if any(about.key != self.key for about in others):
            return (
                f"{self.out} holds tokens of another backbone, block, preprocessing or precision. "
                "Choose another folder, or say that they may be dropped (overwrite)."
            )
        gone = sum(len(about.covered - wanted) for about in others)
        return (
            f"{self.out} holds tokens of {gone:,} crops that are not among these: images have "
            "changed or are gone, or cells are found otherwise. Choose another folder, or say that "
            "they may be dropped (overwrite); what stays the same is kept."
        )


def listed_images(images: Iterable[str | Path | LabelledImage]) -> list[LabelledImage]:
    """List images that were given in any way; each once.

    Raises
    ------
    TrainingError
        There are none.
    """
    found: list[LabelledImage] = []
    for image in [images] if isinstance(images, str | Path) else images:
        found += [image] if isinstance(image, LabelledImage) else gather_images([image])
    unique = {image.path.resolve(): image for image in reversed(found)}
    if not unique:
        raise TrainingError("There are no images: give image files, folders, tables or runs.")
    return list(reversed(unique.values()))


def _look(
    images: Sequence[LabelledImage],
    options: CropOptions,
    out: Path,
    progress: Callable[[ExtractionProgress], None],
    cancelled: Callable[[], bool],
) -> CropPlan:
    """Find the crops; boxes that were found before are not looked for again."""
    path = out / _BOXES
    known: dict[str, Any] = {}
    if path.exists():
        try:
            known = dict(json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, RecursionError, TypeError):
            known = {}  # they are found again
    before = len(known)
    try:
        return plan_crops(
            images,
            options,
            known=known,
            progress=lambda done, total: progress(ExtractionProgress("look", done, total)),
            cancelled=cancelled,
        )
    finally:
        if len(known) > before:
            write_json_durably(path, known)


def nothing_to_use(skipped: Sequence[Skipped]) -> str:
    """Say why there is not one crop to take tokens of."""
    if not skipped:
        return (
            "No cells were found in these images. Take whole images (cells 'whole'), or give the "
            "pixel size."
        )
    first = skipped[0]
    return (
        f"None of these images can be used; {first.path.name}, the first of {len(skipped)} that "
        f"cannot be read: {first.reason}"
    )


def _cut(crops: Sequence[Crop], size: int) -> Iterator[Sequence[Crop]]:
    """Cut crops into parts of a size; the last may be smaller."""
    for start in range(0, len(crops), size):
        yield crops[start : start + size]
