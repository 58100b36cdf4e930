"""The Cohort dock's page on two groups: what differs, and the cells that show it."""

from __future__ import annotations

from collections.abc import Callable

from matplotlib.figure import Figure
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QComboBox, QLabel, QSizePolicy, QVBoxLayout, QWidget
from superqt import QFlowLayout

from napari_cytosae.cohorts import Comparison
from napari_cytosae.export.cohort.comparison_figures import draw_scatter, draw_volcano
from napari_cytosae.viewer.cohort_cells import GroupCellsView
from napari_cytosae.viewer.cohort_cells_work import CellsRequest
from napari_cytosae.viewer.cohort_export import Export, FigureExport, TableExport
from napari_cytosae.viewer.cohort_plots import ComparisonPlot
from napari_cytosae.viewer.cohort_work import OpenedCohort
from napari_cytosae.viewer.turning_splitter import TurningSplitter

REST = "all others"
_NARROW_PX = 560


class ComparisonPage(QWidget):
    """Two groups, a plot whose points are concepts, and the chosen concept's cells in both."""

    asked = Signal()  # other groups are chosen
    concept_chosen = Signal(int)
    go_to = Signal(object)  # a ReferencePicture

    def __init__(self, hue: Callable[[int], str | None], parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._hue = hue
        self.comparison: Comparison | None = None
        self.concept: int | None = None
        self.first = small_combo("The first group.")
        self.second = small_combo("The group it is compared with.")
        self.within = small_combo("Compare patients of the same value only.")
        self.kind = small_combo("Mean barcodes of both groups, or effect size against p-value.")
        self.kind.addItem("scatter", False)
        self.kind.addItem("volcano", True)
        controls = QWidget()
        row = QFlowLayout(controls)
        row.setContentsMargins(0, 0, 0, 0)
        for widget in (self.first, QLabel("against"), self.second, self.within, self.kind):
            row.addWidget(widget)
        self.plot = ComparisonPlot()
        self.cells = GroupCellsView()
        split = TurningSplitter(_NARROW_PX)
        split.add_parts((self.plot, 1), (self.cells, 1))
        column = QVBoxLayout(self)
        column.setContentsMargins(4, 4, 4, 4)
        column.addWidget(controls)
        column.addWidget(split, 1)
        for box in (self.first, self.second, self.within):
            box.activated.connect(lambda _: self.asked.emit())
        self.kind.activated.connect(lambda _: self.draw())
        self.plot.chosen.connect(self.concept_chosen)
        self.cells.go_to.connect(self.go_to)

    def show_cohort(self, cohort: OpenedCohort) -> None:
        """Begin anew with a cohort."""
        barcodes = cohort.barcodes
        for box in (self.first, self.second, self.within):
            box.clear()
        self.first.addItems(barcodes.diagnoses)
        self.second.addItem(REST, None)
        for name in barcodes.diagnoses:
            self.second.addItem(name, name)
        self.within.addItem("in all patients", None)
        for name in barcodes.covariates:
            self.within.addItem(f"within {name}", name)
        self.concept = None
        self.show_comparison(None)

    def show_comparison(self, comparison: Comparison | None) -> None:
        """Show another comparison."""
        self.comparison = comparison
        self.draw()
        self.cells.clear()

    def rename(self, comparison: Comparison) -> None:
        """Show the same with other names; the cells stay."""
        self.comparison = comparison
        self.draw()

    def draw(self) -> None:
        """Draw the plot anew."""
        self.plot.show_comparison(self.comparison, bool(self.kind.currentData()), self._hue)

    def show_concept(self, cohort: OpenedCohort, concept_id: int, hue: str) -> None:
        """Show a concept's cells in both groups."""
        if self.comparison is None:
            return
        self.concept = concept_id
        self.plot.choose(concept_id)
        self.cells.show_cells(
            CellsRequest(cohort, self.comparison, concept_id),
            cohort.barcodes.names.title(concept_id),
            hue,
        )

    def exports(self) -> list[Export]:
        """Give what is on show."""
        comparison = self.comparison
        if comparison is None:
            return []
        volcano = bool(self.kind.currentData())
        groups = f"{comparison.first} against {comparison.second}"

        def draw(figure: Figure) -> None:
            (draw_volcano if volcano else draw_scatter)(figure.subplots(), comparison)

        return [
            FigureExport(f"{'Volcano' if volcano else 'Scatter'} {groups}", draw),
            TableExport(f"Concepts {groups}", comparison.table),
        ]


def small_combo(tooltip: str) -> QComboBox:
    """Make a combo that is as wide as its words, and narrower where it has to be."""
    combo = QComboBox()
    combo.setToolTip(tooltip)
    combo.setAccessibleName(tooltip)
    combo.setSizeAdjustPolicy(QComboBox.SizeAdjustPolicy.AdjustToContents)
    combo.setMaximumWidth(230)
    combo.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Fixed)
    return combo
