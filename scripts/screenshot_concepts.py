"""Make the pictures of the Concepts dock that the docs show.

    python scripts/with_display.py python scripts/screenshot_concepts.py docs/_static/concepts.png
    python scripts/with_display.py python scripts/screenshot_concepts.py \
        docs/_static/concepts-published.png --atlas ../shared/data/cytosae-feature-data

Without an atlas it runs the starter on the sample smear and shows a concept's best cells; with one
it shows the atlas's table and scatter.
"""

import argparse
import tempfile
from pathlib import Path

import napari
from qtpy.QtTest import QTest

from napari_cytosae import load_bundle
from napari_cytosae.viewer.concepts_dock import ConceptsDock
from napari_cytosae.viewer.main_dock import CytoSAEDock
from napari_cytosae.viewer.sample_data import add_sample_smear

WINDOW_PX = (1366, 860)


def main() -> None:
    """Open, fill, choose, save."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("target", type=Path)
    options.add_argument("--atlas", type=Path)
    job = options.parse_args()
    viewer = napari.Viewer(show=True)
    viewer.window.resize(*WINDOW_PX)
    _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Concepts")
    assert isinstance(dock, ConceptsDock)
    with tempfile.TemporaryDirectory() as folder:
        if job.atlas is None:
            show_run(viewer, dock, folder)
        else:
            show_atlas(dock, job.atlas)
        QTest.qWait(1500)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        viewer.screenshot(str(job.target), canvas_only=False, flash=False)
        viewer.close()


def show_run(viewer: napari.Viewer, dock: ConceptsDock, folder: str) -> None:
    """Analyse the sample smear, and choose the concept that marks nuclei in one of its cells."""
    add_sample_smear(viewer)
    _, main_dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "CytoSAE")
    assert isinstance(main_dock, CytoSAEDock)
    main_dock.form.folder.setText(folder)
    main_dock.run()
    while main_dock.jobs.busy:
        QTest.qWait(50)
    results = dock.session.results
    if results is None or results.run is None:
        raise SystemExit(f"the run failed: {main_dock.run_bar.message.text()}")
    label = max(results.cell_labels, key=lambda each: results.active_concepts(each)[0].activation)
    dock.session.select(label)
    metrics = load_bundle("starter").card["metrics"]
    dock.session.choose_concept(int(metrics["nucleus_concept"]))
    viewer.reset_view()
    while dock.gallery.jobs.busy:
        QTest.qWait(50)


def show_atlas(dock: ConceptsDock, folder: Path) -> None:
    """Open an atlas, search it, and show the scatter."""
    dock.open_atlas(folder)
    while dock.jobs.busy:
        QTest.qWait(50)
    dock.search.setText("eosinophil")
    QTest.qWait(300)
    dock.table.selectRow(0)
    dock.tabs.setCurrentWidget(dock.scatter)


if __name__ == "__main__":
    main()
