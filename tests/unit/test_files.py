"""Files are whole or not there."""

from __future__ import annotations

import hashlib
import multiprocessing
import resource
import stat
import subprocess
import sys
import textwrap
import threading

import orjson
import pytest

from lfwrap.errors import PreflightError, RunStateError
from lfwrap.files import atomic_open, canonical_json, locked, sha256_bytes, sha256_file, write_json, write_text


def test_a_failed_write_leaves_the_old_file_and_no_rest(tmp_path):
    path = tmp_path / "a.json"
    write_text(path, "old")
    with pytest.raises(TypeError), atomic_open(path) as sink:
        sink.write(b"half" + None)
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.json"]


def test_files_are_readable_by_others(tmp_path):
    write_json(tmp_path / "a.json", {"b": 1})
    assert stat.S_IMODE((tmp_path / "a.json").stat().st_mode) == 0o644
    assert orjson.loads((tmp_path / "a.json").read_bytes()) == {"b": 1}


def test_a_full_disk_is_a_clear_error(tmp_path):
    script = """
        import resource, signal, sys
        from pathlib import Path
        from lfwrap.errors import PreflightError
        from lfwrap.files import write_bytes
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
        try:
            write_bytes(Path(sys.argv[1]), b"x" * 100_000)
        except PreflightError as error:
            print(error.message, "|", error.hint)
    """
    path = tmp_path / "big"
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script), str(path)], capture_output=True, text=True, check=True
    )
    assert "can't be written: File too large | Free some space" in done.stdout
    assert list(tmp_path.iterdir()) == []
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_folder_that_is_a_file(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PreflightError, match="can't be written"):
        write_text(tmp_path / "file" / "x", "y")


def test_equal_values_have_equal_bytes():
    assert canonical_json({"b": 1, "a": [1, {"d": 2, "c": 3}]}) == canonical_json({"a": [1, {"c": 3, "d": 2}], "b": 1})


def test_hashes(tmp_path):
    content = b"x" * (3 << 20)
    (tmp_path / "f").write_bytes(content)
    assert sha256_file(tmp_path / "f") == sha256_bytes(content) == hashlib.sha256(content).hexdigest()


def _hold(path, entered, leave):
    with locked(path):
        entered.set()
        leave.wait(30)


def test_a_lock_held_by_another_process(tmp_path):
    path = tmp_path / ".lock"
    context = multiprocessing.get_context("spawn")
    entered, leave = context.Event(), context.Event()
    holder = context.Process(target=_hold, args=(path, entered, leave))
    holder.start()
    try:
        assert entered.wait(30)
        with pytest.raises(RunStateError, match="another lfwrap process"), locked(path, timeout_s=0.1):
            pass
        threading.Timer(0.1, leave.set).start()
        with locked(path, timeout_s=30):
            assert leave.is_set()
    finally:
        leave.set()
        holder.join(30)
