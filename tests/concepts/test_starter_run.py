import numpy as np
import pytest

from napari_cytosae.concepts import analyze, place_maps
from napari_cytosae.slides import Slide, sample_smear


@pytest.fixture(scope="module")
def smear():
    return sample_smear()


@pytest.fixture(scope="module")
def run(smear, tmp_path_factory):
    slide = Slide.from_array(smear.image, microns_per_pixel=smear.microns_per_pixel)
    return analyze(slide, out=tmp_path_factory.mktemp("starter") / "smear.cytosae", device="cpu")


def test_the_sample_smear_becomes_a_run_of_its_white_cells(run, smear):
    assert not run.unfinished
    assert abs(len(run) - len(smear.cells)) <= 1
    assert run.bundle_name == "starter"
    np.testing.assert_array_equal(
        run.boxes[:, 2] - run.boxes[:, 0], round(25 / smear.microns_per_pixel)
    )


def test_every_cell_has_concepts_and_few_at_each_token(run):
    for label in run.table["label"]:
        cell = run.cell(label)
        assert 5 <= np.diff(cell.indptr).mean() <= 60
        assert len(run.active_concepts(label, k=10)) == 10


def test_some_concept_lies_on_the_nuclei(run, smear):
    """The main job in one line: a concept's map, painted on the slide, finds what it is of."""
    nuclei = smear.nuclei > 0
    best = 0.0
    frequent = run.concepts.query("frequency > 0.8")["concept_id"]
    for concept_id in frequent:
        canvas = place_maps(run, concept_id)
        step = int(canvas.scale[0])
        inside = nuclei[step // 2 :: step, step // 2 :: step][: canvas.values.shape[0]]
        values = canvas.values[: inside.shape[0], : inside.shape[1]]
        best = max(best, values[inside].mean() / (values[~inside].mean() + 1e-9))
    assert best > 5
