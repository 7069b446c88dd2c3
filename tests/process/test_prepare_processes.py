"""prepare-data as a process: killed at any time, two at once, a full disk."""

import contextlib
import json
import os
import resource
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest

from lfwrap import files
from lfwrap.data.output.registry import LOCK_NAME
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request

COMMAND = [sys.executable, "-m", "lfwrap", "prepare-data", "--no-engine-check"]


def write_rows(path: Path, count: int, label: str) -> Path:
    with path.open("w", encoding="utf-8") as sink:
        for n in range(count):
            sink.write(json.dumps({"instruction": f"{label} {n}", "input": "", "output": "a" * 300}) + "\n")
    return path


def start(source: Path, out: Path, *options: str) -> subprocess.Popen[str]:
    command = [*COMMAND, str(source), "--out", str(out), "--name", "x", *options]
    return subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def workers_of(pid: int) -> list[int]:
    import psutil

    with contextlib.suppress(psutil.NoSuchProcess):
        return [child.pid for child in psutil.Process(pid).children(recursive=True)]
    return []


@pytest.mark.parametrize("delay_s", [0.15, 0.3, 0.4, 0.5, 0.7])
def test_a_kill_leaves_the_old_files_or_the_new_and_no_process(tmp_path: Path, delay_s: float) -> None:
    out = tmp_path / "out"
    old, new = write_rows(tmp_path / "old.jsonl", 100, "old"), write_rows(tmp_path / "new.jsonl", 60_000, "new")
    prepare(Request((str(old),), out, "x"))
    child = start(new, out, "--force", "--jobs", "2")
    time.sleep(delay_s)
    workers = workers_of(child.pid)
    child.kill()
    child.communicate()
    assert len((out / "x.jsonl").read_bytes().splitlines()) in {100, 60_000}
    for line in ((out / "x.jsonl").read_bytes().splitlines()[0], (out / "x.jsonl").read_bytes().splitlines()[-1]):
        json.loads(line)
    assert "x" in json.loads((out / "dataset_info.json").read_text())
    deadline = time.monotonic() + 5
    while any(is_running(pid) for pid in workers) and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not any(is_running(pid) for pid in workers)
    prepare(Request((str(old),), out, "y"))  # the next run clears away what the killed one left
    assert not list(out.glob(".lfwrap-staging-*"))
    rows = len((out / "x.jsonl").read_bytes().splitlines())
    assert json.loads((out / "x.report.json").read_text())["rows_out"] == rows


KILL_AT_EVERY_STEP = """
    import itertools, os, signal, sys
    from pathlib import Path
    from lfwrap.data.prepare import Request, prepare
    from lfwrap.data.output.split import ValSize

    STEPS = ("open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.chmod", "os.truncate")
    old, new, folder = sys.argv[1:]

    def replace_all(out, last_step):
        # The hook is called before a step is taken in the data folder; it does not go away, so each child has its own.
        steps = itertools.count(1)
        def look(event, arguments):
            if event in STEPS and str(out) in str(arguments[0]) and not str(arguments[0]).endswith(".lock"):
                if next(steps) == last_step:
                    os.kill(os.getpid(), signal.SIGKILL)
        sys.addaudithook(look)
        prepare(Request((new,), out, "x", val_size=ValSize(count=2), force=True))

    for step in range(1, 200):
        out = Path(folder) / str(step)
        prepare(Request((old,), out, "x"))
        child = os.fork()
        if not child:
            replace_all(out, step)
            os._exit(0)
        if os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0:
            break
"""


def test_a_kill_at_every_step_leaves_the_old_files_or_the_new(tmp_path: Path) -> None:
    """Before each time that a file of the data folder is opened, renamed or removed, until none is left."""
    old, new = write_rows(tmp_path / "old.jsonl", 5, "old"), write_rows(tmp_path / "new.jsonl", 9, "new")
    (tmp_path / "outs").mkdir()
    script = textwrap.dedent(KILL_AT_EVERY_STEP)
    subprocess.run([sys.executable, "-c", script, str(old), str(new), str(tmp_path / "outs")], check=True)
    outs = sorted((tmp_path / "outs").iterdir(), key=lambda out: int(out.name))
    assert 10 < len(outs) < 199
    found = []
    for out in outs:
        assert len((out / "x.jsonl").read_bytes().splitlines()) in {5, 7}, out.name
        assert "x" in json.loads((out / "dataset_info.json").read_text()), out.name
        prepare(Request((str(old),), out, "y"))  # finishes or clears away what was left
        rows, report = (out / "x.jsonl").read_bytes().splitlines(), json.loads((out / "x.report.json").read_text())
        found.append((len(rows), report["train_rows"], *sorted(json.loads((out / "dataset_info.json").read_text()))))
        assert not list(out.glob(".lfwrap-staging-*"))
    assert set(found) == {(5, 5, "x", "y"), (7, 7, "x", "x_val", "y")}
    assert found == sorted(found)  # from some step on it is the new one, always


def is_running(pid: int) -> bool:
    import psutil

    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_an_interrupted_commit_is_finished_by_the_next_run(tmp_path: Path) -> None:
    out = tmp_path / "out"
    source = write_rows(tmp_path / "a.jsonl", 3, "a")
    prepare(Request((str(source),), out, "x"))
    folder = out / ".lfwrap-staging-999999999-abc"  # a process id that none has
    folder.mkdir()
    (folder / "x.jsonl").write_text("new\n")
    plan = {"names": ["x.jsonl", "x.report.json"], "removed": [], "entries": {"z": {"file_name": "z.jsonl"}}}
    (folder / "commit.json").write_text(json.dumps(plan))
    prepare(Request((str(source),), out, "y"))
    assert (out / "x.jsonl").read_text() == "new\n"
    assert sorted(json.loads((out / "dataset_info.json").read_text())) == ["x", "y", "z"]


def test_several_at_once_lose_no_entry(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", 200, "a")
    out = tmp_path / "out"
    names = [f"set{n}" for n in range(6)]
    children = [
        subprocess.Popen(
            [*COMMAND, str(source), "--out", str(out), "--name", name, "--val-size", "5"],
            stderr=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        for name in names
    ]
    for child in children:
        _, errors = child.communicate()
        assert child.returncode == 0, errors
    entries = json.loads((out / "dataset_info.json").read_text())
    assert sorted(entries) == sorted([*names, *(f"{name}_val" for name in names)])


def test_a_full_disk_is_said_and_changes_nothing(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", 20_000, "a")
    out = tmp_path / "out"
    command = [*COMMAND, str(source), "--out", str(out), "--name", "x"]
    limit = 1 << 20
    child = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)),
    )
    assert child.returncode == 6
    assert "nothing was changed" in child.stderr
    assert "Free some disk space" in child.stderr
    assert not [file for file in out.iterdir() if file.name != ".dataset_info.lock"]


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM"])
def test_a_signal_ends_it_cleanly(tmp_path: Path, name: str) -> None:
    out = tmp_path / "out"
    source = write_rows(tmp_path / "a.jsonl", 60_000, "a")
    with files.locked(out / LOCK_NAME):  # it can't finish before the signal
        child = start(source, out, "--jobs", "2")
        assert child.stderr is not None
        assert "detected: alpaca" in child.stderr.readline()
        time.sleep(0.3)
        os.kill(child.pid, getattr(signal, name))
        child.communicate(timeout=20)
    assert child.returncode in {130, 143}
    assert not (out / "x.jsonl").exists()
    assert not list(out.glob(".lfwrap-staging-*"))


def test_an_interrupt_while_workers_start_leaves_none_waiting(tmp_path: Path) -> None:
    """The pool does not know a worker that was just started: it must end by itself."""
    source = write_rows(tmp_path / "a.jsonl", 60_000, "a")
    script = """
        import sys
        from lfwrap.cli.app import run
        from lfwrap.data.workers import pool
        start = pool.start
        def start_and_interrupt(*arguments):
            start(*arguments)
            raise KeyboardInterrupt
        pool.start = start_and_interrupt
        sys.exit(run(sys.argv[1:]))
    """
    arguments = ["prepare-data", str(source), "--out", str(tmp_path / "out"), "--name", "x", "--jobs", "2"]
    command = [sys.executable, "-c", textwrap.dedent(script), *arguments, "--no-engine-check"]
    assert subprocess.run(command, check=False, capture_output=True, timeout=20).returncode == 130
