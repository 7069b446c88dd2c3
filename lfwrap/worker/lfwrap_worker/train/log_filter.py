"""Copy the engine's stdout into a log, without the rows of training data that the engine prints in it.

A process of its own, so that the engine can go on writing (and save a checkpoint) when lfwrap is killed. It ends when
the last writer has closed the pipe, and by no signal that asks: a scheduler sends its own to every process, and the
engine still has a checkpoint to write.

Stands alone: ``python log_filter.py LOG [--show-example]`` with the pipe as stdin.
"""

import os
import re
import signal
import sys

LEFT_OUT = b"[lfwrap] the engine's training example is left out of this log (--show-example keeps it)\n"
_EXAMPLE = re.compile(rb"^(?:\[[^\]]*\d\]:\s?)?(?:training|eval) example:\s*$")
# The example ends where the engine's own log goes on; a decoded row of data hardly contains such a line.
_LOG_LINE = re.compile(
    rb"^(?:\[[^\]]*\d\]:\s?)?(?:\[(?:DEBUG|INFO|WARNING|ERROR|CRITICAL|RANK\d*)\|[^\]]*\d\d:\d\d:\d\d[^\]]*\]|"
    rb"\{'(?:loss|eval_loss|train_runtime|eval_runtime)':|\*{5} )"
)
_QUOTED_ROW = re.compile(
    rb"(Dropped (?:invalid|lengthy) example|Invalid role tag in|Invalid message count in|Invalid message) ?[:\[{].*"
)
_CHUNK_BYTES = 1 << 16


class ExampleFilter:
    """Passes whole lines, but for the printed example and quoted rows; unfinished lines wait for their end."""

    def __init__(self) -> None:
        """Start outside of an example, with no unfinished line."""
        self._rest = b""
        self._inside = False

    def feed(self, chunk: bytes) -> bytes:
        """The bytes to keep of what came in so far."""
        *lines, self._rest = (self._rest + chunk).split(b"\n")
        return b"".join(self._keep(line + b"\n") for line in lines)

    def finish(self) -> bytes:
        """What is kept of an unfinished last line."""
        rest, self._rest = self._rest, b""
        return self._keep(rest) if rest else b""

    def _keep(self, line: bytes) -> bytes:
        if _EXAMPLE.match(line):
            self._inside = True
            return LEFT_OUT
        if self._inside and not _LOG_LINE.match(line):
            return b""
        self._inside = False
        return _QUOTED_ROW.sub(rb"\1: (the row is left out of this log)", line)


def _write(sink: int, content: bytes) -> None:
    # A full disk must not stop the pipe: the engine would block or die for the sake of a log line.
    try:
        while content:
            content = content[os.write(sink, content) :]
    except OSError:
        return


def main(log: str, *options: str) -> None:
    """Copy stdin to the end of ``log`` until it closes."""
    for name in ("SIGINT", "SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)
    sink = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    lines = None if "--show-example" in options else ExampleFilter()
    while chunk := os.read(0, _CHUNK_BYTES):
        _write(sink, lines.feed(chunk) if lines else chunk)
    if lines:
        _write(sink, lines.finish())


if __name__ == "__main__":
    main(*sys.argv[1:])
