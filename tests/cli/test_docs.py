"""What the page about the command line shows is what the command does."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "cli.md"


def shown(command):
    """Output that the page shows for a command."""
    page = PAGE.read_text(encoding="utf-8")
    blocks = re.findall(r"```console\n\$ (.*?)\n(.*?)```", page, re.DOTALL)
    return dict(blocks)[command]


def without_concepts(output):
    """Cut off concept ids and activations, which a new starter changes, and trailing blanks."""
    lines = (re.sub(r"  #\d+.*", "", line).rstrip() for line in output.splitlines())
    return [line.replace("\\", "/") for line in lines]


@pytest.mark.parametrize("command", ["analyze", "view", "demo", "bundles add"])
def test_the_page_names_every_option(invoke, command):
    page = PAGE.read_text(encoding="utf-8")
    options = re.findall(r"--[a-z][a-z-]+", invoke(*command.split(), "--help").stdout)
    missing = {option for option in options if option not in page}
    assert missing <= {"--help", "--view", "--pictures"}  # two are what happens anyway


def test_the_page_shows_the_help(invoke):
    # The command goes by another name in this process.
    real = invoke("--help").stdout.replace("Usage: root", "Usage: napari-cytosae")
    assert shown("napari-cytosae --help").split() == real.split()


def test_the_page_shows_the_demo(tmp_path):
    """With the real starter and the real sample smear, in a process of its own."""
    done = subprocess.run(
        [sys.executable, "-c", "from napari_cytosae.cli import main; main()", "demo", "--no-view"],
        cwd=tmp_path,
        env=os.environ | {"PYTHONIOENCODING": "utf-8"},
        capture_output=True,
        encoding="utf-8",
        check=False,
        timeout=600,
    )
    assert done.returncode == 0, done.stderr
    assert without_concepts(done.stdout) == without_concepts(shown("napari-cytosae demo --no-view"))
