"""Tensor files fail like files, and are shared like files."""

import os
import sys

import pytest
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file

from napari_cytosae.concepts.durable import write_durably
from napari_cytosae.errors import RunError
from napari_cytosae.models import tensor_files
from napari_cytosae.models.tensor_files import write_tensors


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_colleagues_may_read_what_they_may_read_elsewhere(tmp_path):
    before = os.umask(0o027)
    try:
        write_tensors({"x": torch.ones(3)}, tmp_path / "x.safetensors", {"format": "mine"})
    finally:
        os.umask(before)
    assert (tmp_path / "x.safetensors").stat().st_mode & 0o777 == 0o640
    assert torch.equal(load_file(tmp_path / "x.safetensors")["x"], torch.ones(3))


def test_a_full_disk_is_said_in_words_and_leaves_nothing(tmp_path, monkeypatch):
    def full(*_):
        raise SafetensorError(
            "Error while serializing: I/O error: No space left on device (os error 28)"
        )

    monkeypatch.setattr(tensor_files, "save_file", full)
    path = tmp_path / "x.safetensors"
    with pytest.raises(RunError, match="disk is full"):
        write_durably(path, lambda part: write_tensors({"x": torch.ones(3)}, part))
    assert not list(tmp_path.iterdir())


def test_an_error_that_is_not_the_systems_stays_itself(tmp_path):
    with pytest.raises((SafetensorError, ValueError)):
        write_tensors({"x": torch.ones(3).to_sparse()}, tmp_path / "x.safetensors")
