"""Make the picture of the Cohort dock that the docs show.

    python scripts/with_display.py python scripts/screenshot_cohort.py NAME.cohort GROUP \
        docs/_static/cohort.png

It compares a diagnosis with all others, and shows the best cells of the most different concept.
"""

import sys
from pathlib import Path

import napari
from qtpy.QtTest import QTest

from napari_cytosae.viewer.cohort_dock import CohortDock

WINDOW_PX = (1366, 860)


def main(cohort: Path, group: str, target: Path) -> None:
    """Open, compare, choose, save."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW_PX)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Cohort")
    assert isinstance(dock, CohortDock)
    dock.open_cohort(cohort)
    wait(dock)
    dock.first.setCurrentText(group)
    dock.compare()
    wait(dock)
    assert dock.comparison is not None
    dock.choose_concept(int(dock.comparison.table["concept_id"].iloc[0]))
    wait(dock)
    viewer.screenshot(str(target), canvas_only=False, flash=False)
    viewer.close()


def wait(dock: CohortDock) -> None:
    """Wait until nothing is at work."""
    QTest.qWait(500)
    while dock.jobs.busy:
        QTest.qWait(50)
    QTest.qWait(1500)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]))
