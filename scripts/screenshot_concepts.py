"""Make the pictures of the Concepts dock that the docs show.

    python scripts/with_display.py python scripts/screenshot_concepts.py dock docs/_static/concepts.png
    python scripts/with_display.py python scripts/screenshot_concepts.py atlas \
        docs/_static/concepts-published.png --atlas ../shared/data/cytosae-feature-data
    python scripts/with_display.py python scripts/screenshot_concepts.py gallery \
        docs/_static/gallery.png
    python scripts/with_display.py python scripts/screenshot_concepts.py review \
        docs/_static/review.png
    python scripts/with_display.py python scripts/screenshot_concepts.py agreement \
        docs/_static/agreement.png

``dock`` runs the starter on the sample smear and shows a concept's best cells, ``atlas`` the table and
the scatter of an atlas. The others count the starter's concepts in two drawn smears: their reference
cells side by side, and a blinded review of them with two made reviewers.
"""

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import napari
import numpy as np
import tifffile
from qtpy.QtTest import QTest

import napari_cytosae as nc
from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.review import RATINGS, Answer, Review, SheetFile
from napari_cytosae.slides import sample_smear
from napari_cytosae.viewer.concepts_dock import ConceptsDock
from napari_cytosae.viewer.main_dock import CytoSAEDock
from napari_cytosae.viewer.sample_data import add_sample_smear

WINDOW_PX = (1366, 860)
HEIGHT_PX = 420
MANY_CELLS = 15
WORDS = ("dark chromatin", "red granules", "rim of a red cell", "pale centre", "smooth background")


def main() -> None:
    """Open, fill, choose, save."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("what", choices=("dock", "atlas", "gallery", "review", "agreement"))
    options.add_argument("target", type=Path)
    options.add_argument("--atlas", type=Path)
    job = options.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["NAPARI_CYTOSAE_HOME"] = str(folder / "home")
        atlas = None if job.what in ("dock", "atlas") else drawn_atlas(folder)
        viewer = napari.Viewer(show=True)
        viewer.window.resize(*WINDOW_PX)
        _, dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "Concepts")
        assert isinstance(dock, ConceptsDock)
        if job.what == "dock":
            show_run(viewer, dock, folder)
        elif job.what == "atlas":
            show_atlas(dock, job.atlas)
        else:
            dock.session.show_atlas(atlas)
            dock.setMinimumHeight(HEIGHT_PX)
            if job.what == "gallery":
                show_gallery(dock)
            else:
                show_review(dock, folder / "review", to_the_end=job.what == "agreement")
        QTest.qWait(1500)
        job.target.parent.mkdir(parents=True, exist_ok=True)
        if job.what in ("dock", "atlas"):
            viewer.screenshot(str(job.target), canvas_only=False, flash=False)
        else:
            dock.grab().save(str(job.target))
        viewer.close()


def wait(busy: Callable[[], bool]) -> None:
    """Let the window live until something is done."""
    while busy():
        QTest.qWait(50)


def show_run(viewer: napari.Viewer, dock: ConceptsDock, folder: Path) -> None:
    """Analyse the sample smear, and choose the concept that marks nuclei in one of its cells."""
    add_sample_smear(viewer)
    _, main_dock = viewer.window.add_plugin_dock_widget("napari-cytosae", "CytoSAE")
    assert isinstance(main_dock, CytoSAEDock)
    main_dock.form.folder.setText(str(folder))
    main_dock.run()
    wait(lambda: main_dock.jobs.busy)
    results = dock.session.results
    if results is None or results.run is None:
        raise SystemExit(f"the run failed: {main_dock.run_bar.message.text()}")
    label = max(results.cell_labels, key=lambda each: results.active_concepts(each)[0].activation)
    dock.session.select(label)
    dock.session.choose_concept(nucleus_concept())
    viewer.reset_view()
    wait(lambda: dock.gallery.jobs.busy)


def show_atlas(dock: ConceptsDock, folder: Path) -> None:
    """Open an atlas, search it, and show the scatter."""
    dock.open_atlas(folder)
    wait(lambda: dock.jobs.busy)
    dock.search.setText("eosinophil")
    QTest.qWait(300)
    dock.table.selectRow(0)
    dock.tabs.setCurrentWidget(dock.scatter)


def nucleus_concept() -> int:
    """Give the starter's concept that marks nuclei."""
    return int(nc.load_bundle("starter").card["metrics"]["nucleus_concept"])


def drawn_atlas(folder: Path) -> Atlas:
    """Count the starter's concepts in the cells of two drawn smears, a data set each."""
    counted = []
    for name, seed in (("smear A", 11), ("smear B", 12)):
        smear = sample_smear(seed=seed, shape=(900, 1300))
        path = folder / f"{name}.tif"
        tifffile.imwrite(path, smear.image, photometric="rgb")
        run = nc.analyze(
            path, out=folder / f"{name}.cytosae", microns_per_pixel=smear.microns_per_pixel
        )
        counted.append(Atlas.build(run.path, name=name))
    return counted[0].merge(counted[1])


def show_gallery(dock: ConceptsDock) -> None:
    """Show the concept that marks nuclei in both smears, outlined, in a wide gallery."""
    dock.listing.hide()
    dock.tabs.setCurrentWidget(dock.gallery)
    dock.gallery.controls.mask.setCurrentIndex(dock.gallery.controls.mask.findData("outline"))
    dock.gallery.controls.threshold.setValue(30)
    dock.session.choose_concept(nucleus_concept())
    wait(lambda: dock.gallery.jobs.busy)


def show_review(dock: ConceptsDock, folder: Path, *, to_the_end: bool) -> None:
    """Begin a review that another made reviewer has filled in; rate some concepts, or all."""
    dock.begin_review()
    page = dock.review
    page.start.folder.setText(str(folder))
    page.start.reviewer.setText("Ada")
    page.start.look()
    page.start.begin.click()
    wait(lambda: page.jobs.busy or page.card.jobs.busy)
    drawn = Review.open(folder)
    rng = np.random.default_rng(0)
    answers = [
        Answer(RATINGS[rating], WORDS[word] if rating else "")
        for rating, word in zip(
            rng.integers(0, 3, len(drawn.concepts)),
            rng.integers(0, len(WORDS), len(drawn.concepts)),
            strict=True,
        )
    ]
    other = SheetFile(drawn.begin(["Ben"])["Ben"])
    for concept, answer in zip(drawn.concepts, answers, strict=True):
        other.answer(concept, answer if rng.random() < 0.7 else Answer("unclear"))
    for answer in answers:
        wait(lambda: page.jobs.busy or page.card.jobs.busy)
        if not to_the_end and page.card.place > 2 and len(page.card.strip.tiles) > MANY_CELLS:
            page.card.answers.write(Answer("partly", WORDS[0]))
            page.card.keep()
            break
        page.card.answers.write(answer)
        page.card.step("next")
    wait(lambda: page.jobs.busy or page.card.jobs.busy)


if __name__ == "__main__":
    main()
