"""Devices and precisions are what was asked for, or an error."""

import pytest
import torch

from napari_cytosae.errors import CytoSAEError
from napari_cytosae.models import device, resolve_device, resolve_precision

CPU = torch.device("cpu")


@pytest.fixture
def no_gpu(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.backends.mps, "is_available", lambda: False)


def test_auto_without_a_gpu_is_the_processor(no_gpu):
    assert resolve_device("auto") == resolve_device() == CPU


def test_auto_prefers_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert resolve_device("auto").type == "cuda"


@pytest.mark.parametrize("name", ["cuda", "cuda:0", "mps"])
def test_a_gpu_that_is_not_there_is_an_error(no_gpu, name):
    with pytest.raises(CytoSAEError, match="sees no"):
        resolve_device(name)


def test_a_second_gpu_that_is_not_there_is_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(CytoSAEError, match="only 1 GPUs"):
        resolve_device("cuda:1")


@pytest.mark.parametrize("name", ["gpu", "meta", "", "cuda:x"])
def test_other_names_are_an_error(name):
    with pytest.raises(CytoSAEError, match="not a device"):
        resolve_device(name)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_precision_is_taken_at_its_word(precision):
    assert resolve_precision(precision, CPU) == precision


@pytest.mark.parametrize(
    ("supported", "expected"),
    [
        ({}, "float32"),
        ({"_is_avx512_bf16_supported"}, "bfloat16"),
        ({"_is_amx_tile_supported"}, "bfloat16"),
    ],
)
def test_auto_is_bfloat16_where_the_processor_has_it(monkeypatch, supported, expected):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.setattr(torch.cpu, name, lambda name=name: name in supported, raising=False)
    assert resolve_precision("auto", CPU) == expected


def test_auto_is_float32_where_pytorch_cannot_tell(monkeypatch):
    for name in ("_is_avx512_bf16_supported", "_is_amx_tile_supported"):
        monkeypatch.delattr(torch.cpu, name, raising=False)
    assert resolve_precision("auto", CPU) == "float32"


@pytest.mark.parametrize(("capability", "expected"), [((7, 5), "float32"), ((9, 0), "bfloat16")])
def test_auto_on_cuda_asks_for_the_generation(monkeypatch, capability, expected):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    assert resolve_precision("auto", torch.device("cuda")) == expected


def test_other_precisions_are_an_error():
    with pytest.raises(CytoSAEError, match=r"float16.*choose one of"):
        resolve_precision("float16", CPU)


def test_the_public_name_is_the_modules(no_gpu):
    assert resolve_device is device.resolve_device
