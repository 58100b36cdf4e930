"""The upper part of the CytoSAE dock: what to analyse, and how."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Image, Labels, Layer, Points, Shapes
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_cytosae.errors import CytoSAEError, ImageError
from napari_cytosae.slides import Slide
from napari_cytosae.viewer.analysis_work import AnalysisRequest, ModelChoice
from napari_cytosae.viewer.cell_layers import cells_of_layer
from napari_cytosae.viewer.form_fields import refill, remark, wide_combo
from napari_cytosae.viewer.in_view import region_in_view, region_of_shapes
from napari_cytosae.viewer.model_box import ModelBox
from napari_cytosae.viewer.placement import file_of, microns_per_pixel, slide_of
from napari_cytosae.viewer.run_folders import run_folder_for
from napari_cytosae.viewer.slide_layers import SLIDE_KEY
from napari_cytosae.viewer.subscriptions import Subscriptions

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_cytosae.cells import Cells, Region

_CELL_LAYERS = {Labels: "cells in", Points: "points in", Shapes: "shapes in"}


_SIZE_NOT_IN_FILE = (
    "The file does not say how large its pixels are. Type it where you know it;\n"
    "without it crops are scaled to each cell."
)


class AnalysisForm(QWidget):
    """Choose image, pixel size, cells and model; everything else lies under Options."""

    image_changed = Signal(object)  # the Image layer, or None
    model_changed = Signal()
    changed = Signal()  # image, cells, place, model, or how they are analysed

    def __init__(
        self,
        viewer: ViewerModel,
        is_result: Callable[[Layer], bool],
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._is_result = is_result
        self._cells_file: Path | None = None
        self._loaded: tuple[ModelChoice, Any] | None = None
        self._build()
        self._describe_model()
        self.subscriptions = Subscriptions()
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            self.subscriptions.connect(event, self._refresh_layers)
        # Each layer's own renaming, for those that are there already and those to come.
        for layer in viewer.layers:
            self.subscriptions.connect(layer.events.name, self._refresh_layers)
        self.subscriptions.connect(events.inserted, self._watch_name)
        self._refresh_layers()

    # -- building --------------------------------------------------------------------------

    def _build(self) -> None:
        self.image = wide_combo("The image that is analysed.")
        self.image.currentIndexChanged.connect(self._on_image)
        self.pixel = QDoubleSpinBox()
        self.pixel.setDecimals(4)
        self.pixel.setRange(0.0, 100.0)
        self.pixel.setSingleStep(0.01)
        self.pixel.setSuffix(" µm")
        self.pixel.setSpecialValueText("unknown")
        self.pixel.setToolTip(
            "Side of a pixel in µm. Where it is known, every crop is of the same physical size;\n"
            "where it is not, crops are scaled to each cell."
        )
        self.pixel.valueChanged.connect(self._on_pixel_typed)
        self.pixel_origin = remark()
        self.cells = wide_combo("How cells are found, or the layer or file that already has them.")
        self.cells.activated.connect(self._on_cells_chosen)
        self.where = wide_combo("The part of the image whose cells are wanted.")
        self.model = ModelBox()
        self.model.model_changed.connect(self.model_changed)
        self.model.currentIndexChanged.connect(self._describe_model)
        self.model_note = remark()

        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setLabelAlignment(Qt.AlignmentFlag.AlignLeft)
        form.addRow("Image", self.image)
        pixel = QHBoxLayout()
        self.pixel.setSizePolicy(QSizePolicy.Policy.Maximum, QSizePolicy.Policy.Fixed)
        pixel.addWidget(self.pixel)
        pixel.addWidget(self.pixel_origin, 1)
        form.addRow("Pixel", pixel)
        form.addRow("Cells", self.cells)
        form.addRow("Where", self.where)
        form.addRow("Model", self.model)
        form.addRow(self.model_note)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(form)
        layout.addWidget(self._build_options())
        for combo in (self.image, self.cells, self.where, self.model, self.precision, self.device):
            combo.currentIndexChanged.connect(lambda: self.changed.emit())
        for number in (self.pixel, self.crop_um):
            number.valueChanged.connect(lambda: self.changed.emit())

    def _build_options(self) -> QCollapsible:
        self.crop_um = QDoubleSpinBox()
        self.crop_um.setRange(5.0, 200.0)
        self.crop_um.setValue(25.0)
        self.crop_um.setSuffix(" µm")
        self.crop_um.setToolTip("Side of a crop, where the pixel size is known.")
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0.0, 10.0)
        self.threshold.setSingleStep(0.05)
        self.threshold.setValue(0.2)
        self.threshold.setToolTip("τ: a concept counts as present at a token above this value.")
        self.precision = wide_combo("auto: bfloat16 where the processor computes it in hardware.")
        self.precision.addItems(["auto", "float32", "bfloat16"])
        self.device = wide_combo("auto: a graphics card where there is one.")
        self.device.addItems(["auto", "cpu", "cuda", "mps"])
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("beside the image")
        self.folder.setToolTip("Folder that the run is kept in; beside the image when left empty.")
        browse = QToolButton()
        browse.setText("…")
        browse.setToolTip("Choose the folder that the run is kept in.")
        browse.clicked.connect(self._browse_folder)
        folder = QHBoxLayout()
        folder.addWidget(self.folder, 1)
        folder.addWidget(browse)

        content = QWidget()
        form = QFormLayout(content)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Crop", self.crop_um)
        form.addRow("Presence τ", self.threshold)
        form.addRow("Precision", self.precision)
        form.addRow("Device", self.device)
        form.addRow("Keep run in", folder)
        options = QCollapsible("Options", expandedIcon="▾", collapsedIcon="▸")
        options.setContent(content)
        options.layout().setContentsMargins(0, 0, 0, 0)
        options.collapse(animate=False)
        return options

    # -- image -----------------------------------------------------------------------------

    @property
    def layer(self) -> Image | None:
        """The chosen image layer."""
        return self.image.currentData()

    def choose_layer(self, layer: Image) -> None:
        """Choose an image layer."""
        for index in range(self.image.count()):
            if self.image.itemData(index) is layer:
                self.image.setCurrentIndex(index)

    def _watch_name(self, event: Any) -> None:
        self.subscriptions.connect(event.value.events.name, self._refresh_layers)

    def _refresh_layers(self, event: Any = None) -> None:
        """List the layers anew; what was chosen stays chosen while it is there."""
        layers = [layer for layer in self._viewer.layers if not self._is_result(layer)]
        images = [layer for layer in layers if isinstance(layer, Image)]
        refill(self.image, [(layer.name, layer) for layer in images], last=True)
        sources: list[tuple[str, Any]] = [
            ("detect nucleated cells", "detect"),
            ("detect red cells", "red"),
            ("the whole image is one cell", "whole"),
        ]
        for layer in layers:
            if type(layer) in _CELL_LAYERS:
                sources.append((f"{_CELL_LAYERS[type(layer)]} “{layer.name}”", layer))
        if self._cells_file is not None:
            sources.append((self._cells_file.name, self._cells_file))
        sources.append(("from a file…", None))
        refill(self.cells, sources)
        places: list[tuple[str, Any]] = [("everywhere", "all"), ("what is in view", "view")]
        places += [
            (f"within “{layer.name}”", layer) for layer in layers if isinstance(layer, Shapes)
        ]
        refill(self.where, places)

    def _on_image(self) -> None:
        size, origin, hint = None, "", ""
        layer = self.layer
        if layer is not None:
            try:
                size = microns_per_pixel(layer)
                if size is not None:
                    origin = "from the file" if SLIDE_KEY in layer.metadata else "from the layer"
                elif SLIDE_KEY in layer.metadata:
                    origin, hint = "type it", _SIZE_NOT_IN_FILE
                elif (file := file_of(layer)) is not None:
                    size = Slide.open(file).microns_per_pixel
                    origin = "from the file" if size is not None else origin
            except ImageError as error:
                origin = str(error)
        self.pixel.blockSignals(True)
        self.pixel.setValue(size or 0.0)
        self.pixel.blockSignals(False)
        self._say_origin(origin, hint)
        self.image_changed.emit(layer)

    def _on_pixel_typed(self, value: float) -> None:
        self._say_origin("typed" if value else "")

    def _say_origin(self, text: str, hint: str = "") -> None:
        self.pixel_origin.setText(text)
        self.pixel_origin.setToolTip(hint or text or "Crops are scaled to each cell.")

    # -- cells -----------------------------------------------------------------------------

    def _on_cells_chosen(self, index: int) -> None:
        if self.cells.itemData(index) is not None:
            return
        name, _ = QFileDialog.getOpenFileName(
            self,
            "Cells of this image",
            "",
            "Cells (*.tif *.tiff *.png *.csv *.tsv *.geojson *.json);;All files (*)",
        )
        if name:
            self._cells_file = Path(name)
        self._refresh_layers()
        self.cells.setCurrentIndex(self.cells.count() - 2 if name else 0)

    def _cells_source(self, slide: Slide) -> str | Path | Cells:
        chosen = self.cells.currentData()
        if isinstance(chosen, str | Path):
            return chosen
        if chosen is None:
            raise CytoSAEError("Choose the file of cells, or another way to find cells.")
        return cells_of_layer(chosen, self.layer, slide)

    def _region(self) -> Region | None:
        chosen = self.where.currentData()
        if chosen == "view":
            return region_in_view(self.layer)
        return region_of_shapes(chosen, self.layer) if isinstance(chosen, Shapes) else None

    # -- model -----------------------------------------------------------------------------

    def choose_bundle(self, folder: Path) -> None:
        """Choose a bundle's folder, listed or not."""
        self.model.choose_bundle(folder)

    def _describe_model(self) -> None:
        summary = self.model.summary
        self.model_note.setText(f"Not for diagnosis. {summary.rstrip('.')}." if summary else "")
        self.model_note.setToolTip(summary)

    def remember(self, choice: ModelChoice, bundle: Any) -> None:
        """Keep a loaded model for the next request; a download that is done loses its mark."""
        self._loaded = (choice, bundle)
        self.model.is_here(choice)

    # -- request ---------------------------------------------------------------------------

    def request(self) -> AnalysisRequest:
        """Turn the fields into one frozen request.

        Raises
        ------
        CytoSAEError
            Something is missing or does not fit; the message says what to do.
        """
        layer, model = self.layer, self.model.choice
        if layer is None:
            raise ImageError("Open an image first, or try the sample smear.")
        if model is None:
            raise CytoSAEError("Choose a model.")
        size = self.pixel.value() or None
        slide = slide_of(layer, size)
        loaded = self._loaded
        return AnalysisRequest(
            slide=slide,
            file=file_of(layer),
            cells=self._cells_source(slide),
            model=model,
            bundle=loaded[1] if loaded is not None and loaded[0] == model else None,
            out=self._run_folder(layer),
            microns_per_pixel=size,
            crop_um=self.crop_um.value(),
            threshold=self.threshold.value(),
            precision=self.precision.currentText(),
            device=self.device.currentText(),
            region=self._region(),
        )

    def _run_folder(self, layer: Image) -> Path:
        parent = self.folder.text().strip()
        return run_folder_for(layer.name, file_of(layer), Path(parent) if parent else None)

    def _browse_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Keep runs in", self.folder.text())
        if name:
            self.folder.setText(name)
