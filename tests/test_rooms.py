"""Which room may import what, in a fresh interpreter where importing the forbidden fails."""

import subprocess
import sys
from pathlib import Path

import pytest

SCREEN = ("napari", "qtpy", "superqt", "magicgui", "PySide6", "PyQt6", "PyQt5")
MODELS = ("torch", "timm")
PACKAGE = Path(__file__).resolve().parents[1] / "src" / "napari_cytosae"

FORBID = """
import importlib, sys
for name in {forbidden!r}:
    sys.modules[name] = None
for name in {modules!r}:
    importlib.import_module(name)
"""
LOADED = "import sys, napari_cytosae; print([m for m in {forbidden!r} if m in sys.modules])"


def modules_of(*rooms: str) -> list[str]:
    """Every module of some rooms, and those beside the rooms."""
    files = [file for room in rooms for file in (PACKAGE / room).rglob("*.py")]
    parts = (file.relative_to(PACKAGE.parent).with_suffix("").parts for file in files)
    return sorted({".".join(part).removesuffix(".__init__") for part in parts})


def run(code: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=300
    )


@pytest.mark.parametrize(
    ("rooms", "forbidden"),
    [
        (("slides", "cells", "models", "concepts", "cohorts", "export", "training"), SCREEN),
        (("slides", "cells"), MODELS),
    ],
)
def test_rooms_do_without_what_they_may_not_import(
    rooms: tuple[str, ...], forbidden: tuple[str, ...]
) -> None:
    modules = modules_of(*rooms)
    assert len(modules) > 10
    done = run(FORBID.format(forbidden=forbidden, modules=modules))
    assert done.returncode == 0, done.stderr


def test_the_command_line_does_without_the_screen() -> None:
    done = run(FORBID.format(forbidden=SCREEN, modules=modules_of("cli")))
    assert done.returncode == 0, done.stderr


def test_no_room_but_the_viewers_names_the_screen_even_lazily() -> None:
    offenders = [
        f"{file.relative_to(PACKAGE)}:{number}"
        for file in PACKAGE.rglob("*.py")
        if "viewer" not in file.relative_to(PACKAGE).parts
        for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), start=1)
        if line.strip().startswith(
            tuple(f"{verb} {name}" for verb in ("import", "from") for name in SCREEN)
        )
        and not line.strip().startswith(("from napari_cytosae", "import napari_cytosae"))
    ]
    assert not offenders


def test_importing_the_package_loads_neither_models_nor_screen() -> None:
    done = run(LOADED.format(forbidden=(*SCREEN, *MODELS, "pandas", "skimage")))
    assert done.stdout.strip() == "[]", done.stderr


def test_opening_the_dock_loads_no_torch() -> None:
    code = (
        "import sys, napari_cytosae.viewer.main_dock\n"
        "from napari_cytosae.models.registry import available_bundles; available_bundles()\n"
        "print([m for m in ('torch', 'timm') if m in sys.modules])"
    )
    done = run(code)
    assert done.stdout.strip().splitlines()[-1:] == ["[]"], done.stderr
