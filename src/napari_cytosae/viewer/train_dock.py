"""The Train dock: an autoencoder of one's own, from a folder of images to a bundle in use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import (
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QCollapsible

from napari_cytosae.errors import CytoSAEError, TrainingError
from napari_cytosae.in_words import duration
from napari_cytosae.models import available_bundles
from napari_cytosae.training import PRESETS, SaeTrainingConfig
from napari_cytosae.training.estimate import TrainingEstimate
from napari_cytosae.training.tokens import CropOptions, ExtractionProgress
from napari_cytosae.viewer.jobs import JobRunner
from napari_cytosae.viewer.run_bar import RunBar
from napari_cytosae.viewer.session import session_of, unwrapped
from napari_cytosae.viewer.train_curves import TrainCurves
from napari_cytosae.viewer.train_work import (
    SAE,
    TrainDone,
    TrainRequest,
    TrainStep,
    can_resume,
    estimate_job,
    train_job,
)

if TYPE_CHECKING:
    import napari

_PRESETS = (("quick look", "quick"), ("laptop overnight", "laptop"), ("paper", "paper"))
_CELLS = (
    ("auto: small images are one cell", ("auto",)),
    ("each image is one cell", ("whole",)),
    ("nucleated cells", ("detect",)),
    ("red cells", ("red",)),
    ("nucleated and red cells", ("detect", "red")),
)
_EMPTY = "Choose a folder of images; what a training costs here is then measured before it starts."
_WAIT_MS = 500  # after the last change, before the estimate

_UNITS = {"look": "images looked through", "check": "shards checked", "extract": "crops"}


class TrainDock(QWidget):
    """Folder, preset, what it costs; Train; curves; use it."""

    def __init__(self, napari_viewer: napari.viewer.Viewer, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.session = session_of(unwrapped(napari_viewer))
        self.jobs = JobRunner(self)
        self.estimates = JobRunner(self)
        self.bundle: Path | None = None
        self._request: TrainRequest | None = None
        self._build()
        self._connect()
        self._take_preset()

    # -- building --------------------------------------------------------------------------

    def _build(self) -> None:
        self.images = QLineEdit()
        self.images.setPlaceholderText("folder of images, runs or slides")
        self.images.setToolTip(
            "A folder: its subfolders are classes. Or a table (CSV) with the columns path and label."
        )
        browse = QToolButton()
        browse.setText("…")
        browse.setToolTip("Choose the folder of images.")
        browse.clicked.connect(self._browse_images)
        self.cells = QComboBox()
        self.cells.setToolTip("What becomes a crop.")
        for text, value in _CELLS:
            self.cells.addItem(text, value)
        self.pixel = QDoubleSpinBox()
        self.pixel.setDecimals(4)
        self.pixel.setRange(0.0, 100.0)
        self.pixel.setSingleStep(0.01)
        self.pixel.setSuffix(" µm")
        self.pixel.setSpecialValueText("from the files")
        self.pixel.setToolTip("Side of a pixel in µm, where the files do not say.")
        self.model = QComboBox()
        self.model.setToolTip("Whose backbone makes the tokens.")
        self.model.addItems([info.name for info in available_bundles() if info.installed])
        self.preset = QComboBox()
        self.preset.setToolTip("A ready-made recipe; single settings can be changed below.")
        for text, key in _PRESETS:
            self.preset.addItem(text, key)
        self.out = QLineEdit()
        self.out.setPlaceholderText("beside the images")
        self.out.setToolTip("Folder for tokens, checkpoints and the autoencoder.")
        choose = QToolButton()
        choose.setText("…")
        choose.setToolTip("Choose where the training is kept.")
        choose.clicked.connect(self._browse_out)

        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.addRow("Images", _beside(self.images, browse))
        form.addRow("Cells", self.cells)
        form.addRow("Pixel", self.pixel)
        form.addRow("Backbone", self.model)
        form.addRow("Recipe", self.preset)
        form.addRow("Keep in", _beside(self.out, choose))
        for combo in (self.cells, self.model, self.preset):
            combo.setSizeAdjustPolicy(
                QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
            combo.setMinimumContentsLength(8)

        self.cost = QLabel(_EMPTY)
        self.cost.setWordWrap(True)
        self.bar = RunBar()
        self.bar.run.setText("▶ &Train")
        self.bar.run.setToolTip("Extract the tokens and train. What is there is gone on with.")
        self.bar.cancel.setText("■ Stop")
        self.bar.cancel.setToolTip("Stop after the step at work; it can be gone on with.")
        self.curves = TrainCurves()
        self.use = QPushButton("Use in this viewer")
        self.use.setToolTip("Choose the new bundle in the CytoSAE dock.")
        self.use.setEnabled(False)

        layout = QVBoxLayout(self)
        layout.setContentsMargins(6, 6, 6, 6)
        layout.addLayout(form)
        layout.addWidget(self._build_settings())
        layout.addWidget(self.cost)
        layout.addWidget(self.bar)
        layout.addWidget(self.curves, 1)
        layout.addWidget(self.use)
        self.setMinimumWidth(300)

    def _build_settings(self) -> QCollapsible:
        self.expansion, self.steps, self.batch = QSpinBox(), QSpinBox(), QSpinBox()
        for box, most, tip in (
            (self.expansion, 256, "Concepts for each dimension of a token."),
            (self.steps, 10_000_000, "Length of the training."),
            (self.batch, 4096, "Images in each step."),
        ):
            box.setRange(1, most)
            box.setToolTip(tip)
        self.l1, self.lr = QDoubleSpinBox(), QDoubleSpinBox()
        for number, tip in (
            (self.l1, "λ: larger makes fewer concepts active."),
            (self.lr, "Learning rate, after the warm-up."),
        ):
            number.setDecimals(6)
            number.setRange(0.0, 1.0)
            number.setSingleStep(1e-4)
            number.setToolTip(tip)
        content = QWidget()
        form = QFormLayout(content)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Expansion", self.expansion)
        form.addRow("λ (sparsity)", self.l1)
        form.addRow("Learning rate", self.lr)
        form.addRow("Steps", self.steps)
        form.addRow("Images a step", self.batch)
        settings = QCollapsible("Settings", expandedIcon="▾", collapsedIcon="▸")
        settings.setContent(content)
        settings.layout().setContentsMargins(0, 0, 0, 0)
        settings.collapse(animate=False)
        return settings

    def _connect(self) -> None:
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_WAIT_MS)
        self._timer.timeout.connect(self.estimate)
        self.preset.currentIndexChanged.connect(self._take_preset)
        for signal in (
            self.images.textChanged, self.cells.currentIndexChanged, self.pixel.valueChanged,
            self.model.currentIndexChanged, self.expansion.valueChanged, self.steps.valueChanged,
            self.batch.valueChanged, self.l1.valueChanged, self.lr.valueChanged,
            self.out.textChanged,
        ):  # fmt: skip
            signal.connect(self._on_changed)
        self.bar.run_pressed.connect(self.train)
        self.bar.cancel_pressed.connect(self.stop)
        self.use.clicked.connect(self._use)
        self.jobs.started.connect(lambda: self.bar.set_working(True))
        self.jobs.yielded.connect(self._on_step)
        self.jobs.failed.connect(self._on_failed)
        self.jobs.finished.connect(self._on_finished)
        self.estimates.yielded.connect(self._on_estimate)
        self.estimates.failed.connect(lambda error: self.cost.setText(str(error)))
        jobs, estimates = self.jobs, self.estimates

        def farewell() -> None:
            jobs.abandon()
            estimates.abandon()

        self.destroyed.connect(farewell)

    # -- what is asked for -----------------------------------------------------------------

    def _take_preset(self) -> None:
        recipe = PRESETS[self.preset.currentData()]
        for box, value in (
            (self.expansion, recipe.expansion), (self.l1, recipe.l1), (self.lr, recipe.lr),
            (self.steps, recipe.steps), (self.batch, recipe.batch_images or 64),
        ):  # fmt: skip
            box.blockSignals(True)
            box.setValue(value)
            box.blockSignals(False)
        self._on_changed()

    def recipe(self) -> SaeTrainingConfig:
        """Give the preset, with what was changed."""
        return replace(
            PRESETS[self.preset.currentData()],
            expansion=self.expansion.value(),
            l1=self.l1.value(),
            lr=self.lr.value(),
            steps=self.steps.value(),
            batch_images=self.batch.value(),
            batch_tokens=None,
        )

    def request(self) -> TrainRequest:
        """Turn the fields into one frozen request.

        Raises
        ------
        CytoSAEError
            Something is missing; the message says what to do.
        """
        text = self.images.text().strip()
        if not text:
            raise TrainingError("Choose a folder of images first.")
        images = Path(text).expanduser()
        if not images.exists():
            raise TrainingError(f"There is no {images}: choose a folder of images.")
        kept = self.out.text().strip()
        out = Path(kept).expanduser() if kept else images.with_name(f"{images.stem} training")
        options = CropOptions(
            cells=tuple(self.cells.currentData()), microns_per_pixel=self.pixel.value() or None
        )
        return TrainRequest(images, self.model.currentText(), options, self.recipe(), out)

    def _browse_images(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Images to train on", self.images.text())
        if name:
            self.images.setText(name)

    def _browse_out(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Keep the training in", self.out.text())
        if name:
            self.out.setText(name)

    # -- what it costs ---------------------------------------------------------------------

    def _on_changed(self) -> None:
        self.estimates.cancel()
        if not self.images.text().strip():
            self.cost.setText(_EMPTY)
            return
        try:
            request = self.request()
        except CytoSAEError as error:
            self.cost.setText(str(error))
            return
        resumable = can_resume(request.out, request.config)
        self.bar.run.setText("▶ &Go on with it" if resumable else "▶ &Train")
        self.cost.setText("Measuring what it costs here …")
        self._timer.start()

    def estimate(self) -> None:
        """Measure on a few images and steps what a training costs."""
        if self.jobs.busy:
            return
        try:
            request = self.request()
        except CytoSAEError as error:
            self.cost.setText(str(error))
            return
        self.estimates.start(lambda cancelled: estimate_job(request, cancelled))

    def _on_estimate(self, found: TrainingEstimate) -> None:
        disk = (found.token_bytes + found.training_bytes) / 1e9
        self.cost.setText(
            f"{found.images:,} images, about {found.crops:,} crops. About "
            f"{duration(found.extract_seconds)} to extract tokens and at most "
            f"{duration(found.train_seconds)} to train, {disk:,.1f} GB of disk. "
            "Measured here on a few of them."
        )

    # -- training --------------------------------------------------------------------------

    def train(self) -> None:
        """Begin, or go on."""
        try:
            request = self.request()
        except CytoSAEError as error:
            self.bar.fail(str(error), str(error))
            return
        self._timer.stop()
        self.estimates.cancel()
        self.bundle = None
        self.use.setEnabled(False)
        self.curves.clear()
        self._request = request
        self.jobs.start(lambda cancelled: train_job(request, cancelled))

    def stop(self) -> None:
        """Stop after the step at work."""
        self.jobs.cancel()
        self.bar.cancel.setEnabled(False)
        self.bar.say("Stopping after the step at work …")

    def _on_step(self, step: Any) -> None:
        if isinstance(step, ExtractionProgress):
            self.bar.show_progress(step.done, step.total, _UNITS[step.stage])
        elif isinstance(step, TrainStep):
            self.curves.add(step.record)
            assert self._request is not None
            self.bar.show_progress(int(step.record["step"]), self._request.config.steps, "steps")
        elif isinstance(step, TrainDone):
            self.bundle = step.bundle
            self.curves.show_all([dict(record) for record in step.trained.history])

    def _on_failed(self, error: Exception) -> None:
        self.bar.set_working(False)
        self.bar.fail(str(error), f"{type(error).__name__}: {error}")
        self.curves.redraw()

    def _on_finished(self, whole: bool) -> None:
        self.bar.set_working(False)
        self.curves.redraw()
        request = self._request
        if not whole or self.bundle is None or request is None:
            self.bar.run.setText("▶ &Go on with it")
            self.bar.say("Stopped. What is done is kept.")
            return
        self.bar.run.setText("▶ &Train")
        self.use.setEnabled(True)
        self.bar.say(
            f"Done. The bundle is {self.bundle}. See how good it is with: napari-cytosae train "
            f"report {request.out / SAE}"
        )

    def _use(self) -> None:
        if self.bundle is not None:
            self.session.offer_bundle(self.bundle)
            self.bar.say("It is chosen in the CytoSAE dock, or will be when that is opened.")


def _beside(field: QWidget, button: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.addWidget(field, 1)
    row.addWidget(button)
    return row
