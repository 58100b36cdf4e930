"""Downloads from a server on this machine that can be told to misbehave."""

import hashlib
import os
import socket
import threading
from collections import namedtuple
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from napari_cytosae.errors import Cancelled, DownloadError
from napari_cytosae.models import download as download_module
from napari_cytosae.models.download import download
from napari_cytosae.models.known_hashes import check, trust

CONTENT = os.urandom(3_000_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()


class Server(ThreadingHTTPServer):
    """Serves CONTENT at every path; what goes wrong is set by attributes."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.content = CONTENT
        self.etag: str | None = '"v1"'
        self.ranges = True  # whether it can send the rest of a file
        self.lies_about_ranges = False  # answers 206, but from the beginning
        self.cut_after: list[int] = []  # bytes after which the next answers break off
        self.length = True
        self.kind = "application/octet-stream"
        self.asked: list[tuple[str, str | None]] = []  # path, Range

    def handle_error(self, *_: object) -> None:
        pass  # a client that hangs up is what some of these tests are about

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"


class Handler(BaseHTTPRequestHandler):
    server: Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        server, wanted = self.server, self.headers.get("Range")
        server.asked.append((self.path, wanted))
        if self.path.startswith("/missing"):
            self.send_error(404)
            return
        start = 0
        same = server.etag is not None and self.headers.get("If-Range") == server.etag
        if wanted and server.ranges and same:
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
            if start >= len(server.content):
                self.send_error(416)
                return
            self.send_response(206)
            start = 0 if server.lies_about_ranges else start
            self.send_header(
                "Content-Range", f"bytes {start}-{len(server.content) - 1}/{len(server.content)}"
            )
        else:
            self.send_response(200)
        body = server.content[start:]
        self.send_header("Content-Type", server.kind)
        if server.length:
            self.send_header("Content-Length", str(len(body)))
        if server.etag:
            self.send_header("ETag", server.etag)
        self.end_headers()
        if server.cut_after:
            self.wfile.write(body[: server.cut_after.pop(0)])
            self.wfile.flush()
            self.connection.shutdown(socket.SHUT_RDWR)
        else:
            self.wfile.write(body)


@pytest.fixture
def server(monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def target(tmp_path):
    return tmp_path / "models" / "weights.pt"


def left_over(target):
    """Whatever could pass for the file."""
    return [path.name for path in target.parent.glob("*") if path.name == target.name]


def no_server() -> str:
    """Give an address at which nobody listens."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{free.getsockname()[1]}/weights.pt"


def test_a_file_comes_whole_with_progress(server, target, capfd):
    seen = []
    path = download([f"{server.url}/a"], target, progress=lambda *state: seen.append(state))
    assert path == target
    assert target.read_bytes() == CONTENT
    assert seen[0] == (0, len(CONTENT))
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert {path.name for path in target.parent.iterdir()} == {"weights.pt", "known_hashes.json"}
    assert capfd.readouterr() == ("", "")  # a progress bar has the terminal for itself


def test_what_is_there_is_not_fetched_again(server, target):
    for _ in range(2):
        download([f"{server.url}/a"], target)
    assert len(server.asked) == 1


def test_a_cut_connection_goes_on_where_it_broke(server, target):
    server.cut_after = [1_000_000, 500_000]
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT
    ranges = [wanted for _, wanted in server.asked]
    assert ranges[0] is None
    assert all(wanted is not None for wanted in ranges[1:])
    assert len(ranges) == 3


def test_a_server_that_cannot_resume_starts_anew(server, target):
    server.cut_after, server.ranges = [1_000_000], False
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT


def test_without_a_version_nothing_is_glued_together(server, target):
    server.cut_after, server.etag = [1_000_000], None
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT
    assert [wanted for _, wanted in server.asked] == [None, None]


def test_a_server_that_sends_another_part_starts_anew(server, target):
    server.cut_after, server.lies_about_ranges = [1_000_000], True
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT


def test_a_server_that_always_breaks_off_is_given_up(server, target):
    server.cut_after, server.ranges = [1_000] * 50, False
    with pytest.raises(DownloadError, match="connection broke"):
        download([f"{server.url}/a"], target)
    assert not left_over(target)
    assert len(server.asked) < 10


def cancel_after(count):
    calls = iter(range(10**9))
    return lambda: next(calls) >= count


def test_cancelled_midway_and_taken_up_the_next_time(server, target):
    with pytest.raises(Cancelled):
        download([f"{server.url}/a"], target, cancelled=cancel_after(4))
    assert not left_over(target)
    kept = (target.parent / "weights.pt.part").stat().st_size
    assert 0 < kept < len(CONTENT)
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT
    assert server.asked[-1] == ("/a", f"bytes={kept}-")


def test_a_file_that_changed_in_between_starts_anew(server, target):
    with pytest.raises(Cancelled):
        download([f"{server.url}/a"], target, cancelled=cancel_after(4))
    server.content, server.etag = CONTENT[::-1], '"v2"'
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_file_that_became_shorter_starts_anew(server, target):
    with pytest.raises(Cancelled):
        download([f"{server.url}/a"], target, cancelled=cancel_after(8))
    server.content = CONTENT[:1000]  # and its version was not changed
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT[:1000]


def test_a_part_from_one_mirror_is_not_continued_from_another(server, target):
    with pytest.raises(Cancelled):
        download([f"{server.url}/a"], target, cancelled=cancel_after(4))
    download([f"{server.url}/b"], target)
    assert server.asked[-1] == ("/b", None)
    assert target.read_bytes() == CONTENT


def test_the_next_mirror_is_tried(server, target):
    download([f"{server.url}/missing", no_server(), f"{server.url}/b"], target)
    assert target.read_bytes() == CONTENT


def test_every_mirrors_answer_is_told_and_where_to_put_the_file(server, target):
    with pytest.raises(DownloadError) as caught:
        download([f"{server.url}/missing", no_server()], target)
    message = str(caught.value)
    assert "404" in message
    assert "cannot be reached" in message
    assert str(target) in message
    assert not left_over(target)


def test_no_network(target):
    with pytest.raises(DownloadError, match="put it here"):
        download([no_server()], target)
    assert not left_over(target)


def test_an_unreachable_proxy_is_named(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", no_server())
    monkeypatch.setenv("no_proxy", "")
    with pytest.raises(DownloadError, match="proxy"):
        download(["http://models.example/a"], target)


def test_a_proxy_is_used(server, target, monkeypatch):
    monkeypatch.setenv("http_proxy", server.url)
    monkeypatch.setenv("no_proxy", "")
    download(["http://models.example/a"], target)
    assert target.read_bytes() == CONTENT
    assert server.asked[0][0] == "http://models.example/a"


def test_a_web_page_is_no_model(server, target):
    server.kind = "text/html; charset=utf-8"
    with pytest.raises(DownloadError, match="web page"):
        download([f"{server.url}/login"], target)
    assert not left_over(target)


def test_a_wrong_hash_is_refused_and_the_next_mirror_tried(server, target):
    server.content = CONTENT[::-1]
    with pytest.raises(DownloadError, match="SHA-256 is wrong"):
        download([f"{server.url}/a"], target, sha256=SHA256)
    assert not left_over(target)
    assert not list(target.parent.glob("*.part"))
    assert len(server.asked) == 1
    server.content = CONTENT
    download([f"{server.url}/a"], target, sha256=SHA256)
    assert target.read_bytes() == CONTENT


def test_an_address_must_give_what_it_gave_when_it_was_trusted(server, target):
    download([f"{server.url}/a"], target)
    trust(target)
    target.unlink()
    server.content = CONTENT[::-1]
    with pytest.raises(DownloadError, match="SHA-256 is wrong"):
        download([f"{server.url}/a"], target)
    assert not left_over(target)


def test_a_download_that_never_loaded_is_not_trusted(server, target):
    server.content = b"half a model"
    download([f"{server.url}/a"], target)
    target.unlink()
    server.content = CONTENT
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT


def test_another_mirror_may_give_another_format(server, target):
    download([f"{server.url}/a"], target)
    trust(target)
    target.unlink()
    server.content = CONTENT[::-1]
    download([f"{server.url}/b"], target)
    trust(target)
    check(target)
    assert target.read_bytes() == CONTENT[::-1]


def test_a_file_that_changes_after_it_was_trusted_is_noticed(server, target):
    download([f"{server.url}/a"], target)
    trust(target)
    check(target)
    target.write_bytes(CONTENT[:-1] + b"x")
    with pytest.raises(DownloadError, match="not the file that was used before"):
        check(target)
    with pytest.raises(DownloadError, match="not the file that was used before"):
        download([f"{server.url}/a"], target)


def test_damaged_notes_are_named(server, target):
    download([f"{server.url}/a"], target)
    (target.parent / "known_hashes.json").write_text("{")
    with pytest.raises(DownloadError, match=r"known_hashes\.json.*Delete it"):
        check(target)


def test_a_full_disk_is_noticed_before_the_download(server, target, monkeypatch):
    usage = namedtuple("usage", "total used free")(10**9, 10**9, 1000)
    monkeypatch.setattr(download_module.shutil, "disk_usage", lambda _: usage)
    with pytest.raises(DownloadError, match=r"3,000,000 bytes are to come, 1,000 are free"):
        download([f"{server.url}/a"], target)
    assert not left_over(target)


def test_a_disk_that_fills_up_midway(server, target, monkeypatch):
    real = os.fsync

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(download_module.os, "fsync", full)
    with pytest.raises(DownloadError, match="No space left"):
        download([f"{server.url}/a", f"{server.url}/b"], target)
    assert not left_over(target)
    assert len(server.asked) == 1  # another mirror would not help
    monkeypatch.setattr(download_module.os, "fsync", real)
    download([f"{server.url}/a"], target)
    assert target.read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made(server, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DownloadError, match="cannot be made"):
        download([f"{server.url}/a"], tmp_path / "file" / "weights.pt")
