"""The known facts about the published statistics of the real CytoSAE."""

import numpy as np
import pytest

from napari_cytosae.concepts.atlas import Atlas
from napari_cytosae.concepts.atlas.published_order import (
    class_sizes_from_references,
    predicted_labels,
)
from napari_cytosae.models.checkpoints import read_array

IMAGES = {"mll23": 41_621, "acevedo": 17_092, "bmc": 171_373, "hehr": 81_214}


@pytest.mark.parametrize(("name", "n_images"), IMAGES.items())
def test_the_number_of_images_is_found_from_the_shares(published, name, n_images):
    assert published[name].info.n_images == n_images


@pytest.mark.parametrize(
    ("name", "n_concepts", "percent"),
    [("mll23", 3749, 99.9), ("acevedo", 3297, 99.5), ("bmc", 3704, 99.4), ("hehr", 3697, 99.5)],
)
def test_few_concepts_carry_nearly_all_activation(published, name, n_concepts, percent):
    data = published[name]
    strong = data.mean_activation > 10**-2.5
    assert strong.sum() == n_concepts
    assert round(100 * data.mass_share[strong].sum(), 1) == percent


def test_noisy_concepts_of_mll23(published):
    assert (published["mll23"].mean_activation > 0.1).sum() == 248


def test_concepts_whose_references_are_of_one_class(published):
    assert published["mll23"].one_class.sum() == 1277
    acevedo = published["acevedo"]
    assert acevedo.one_class.sum() == 1940


def test_places_that_no_image_fills_would_add_false_ones(published, published_folder):
    file = published_folder / "acevedo" / "max_activating_image_label_indices.pt"
    labels = read_array(file)
    assert (labels == labels[:, :1]).all(axis=1).sum() == 2214
    assert published["acevedo"].references.filled.sum() == 469_861


@pytest.mark.parametrize("name", ["mll23", "acevedo", "bmc"])
def test_entropies_equal_the_published_ones(published, published_folder, name):
    stored = read_array(published_folder / name / "top_entropy.pt")
    ours = published[name].label_entropy
    np.testing.assert_array_equal(np.isnan(ours), np.isnan(stored))
    np.testing.assert_allclose(ours, stored, atol=1e-6)
    assert not published[name].info.notes


def test_entropies_are_computed_where_none_are_published(published, published_folder):
    assert not (published_folder / "hehr" / "top_entropy.pt").exists()
    data = published["hehr"]
    assert not np.isnan(data.label_entropy).any()
    assert data.one_class.sum() == 51
    assert (data.label_entropy[data.one_class] == 0).all()


def test_nothing_that_is_no_number_reaches_a_user(published):
    for data in published.values():
        for column in (data.frequency, data.mean_activation, data.mass_share):
            assert np.isfinite(column).all()
        table = data.table
        never = table["images"] == 0
        assert table.loc[never, "entropy"].isna().all()
        assert table.loc[~never, "entropy"].notna().all()
    assert (published["acevedo"].counts.images == 0).sum() == 203


def test_the_classes_sizes_predict_the_class_of_every_reference(published):
    data = published["mll23"]
    assert data.info.class_sizes_from == "given"
    filled = data.references.filled
    assert filled.sum() == 491_359
    predicted = predicted_labels(data.references.cells[filled], data.info.class_sizes)
    np.testing.assert_array_equal(predicted, data.references.labels[filled])


def test_the_references_tell_the_classes_sizes(published):
    info = published["mll23"].info
    found = class_sizes_from_references(
        published["mll23"].references, info.n_images, len(info.classes)
    )
    assert sum(found) == info.n_images
    assert np.abs(np.subtract(found, info.class_sizes)).max() <= 2
    for name in ("acevedo", "bmc", "hehr"):
        info = published[name].info
        assert info.class_sizes_from == "references"
        assert sum(info.class_sizes) == info.n_images
        filled = published[name].references.filled
        labels = published[name].references.labels[filled]
        if name != "hehr":  # its folders are nested, so that classes are not in label order
            predicted = predicted_labels(published[name].references.cells[filled], info.class_sizes)
            np.testing.assert_array_equal(predicted, labels)


def test_hubs_are_reported(published, published_folder):
    atlas = Atlas([published["mll23"]])
    hubs = atlas.hubs("mll23")
    assert hubs["concepts"].iloc[0] == 2358
    assert (hubs["concepts"] >= 100).all()
    assert hubs["concepts"].is_monotonic_decreasing


def test_the_four_sets_stand_side_by_side(published):
    atlas = Atlas(published.values())
    table = atlas.table
    assert len(table) == 49_152
    assert table["images"].equals(sum(published[name].table["images"] for name in published))
    assert sorted(table["rank"]) == list(range(49_152))
    top = atlas.top(58, k=2)
    assert list(top["data_set"]) == [name for name in published for _ in range(2)]
    assert list(top["label"][:4]) == ["eosinophil"] * 4
    assert list(top["label"][4:6]) == ["EOS"] * 2


def test_labels_of_blood_and_marrow_agree_on_a_concept(published):
    atlas = Atlas(published.values())
    row = atlas.table.iloc[58]
    assert row["suggestion"] == "eosinophil"
    assert row["evidence"] == "eosinophil 10/10 mll23, 10/10 acevedo, 10/10 bmc"
    assert row["agreement"] == 3
    carried = atlas.generalisation.set_index("concept_id").loc[58]
    assert (carried["blood"], carried["bone_marrow"], carried["generalises"]) == (2, 1, True)
    in_focus = atlas.generalisation["concept_id"].isin(atlas.focus().concept_ids)
    assert (atlas.generalisation["agreement"][in_focus] == 3).sum() > 300


def test_the_focus_lies_between_the_modes(published):
    for data in published.values():
        focus = Atlas([data]).focus()
        assert focus.lower_mode < focus.threshold < focus.upper_mode
        assert focus.noisy_above == 0.1
        assert 3700 < len(focus) < 3900
        assert focus.mass_share > 0.994
    mll23 = Atlas([published["mll23"]])
    assert len(mll23.focus(10**-2.5)) == 3749
    in_table = mll23.table["in_focus"].to_numpy()
    np.testing.assert_array_equal(np.flatnonzero(in_table), mll23.focus().concept_ids)
    assert (mll23.table["noisy"]).sum() == 248
