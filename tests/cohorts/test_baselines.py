"""What barcodes are held against is summed over the very tokens that the barcodes are made of."""

import numpy as np
import pytest
import torch
from extraction_cases import settings_for
from PIL import Image

from napari_cytosae.cohorts import Barcodes, read_cohort
from napari_cytosae.cohorts.baselines import (
    CLASS_TOKENS,
    RANDOM,
    RAW_TOKENS,
    BaselineFolder,
    make_baselines,
    read_baselines,
)
from napari_cytosae.cohorts.baselines.piece import Piece, PieceWork
from napari_cytosae.cohorts.baselines.random_decoder import draw_decoder
from napari_cytosae.cohorts.classification import ClassificationOptions, classify
from napari_cytosae.cohorts.extraction import extract
from napari_cytosae.errors import Cancelled, CohortError
from napari_cytosae.models import load_sae

pytestmark = pytest.mark.usefixtures("short_training")


@pytest.fixture
def extracted(patients, bundle_files, tmp_path):
    """A cohort, where it is, how it was extracted, and its barcodes."""
    cohort, settings = read_cohort(patients), settings_for(bundle_files)
    return cohort, tmp_path / "c", settings, extract(cohort, tmp_path / "c", settings)


def test_baselines_are_sums_over_the_patients_own_tokens(extracted, bundle):
    cohort, out, settings, barcodes = extracted
    folder = make_baselines(cohort, out, settings)
    found = read_baselines(out, barcodes)
    assert list(found) == [RAW_TOKENS, CLASS_TOKENS, RANDOM]
    random = found[RANDOM]
    assert isinstance(random, Barcodes)
    sae = load_sae(folder.decoder_path)
    for row, patient in enumerate(cohort.patients):
        pixels = bundle.preprocess([np.asarray(Image.open(image)) for image in patient.images])
        tokens = bundle.tokens(pixels)
        np.testing.assert_allclose(
            found[RAW_TOKENS][row], tokens.mean(dim=(0, 1)), rtol=1e-4, atol=1e-5
        )
        np.testing.assert_allclose(
            found[CLASS_TOKENS][row], tokens[:, 0].mean(dim=0), rtol=1e-4, atol=1e-5
        )
        dense = sae.encode(tokens).detach()
        counted = random.counts[[row]].toarray()[0]
        # Rounding may move an activation over the cut.
        assert np.abs(counted - (dense > 0).sum(dim=(0, 1)).numpy()).sum() <= 3
        np.testing.assert_allclose(
            random.dense(np.arange(sae.d_sae), "max")[row], dense.amax(dim=1).mean(dim=0), atol=0.02
        )
        np.testing.assert_allclose(
            random.dense(np.arange(sae.d_sae), "mean")[row],
            dense.mean(dim=1).mean(dim=0),
            atol=2e-3,
        )
    # As many directions are active at a token as concepts lie above τ.
    assert random.counts.sum() == pytest.approx(barcodes.counts.sum(), rel=0.1)
    assert not folder.pieces_path.exists()


def test_the_dictionary_is_random_and_as_sparse_as_asked_for():
    rng = np.random.default_rng(0)
    tokens = rng.normal(size=(3000, 16)).astype(np.float32)
    sae = draw_decoder(tokens, 40, 3.0, steps=10)
    again = draw_decoder(tokens, 40, 3.0, steps=10)
    torch.testing.assert_close(sae.W_dec, again.W_dec, rtol=0, atol=0)
    # The directions are those of the draw: no training has moved them.
    untrained = draw_decoder(tokens, 40, 3.0, steps=0)
    torch.testing.assert_close(sae.W_dec, untrained.W_dec, rtol=0, atol=0)
    assert not torch.equal(sae.W_enc, untrained.W_enc)
    active = (sae.encode(torch.from_numpy(tokens)) > 0).sum(1).double().mean()
    assert float(active) == pytest.approx(3.0, rel=0.02)
    for bad in (np.zeros((0, 16), np.float32), np.full((5, 16), np.nan, np.float32)):
        with pytest.raises(CohortError, match="finite"):
            draw_decoder(bad, 40, 3.0)


def test_stopped_baselines_go_on_and_end_with_the_same_numbers(extracted, monkeypatch):
    cohort, out, settings, barcodes = extracted
    make_baselines(cohort, out, settings)
    whole = read_baselines(out, barcodes)
    folder = BaselineFolder.of(out)
    asked = 0

    def after_a_while():
        nonlocal asked
        asked += 1
        return asked > 32  # in the second look, after the training's steps

    make_baselines(cohort, out, settings, seed=1)
    with pytest.raises(Cancelled):
        make_baselines(cohort, out, settings, cancelled=after_a_while)
    with pytest.raises(CohortError, match="not finished"):
        read_baselines(out, barcodes)
    done = sorted(folder.pieces_path.iterdir())
    assert 0 < len(done) < 4
    stamps = [path.stat().st_mtime_ns for path in done]
    done[0].write_bytes(done[0].read_bytes()[:100])
    kept: list[int] = []

    class Watched(PieceWork):
        def __call__(self, unit, settings, cancelled):
            answer = super().__call__(unit, settings, cancelled)
            kept.append(self.path(unit).stat().st_mtime_ns)
            return answer

    monkeypatch.setattr("napari_cytosae.cohorts.baselines.make.PieceWork", Watched)
    make_baselines(cohort, out, settings)
    assert kept[0] != stamps[0]  # was damaged
    assert kept[1 : len(done)] == stamps[1:]
    again = read_baselines(out, barcodes)
    for name in (RAW_TOKENS, CLASS_TOKENS):
        np.testing.assert_array_equal(again[name], whole[name])
    np.testing.assert_array_equal(again[RANDOM].counts.toarray(), whole[RANDOM].counts.toarray())
    kept.clear()
    make_baselines(cohort, out, settings)
    assert not kept


def test_baselines_of_something_else_are_refused(extracted, bundle_files, patients):
    cohort, out, settings, barcodes = extracted
    assert read_baselines(out, barcodes) == {}
    make_baselines(cohort, out, settings)
    other = extract(cohort, out, settings_for(bundle_files, threshold=0.5))
    with pytest.raises(CohortError, match="other barcodes"):
        read_baselines(out, other)
    make_baselines(cohort, out, settings_for(bundle_files, threshold=0.5))
    assert len(read_baselines(out, other)) == 3
    table = out / "baselines" / "raw_tokens.csv"
    table.write_text(table.read_text().splitlines()[0] + "\n")
    with pytest.raises(CohortError, match="other patients"):
        read_baselines(out, other)
    # An image that is not what was analysed any more is named, and nothing is made of it.
    Image.new("RGB", (64, 64)).save(patients / "AML/patient 1/0.png")
    with pytest.raises(CohortError, match=r"patient patient 1.*not what"):
        make_baselines(cohort, out, settings, seed=5)


def test_barcodes_of_another_dictionary_go_through_the_same_folds(extracted):
    _, _, _, barcodes = extracted
    # Four patients are too few to classify: each comes three times.
    many = barcodes.select(np.repeat(np.arange(4), 3))
    many.patients.index = [f"p{row}" for row in range(12)]
    options = ClassificationOptions(folds=3, repeats=1, n_permutations=0, curve=())
    told = classify(many, options, beside={"the same": many}).beside.set_index("name")
    assert told.loc["the same", "weighted_f1"] == told.loc["barcodes", "weighted_f1"]
    with pytest.raises(CohortError, match="other patients"):
        classify(many, options, beside={"shuffled": many.select(np.arange(12)[::-1])})


def test_a_piece_without_cells_is_nothing(tmp_path):
    assert Piece.load(tmp_path / "none.npz") is None
    (tmp_path / "empty.npz").write_bytes(b"")
    assert Piece.load(tmp_path / "empty.npz") is None
