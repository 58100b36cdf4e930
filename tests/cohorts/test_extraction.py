"""A cohort's images become its barcodes; what is done stays, and what fails is named."""

import json

import numpy as np
import pandas as pd
import pytest
from extraction_cases import assert_same_bits, settings_for
from PIL import Image
from random_barcodes import single_cell

from napari_cytosae.cells import cells_from_boxes
from napari_cytosae.cohorts import Cohort, Patient, read_barcodes, read_cohort
from napari_cytosae.cohorts.extraction import CohortFolder, ExtractionSettings, extract
from napari_cytosae.cohorts.extraction.mosaic import read_mosaic
from napari_cytosae.concepts import analyze, open_run
from napari_cytosae.errors import Cancelled, CohortError, ImageError, RunError
from napari_cytosae.slides import Slide, sample_smear


@pytest.fixture
def cohort(patients):
    return read_cohort(patients)


def test_counts_are_those_of_every_image_on_its_own(cohort, bundle, bundle_files, tmp_path):
    barcodes = extract(cohort, tmp_path / "c", settings_for(bundle_files))
    assert list(barcodes.patients["n_cells"]) == [3, 5, 2, 4]
    for row, patient in enumerate(cohort.patients):
        counts = np.zeros(96, np.int64)
        for n, image in enumerate(patient.images):
            # The same crop in a batch of another size agrees to rounding, so τ lies in a gap.
            run = analyze(image, bundle, "whole", tmp_path / f"{row}-{n}.cytosae",
                          precision="float32", device="cpu")  # fmt: skip
            counts += run.adata.layers["count"].toarray()[0]
        found = barcodes.counts[[row]].toarray()[0]
        assert np.abs(found - counts).max() <= 2
        assert np.abs(found - counts).sum() <= 1e-3 * counts.sum()


def test_the_folder_holds_everything(cohort, bundle_files, tmp_path):
    out = tmp_path / "c.cohort"
    before = extract(cohort, out, settings_for(bundle_files))
    stored = read_barcodes(out / "barcodes.h5ad")
    np.testing.assert_array_equal(stored.counts.toarray(), before.counts.toarray())
    pd.testing.assert_frame_equal(stored.patients, before.patients, check_dtype=False)
    manifest = CohortFolder(out).read_manifest()
    assert manifest["n_patients"] == 4
    assert manifest["bundle_digest"] == before.provenance["bundle_digest"]
    assert json.loads((out / "cohort.json").read_text())["cells_from"] == "whole"
    runs = sorted((out / "runs").rglob("*.cytosae"))
    assert [run.parent.name for run in runs] == [f"patient_{n}" for n in range(4)]
    best = before.best_cells(int(before.concept_ids[0]), k=1).iloc[0]
    run = open_run(out / best["run"])
    cell = run.table.set_index("label").loc[best["label"]]
    assert best["image"].endswith(cell["image"])


def test_what_is_finished_is_not_done_again(cohort, bundle_files, tmp_path, monkeypatch):
    out = tmp_path / "c"
    first = extract(cohort, out, settings_for(bundle_files))
    shards = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    assert len(shards) == 4
    again = extract(cohort, out, settings_for(bundle_files))
    assert_same_bits(first, again)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == shards


def test_a_stopped_extraction_goes_on_and_ends_with_the_same_bits(cohort, bundle_files, tmp_path):
    whole = extract(cohort, tmp_path / "whole", settings_for(bundle_files))
    done = []
    with pytest.raises(Cancelled):
        extract(
            cohort, tmp_path / "stopped", settings_for(bundle_files),
            progress=done.append, cancelled=lambda: len(done) > 2,
        )  # fmt: skip
    assert not (tmp_path / "stopped/barcodes.h5ad").exists()
    kept = len(list((tmp_path / "stopped").rglob("*.safetensors")))
    assert 0 < kept < 4
    resumed = extract(cohort, tmp_path / "stopped", settings_for(bundle_files))
    assert_same_bits(resumed, whole)


def test_another_threshold_needs_no_model(cohort, bundle_files, tmp_path):
    out = tmp_path / "c"
    extract(cohort, out, settings_for(bundle_files))
    shards = {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")}
    higher = extract(cohort, out, settings_for(bundle_files, threshold=1.0))
    fresh = extract(cohort, tmp_path / "d", settings_for(bundle_files, threshold=1.0))
    assert_same_bits(higher, fresh)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*.safetensors")} == shards


def test_images_that_fail_are_named_when_the_others_are_done(patients, bundle_files, tmp_path):
    bad = patients / "AML/patient 1/1.png"
    bad.write_bytes(bad.read_bytes()[:60])
    lonely = patients / "AML/patient 9"
    lonely.mkdir()
    Image.fromarray(single_cell(1)).save(lonely / "x.png")
    (lonely / "x.png").write_bytes((lonely / "x.png").read_bytes()[:60])
    cohort = read_cohort(patients)
    with pytest.raises(CohortError) as error:
        extract(cohort, tmp_path / "c", settings_for(bundle_files))
    assert "patient patient 1" in str(error.value)
    assert "patient patient 9" in str(error.value)
    barcodes = extract(cohort, tmp_path / "c", settings_for(bundle_files), skip_bad=True)
    assert sorted(barcodes.patients.index) == ["patient 0", "patient 2", "patient 3"]
    assert len(barcodes.provenance["left_out"]) == 2


def test_patients_without_cells_are_named(bundle_files, tmp_path):
    glass = tmp_path / "glass.png"
    Image.fromarray(np.full((80, 80, 3), 220, np.uint8)).save(glass)
    cohort = Cohort((Patient("A", "x", (glass,)),))
    with pytest.raises(CohortError, match="patient A, all images: no cell was found"):
        extract(cohort, tmp_path / "c", settings_for(bundle_files, cells="detect"))
    with pytest.raises(CohortError, match="No cell was found in any image"):
        extract(cohort, tmp_path / "c", settings_for(bundle_files, cells="detect"), skip_bad=True)


def test_an_images_own_pixel_size_goes_before_that_of_all(bundle_files, tmp_path):
    lines = ["patient,diagnosis,image,microns_per_pixel"]
    for name, size in (("a", "0.15"), ("b", "")):
        smear = sample_smear(seed=3 + len(lines), shape=(600, 600))
        Image.fromarray(smear.image).save(tmp_path / f"{name}.png")
        lines.append(f"{name},x,{name}.png,{size}")
    (tmp_path / "t.csv").write_text("\n".join(lines))
    settings = settings_for(bundle_files, cells="red", microns_per_pixel=0.1)
    barcodes = extract(read_cohort(tmp_path / "t.csv"), tmp_path / "c", settings)
    assert list(barcodes.patients["microns_per_pixel"]) == [0.15, 0.1]
    runs = [open_run(tmp_path / "c" / run) for run in barcodes.images["run"]]
    assert [run.microns_per_pixel for run in runs] == [0.15, 0.1]


def test_runs_are_taken_as_they_are(patients, bundle, bundle_files, tmp_path):
    for n, place in enumerate(sorted(patients.glob("*/*"))):
        image = sorted(place.iterdir())[0]
        analyze(image, bundle, "whole", tmp_path / f"runs/d{n % 2}/{place.name}.cytosae",
                precision="float32", device="cpu")  # fmt: skip
    cohort = read_cohort(tmp_path / "runs")
    assert cohort.diagnoses == ("d0", "d1")
    barcodes = extract(cohort, tmp_path / "c", settings_for(bundle_files, cells="detect"))
    assert list(barcodes.patients["n_cells"]) == [1, 1, 1, 1]
    assert not (tmp_path / "c/runs").exists()
    run = open_run(barcodes.images["run"].iloc[0])
    np.testing.assert_array_equal(
        barcodes.counts[[0]].toarray()[0], run.adata.layers["count"].toarray()[0]
    )


def test_runs_of_two_bundles_are_no_cohort(patients, bundle, bundle_files, tmp_path):
    images = sorted(patients.glob("*/*/0.png"))
    analyze(images[0], bundle, "whole", tmp_path / "runs/d/a.cytosae")
    analyze(images[1], "starter", "whole", tmp_path / "runs/d/b.cytosae")
    with pytest.raises(CohortError, match="2 different bundles"):
        extract(read_cohort(tmp_path / "runs"), tmp_path / "c", settings_for(bundle_files))


def test_how_pictures_were_made_becomes_covariates(cohort, bundle_files, tmp_path):
    barcodes = extract(cohort, tmp_path / "c", settings_for(bundle_files))
    assert set(barcodes.patients["image_width_px"]) == {64.0}
    assert set(barcodes.patients["file_type"]) == {"png"}
    assert set(barcodes.provenance["technical_covariates"]) <= set(barcodes.covariates)


def test_a_foreign_folder_is_left_alone(cohort, bundle_files, tmp_path):
    (tmp_path / "thesis.docx").write_text("years of work")
    with pytest.raises(CohortError, match="holds other files"):
        extract(cohort, tmp_path, settings_for(bundle_files))
    with pytest.raises(CohortError, match="is a file"):
        extract(cohort, tmp_path / "thesis.docx", settings_for(bundle_files))
    with pytest.raises(CohortError, match="is no cohort"):
        CohortFolder(tmp_path).read_manifest()


def test_two_extractions_do_not_meet_in_one_folder(cohort, bundle_files, tmp_path):
    def start_another(_):
        extract(cohort, tmp_path / "c", settings_for(bundle_files))

    with pytest.raises(RunError, match="being written"):
        extract(cohort, tmp_path / "c", settings_for(bundle_files), progress=start_another)


def test_settings_that_cannot_be_meant_are_refused():
    with pytest.raises(CohortError, match="detect, red, whole"):
        ExtractionSettings(cells="cells.csv")
    with pytest.raises(CohortError, match="τ"):
        ExtractionSettings(threshold=-1)


@pytest.mark.parametrize("shape", [(64, 64), (50, 70), (71, 33), (1, 1), (363, 360)])
def test_a_mosaics_crops_are_its_images(tmp_path, shape):
    rng = np.random.default_rng(0)
    images = []
    for n in range(3):
        picture = rng.integers(0, 255, (*shape, 3), np.uint8)
        Image.fromarray(picture).save(tmp_path / f"{n}.png")
        images.append(tmp_path / f"{n}.png")
    big = rng.integers(0, 255, (shape[0] + 40, shape[1] + 40, 3), np.uint8)
    Image.fromarray(big).save(tmp_path / "big.png")
    images.append(tmp_path / "big.png")
    mosaic = read_mosaic(images, "m")
    from napari_cytosae.cells import CropGeometry, iter_crops, whole_image

    (batch,) = iter_crops(mosaic.slide, mosaic.cells.table, CropGeometry())
    assert list(batch.labels) == [1, 2, 3, 4]
    for crop, image in zip(batch.pixels, images, strict=True):
        slide = Slide.open(image)
        (alone,) = iter_crops(slide, whole_image(slide.shape).table, CropGeometry(whole=True))
        side = max(slide.shape)
        assert side <= len(crop) < side + 4  # up to three more rows and columns of the mirror
        np.testing.assert_array_equal(crop[:side, :side], alone.pixels[0])


def test_a_mosaic_names_the_image_that_is_damaged(tmp_path):
    Image.fromarray(single_cell(0)).save(tmp_path / "good.png")
    (tmp_path / "bad.png").write_bytes((tmp_path / "good.png").read_bytes()[:50])
    with pytest.raises(ImageError, match=r"bad\.png"):
        read_mosaic([tmp_path / "good.png", tmp_path / "bad.png"], "m")


def test_cells_of_a_mosaic_are_told_apart_by_its_boxes():
    cells = cells_from_boxes([(0, 0, 4, 4), (0, 4, 4, 8)], (4, 8))
    assert list(cells.table["label"]) == [1, 2]
