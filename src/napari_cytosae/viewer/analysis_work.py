"""What the worker thread does: one frozen request in, steps out. Nothing here knows of Qt."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_cytosae.cells import (
    Cells,
    CropGeometry,
    PaintedLabels,
    Region,
    detect_cells,
    detect_red_cells,
    read_cells,
    whole_image,
)
from napari_cytosae.cells.outline import Outline
from napari_cytosae.errors import CytoSAEError, OtherRunError
from napari_cytosae.models.registry import available_bundles, fetch_bundle
from napari_cytosae.slides import Slide
from napari_cytosae.viewer.in_view import Box
from napari_cytosae.viewer.results import Results, Tops, top_of
from napari_cytosae.viewer.torch_beside_gl import keep_triton_out

if TYPE_CHECKING:
    from napari_cytosae.concepts import AnalysisJob, CellActivations, Run
    from napari_cytosae.models import Bundle

# A click without a run looks for cells in a window of at most this side around it.
CLICK_WINDOW_PX = 1600
# Up to this many pixels a whole image is compared with its file; beyond, its coarsest level.
_COMPARED_PX = 64_000_000


@dataclass(frozen=True, slots=True)
class ModelChoice:
    """A bundle by its name or folder, or a pair of local files."""

    name: str | None = None
    backbone: Path | None = None
    sae: Path | None = None

    @property
    def title(self) -> str:
        """What a person calls it."""
        if self.name is not None:
            # A folder's path is too long to read, and `sae/bundle` is what trainings call theirs.
            folder = Path(self.name)
            parts = folder.parts[-3:] if folder.is_absolute() else (self.name,)
            return str(Path(*parts))
        return f"{self.backbone.name} + {self.sae.name}" if self.backbone and self.sae else ""


@dataclass(frozen=True, slots=True, eq=False)
class AnalysisRequest:
    """Everything the form said, when Run was pressed or a cell was clicked.

    Parameters
    ----------
    slide
        The image.
    file
        Where the image came from; None for one that is in memory only.
    cells
        ``"detect"``, ``"whole"``, a file of cells, or the cells themselves.
    model
        Which model, and ``bundle``: that model where it has been loaded before.
    out
        Folder that the run is written to; another of the same name with a number where this one
        holds another run.
    microns_per_pixel, crop_um, threshold, precision, device, region
        As in :class:`~napari_cytosae.concepts.AnalysisJob`.
    """

    slide: Slide
    file: Path | None
    cells: str | Path | Cells
    model: ModelChoice
    bundle: Bundle | None
    out: Path
    microns_per_pixel: float | None
    crop_um: float
    threshold: float
    precision: str
    device: str
    region: Region | None = None


@dataclass(frozen=True, slots=True)
class Downloading:
    """A model is being fetched: bytes done and in all (0 where the server does not say)."""

    name: str
    done: int
    total: int


@dataclass(frozen=True, slots=True, eq=False)
class ModelReady:
    """The model is loaded; the next request can carry it."""

    model: ModelChoice
    bundle: Bundle


@dataclass(frozen=True, slots=True, eq=False)
class SlideReady:
    """The slide that the analysis reads: the file itself where the layer shows just that."""

    slide: Slide


@dataclass(frozen=True, slots=True)
class Encoded:
    """Cells whose activations have just come, and the concepts that lead in each."""

    cells: list[CellActivations]
    tops: list[Tops]

    @classmethod
    def of(cls, cells: Iterable[CellActivations]) -> Encoded:
        """Rank the concepts here: in the window's own thread it would be felt."""
        listed = list(cells)
        return cls(listed, [top_of(cell) for cell in listed])


@dataclass(frozen=True, slots=True, eq=False)
class Clicked:
    """A cell that was clicked without a run: the cells found so far, and which one it is."""

    results: Results
    label: int | None


def obtain(
    model: ModelChoice, bundle: Bundle | None, cancelled: Callable[[], bool]
) -> Generator[Downloading | ModelReady, None, None]:
    """Load a model, after fetching it where it is not here yet; ``ModelReady`` comes last."""
    keep_triton_out()
    from napari_cytosae.models import load_bundle

    if bundle is None:
        if model.name is not None:
            info = next((each for each in available_bundles() if each.name == model.name), None)
            if info is not None and not info.installed:
                yield from _fetched(model.name, cancelled)
            bundle = load_bundle(model.name)
        else:
            bundle = load_bundle(backbone=model.backbone, sae=model.sae)
    yield ModelReady(model, bundle)


def _fetched(name: str, cancelled: Callable[[], bool]) -> Iterator[Downloading]:
    """Fetch in a thread of its own, so that progress can be yielded."""
    from concurrent.futures import ThreadPoolExecutor
    from concurrent.futures import TimeoutError as NotYet

    state = [0, 0]

    def note(done: int, total: int | None) -> None:
        state[:] = done, total or 0

    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(fetch_bundle, name, progress=note, cancelled=cancelled)
        while True:
            yield Downloading(name, *state)
            try:
                future.result(timeout=0.2)
            except NotYet:
                continue
            return


def analyse(
    request: AnalysisRequest,
    cancelled: Callable[[], bool],
    in_view: Callable[[], Box | None] = lambda: None,
) -> Generator[Any, None, None]:
    """Run the analysis; yields what `analyze_steps` yields, and what else the views need.

    Cells that `in_view` tells are looked at come first.
    """
    keep_triton_out()
    from napari_cytosae.concepts import EncodedBatch, Run, analyze_steps

    slide = as_file(request)
    yield SlideReady(slide)
    bundle = None
    for step in obtain(request.model, request.bundle, cancelled):
        yield step
        if isinstance(step, ModelReady):
            bundle = step.bundle
    for out in folders(request.out):
        job = job_of(request, slide, bundle, out)
        try:
            for step in analyze_steps(job, cancelled, in_view):
                if isinstance(step, Run):
                    read_ahead(step)
                yield Encoded.of(step.cells()) if isinstance(step, EncodedBatch) else step
        except OtherRunError:
            continue  # never over somebody's results
        return


def read_ahead(run: Run) -> None:
    """Read what a window shows of a run at once, so that it has not to wait for the disk."""
    _ = run.table, run.labels, run.encoded, run.concepts


def estimated(
    request: AnalysisRequest, cancelled: Callable[[], bool]
) -> Generator[Any, None, None]:
    """Try a small part of an analysis; yields progress, and an `Estimate` last."""
    keep_triton_out()
    from napari_cytosae.concepts.trial import estimate_analysis

    bundle = None
    for step in obtain(request.model, request.bundle, cancelled):
        yield step
        if isinstance(step, ModelReady):
            bundle = step.bundle
    yield (
        yield from estimate_analysis(job_of(request, request.slide, bundle, request.out), cancelled)
    )


def job_of(request: AnalysisRequest, slide: Slide, bundle: Bundle | None, out: Path) -> AnalysisJob:
    """Turn a request into a job for the core."""
    from napari_cytosae.concepts import AnalysisJob

    assert bundle is not None
    return AnalysisJob(
        image=slide,
        bundle=bundle,
        cells=request.cells,
        out=out,
        precision=request.precision,
        device=request.device,
        microns_per_pixel=request.microns_per_pixel,
        crop_um=request.crop_um,
        threshold=request.threshold,
        region=request.region,
    )


def folders(wanted: Path) -> Iterator[Path]:
    """Yield the wanted folder, then the same name with a number, from 2 on."""
    yield wanted
    stem = wanted.name.removesuffix(".cytosae")
    for number in count(2):
        yield wanted.with_name(f"{stem}-{number}.cytosae")


def as_file(request: AnalysisRequest) -> Slide:
    """Open the layer's file instead of its pixels where both are the same.

    A run is known by its image's content; this way the command line and the window know the same
    run. A layer whose pixels were changed stays what it is.
    """
    slide = request.slide
    if slide.backend != "array" or request.file is None or not request.file.exists():
        return slide  # the file itself, or nothing to compare with
    try:
        opened = Slide.open(request.file, microns_per_pixel=request.microns_per_pixel)
    except CytoSAEError:
        return slide  # another reader than ours opened it
    if opened.shape != slide.shape:
        return slide
    height, width = slide.shape
    if height * width <= _COMPARED_PX:
        same = np.array_equal(opened.read(), slide.read())
    else:
        same = opened.level_shapes == slide.level_shapes and np.array_equal(
            *(each.read_region(0, 0, *each.level_shapes[-1], level=-1) for each in (opened, slide))
        )
    return opened if same else slide


def encode_clicked(
    request: AnalysisRequest,
    results: Results | None,
    yx: tuple[int, int],
    cancelled: Callable[[], bool],
) -> Generator[Downloading | ModelReady | Clicked, None, None]:
    """Encode just the cell under a click; finds cells around it where none are known.

    Parameters
    ----------
    results
        Cells that are known already, with those that were clicked before; None at first.
    yx
        The click, in pixels of the image.
    """
    keep_triton_out()
    from napari_cytosae.concepts import AnalysisJob, EncodeOptions, encode_one

    bundle = None
    for step in obtain(request.model, request.bundle, cancelled):
        yield step
        if isinstance(step, ModelReady):
            bundle = step.bundle
    made_from = (
        AnalysisJob(image=request.slide, cells=request.cells).cells_identity(),
        request.microns_per_pixel,
        request.crop_um,
        bundle.digest,
    )
    windowed = _detector(request) is not None and max(request.slide.shape) > CLICK_WINDOW_PX
    if (
        results is None
        or results.made_from != made_from
        or (windowed and results.label_at(*yx) is None)
    ):
        results = _cells_around(request, yx, bundle, made_from)
    label = results.label_at(*yx)
    if label is not None and results.answer(label) is None:
        options = EncodeOptions(precision=request.precision, device=request.device)
        crop, box = results.crop_with_box(label)
        results.add([encode_one(crop, box, bundle, options, label=label)])
    yield Clicked(results, label)


def _cells_around(
    request: AnalysisRequest, yx: tuple[int, int], bundle: Bundle, made_from: tuple[Any, ...]
) -> Results:
    """Find cells: in the whole image where it is small, else in a window around the click."""
    slide, size, detect = request.slide, request.microns_per_pixel, _detector(request)
    if isinstance(request.cells, Cells):
        cells = request.cells
    elif request.cells == "whole":
        cells = whole_image(slide.shape)
    elif detect is None:
        cells = read_cells(request.cells, slide)
    elif max(slide.shape) <= CLICK_WINDOW_PX:
        cells = detect(slide, microns_per_pixel=size)
    else:
        cells = _detect_window(slide, yx, size, detect)
    geometry = CropGeometry(crop_um=request.crop_um, whole=request.cells == "whole")
    return Results(
        slide,
        cells.labels,
        cells.table,
        bundle.name,
        bundle.digest,
        geometry,
        size,
        made_from=made_from,
        sae_digest=bundle.sae_digest,
    )


def _detector(request: AnalysisRequest) -> Callable[..., Cells] | None:
    """Choose what finds cells; None where they are known."""
    if isinstance(request.cells, str):
        return {"detect": detect_cells, "red": detect_red_cells}.get(request.cells)
    return None


def _detect_window(
    slide: Slide, yx: tuple[int, int], size: float | None, detect: Callable[..., Cells]
) -> Cells:
    height, width = (min(CLICK_WINDOW_PX, side) for side in slide.shape)
    y = min(max(yx[0] - height // 2, 0), slide.shape[0] - height)
    x = min(max(yx[1] - width // 2, 0), slide.shape[1] - width)
    found = detect(slide.read_region(y, x, height, width), microns_per_pixel=size)
    table = found.table.copy()
    boxes = table[["box_y0", "box_x0", "box_y1", "box_x1"]].to_numpy(np.int64).tolist()
    ids = table["label"].to_numpy(np.int64)
    # The label image of a whole slide would fill the memory: only what was found is kept.
    outlines = [
        Outline(y + y0, x + x0, np.asarray(found.labels[y0:y1, x0:x1]) == label)
        for label, (y0, x0, y1, x1) in zip(ids.tolist(), boxes, strict=True)
    ]
    labels = PaintedLabels(slide.shape, ids, outlines)
    for name in table.columns:
        if name in ("centroid_y", "box_y0", "box_y1"):
            table[name] += y
        elif name in ("centroid_x", "box_x0", "box_x1"):
            table[name] += x
    return Cells(labels, None, table, size, found.estimated_microns_per_pixel)
