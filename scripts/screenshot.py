"""Make the picture of the dock that the README and the docs show.

    python scripts/with_display.py python scripts/screenshot.py docs/_static/dock.png

It opens the sample smear in a real window, runs the starter, selects a cell and pins two concepts.
"""

import sys
import tempfile
from pathlib import Path

import napari
from qtpy.QtTest import QTest

from napari_cytosae.viewer.main_dock import CytoSAEDock
from napari_cytosae.viewer.sample_data import add_sample_smear

WINDOW_PX = (1366, 860)


def main(target: Path) -> None:
    """Open, run, select, pin, save."""
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW_PX)
    add_sample_smear(viewer)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "CytoSAE")
    assert isinstance(dock, CytoSAEDock)
    with tempfile.TemporaryDirectory() as folder:
        dock.form.folder.setText(folder)
        dock.run()
        while dock.jobs.busy:
            QTest.qWait(50)
        results = dock.session.results
        if results is None or results.run is None:
            raise SystemExit(f"the run failed: {dock.run_bar.message.text()}")
        # The cell with the strongest single concept shows best what a map is.
        label = max(
            results.cell_labels, key=lambda each: results.active_concepts(each)[0].activation
        )
        dock.session.select(label)
        concepts = [row.concept_id for row in dock.panel.concepts.rows]
        spotty = [
            concept
            for concept in concepts
            if 0.02 < (results.run.concept_map(label, concept) > 0).mean() < 0.35
        ]
        for concept in (spotty or concepts)[:2]:
            dock.session.toggle_pin(concept)
        viewer.reset_view()
        QTest.qWait(1500)
        target.parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(str(target), canvas_only=False, flash=False)
        # The run's folder goes with this block, so what reads it goes first.
        viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
