"""What the Cohort dock asks before it analyses the images of patients."""

from __future__ import annotations

from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDoubleSpinBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QScrollArea,
    QSizePolicy,
    QToolButton,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel, QFlowLayout

from napari_cytosae.errors import CohortError, CytoSAEError
from napari_cytosae.viewer.extract_work import ExtractRequest, can_go_on, cohort_folder_for
from napari_cytosae.viewer.model_box import ModelBox

_CELLS = {
    "detect": "detect nucleated cells",
    "red": "detect red cells",
    "whole": "each image is one cell",
}
_TABLES = "Tables (*.csv *.tsv *.txt)"
_WHAT = (
    "A table with the columns patient, diagnosis and image (an image, a folder of images, or a run; "
    "further columns are covariates), or a folder disease/patient/images."
)


class ExtractForm(QScrollArea):
    """Choose patients, cells and model; what is there from before is used."""

    asked = Signal(object)  # an ExtractRequest
    said = Signal(str)
    closed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.source = QLineEdit()
        self.source.setPlaceholderText("a table (CSV), or a folder disease/patient/images")
        self.source.setToolTip(_WHAT)
        table, folder = _button("Table…", _WHAT), _button("Folder…", _WHAT)
        self.cells = QComboBox()
        self.cells.setToolTip(
            "How cells are found. Rows of the table that name runs use the cells of these."
        )
        for source, words in _CELLS.items():
            self.cells.addItem(words, source)
        self.pixel = QDoubleSpinBox()
        self.pixel.setDecimals(4)
        self.pixel.setRange(0.0, 100.0)
        self.pixel.setSingleStep(0.01)
        self.pixel.setSuffix(" µm")
        self.pixel.setSpecialValueText("as the files say")
        self.pixel.setToolTip(
            "Side of a pixel in µm, the same for all images. Left alone, each file's own is used;\n"
            "where a file does not say, its crops are scaled to each cell."
        )
        self.crop_um = QDoubleSpinBox()
        self.crop_um.setRange(5.0, 200.0)
        self.crop_um.setValue(25.0)
        self.crop_um.setSuffix(" µm")
        self.crop_um.setToolTip("Side of a crop, where the pixel size is known.")
        self.threshold = QDoubleSpinBox()
        self.threshold.setRange(0.0, 10.0)
        self.threshold.setSingleStep(0.05)
        self.threshold.setValue(0.2)
        self.threshold.setToolTip("τ: barcodes count the tokens above this activation.")
        self.model = ModelBox()
        self.note = QElidingLabel()
        self.note.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
        self.out = QLineEdit()
        self.out.setPlaceholderText("beside the table")
        self.out.setToolTip("The cohort's folder; NAME.cohort beside the table when left empty.")
        out = _button("…", "Choose the folder that the cohort is kept in.")
        self.skip_bad = QCheckBox("Leave out what fails")
        self.skip_bad.setToolTip(
            "Leave out images that cannot be analysed and patients without cells. Without it they are\n"
            "named when all others are done, and nothing is left out in silence."
        )
        self.overwrite = QCheckBox("Replace runs made with other settings")
        self.overwrite.setToolTip("Only those in the cohort's folder; runs of your own never are.")
        self.start = QPushButton("▶ &Analyse")
        self.start.setToolTip("Analyse the images. An analysis that stopped goes on.")
        self.close_button = QPushButton("Close")
        self.close_button.setToolTip("Go back to the cohort (Esc).")

        form = QFormLayout()
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.AllNonFixedFieldsGrow)
        form.setRowWrapPolicy(QFormLayout.RowWrapPolicy.WrapLongRows)
        form.setContentsMargins(0, 0, 0, 0)
        form.setVerticalSpacing(4)
        form.addRow(_label("&Patients", self.source), _beside(self.source, table, folder))
        form.addRow("&Cells", self.cells)
        form.addRow(
            _label("Pi&xel", self.pixel),
            _row(self.pixel, QLabel("Crop"), self.crop_um, QLabel("Presence τ"), self.threshold),
        )
        form.addRow("&Model", self.model)
        form.addRow("", self.note)
        form.addRow(_label("&Keep in", self.out), _beside(self.out, out))
        form.addRow("", _row(self.skip_bad, self.overwrite))
        form.addRow("", _row(self.start, self.close_button))
        content = QWidget()
        column = QVBoxLayout(content)
        column.addLayout(form)
        column.addStretch(1)
        content.setMaximumWidth(720)
        self.setWidgetResizable(True)
        self.setFrameShape(QScrollArea.Shape.NoFrame)
        self.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.setWidget(content)

        table.clicked.connect(self._ask_for_table)
        folder.clicked.connect(self._ask_for_folder)
        out.clicked.connect(self._ask_for_out)
        self.model.currentIndexChanged.connect(lambda _: self._describe())
        self.source.textChanged.connect(lambda _: self._on_place())
        self.out.textChanged.connect(lambda _: self._on_place())
        self.start.clicked.connect(self._ask)
        self.close_button.clicked.connect(self.closed)
        self._describe()

    def request(self) -> ExtractRequest:
        """Turn the fields into one frozen request.

        Raises
        ------
        CytoSAEError
            Something is missing; the message says what to do.
        """
        source = self._source()
        if source is None:
            raise CohortError("Choose a table of patients, or a folder disease/patient/images.")
        if not source.exists():
            raise CohortError(f"There is no {source}: choose a table or folder of patients.")
        model = self.model.choice
        if model is None:
            raise CohortError("Choose a model.")
        return ExtractRequest(
            source,
            self._out(source),
            model,
            cells=self.cells.currentData(),
            microns_per_pixel=self.pixel.value() or None,
            crop_um=self.crop_um.value(),
            threshold=self.threshold.value(),
            overwrite=self.overwrite.isChecked(),
            skip_bad=self.skip_bad.isChecked(),
        )

    def _source(self) -> Path | None:
        text = self.source.text().strip()
        return Path(text).expanduser() if text else None

    def _out(self, source: Path) -> Path:
        text = self.out.text().strip()
        return Path(text).expanduser() if text else cohort_folder_for(source)

    def _ask(self) -> None:
        try:
            request = self.request()
        except CytoSAEError as error:
            self.said.emit(str(error))
        else:
            self.asked.emit(request)

    def refresh(self) -> None:
        """Say whether Analyse begins or goes on."""
        self._on_place()

    def _on_place(self) -> None:
        source = self._source()
        goes_on = source is not None and can_go_on(self._out(source))
        self.start.setText("▶ &Go on with it" if goes_on else "▶ &Analyse")
        self.out.setPlaceholderText(
            "beside the table" if source is None else cohort_folder_for(source).name
        )

    def _describe(self) -> None:
        summary = self.model.summary
        self.note.setText(f"Not for diagnosis. {summary.rstrip('.')}." if summary else "")
        self.note.setToolTip(summary)

    def _ask_for_table(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Table with patient, diagnosis and image", self.source.text(), _TABLES
        )
        if name:
            self.source.setText(name)

    def _ask_for_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(
            self, "Folder disease/patient/images", self.source.text()
        )
        if name:
            self.source.setText(name)

    def _ask_for_out(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Keep the cohort in", self.out.text())
        if name:
            self.out.setText(name)


def _button(words: str, tooltip: str) -> QToolButton:
    button = QToolButton()
    button.setText(words)
    button.setToolTip(tooltip)
    return button


def _beside(field: QWidget, *buttons: QWidget) -> QHBoxLayout:
    row = QHBoxLayout()
    row.addWidget(field, 1)
    for button in buttons:
        row.addWidget(button)
    return row


def _label(words: str, field: QWidget) -> QLabel:
    """Make a label whose key goes to a field that lies in a row with others."""
    label = QLabel(words)
    label.setBuddy(field)
    return label


def _row(*widgets: QWidget) -> QWidget:
    """Put widgets side by side, and below each other where there is no room."""
    row = QWidget()
    flow = QFlowLayout(row)
    flow.setContentsMargins(0, 0, 0, 0)
    for widget in widgets:
        flow.addWidget(widget)
    return row
