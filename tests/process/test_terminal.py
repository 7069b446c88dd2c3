"""A training in a real terminal: a bar, ^C, and the terminal's end."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from lfwrap.engine.child_process import run_processes
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import RunRecord, RunState, load_run, prepare_record, utc_now

# `lfwrap train` behind its preflight, with a stand-in for the engine.
SCRIPT = """
    import os, signal, sys, textwrap
    from pathlib import Path
    from lfwrap.cli import app
    from lfwrap.cli.view.following import follow_run
    from lfwrap.run.supervise.attempt import Attempt
    from lfwrap.run.launch.command import Command
    from lfwrap.engine.contract import RUN_VARIABLE
    from lfwrap.run.folder.record import load_run
    run = load_run(sys.argv[1])
    argv = (sys.executable, "-c", textwrap.dedent(sys.argv[2]), str(run.paths.output))
    command = Command(argv, run.paths.root, {RUN_VARIABLE: str(run.paths.root)})
    attempt = Attempt(command, {"do_train": True}, dict(os.environ))
    for name in ("SIGTERM", "SIGHUP"):
        signal.signal(getattr(signal, name), app._raise_terminated)
    sys.exit(follow_run(run, attempt, as_json=False, quiet=False))
"""
ENGINE = """
    import json, signal, sys, time
    from pathlib import Path
    asked = []
    signal.signal(signal.SIGTERM, lambda *_: asked.append(1))
    output = Path(sys.argv[1])
    output.mkdir()
    with (output / "trainer_log.jsonl").open("a") as log:
        for step in range(1, 1000):
            log.write(json.dumps({"current_steps": step, "total_steps": 1000, "loss": 1.0}) + "\\n")
            log.flush()
            time.sleep(0.05)
            if asked:
                break
"""


@pytest.fixture
def terminal(tmp_path: Path) -> tuple[subprocess.Popen[bytes], int, Path]:
    paths = create_run_folder(tmp_path, "r")
    prepare_record(paths, RunRecord("r", RunState.PREPARED, "r", utc_now(), "", "m", "lora", "sft", "qwen"))
    master, slave = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(SCRIPT), str(paths.root), textwrap.dedent(ENGINE)],
        stdin=slave,
        stdout=slave,
        stderr=slave,
        preexec_fn=_own_terminal,  # noqa: PLW1509 - pytest starts no threads here
    )
    os.close(slave)
    return process, master, paths.root


def _own_terminal() -> None:
    import fcntl
    import termios

    os.setsid()
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def read_until(master: int, is_enough: Callable[[str], bool]) -> str:
    shown, deadline = "", time.monotonic() + 15
    while not is_enough(shown) and time.monotonic() < deadline:
        try:
            shown += os.read(master, 4096).decode(errors="replace")
        except OSError:
            break
    return shown


def test_a_bar_shows_steps_and_loss_and_control_c_stops(terminal: tuple[subprocess.Popen[bytes], int, Path]) -> None:
    process, master, root = terminal
    shown = read_until(master, lambda text: "loss 1.0000" in text)
    assert "/1000" in shown
    os.write(master, b"\x03")
    shown = read_until(master, lambda text: "lfwrap runs resume" in text)
    assert "Stopped by SIGINT" in shown
    assert process.wait(15) == 130
    assert load_run(root).record.state is RunState.INTERRUPTED
    os.close(master)


def test_a_closed_terminal_stops_the_run_cleanly(terminal: tuple[subprocess.Popen[bytes], int, Path]) -> None:
    process, master, root = terminal
    read_until(master, lambda text: "loss 1.0000" in text)
    os.close(master)
    assert process.wait(15) == 143
    record = load_run(root).record
    assert (record.state, "SIGHUP" in record.reason) == (RunState.INTERRUPTED, True)
    assert run_processes(str(root)) == []
