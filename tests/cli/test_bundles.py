import http.server
import re
import signal
import socket
import threading
from functools import partial

import pytest

from napari_cytosae.errors import Cancelled
from napari_cytosae.models import available_bundles, load_bundle
from napari_cytosae.models.registry import PUBLISHED, _Published


@pytest.fixture
def publish(monkeypatch):
    """Let the bundle ``cytosae`` come from one URL."""

    def publish(url):
        published = _Published("a test", 3_000_000, {"weights.pth": (url,)}, "weights.pth", "", {})
        monkeypatch.setitem(PUBLISHED, "cytosae", published)

    return publish


@pytest.fixture
def server(tmp_path):
    """Serve a folder; gives the folder and its URL."""
    folder = tmp_path / "served"
    folder.mkdir()

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(
        ("127.0.0.1", 0), partial(Quiet, directory=folder)
    ) as serving:
        threading.Thread(target=serving.serve_forever, daemon=True).start()
        yield folder, f"http://127.0.0.1:{serving.server_port}"
        serving.shutdown()


@pytest.mark.parametrize("arguments", [[], ["list"]])
def test_bundles_are_listed_with_what_is_here(invoke, arguments):
    done = invoke("bundles", *arguments)
    assert done.exit_code == 0
    assert re.search(r"^starter +yes +[\d.]+ MB ", done.stdout, re.MULTILINE)
    assert re.search(r"^cytosae +no +[\d.]+ MB ", done.stdout, re.MULTILINE)


def test_a_bundle_is_described_by_its_card(invoke):
    done = invoke("bundles", "info", "starter")
    assert done.exit_code == 0
    starter = load_bundle("starter")
    for fact in (starter.digest, f"{starter.d_sae:,}", "MIT", "Not for diagnosis"):
        assert fact in done.stdout


def test_a_bundle_that_is_not_here_is_described_with_where_it_comes_from(invoke):
    done = invoke("bundles", "info", "cytosae")
    assert done.exit_code == 0
    assert "zenodo.org" in done.stdout
    assert "napari-cytosae bundles fetch cytosae" in done.stdout


@pytest.mark.parametrize("command", ["info", "fetch"])
def test_a_misspelt_name_is_answered_with_the_right_one(invoke, command):
    done = invoke("bundles", command, "startr")
    assert done.exit_code == 1
    assert "Did you mean starter?" in done.stderr


def test_a_pair_of_checkpoints_gets_a_name_and_is_used_by_it(invoke, model, images, tmp_path):
    added = invoke("bundles", "add", *model, "--name", "mine")
    assert added.exit_code == 0, added.output
    assert re.search(r"^mine +yes ", invoke("bundles").stdout, re.MULTILINE)
    options = ["--out", tmp_path, "--bundle", "mine", "--no-pictures"]
    assert invoke("analyze", images[0], *options).exit_code == 0
    again = invoke("bundles", "add", *model, "--name", "mine")
    assert again.exit_code == 1
    assert "already" in again.stderr


def test_a_folder_gets_a_name_and_can_be_described_by_its_path(invoke):
    folder = next(info.folder for info in available_bundles() if info.name == "starter")
    assert invoke("bundles", "add", folder, "--name", "copy").exit_code == 0
    described = invoke("bundles", "info", folder)
    assert described.exit_code == 0
    assert load_bundle("copy").digest in described.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "Give a bundle's folder, or --backbone with --sae"),
        (["folder", "--backbone", "b", "--sae", "s"], "Give a bundle's folder, or --backbone"),
        (["--backbone", "b", "--name", "n"], "--backbone and --sae go together"),
        (["--backbone", "b", "--sae", "s"], "--name NAME"),
    ],
)
def test_what_is_added_must_be_clear(invoke, arguments, words):
    done = invoke("bundles", "add", *arguments)
    assert done.exit_code == 2
    assert words in done.stderr


def test_a_bundle_is_fetched_and_then_here(invoke, server, publish, home):
    folder, url = server
    (folder / "weights.pth").write_bytes(bytes(3_000_000))
    publish(f"{url}/weights.pth")
    done = invoke("bundles", "fetch", "cytosae")
    assert done.exit_code == 0, done.output
    assert "3.0 MB of 3.0 MB" in done.stderr
    target = home / "bundles" / "cytosae"
    assert f"cytosae is in {target}" in done.stderr
    assert (target / "weights.pth").stat().st_size == 3_000_000
    assert re.search(r"^cytosae +yes ", invoke("bundles").stdout, re.MULTILINE)


def test_without_a_network_it_is_said_where_the_file_can_be_put(invoke, publish, home):
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        publish(f"http://127.0.0.1:{closed.getsockname()[1]}/weights.pth")
        done = invoke("bundles", "fetch", "cytosae")
    assert done.exit_code == 1
    assert "put it here" in done.stderr
    assert str(home / "bundles" / "cytosae" / "weights.pth") in done.stderr


def test_ctrl_c_stops_a_download_and_says_that_it_goes_on(invoke, monkeypatch):
    def fetch(name, progress, cancelled):
        progress(1, 2)
        assert not cancelled()
        signal.raise_signal(signal.SIGINT)
        assert cancelled()
        raise Cancelled("stopped")

    monkeypatch.setattr("napari_cytosae.models.fetch_bundle", fetch)
    done = invoke("bundles", "fetch", "cytosae")
    assert done.exit_code == 130
    assert "goes on from there" in done.stderr


def test_what_ships_with_the_package_needs_no_download(invoke):
    done = invoke("bundles", "fetch", "starter")
    assert done.exit_code == 0
    assert "here already" in done.stderr
