"""Data sets of single-cell images, encoded whole and counted without runs."""

import numpy as np
import pytest
from PIL import Image

from napari_cytosae.concepts import analyze
from napari_cytosae.concepts.atlas import Atlas, build
from napari_cytosae.errors import AtlasError, Cancelled

CLASSES = {"basophil": 3, "lymphocyte": 2, "zz_other": 2}


@pytest.fixture
def images(tmp_path):
    """A folder of seven images in three classes, one of them oblong."""
    rng = np.random.default_rng(0)
    folder = tmp_path / "cells"
    for number, name in enumerate(name for name, n in CLASSES.items() for _ in range(n)):
        side = (48, 64) if number == 1 else (56, 56)
        pixels = rng.integers(0, 256, (side[0] // 8, side[1] // 8, 3), dtype=np.uint8)
        (folder / name).mkdir(parents=True, exist_ok=True)
        file = folder / name / f"{number}.png"
        Image.fromarray(pixels.repeat(8, axis=0).repeat(8, axis=1)).save(file)
    return folder


def test_images_count_like_runs_of_whole_images(images, tmp_path, bundle):
    direct = Atlas.build(images, bundle=bundle, precision="float32", k=4)["cells"]
    runs = [
        analyze(
            file,
            bundle=bundle,
            cells="whole",
            out=tmp_path / "runs" / file.parent.name / f"{file.stem}.cytosae",
            precision="float32",
        )
        for file in sorted(images.rglob("*.png"))
    ]
    by_run = Atlas.build([run.path for run in runs], labels="folder", k=4, name="cells")["cells"]
    assert direct.info.classes == by_run.info.classes == tuple(CLASSES)
    assert direct.info.class_sizes == by_run.info.class_sizes == tuple(CLASSES.values())
    assert direct.sources.identities == by_run.sources.identities
    # Batches of another size round alike but for the last bits.
    np.testing.assert_allclose(direct.counts.mass, by_run.counts.mass, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(direct.counts.images, by_run.counts.images, atol=1)
    top = direct.top(int(np.argmax(direct.counts.mass)))
    assert len(top) == 4
    assert all(name.startswith(str(images)) for name in top["image"])
    assert (top["cell"] == 1).all()
    assert (top["run"] == "").all()


def test_a_stopped_build_of_images_goes_on(images, tmp_path, bundle, monkeypatch):
    monkeypatch.setattr(build, "_SAVE_EVERY_SECONDS", 0.0)
    settings = {"bundle": bundle, "precision": "float32", "batch_cells": 2, "name": "cells"}
    done = []
    with pytest.raises(Cancelled):
        Atlas.build(
            images, out=tmp_path / "a", **settings,
            progress=lambda step: done.append(step.done), cancelled=lambda: max(done) >= 4,
        )  # fmt: skip
    part = Atlas.open(tmp_path / "a")
    assert 0 < len(part["cells"]) < 7
    whole = Atlas.build(images, out=tmp_path / "a", **settings)
    fresh = Atlas.build(images, **settings)
    assert whole["cells"].sources.identities == fresh["cells"].sources.identities
    np.testing.assert_array_equal(whole["cells"].counts.images, fresh["cells"].counts.images)
    assert whole["cells"].info.class_sizes == tuple(CLASSES.values())
    assert not whole["cells"].info.notes


def test_images_that_are_there_twice_or_cannot_be_read_are_named(images, tmp_path, bundle):
    (images / "basophil" / "again.png").write_bytes((images / "basophil" / "0.png").read_bytes())
    broken = images / "lymphocyte" / "broken.png"
    broken.write_bytes((images / "basophil" / "0.png").read_bytes()[:60])
    data = Atlas.build(images, bundle=bundle)["cells"]
    assert len(data) == 7
    said = " ".join(data.info.notes)
    assert "again.png" in said
    assert "broken.png" in said
    for file in images.rglob("*.png"):
        file.write_bytes(broken.read_bytes())
    with pytest.raises(AtlasError, match="nothing to count"):
        Atlas.build(images, bundle=bundle)


def test_an_atlas_of_other_images_is_left_alone(images, tmp_path, bundle):
    Atlas.build(images, bundle=bundle, out=tmp_path / "a")
    (images / "basophil" / "0.png").rename(images / "basophil" / "renamed.png")
    with pytest.raises(AtlasError, match=r"other images \(.*0.png\)"):
        Atlas.build(images, bundle=bundle, out=tmp_path / "a")


def test_flat_folders_have_no_classes_unless_they_are_asked_for(images, bundle):
    flat = images / "basophil"
    assert Atlas.build(flat, bundle=bundle)["basophil"].info.classes == ()
    both = Atlas.build([flat, images / "lymphocyte"], bundle=bundle, labels="folder", name="two")
    assert both["two"].info.class_sizes == (3, 2)
    table = both.table
    assert table["entropy"].notna().any()
    assert Atlas.build(flat, bundle=bundle).table["entropy"].isna().all()
