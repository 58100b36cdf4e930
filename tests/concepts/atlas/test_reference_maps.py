"""Masks of reference cells whose activations were not kept."""

from dataclasses import replace

import numpy as np
import pytest

from napari_cytosae.concepts.atlas import Atlas, ReferenceMaps, ReferencePictures
from napari_cytosae.errors import CheckpointError
from napari_cytosae.models.registry import STARTER


@pytest.fixture(scope="module")
def drawn():
    return next(data for data in Atlas.open(STARTER / "atlas") if data.info.kind == "images")


def test_cells_that_are_encoded_anew_have_the_atlas_s_values(drawn):
    concept = int(drawn.table["mean_activation"].to_numpy(float).argmax())
    maps = ReferenceMaps()
    with ReferencePictures() as pictures:
        found = list(pictures.of(drawn, concept, 3))
    assert len(found) == 3
    for picture in found:
        assert picture.concept_map is None
        masked = maps.add_to(drawn, picture)
        assert masked.concept_map.shape == (16, 16)
        (cell,) = (cell for key, cell in maps._cells.items() if key[1] == picture.image)
        summary = cell.summary(threshold=0.0)
        (mean,) = summary.mean[summary.concept_ids == concept]
        assert mean == pytest.approx(picture.value, rel=0.01)
        # The class token is in the mean, and not on the map.
        assert masked.concept_map.sum() <= 257 * mean * 1.001
        assert maps.add_to(drawn, masked) is masked
    assert len(maps._cells) == 3
    maps.add_to(drawn, replace(found[0], concept_id=(concept + 1) % drawn.info.d_sae))
    assert len(maps._cells) == 3  # the cell is known


def test_a_cell_without_an_image_or_a_model_stays_as_it_is(drawn):
    with ReferencePictures() as pictures:
        (picture,) = pictures.of(drawn, 0, 1)
    maps = ReferenceMaps()
    gone = replace(picture, crop=None)
    assert maps.add_to(drawn, gone) is gone
    unknown = replace(drawn, info=replace(drawn.info, bundle_name="nobody's"))
    assert ReferenceMaps.bundle_for(unknown) is None
    assert maps.add_to(unknown, picture) is picture
    published = replace(drawn, info=replace(drawn.info, kind="published"))
    assert ReferenceMaps.bundle_for(published) is None  # it was not fetched
    assert not maps._bundles


def test_another_model_of_the_same_name_is_refused(drawn):
    with ReferencePictures() as pictures:
        (picture,) = pictures.of(drawn, 0, 1)
    other = replace(drawn, info=replace(drawn.info, bundle_digest="0" * 64))
    with pytest.raises(CheckpointError, match="another than"):
        ReferenceMaps().add_to(other, picture)
    assert np.asarray(picture.crop).dtype == np.uint8
