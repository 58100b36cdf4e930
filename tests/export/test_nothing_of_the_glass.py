"""What a scanner's file says of the patient stays in that file."""

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_cytosae.concepts import analyze
from napari_cytosae.export import export_run
from napari_cytosae.slides import Slide, sample_smear
from napari_cytosae.slides.glass_pictures import GlassPictures

NAME = "Erika Mustermann"
LABEL = (3, 251, 7)  # a colour that no stain has


@pytest.fixture
def scan(tmp_path):
    """An SVS whose metadata, label and macro name a patient."""
    path = tmp_path / "42.svs"
    pixels = sample_smear(seed=3, shape=(420, 640)).image
    label = np.full((200, 300, 3), LABEL, np.uint8)
    with tifffile.TiffWriter(path) as tif:
        told = f"Aperio Image Library v12\r\n640x420|AppMag = 40|MPP = 0.1|Patient = {NAME}"
        options = {"tile": (128, 128), "photometric": "rgb", "metadata": None}
        tif.write(pixels, description=told, **options)
        tif.write(pixels[::4, ::4], description=told, **options)
        for kind in ("label", "macro"):
            tif.write(
                label, description=f"Aperio\r\n{kind} 300x200 {NAME}", photometric="rgb",
                metadata=None, rowsperstrip=200, subfiletype=1 if kind == "label" else 9,
            )  # fmt: skip
    return path


def test_run_and_exports_hold_nothing_of_label_macro_or_metadata(
    scan, bundle, tmp_path, monkeypatch
):
    with Slide.open(scan) as slide:
        assert (slide.read_associated("label") == LABEL).all()

    def forbidden(*_):
        raise AssertionError("a picture of the glass was read")

    monkeypatch.setattr(GlassPictures, "read", forbidden)
    run = analyze(scan, bundle, out=tmp_path / "42.cytosae", precision="float32", device="cpu")
    assert len(run) > 0
    export_run(run)
    files = [path for path in run.path.rglob("*") if path.is_file()]
    assert {path.suffix for path in files} >= {".png", ".csv", ".json", ".h5ad", ".safetensors"}
    for path in files:
        content = path.read_bytes()
        assert NAME.encode() not in content
        assert NAME.encode("utf-16-le") not in content
        if path.suffix == ".png":
            with Image.open(path) as picture:
                colours = np.asarray(picture.convert("RGB"), int)
                assert not picture.text
            assert (np.abs(colours - LABEL).max(axis=2) > 8).all()
