"""What the Cohort dock shows, as files: figures as SVG, tables as CSV, and the report."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd
from matplotlib.figure import Figure
from qtpy.QtCore import Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QToolButton, QWidget

from napari_cytosae.cohorts import Comparison, compare
from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import Cancelled, CytoSAEError, RunError
from napari_cytosae.export.cohort.files import file_name
from napari_cytosae.export.cohort.style import new_figure
from napari_cytosae.svg import as_svg
from napari_cytosae.viewer.cohort_work import Classified, OpenedCohort, Saved, Steps

_FIGURE_INCHES = (7.5, 4.6)
_HEAD = '<?xml version="1.0" encoding="utf-8"?>\n'


@dataclass(frozen=True, slots=True, eq=False)
class FigureExport:
    """A figure that is on show: drawn anew, dark on white, for paper."""

    title: str
    draw: Callable[[Figure], None]

    suffix = ".svg"

    def write(self, path: Path) -> None:
        """Write it as SVG, whole or not at all."""
        figure = new_figure(*_FIGURE_INCHES)
        self.draw(figure)
        svg = _HEAD + as_svg(figure)
        write_durably(path, lambda part: part.write_text(svg, encoding="utf-8"))


@dataclass(frozen=True, slots=True, eq=False)
class TableExport:
    """A table that is on show, or that a figure was drawn from."""

    title: str
    table: pd.DataFrame
    index: bool = False

    suffix = ".csv"

    def write(self, path: Path) -> None:
        """Write it as CSV, whole or not at all."""
        write_durably(path, lambda part: self.table.to_csv(part, index=self.index))


Export = FigureExport | TableExport


class ExportButton(QToolButton):
    """Offers what is on show when it is pressed, and the whole report."""

    said = Signal(str)
    report_asked = Signal(object)  # the folder it goes into

    def __init__(
        self, exports: Callable[[], Sequence[Export]], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self._exports = exports
        self.folder = Path.home()
        self.busy = False
        self.setText("Save ▾")
        self.setToolTip("Save the figures and tables that are on show, or the whole report.")
        self.setStyleSheet("QToolButton::menu-indicator { image: none; }")
        self.setPopupMode(QToolButton.ToolButtonPopupMode.InstantPopup)
        menu = QMenu(self)
        menu.setToolTipsVisible(True)
        menu.aboutToShow.connect(self.fill)
        self.setMenu(menu)

    def fill(self) -> None:
        """List what is on show now."""
        menu = self.menu()
        menu.clear()
        for export in self._exports():
            kind = "SVG" if export.suffix == ".svg" else "CSV"
            action = menu.addAction(f"{export.title} ({kind})…")
            action.triggered.connect(lambda _=False, export=export: self._ask(export))
        menu.addSeparator()
        report = menu.addAction("The report, one HTML page…", self._ask_for_report)
        report.setToolTip("All comparisons, and the classification where there is one.")
        report.setEnabled(not self.busy)

    def save(self, export: Export, path: Path) -> None:
        """Write a file, and say so or why not."""
        if path.suffix.lower() != export.suffix:
            path = path.with_name(path.name + export.suffix)
        try:
            export.write(path)
        except CytoSAEError as error:
            self.said.emit(str(error))
        except OSError as error:
            self.said.emit(f"{path} could not be written ({error}). Choose another place.")
        else:
            self.folder = path.parent
            self.said.emit(f"Saved {path}")

    def _ask(self, export: Export) -> None:
        start = self.folder / f"{file_name(export.title)}{export.suffix}"
        kind = "SVG (*.svg)" if export.suffix == ".svg" else "CSV (*.csv)"
        name, _ = QFileDialog.getSaveFileName(self, f"Save {export.title}", str(start), kind)
        if name:
            self.save(export, Path(name))

    def _ask_for_report(self) -> None:
        name = QFileDialog.getExistingDirectory(
            self, "A folder for the report (report.html, figures, tables)", str(self.folder)
        )
        if name:
            self.report_asked.emit(Path(name))


def report_job(
    cohort: OpenedCohort,
    comparison: Comparison | None,
    classified: Classified | None,
    out: Path,
    steps: Steps,
    cancelled: Callable[[], bool],
) -> Generator[Saved, None, None]:
    """Write the report: every diagnosis against all others, and the classification that there is."""
    from napari_cytosae.export.cohort import CohortReport, write_cohort_report

    there = sorted(name for name in ("report.html",) if (out / name).exists())
    if there and not (out / "barcodes.h5ad").exists():
        raise RunError(f"{out} holds another {there[0]}. Choose another folder.")
    barcodes = cohort.barcodes
    names = barcodes.diagnoses
    pairs: list[tuple[str, str | None]] = [(name, None) for name in names]
    if len(names) == 2:
        pairs = [(names[0], names[1])]
    comparisons = []
    if len(names) > 1:
        for done, (first, second) in enumerate(pairs):
            steps(done, len(pairs), f"Comparing {first} with {second or 'all others'} …")
            if cancelled():
                raise Cancelled("The report was stopped.")
            comparisons.append(compare(barcodes, first, second))
    # What is on show belongs into the report, whatever it compares.
    shown = comparison
    if shown is not None and not any(_same(shown, one) for one in comparisons):
        comparisons.insert(0, shown)
    found = None if classified is None else classified.classification
    notes = [] if found is not None else ["There is no classification in this report."]
    content = CohortReport(
        barcodes,
        comparisons,
        found,
        cohort.folder,
        f"Cohort {barcodes.provenance.get('cohort') or cohort.folder.stem}",
        notes,
    )

    def say(words: str) -> None:
        if cancelled():
            raise Cancelled("The report was stopped.")
        steps(0, 0, f"Drawing {words} …")

    page = write_cohort_report(content, out, say)
    yield Saved(page)


def _same(one: Comparison, other: Comparison) -> bool:
    groups = (one.in_first == other.in_first).all() and (one.in_second == other.in_second).all()
    return bool(groups) and one.options.within == other.options.within
