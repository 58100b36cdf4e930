import numpy as np
import pytest
from random_cells import D_SAE, cell_from_dense, random_dense

from napari_cytosae.concepts.shards import Shard, read_cell, read_concept
from napari_cytosae.errors import RunError


@pytest.fixture
def dense():
    return [random_dense(seed, share) for seed, share in enumerate([0.1, 0.0, 0.5, 0.02])]


@pytest.fixture
def shard(dense):
    return Shard.from_cells([cell_from_dense(d, 10 + row) for row, d in enumerate(dense)], D_SAE)


@pytest.fixture
def path(shard, tmp_path):
    path = tmp_path / "shard-000000.safetensors"
    shard.write(path)
    return path


def test_a_shard_gives_back_every_value(path, dense):
    shard = Shard.read(path)
    np.testing.assert_array_equal(shard.labels, [10, 11, 12, 13])
    for cell, expected in zip(shard.cells(np.zeros((4, 4))), dense, strict=True):
        for concept_id in range(D_SAE):
            np.testing.assert_array_equal(
                cell.concept_map(concept_id), expected[1:, concept_id].reshape(16, 16)
            )


@pytest.mark.parametrize("row", range(4))
def test_one_cell_is_read_alone(path, dense, row):
    cell = read_cell(path, row, np.array([1.0, 2.0, 3.0, 4.0]))
    assert cell.label == 10 + row
    assert cell.d_sae == D_SAE
    expected = cell_from_dense(dense[row])
    np.testing.assert_array_equal(cell.indptr, expected.indptr)
    np.testing.assert_array_equal(cell.concept_ids, expected.concept_ids)
    np.testing.assert_array_equal(cell.values, expected.values)


def test_one_concept_is_read_across_cells(path, dense):
    for concept_id in (0, 17, D_SAE - 1):
        np.testing.assert_array_equal(
            read_concept(path, concept_id), np.stack([d[:, concept_id] for d in dense])
        )


def test_numpy_and_safetensors_alone_can_read_a_shard(path, dense):
    from safetensors.numpy import load_file
    from scipy.sparse import csr_array

    arrays = load_file(path)
    matrix = csr_array(
        (arrays["values"].astype("f4"), arrays["concept_ids"].astype("i4"), arrays["indptr"]),
        shape=(4 * 257, D_SAE),
    )
    np.testing.assert_array_equal(matrix.toarray(), np.concatenate(dense))


def test_values_too_small_for_float16_are_left_out_and_too_large_ones_stay_finite():
    values = np.zeros((257, D_SAE), np.float32)
    values[5, [1, 2, 3]] = [1e-9, 1e9, 1.0]
    shard = Shard.from_cells([cell_from_dense(values)], D_SAE)
    np.testing.assert_array_equal(shard.concept_ids, [2, 3])
    np.testing.assert_array_equal(shard.values, np.array([65504, 1], np.float16))


def test_ids_beyond_16_bits_survive(tmp_path):
    values = np.zeros((257, 70_000), np.float32)
    values[1, [5, 65_536, 69_999]] = 1.0
    path = tmp_path / "wide.safetensors"
    Shard.from_cells([cell_from_dense(values)], 70_000).write(path)
    np.testing.assert_array_equal(Shard.read(path).concept_ids, [5, 65_536, 69_999])


@pytest.mark.parametrize("kept", [0, 5, 200, -1])
def test_a_truncated_shard_is_named(path, kept):
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(RunError, match=r"shard-000000.*damaged"):
        Shard.read(path)
    with pytest.raises(RunError, match=r"shard-000000.*damaged"):
        read_cell(path, 3, np.zeros(4))


def test_a_single_flipped_bit_is_noticed(path):
    content = bytearray(path.read_bytes())
    content[-10] ^= 4
    path.write_bytes(content)
    with pytest.raises(RunError, match=r"shard-000000.*damaged"):
        Shard.read(path)


def test_a_missing_shard_is_named(tmp_path):
    with pytest.raises(RunError, match=r"shard-000007"):
        Shard.read(tmp_path / "shard-000007.safetensors")
