"""Crops in, sparse concept activations out: the one function through which every encode goes."""

import gc
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from typing import Literal, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import csr_array

from napari_cytosae.cells import CropBatch
from napari_cytosae.concepts.cell import N_TOKENS, CellActivations
from napari_cytosae.concepts.prefetch import prefetch
from napari_cytosae.errors import Cancelled, CytoSAEError
from napari_cytosae.models import Bundle, resolve_device, resolve_precision
from napari_cytosae.models.sparse import SparseActivations

Precision = Literal["auto", "float32", "bfloat16"]
Result = TypeVar("Result")


@dataclass(frozen=True, slots=True)
class EncodeOptions:
    """How crops are encoded.

    Parameters
    ----------
    precision
        ``"auto"`` takes bfloat16 where the processor computes it in hardware, float32 elsewhere.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    batch_cells
        Cells per forward pass; halved by itself where memory does not suffice.
    threshold
        Activations at or below it are not kept. At 0 every active concept is.
    """

    precision: Precision = "auto"
    device: str = "auto"
    batch_cells: int = 16
    threshold: float = 0.0

    def resolved(self) -> "EncodeOptions":
        """Name the device and the precision that ``"auto"`` stands for on this machine."""
        device = resolve_device(self.device)
        return replace(
            self, device=str(device), precision=resolve_precision(self.precision, device)
        )


@dataclass(frozen=True, slots=True)
class EncodedBatch:
    """Concept activations of a few cells.

    Parameters
    ----------
    labels
        (B,) label of each cell.
    boxes
        (B, 4) crop boxes, y0, x0, y1, x1 in level-0 px.
    activations
        CSR of shape (B · 257, d_sae), float32. Row ``cell * 257 + token``; token 0 is the class
        token, token ``1 + 16 * row + column`` is a patch.
    """

    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    activations: csr_array

    def __len__(self) -> int:
        return len(self.labels)

    def cells(self) -> Iterator[CellActivations]:
        """Yield the activations of each cell on its own."""
        matrix = self.activations
        for row, label in enumerate(self.labels):
            pointers = matrix.indptr[row * N_TOKENS : (row + 1) * N_TOKENS + 1]
            entries = slice(pointers[0], pointers[-1])
            yield CellActivations(
                label=int(label),
                box=self.boxes[row],
                indptr=(pointers - pointers[0]).astype(np.int64),
                concept_ids=matrix.indices[entries],
                values=matrix.data[entries],
                d_sae=matrix.shape[1],
            )


@dataclass(frozen=True, slots=True)
class _PreparedBatch:
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    pixels: torch.Tensor

    def split(self, n_cells: int) -> "list[_PreparedBatch]":
        return [
            _PreparedBatch(
                self.labels[start : start + n_cells],
                self.boxes[start : start + n_cells],
                self.pixels[start : start + n_cells],
            )
            for start in range(0, len(self.labels), n_cells)
        ]


def encode_crops(
    batches: Iterable[CropBatch],
    bundle: Bundle,
    options: EncodeOptions | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[EncodedBatch, None, None]:
    """Encode a stream of crops to sparse concept activations, cell by cell and token by token.

    The backbone runs only up to the block that the SAE reads, the decoder never runs, and the dense
    (tokens × d_sae) activations exist for one chunk of tokens at a time. The next batch is read and
    resized in a thread of its own while the model works on this one. Where memory does not suffice
    the batch is halved, for this and all later batches, and the work goes on.

    For a given precision and device the same batches give the same bits; with other batch sizes
    results agree to floating-point tolerance.

    Parameters
    ----------
    batches
        Batches of crops, as `napari_cytosae.cells.iter_crops` yields them. Consumed in the
        background.
    bundle
        The backbone and the SAE. Moved to the device and precision of `options`.
    options
        Precision, device, batch size and threshold.
    cancelled
        Asked before each batch.

    Yields
    ------
    EncodedBatch
        Every cell exactly once, in order; a batch of crops larger than `options.batch_cells` comes
        in parts.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    CytoSAEError
        When not even one cell fits into memory.
    """
    options = options or EncodeOptions()

    def encode(configured: Bundle, tokens: torch.Tensor) -> SparseActivations:
        return configured.sae.encode_sparse(tokens.reshape(-1, tokens.shape[-1]), options.threshold)

    with closing(map_tokens(batches, bundle, encode, options, cancelled)) as parts:
        for labels, boxes, sparse in parts:
            activations = csr_array(
                (sparse.values, sparse.indices, sparse.indptr),
                shape=(len(labels) * N_TOKENS, bundle.d_sae),
            )
            yield EncodedBatch(labels, boxes, activations)


def map_tokens(
    batches: Iterable[CropBatch],
    bundle: Bundle,
    work: Callable[[Bundle, torch.Tensor], Result],
    options: EncodeOptions | None = None,
    cancelled: Callable[[], bool] = lambda: False,
) -> Generator[tuple[NDArray[np.int64], NDArray[np.float64], Result], None, None]:
    """Do something with the tokens of a stream of crops, see `encode_crops`.

    Parameters
    ----------
    batches, bundle, options, cancelled
        As `encode_crops` takes them.
    work
        Called with the bundle as it runs, and (B, 257, d_model) float32 tokens on its device. Called
        again with fewer cells where it ran out of memory.

    Yields
    ------
    labels : (B,) int64
    boxes : (B, 4) float64
    result
        What `work` made of these cells.

    Raises
    ------
    Cancelled
        When `cancelled` says so.
    CytoSAEError
        When not even one cell fits into memory.
    """
    options = (options or EncodeOptions()).resolved()
    configured = bundle.to(options.device, options.precision)

    def prepare(batch: CropBatch) -> _PreparedBatch:
        with torch.inference_mode():
            return _PreparedBatch(
                np.asarray(batch.labels, np.int64),
                np.asarray(batch.boxes, np.float64).reshape(-1, 4),
                configured.preprocess(batch.pixels),
            )

    batch_cells = max(1, options.batch_cells)
    prepared = prefetch(batches, prepare)
    try:
        for whole in prepared:
            waiting = whole.split(batch_cells)
            while waiting:
                if cancelled():
                    raise Cancelled("Encoding was cancelled.")
                part = waiting[0]
                done = _work_or_none(part, configured, work)
                if done is None:
                    batch_cells = _halved(len(part.labels), options)
                    waiting = [piece for larger in waiting for piece in larger.split(batch_cells)]
                    continue
                waiting.pop(0)
                yield part.labels, part.boxes, done[0]
    finally:
        prepared.close()


def encode_one(
    crop: NDArray[np.uint8],
    box: Sequence[float],
    bundle: Bundle,
    options: EncodeOptions | None = None,
    *,
    label: int = 0,
) -> CellActivations:
    """Encode a single crop: what a click on a cell without a run needs.

    Parameters
    ----------
    crop
        (S, S, 3) RGB pixels of the crop.
    box
        The crop's box on the slide, y0, x0, y1, x1 in level-0 px.
    bundle
        The backbone and the SAE.
    options
        Precision and device.
    label
        The cell's label, 0 for a place that is no known cell.
    """
    batch = CropBatch(np.array([label], np.int64), np.array([box], np.float64), [crop])
    (encoded,) = encode_crops([batch], bundle, options)
    (cell,) = encoded.cells()
    return cell


def _work_or_none(
    batch: _PreparedBatch, bundle: Bundle, work: Callable[[Bundle, torch.Tensor], Result]
) -> tuple[Result] | None:
    """Work on one batch; None where memory ran out."""
    try:
        with torch.inference_mode():
            return (work(bundle, bundle.tokens(batch.pixels)),)
    except (MemoryError, RuntimeError) as error:
        if not _out_of_memory(error):
            raise
    # Only here, with the exception and its frames gone, can the tensors that did not fit be freed.
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    return None


def _out_of_memory(error: Exception) -> bool:
    """Tell running out of memory from other failures; CPU and MPS raise a plain RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    text = str(error).lower()
    return any(
        phrase in text for phrase in ("out of memory", "can't allocate memory", "not enough memory")
    )


def _halved(n_cells: int, options: EncodeOptions) -> int:
    if n_cells == 1:
        raise CytoSAEError(
            f"There is not enough memory on {options.device} to encode a single cell. Close other "
            "programs, choose another device, or use a smaller bundle."
        )
    return max(1, n_cells // 2)
