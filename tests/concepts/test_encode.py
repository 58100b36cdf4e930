import threading
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_images import make_cells, make_image

from napari_cytosae.cells import CropBatch, CropGeometry, iter_crops
from napari_cytosae.concepts import EncodeOptions, encode_crops, encode_one
from napari_cytosae.errors import Cancelled, CytoSAEError
from napari_cytosae.models import Bundle, SparseAutoencoder
from napari_cytosae.slides import Slide

EXACT = EncodeOptions(precision="float32", device="cpu")


def crop_batches(n_cells, batch_cells=4):
    slide = Slide.from_array(make_image())
    table = make_cells(n_cells).table
    return list(iter_crops(slide, table, CropGeometry(), batch_cells=batch_cells))


def dense_of(encoded):
    return np.concatenate([batch.activations.toarray() for batch in encoded])


def prefetch_threads():
    return [thread for thread in threading.enumerate() if thread.name == "cytosae-prefetch"]


def test_activations_are_those_of_the_dense_sae(bundle):
    batches = crop_batches(6)
    encoded = list(encode_crops(batches, bundle, EXACT))
    pixels = bundle.preprocess([crop for batch in batches for crop in batch.pixels])
    expected = bundle.sae.encode(bundle.tokens(pixels)).reshape(6 * 257, -1).detach().numpy()
    assert 0.01 < (expected > 0).mean() < 0.3
    np.testing.assert_allclose(dense_of(encoded), expected, atol=1e-4)
    np.testing.assert_array_equal(
        np.concatenate([batch.labels for batch in encoded]), make_cells(6).table["label"]
    )


def test_cells_of_a_batch_come_apart_as_they_went_in(bundle):
    (batch,) = encode_crops(crop_batches(3), bundle, EXACT)
    dense = batch.activations.toarray().reshape(3, 257, -1)
    for row, cell in enumerate(batch.cells()):
        assert cell.label == batch.labels[row]
        np.testing.assert_array_equal(cell.box, batch.boxes[row])
        for concept_id in range(0, bundle.d_sae, 7):
            np.testing.assert_array_equal(
                cell.concept_map(concept_id).ravel(), dense[row, 1:, concept_id]
            )


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_the_same_batches_give_the_same_bits(bundle, precision):
    options = replace(EXACT, precision=precision)
    batches = crop_batches(6)
    first, second = (dense_of(encode_crops(batches, bundle, options)) for _ in range(2))
    np.testing.assert_array_equal(first, second)


@pytest.mark.parametrize("batch_cells", [1, 3, 16])
def test_results_do_not_depend_on_the_batch_size(bundle, batch_cells):
    reference = dense_of(encode_crops(crop_batches(7, batch_cells=7), bundle, EXACT))
    options = replace(EXACT, batch_cells=batch_cells)
    for cut in (7, batch_cells):
        encoded = list(encode_crops(crop_batches(7, batch_cells=cut), bundle, options))
        assert max(len(batch) for batch in encoded) <= batch_cells
        np.testing.assert_allclose(dense_of(encoded), reference, atol=1e-4)


def test_a_threshold_keeps_only_what_is_above_it(bundle):
    everything = dense_of(encode_crops(crop_batches(2), bundle, EXACT))
    kept = dense_of(encode_crops(crop_batches(2), bundle, replace(EXACT, threshold=0.5)))
    np.testing.assert_array_equal(kept, np.where(everything > 0.5, everything, 0))


def test_neither_decoder_nor_dense_encoder_is_ever_called(bundle, monkeypatch):
    def forbidden(*_):
        raise AssertionError

    monkeypatch.setattr(SparseAutoencoder, "decode", forbidden)
    monkeypatch.setattr(SparseAutoencoder, "encode", forbidden)
    assert len(list(encode_crops(crop_batches(5), bundle, EXACT))) == 2


OUT_OF_MEMORY = [
    MemoryError(),
    RuntimeError("[enforce fail at alloc_cpu.cpp] DefaultCPUAllocator: can't allocate memory: ..."),
    RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 1 bytes."),
    RuntimeError("MPS backend out of memory (MPS allocated: 9.0 GB, max allowed: 9.1 GB)"),
    torch.cuda.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
]


def limit_memory(monkeypatch, most_cells, error, tokens=Bundle.tokens):
    """Let the backbone run out of memory above a batch size; return the sizes it was tried with."""
    sizes = []

    def limited(self, pixels):
        sizes.append(len(pixels))
        if len(pixels) > most_cells:
            raise error
        return tokens(self, pixels)

    monkeypatch.setattr(Bundle, "tokens", limited)
    return sizes


@pytest.mark.parametrize("error", OUT_OF_MEMORY, ids=lambda error: type(error).__name__)
def test_a_batch_that_does_not_fit_is_halved_and_stays_so(bundle, monkeypatch, error):
    batches = crop_batches(16, batch_cells=8)
    reference = dense_of(encode_crops(batches, bundle, EXACT))
    sizes = limit_memory(monkeypatch, 3, error)
    encoded = list(encode_crops(batches, bundle, EXACT))
    assert sizes == [8, 4, 2, 2, 2, 2, 2, 2, 2, 2]
    np.testing.assert_array_equal(
        np.concatenate([batch.labels for batch in encoded]), make_cells(16).table["label"]
    )
    np.testing.assert_allclose(dense_of(encoded), reference, atol=1e-4)


def blank_tokens(bundle, pixels):
    return torch.zeros(len(pixels), 257, bundle.d_model)


@settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    sizes=st.lists(st.integers(1, 9), max_size=4),
    most_cells=st.integers(1, 9),
    batch_cells=st.integers(1, 9),
)
def test_no_cell_is_lost_or_doubled_whatever_fits(bundle, sizes, most_cells, batch_cells):
    labels = iter(range(1, 100))
    crop = np.zeros((20, 20, 3), np.uint8)
    batches = [
        CropBatch(np.array([next(labels) for _ in range(size)]), np.zeros((size, 4)), [crop] * size)
        for size in sizes
    ]
    with pytest.MonkeyPatch.context() as monkeypatch:
        limit_memory(monkeypatch, most_cells, MemoryError(), blank_tokens)
        options = replace(EXACT, batch_cells=batch_cells)
        encoded = list(encode_crops(batches, bundle, options))
    seen = [int(label) for batch in encoded for label in batch.labels]
    assert seen == list(range(1, sum(sizes) + 1))
    assert all(batch.activations.shape == (257 * len(batch), bundle.d_sae) for batch in encoded)


def test_too_little_memory_for_one_cell_is_said_so(bundle, monkeypatch):
    limit_memory(monkeypatch, 0, MemoryError())
    with pytest.raises(CytoSAEError, match="not enough memory on cpu"):
        list(encode_crops(crop_batches(3), bundle, EXACT))
    assert not prefetch_threads()


def test_other_failures_are_not_taken_for_a_lack_of_memory(bundle, monkeypatch):
    sizes = limit_memory(monkeypatch, 0, RuntimeError("mat1 and mat2 shapes cannot be multiplied"))
    with pytest.raises(RuntimeError, match="mat1 and mat2"):
        list(encode_crops(crop_batches(3), bundle, EXACT))
    assert sizes == [3]


def test_cancelling_stops_between_batches_and_ends_the_thread(bundle):
    encoded = []
    stream = encode_crops(crop_batches(12), bundle, EXACT, lambda: len(encoded) == 2)
    with pytest.raises(Cancelled):
        encoded.extend(stream)
    assert len(encoded) == 2
    assert not prefetch_threads()


def test_a_consumer_that_leaves_ends_the_thread(bundle):
    stream = encode_crops(crop_batches(12, batch_cells=1), bundle, EXACT)
    next(stream)
    stream.close()
    assert not prefetch_threads()


def test_a_slide_that_fails_in_the_middle_fails_the_encode(bundle):
    def batches():
        yield from crop_batches(4)
        raise OSError("the network drive is gone")

    stream = encode_crops(batches(), bundle, EXACT)
    assert len(next(stream)) == 4
    with pytest.raises(OSError, match="network drive"):
        next(stream)


def test_no_crops_are_no_batches(bundle):
    assert list(encode_crops([], bundle, EXACT)) == []


def test_one_click_encodes_one_cell(bundle):
    (batch,) = crop_batches(1)
    (expected,) = encode_crops([batch], bundle, EXACT)
    cell = encode_one(batch.pixels[0], batch.boxes[0], bundle, EXACT, label=8)
    assert cell.label == 8
    np.testing.assert_array_equal(cell.box, batch.boxes[0])
    np.testing.assert_array_equal(cell.values, expected.activations.data)
    np.testing.assert_array_equal(cell.concept_ids, expected.activations.indices)
