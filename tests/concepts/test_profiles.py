import anndata
import numpy as np
import pandas as pd
import pytest
from random_cells import D_SAE, cell_from_dense, random_dense
from scipy.sparse import issparse

from napari_cytosae.concepts import profile_file
from napari_cytosae.concepts.manifest import RunKey, RunManifest
from napari_cytosae.concepts.profile_file import write_profiles
from napari_cytosae.concepts.profiles import build_profiles


def manifest_of(n_cells, d_sae=D_SAE, microns_per_pixel=None):
    key = RunKey("i" * 64, "detect", 25.0, 0.5, False, microns_per_pixel, "b" * 64, "float32")
    return RunManifest(
        state="finished", key=key, bundle_name="tiny", d_sae=d_sae, slide_name="smear.png",
        slide_path=None, slide_shape=(480, 640), n_cells=n_cells, shard_cells=64, batch_cells=16,
        threshold=0.2, device="cpu", software_version="0", created="2025-01-01T00:00:00+00:00",
        finished="2025-01-01T00:01:00+00:00",
    )  # fmt: skip


def table_of(n_cells):
    return pd.DataFrame(
        {
            "label": np.arange(n_cells) + 3,
            "centroid_y": np.arange(n_cells) * 10.0,
            "centroid_x": np.arange(n_cells) * 2.0 + 1.0,
            "nucleus_area_px": np.full(n_cells, np.nan),
            "source": ["detect"] * n_cells,
        }
    )


def profiles_of(dense, microns_per_pixel=None):
    cells = [cell_from_dense(d, label) for label, d in enumerate(dense, start=3)]
    d_sae = dense[0].shape[1] if len(dense) else D_SAE
    return build_profiles(
        manifest_of(len(cells), d_sae, microns_per_pixel),
        table_of(len(cells)),
        (cell.summary(0.2) for cell in cells),
    )


def test_profiles_are_what_dense_arithmetic_gives():
    dense = np.stack([random_dense(seed, share) for seed, share in enumerate([0.2, 0.0, 0.01])])
    profiles = profiles_of(dense)
    mean = dense.mean(axis=1, dtype=np.float64)
    assert issparse(profiles.X)
    assert profiles.X.dtype == np.float32
    np.testing.assert_allclose(profiles.X.toarray(), mean, rtol=1e-6)
    np.testing.assert_array_equal(profiles.layers["max"].toarray(), dense.max(axis=1))
    np.testing.assert_array_equal(profiles.layers["count"].toarray(), (dense > 0.2).sum(axis=1))
    np.testing.assert_allclose(profiles.var["frequency"], (mean > 0).mean(axis=0))
    np.testing.assert_array_equal(profiles.var["max_activation"], dense.max(axis=(0, 1)))
    np.testing.assert_array_equal(profiles.var["concept_id"], np.arange(D_SAE))


def test_profiles_agree_with_the_reference_statistics_of_the_paper(shared):
    golden = np.load(shared / "golden" / "statistics.npz")
    activations = golden["activations"]  # 53 images, 17 tokens: the class token and 16 patches
    n_images, n_tokens, n_concepts = activations.shape
    dense = np.zeros((n_images, 257, n_concepts), np.float32)
    dense[:, :n_tokens] = activations
    profiles = profiles_of(dense)
    np.testing.assert_allclose(profiles.var["frequency"], golden["sae_sparsity"], atol=1e-6)
    np.testing.assert_allclose(
        profiles.var["mean_activation"] * 257 / n_tokens,
        np.nan_to_num(golden["sae_mean_acts"]),  # 0/0 there, 0 here
        atol=1e-6,
    )
    np.testing.assert_array_equal(
        profiles.layers["count"].sum(axis=0).A1, golden["count_above_0_2"]
    )


@pytest.mark.parametrize(("microns_per_pixel", "unit"), [(None, "px"), (0.25, "µm")])
def test_spatial_is_x_and_y_in_micrometres_where_the_pixel_size_is_known(microns_per_pixel, unit):
    profiles = profiles_of([random_dense(0), random_dense(1)], microns_per_pixel)
    scale = microns_per_pixel or 1.0
    np.testing.assert_allclose(profiles.obsm["spatial"], np.array([[1, 0], [3, 10]]) * scale)
    assert profiles.uns["cytosae"]["spatial_unit"] == unit


@pytest.mark.parametrize("n_cells", [0, 1, 5])
@pytest.mark.parametrize("block_cells", [2, 100])
def test_a_written_file_holds_what_was_built(tmp_path, monkeypatch, n_cells, block_cells):
    monkeypatch.setattr(profile_file, "_BLOCK_CELLS", block_cells)
    dense = [random_dense(seed) for seed in range(n_cells)]
    built = profiles_of(dense)
    path = tmp_path / "cells.h5ad"
    cells = [cell_from_dense(d, label) for label, d in enumerate(dense, start=3)]
    summaries = (cell.summary(0.2) for cell in cells)
    write_profiles(path, manifest_of(n_cells, D_SAE), table_of(n_cells), summaries)
    back = anndata.read_h5ad(path)
    assert back.shape == (n_cells, D_SAE)
    for mine, theirs in [(built.X, back.X)] + [
        (built.layers[name], back.layers[name]) for name in ("max", "count")
    ]:
        assert mine.dtype == theirs.dtype
        for part in ("data", "indices", "indptr"):
            np.testing.assert_array_equal(getattr(mine, part), getattr(theirs, part))
    pd.testing.assert_frame_equal(built.var, back.var)
    assert list(back.obs_names) == [str(label) for label in range(3, 3 + n_cells)]
    assert back.obs["label"].dtype == np.int64
    np.testing.assert_array_equal(built.obsm["spatial"], back.obsm["spatial"])
    assert back.uns["cytosae"]["key"]["bundle"] == "b" * 64
    assert back.uns["cytosae"]["spatial_unit"] == "px"
    assert [entry.name for entry in tmp_path.iterdir()] == ["cells.h5ad"]


def test_profiles_of_the_same_cells_are_the_same_bits():
    cells = [random_dense(seed) for seed in range(4)]
    np.testing.assert_array_equal(profiles_of(cells).X.data, profiles_of(cells).X.data)
