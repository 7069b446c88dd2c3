"""What one training process leaves in its attempt's folder: its own logs, a heartbeat, stacks on request, its error.

A variable names the folder; files stand under ``ranks/<RANK>``. Used by `train_engine` in every rank.
"""

import faulthandler
import json
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap_worker import contract

_FILTER = Path(__file__).resolve().parent / "log_filter.py"
_ERROR_BYTES = 16 << 10
_TRACEBACK_BYTES = 6 << 10  # JSON may need twice as many
_MESSAGE_BYTES = 1 << 10
_BEAT_EVERY_S = 1.0
_HEALTH_BYTES = 1 << 20
# What lfwrap looks for in a process's environment to find the run's processes; the log's writer ends by itself.
_MARKS = (contract.RUN_VARIABLE, "RANK", "LOCAL_RANK")


class RankFolder:
    """``ranks/<RANK>`` of an attempt."""

    def __init__(self, root: Path) -> None:
        """Make the folder, and room for an error even when the disk is full by then."""
        root.mkdir(parents=True, exist_ok=True)
        self._root = root
        self._beaten_s = 0.0
        self._failed: set[str] = set()
        (root / contract.RANK_ERROR).write_bytes(b" " * _ERROR_BYTES)

    def split_output(self) -> None:
        """Send this process's stdout and stderr into files of its own, the printed training example left out."""
        stderr = os.open(self._root / contract.RANK_STDERR, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        os.dup2(stderr, 2)
        os.close(stderr)
        options = ["--show-example"] if os.environ.get(contract.SHOW_EXAMPLE_VARIABLE) else []
        reader, writer = os.pipe()
        subprocess.Popen(
            [sys.executable, "-I", "-S", str(_FILTER), str(self._root / contract.RANK_STDOUT), *options],
            stdin=reader,
            stdout=subprocess.DEVNULL,
            env={name: value for name, value in os.environ.items() if name not in _MARKS},
            start_new_session=True,
        )
        os.close(reader)
        os.dup2(writer, 1)
        os.close(writer)

    def listen_for_stacks(self) -> None:
        """On SIGUSR2, write the stacks of all threads; done in C, so that it also works while the GIL is held."""
        if hasattr(signal, "SIGUSR2"):
            sink = (self._root / contract.RANK_STACKS).open("ab", buffering=0)
            faulthandler.register(signal.SIGUSR2, file=sink, all_threads=True)

    def beat(self) -> None:
        """Say that the training goes on; at most once a second."""
        now_s = time.monotonic()
        if now_s - self._beaten_s >= _BEAT_EVERY_S:
            self._beaten_s = now_s
            (self._root / contract.RANK_HEARTBEAT).touch()

    def write_json(self, name: str, value: Mapping[str, Any]) -> None:
        """Leave a fact for lfwrap; a full disk is no reason to stop."""
        try:
            (self._root / name).write_text(json.dumps(value), encoding="utf-8")
        except OSError as error:
            print(f"[lfwrap] {name}: {error}", file=sys.stderr)

    def add_line(self, name: str, value: Mapping[str, Any]) -> None:
        """Add a line to a file that lfwrap reads as it grows; past a megabyte, the file begins anew."""
        path = self._root / name
        try:
            is_long = path.exists() and path.stat().st_size > _HEALTH_BYTES
            with path.open("w" if is_long else "a", encoding="utf-8") as sink:
                sink.write(json.dumps(value) + "\n")
        except OSError as error:
            if name not in self._failed:  # once: the disk may stay full for long
                self._failed.add(name)
                print(f"[lfwrap] {name}: {error}", file=sys.stderr)

    def end(self, error: BaseException | None = None) -> None:
        """Write down why this process fails, with the time; without an error, take the room for one back."""
        path = self._root / contract.RANK_ERROR
        if error is None:
            path.unlink(missing_ok=True)
            return
        text = "".join(traceback.format_exception(error)).encode(errors="replace")[-_TRACEBACK_BYTES:]
        message = f"{type(error).__name__}: {error}".encode(errors="replace")[:_MESSAGE_BYTES]
        told: contract.RankFailure = {
            "time_s": time.time(),
            "error": message.decode(errors="ignore"),
            "text": text.decode(errors="ignore"),
        }
        with path.open("r+b") as sink:  # in place: the room is there already
            sink.write(json.dumps(told, ensure_ascii=False).encode())
            sink.truncate()


def open_rank_folder() -> RankFolder | None:
    """The folder of this process; None when lfwrap did not start the training."""
    attempt = os.environ.get(contract.ATTEMPT_VARIABLE)
    if not attempt:
        return None
    folder = RankFolder(Path(attempt) / contract.RANKS_FOLDER / os.environ.get("RANK", "0"))
    if "RANK" in os.environ:
        folder.split_output()
    folder.listen_for_stacks()
    return folder
