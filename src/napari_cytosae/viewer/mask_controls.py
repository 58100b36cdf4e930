"""How a concept's patches are shown on cells: heat or outline, from which strength, how large."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QCheckBox, QComboBox, QHBoxLayout, QLabel, QSlider, QWidget

from napari_cytosae.viewer.folding_splitter import narrow
from napari_cytosae.viewer.gallery_tiles import MaskStyle

_SIZES = (64, 192)


class MaskControls(QWidget):
    """One row: kind of mask, threshold, size of the cells."""

    changed = Signal()
    compute_toggled = Signal()  # masks of cells whose activations were not kept

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.mask = QComboBox()
        self.mask.addItem("heat", "heat")
        self.mask.addItem("outline", "outline")
        self.mask.addItem("bare cells", "none")
        narrow(self.mask, 6)
        self.mask.setToolTip("How the concept's patches are shown on the cells.")
        self.mask.currentIndexChanged.connect(lambda _: self._tell())
        self.threshold = _slider(0, 90, 0)
        self.threshold.setToolTip(
            "Patches below this share of the strongest activation of a row do not count."
        )
        self.threshold.valueChanged.connect(lambda _: self._tell())
        self.size = _slider(*_SIZES, 96)
        self.size.setToolTip("Size of the cells.")
        self.size.valueChanged.connect(lambda _: self._tell())
        self._share = QLabel("≥ 0 %")
        self.compute = QCheckBox("compute")
        self.compute.setToolTip(
            "Compute masks: encode these cells with the model, since their activations were not kept. "
            "A moment per cell."
        )
        self.compute.toggled.connect(lambda _: self.compute_toggled.emit())
        self.compute.hide()
        row = QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.mask)
        row.addWidget(self.compute)
        row.addWidget(self._share)
        row.addWidget(self.threshold, 1)
        row.addWidget(QLabel("size"))
        row.addWidget(self.size, 1)

    def style_in(self, hue: str) -> MaskStyle:
        """Give what is chosen, in a hue (``#rrggbb``)."""
        return MaskStyle(self.mask.currentData(), self.threshold.value() / 100, hue)

    def follow_maps(self, known: bool, missing: bool) -> None:
        """Offer masks only where it is known where in the cells the concept is.

        Parameters
        ----------
        known
            Whether it is of some of the cells.
        missing
            Whether it is not of some of them, and can be computed.
        """
        self.compute.setVisible(missing or self.compute.isChecked())
        for widget in (self.mask, self.threshold, self._share):
            widget.setEnabled(known)

    @property
    def side(self) -> int:
        """Side of a cell, in px."""
        return self.size.value()

    def _tell(self) -> None:
        self._share.setText(f"≥ {self.threshold.value()} %")
        self.changed.emit()


def _slider(least: int, most: int, value: int) -> QSlider:
    slider = QSlider(Qt.Orientation.Horizontal)
    slider.setRange(least, most)
    slider.setValue(value)
    slider.setMinimumWidth(30)
    return slider
