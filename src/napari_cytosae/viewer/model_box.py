"""The choice of a model: a bundle by name, a bundle's folder, or a pair of files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QFileDialog, QSizePolicy, QWidget

from napari_cytosae.models.registry import BundleInfo, available_bundles
from napari_cytosae.viewer.analysis_work import ModelChoice

_FOLDER = "folder"


class ModelBox(QComboBox):
    """Lists what `load_bundle` knows by name, and asks for what it does not."""

    model_changed = Signal()  # by the user, or by `choose_bundle`

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setToolTip("Vision transformer and sparse autoencoder.")
        self.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon)
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        self._bundles: list[BundleInfo] = available_bundles()
        for info in self._bundles:
            title = info.name if info.installed else f"{info.name} (download)"
            self.addItem(title, ModelChoice(name=info.name))
        self.addItem("a bundle's folder…", _FOLDER)
        self.addItem("DinoBloom and SAE files…", None)
        self.activated.connect(self._on_chosen)

    @property
    def choice(self) -> ModelChoice | None:
        """What is chosen; None while nothing is."""
        data = self.currentData()
        return data if isinstance(data, ModelChoice) else None

    @property
    def summary(self) -> str:
        """What the chosen model is, in a sentence; empty while nothing is chosen."""
        choice = self.choice
        if choice is None:
            return ""
        known = {info.name: info.summary for info in self._bundles}
        return known.get(choice.name or "", f"Your own files: {choice.title}.")

    def choose_bundle(self, folder: Path) -> None:
        """Choose a bundle's folder, listed or not."""
        choice = ModelChoice(name=str(folder.resolve()))
        index = self.findData(choice)
        if index < 0:
            index = 0
            self.insertItem(index, choice.title, choice)
        self.setCurrentIndex(index)
        self.model_changed.emit()

    def is_here(self, choice: ModelChoice) -> None:
        """Take away the mark of a download that is done."""
        index = self.findText(f"{choice.name} (download)")
        if index >= 0:
            self.setItemText(index, choice.name)

    def _on_chosen(self, index: int) -> None:
        data: Any = self.itemData(index)
        if data is None or data == _FOLDER:
            choice = self._ask_for_files() if data is None else self._ask_for_folder()
            if choice is None:
                self.setCurrentIndex(0)
            else:
                self.insertItem(index, choice.title, choice)
                self.setCurrentIndex(index)
        self.model_changed.emit()

    def _ask_for_folder(self) -> ModelChoice | None:
        name = QFileDialog.getExistingDirectory(self, "A bundle's folder, with bundle.json in it")
        return ModelChoice(name=str(Path(name).resolve())) if name else None

    def _ask_for_files(self) -> ModelChoice | None:
        backbone, _ = QFileDialog.getOpenFileName(
            self,
            "Backbone: DinoBloom or another DINOv2 checkpoint",
            "",
            "Checkpoints (*.pth *.pt *.bin *.safetensors);;All files (*)",
        )
        if not backbone:
            return None
        sae, _ = QFileDialog.getOpenFileName(
            self,
            "Sparse autoencoder trained on this backbone",
            str(Path(backbone).parent),
            "Checkpoints (*.pt *.pth *.safetensors *.json);;All files (*)",
        )
        return ModelChoice(backbone=Path(backbone), sae=Path(sae)) if sae else None
