"""Make the picture of the Cohort dock that the docs show.

    python scripts/with_display.py python scripts/screenshot_cohort.py NAME.cohort GROUP docs/_static

It compares a diagnosis with all others and shows the best cells of the most different concept
(``cohort.png``), then classifies, and shows why the first patient is predicted so
(``cohort-why.png``).
"""

import sys
from pathlib import Path

import napari
from qtpy.QtTest import QTest

from napari_cytosae.viewer.cohort_dock import CohortDock

WINDOW_PX = (1366, 860)


def main(cohort: Path, group: str, folder: Path) -> None:
    """Open, compare, choose, save."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW_PX)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Cohort")
    assert isinstance(dock, CohortDock)
    dock.open_cohort(cohort)
    wait(dock)
    dock.compared.first.setCurrentText(group)
    dock.compare()
    wait(dock)
    assert dock.comparison is not None
    dock.choose_concept(int(dock.comparison.table["concept_id"].iloc[0]))
    wait(dock)
    viewer.screenshot(str(folder / "cohort.png"), canvas_only=False, flash=False)
    dock.classification.start.click()
    wait(dock)
    dock.tabs.setCurrentWidget(dock.why)
    assert dock.cohort is not None
    barcodes = dock.cohort.barcodes
    dock.table.choose(str(barcodes.patients.index[barcodes.diagnosis == group][0]))
    dock.why.tick.click()
    wait(dock)
    viewer.screenshot(str(folder / "cohort-why.png"), canvas_only=False, flash=False)
    viewer.close()


def wait(dock: CohortDock) -> None:
    """Wait until nothing is at work."""
    QTest.qWait(500)
    pages = (dock.compared, dock.why, dock.specific)
    while any(
        runner.busy for runner in (dock.jobs, dock.comparing, *(p.cells.jobs for p in pages))
    ):
        QTest.qWait(50)
    QTest.qWait(1500)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
