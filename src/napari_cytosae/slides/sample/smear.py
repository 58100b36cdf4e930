"""A blood smear drawn by the project itself, which knows the truth about each of its cells."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
import tifffile
from numpy.typing import NDArray

from napari_cytosae.slides.sample.camera import photograph
from napari_cytosae.slides.sample.geometry import Patch
from napari_cytosae.slides.sample.layout import Layout
from napari_cytosae.slides.sample.small_cells import (
    RED_CELL_SHAPES,
    paint_platelet,
    paint_red_cell,
)
from napari_cytosae.slides.sample.white_cells import WHITE_CELLS, Painting

# Per µm² of field. Blood has one white cell per 700 red ones; this smear has one per ten, so that
# one field shows all kinds.
_WHITE_CELLS = 1 / 1050
_RED_CELLS = 1 / 104
_PLATELETS = 1 / 1050


@dataclass(frozen=True, eq=False)
class SampleSmear:
    """A drawn smear and the truth about it.

    Attributes
    ----------
    image : (H, W, 3) uint8
        The smear as a camera saw it.
    cells : DataFrame
        One row per white cell: label (from 1), kind, centroid_y, centroid_x (px, of the extent),
        box_y0, box_x0, box_y1, box_x1 (px, half-open), area_px, nucleus_area_px, nucleated.
    others : DataFrame
        One row per red cell and platelet: kind ("red cell" or "platelet"), shape, centre_y,
        centre_x, radius_px. Centres may lie outside the image.
    labels, nuclei : (H, W) int32
        Extent of each white cell and of its nucleus under its label; 0 elsewhere.
    microns_per_pixel : float
        Pixel size.
    seed : int
        What it was drawn from.
    """

    image: NDArray[np.uint8]
    cells: pd.DataFrame
    others: pd.DataFrame
    labels: NDArray[np.int32]
    nuclei: NDArray[np.int32]
    microns_per_pixel: float
    seed: int

    def save(self, folder: str | Path) -> Path:
        """Write the smear and its truth into a folder, made if need be; return the image's path.

        `smear.ome.tif` (with its pixel size), `cells.csv`, `others.csv`, `labels.tif` and
        `nuclei.tif`.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        size = self.microns_per_pixel
        image = folder / "smear.ome.tif"
        tifffile.imwrite(
            image,
            self.image,
            photometric="rgb",
            compression="zlib",
            predictor=True,
            metadata={
                "axes": "YXS",
                "PhysicalSizeX": size,
                "PhysicalSizeXUnit": "µm",
                "PhysicalSizeY": size,
                "PhysicalSizeYUnit": "µm",
            },
        )
        self.cells.to_csv(folder / "cells.csv", index=False)
        self.others.to_csv(folder / "others.csv", index=False)
        for name, labels in (("labels", self.labels), ("nuclei", self.nuclei)):
            tifffile.imwrite(folder / f"{name}.tif", labels, compression="zlib")
        return image


def sample_smear(
    seed: int = 7,
    shape: tuple[int, int] = (1024, 1536),
    microns_per_pixel: float = 0.1,
) -> SampleSmear:
    """Draw a Romanowsky-stained blood smear as seen through a 100× lens.

    Red cells with a paler middle, some of them targets, ovalocytes or teardrops; all five kinds of
    white cell, whole and apart from each other; platelets; uneven light, a tint, blur and noise.
    The same arguments give the same picture; on another processor or version of numpy, single
    pixels may differ by a grey level.

    Parameters
    ----------
    seed : int
        Another seed draws another smear.
    shape : (int, int)
        Height and width in px; the field must have room for five white cells.
    microns_per_pixel : float
        Pixel size. The cells keep their size in µm.

    Returns
    -------
    SampleSmear
        The image and the exact truth about it.

    Raises
    ------
    ValueError
        If the field is too small for all five kinds.
    """
    height, width = shape
    layout = Layout(height * microns_per_pixel, width * microns_per_pixel)
    layout_rng, paint_rng, camera_rng = np.random.default_rng(seed).spawn(3)
    canvas = _Canvas(shape, microns_per_pixel)
    cells = _draw_white_cells(canvas, layout, layout_rng, paint_rng)
    others = _draw_red_cells(canvas, layout, layout_rng, paint_rng)
    others += _draw_platelets(canvas, layout, layout_rng, paint_rng)
    return SampleSmear(
        image=photograph(canvas.density, camera_rng, microns_per_pixel),
        cells=pd.DataFrame(cells),
        others=pd.DataFrame(others),
        labels=canvas.labels,
        nuclei=canvas.nuclei,
        microns_per_pixel=microns_per_pixel,
        seed=seed,
    )


class _Canvas:
    """Densities and truth of the whole field, onto which cells are laid one by one."""

    def __init__(self, shape: tuple[int, int], microns_per_pixel: float) -> None:
        self.microns_per_pixel = microns_per_pixel
        self.density = np.zeros((*shape, 3), np.float32)
        self.labels = np.zeros(shape, np.int32)
        self.nuclei = np.zeros(shape, np.int32)

    def patch(self, centre_um: tuple[float, float], reach_um: float) -> tuple[Patch, int, int]:
        size = self.microns_per_pixel
        # The middle of pixel 0 lies half a pixel from the border.
        centre = (centre_um[0] / size - 0.5, centre_um[1] / size - 0.5)
        return Patch.around(centre, reach_um, size)

    def add(self, density: NDArray[np.float32], top: int, left: int) -> None:
        onto, part = self._overlap(density.shape[0], top, left)
        self.density[onto] += density[part]

    def add_white_cell(self, painting: Painting, top: int, left: int, label: int) -> None:
        self.add(painting.density, top, left)
        onto, part = self._overlap(painting.extent.shape[0], top, left)
        self.labels[onto][painting.extent[part]] = label
        self.nuclei[onto][painting.nucleus[part]] = label

    def _overlap(
        self, side: int, top: int, left: int
    ) -> tuple[tuple[slice, slice], tuple[slice, slice]]:
        starts = (top, left)
        sizes = self.labels.shape
        onto = [
            slice(max(start, 0), max(min(start + side, size), 0))
            for start, size in zip(starts, sizes, strict=True)
        ]
        part = [slice(o.start - s, max(o.stop - s, 0)) for o, s in zip(onto, starts, strict=True)]
        return (onto[0], onto[1]), (part[0], part[1])


def _draw_white_cells(
    canvas: _Canvas, layout: Layout, rng: np.random.Generator, paint_rng: np.random.Generator
) -> list[dict[str, object]]:
    area = layout.size[0] * layout.size[1]
    count = max(len(WHITE_CELLS), round(area * _WHITE_CELLS) + int(rng.integers(-2, 3)))
    frequencies = [kind.frequency for kind in WHITE_CELLS.values()]
    more = rng.choice(list(WHITE_CELLS), count - len(WHITE_CELLS), p=frequencies).tolist()
    # One of each kind first, the largest ahead, so that they find room.
    first = sorted(WHITE_CELLS, key=lambda name: -WHITE_CELLS[name].radius_um[1])
    rows: list[dict[str, object]] = []
    for number, name in enumerate([*first, *more]):
        kind = WHITE_CELLS[name]
        radius = rng.uniform(*kind.radius_um)
        reach = radius * 1.2 + 0.5
        centre = layout.place(rng, "white", reach, {"white": 1.0}, margin_um=reach)
        if centre is None:
            if number < len(first):
                raise ValueError(
                    f"A field of {layout.size[0]:.0f} × {layout.size[1]:.0f} µm has no room for "
                    "the five kinds of white cell; draw a larger one (60 × 60 µm will do)."
                )
            continue
        patch, top, left = canvas.patch(centre, reach)
        label = len(rows) + 1
        painting = kind.paint(patch, paint_rng, radius)
        canvas.add_white_cell(painting, top, left, label)
        rows.append(_truth(painting, top, left, label, name))
    return rows


def _truth(painting: Painting, top: int, left: int, label: int, kind: str) -> dict[str, object]:
    ys, xs = np.nonzero(painting.extent)
    return {
        "label": label,
        "kind": kind,
        "centroid_y": top + float(ys.mean()),
        "centroid_x": left + float(xs.mean()),
        "box_y0": top + int(ys.min()),
        "box_x0": left + int(xs.min()),
        "box_y1": top + int(ys.max()) + 1,
        "box_x1": left + int(xs.max()) + 1,
        "area_px": int(painting.extent.sum()),
        "nucleus_area_px": int(painting.nucleus.sum()),
        "nucleated": True,
    }


def _draw_red_cells(
    canvas: _Canvas, layout: Layout, rng: np.random.Generator, paint_rng: np.random.Generator
) -> list[dict[str, object]]:
    area = layout.size[0] * layout.size[1]
    rows: list[dict[str, object]] = []
    for _ in range(round(area * _RED_CELLS)):
        shape = str(rng.choice(list(RED_CELL_SHAPES), p=list(RED_CELL_SHAPES.values())))
        radius = rng.normal(3.6, 0.22) * (0.85 if shape == "spherocyte" else 1.0)
        # One in six lies partly over its neighbour; none over a white cell.
        closeness = rng.uniform(0.55, 0.8) if rng.random() < 1 / 6 else 0.97
        near = {"white": 0.93, "red": closeness}
        reach = radius * {"teardrop": 1.35, "ovalocyte": 1.15}.get(shape, 1.0)
        centre = layout.place(rng, "red", reach, near, margin_um=-radius)
        if centre is None:
            continue
        patch, top, left = canvas.patch(centre, radius * 1.8)
        canvas.add(paint_red_cell(patch, paint_rng, radius, shape), top, left)
        rows.append(_other(canvas, "red cell", shape, centre, radius))
    return rows


def _draw_platelets(
    canvas: _Canvas, layout: Layout, rng: np.random.Generator, paint_rng: np.random.Generator
) -> list[dict[str, object]]:
    area = layout.size[0] * layout.size[1]
    rows: list[dict[str, object]] = []
    for _ in range(max(1, round(area * _PLATELETS))):
        radius = float(np.clip(rng.normal(1.1, 0.22), 0.7, 1.7))
        near = {"white": 1.05, "red": 0.95, "platelet": 1.3}
        centre = layout.place(rng, "platelet", radius, near, margin_um=0.0)
        if centre is None:
            continue
        patch, top, left = canvas.patch(centre, radius * 1.9)
        canvas.add(paint_platelet(patch, paint_rng, radius), top, left)
        rows.append(_other(canvas, "platelet", "normal", centre, radius))
    return rows


def _other(
    canvas: _Canvas, kind: str, shape: str, centre_um: tuple[float, float], radius_um: float
) -> dict[str, object]:
    size = canvas.microns_per_pixel
    return {
        "kind": kind,
        "shape": shape,
        "centre_y": centre_um[0] / size - 0.5,
        "centre_x": centre_um[1] / size - 0.5,
        "radius_px": radius_um / size,
    }
