import errno
import os
import subprocess
import sys
import threading

import pytest

from napari_cytosae.concepts.durable import only_process, write_durably
from napari_cytosae.errors import RunError


def test_a_failed_write_leaves_the_old_file_and_no_debris(tmp_path):
    path = tmp_path / "cells.csv"
    path.write_text("old")

    def write(temporary):
        temporary.write_text("half of the n")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with pytest.raises(RunError, match=r"disk is full.*about 3 MiB are needed.*start the same"):
        write_durably(path, write, needed_bytes=3 * 2**20)
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_hdf5_reports_a_full_disk_in_words_only(tmp_path):
    def write(temporary):
        raise OSError("Can't write data (file write failed: errno = 28, error message = ...)")

    with pytest.raises(RunError, match="disk is full"):
        write_durably(tmp_path / "cells.h5ad", write)


def test_a_folder_that_may_not_be_written_is_said_so(tmp_path):
    def write(temporary):
        raise PermissionError(errno.EACCES, "Permission denied", str(temporary))

    with pytest.raises(RunError, match=r"Permission denied.*Choose a folder"):
        write_durably(tmp_path / "run.json", write)


def test_two_processes_cannot_write_one_run(tmp_path):
    with only_process(tmp_path):
        # Another thread of this process is as much of a stranger as another process.
        refused = []

        def second():
            try:
                with only_process(tmp_path):
                    pass
            except RunError as error:
                refused.append(str(error))

        thread = threading.Thread(target=second)
        thread.start()
        thread.join()
    assert len(refused) == 1
    assert f"process {os.getpid()}" in refused[0]


def test_the_lock_of_a_killed_process_is_taken_over(tmp_path):
    code = (
        "import sys, time; from pathlib import Path\n"
        "from napari_cytosae.concepts.durable import only_process\n"
        "with only_process(Path(sys.argv[1])):\n"
        "    print('locked', flush=True); time.sleep(60)\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE
    ) as process:
        assert process.stdout.readline() == b"locked\n"
        with (
            pytest.raises(RunError, match=f"written by process {process.pid}"),
            only_process(tmp_path),
        ):
            pass
        process.kill()
    assert (tmp_path / "run.lock").read_text()  # the dead process left it behind
    with only_process(tmp_path):
        pass
