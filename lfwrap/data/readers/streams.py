"""Sources that can be read only once: standard input, named pipes, what ``<(command)`` gives; and their copies."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

from lfwrap.errors import UsageError

STDIN = "-"
_COPIED_BYTES = 1 << 20


def is_stream(name: str) -> bool:
    """Whether a source is standard input (``-``), a pipe or a device, which can't be read twice.

    >>> is_stream("-"), is_stream(__file__)
    (True, False)
    """
    if name == STDIN:
        return True
    try:
        mode = Path(name).stat().st_mode
    except OSError:
        return False
    return stat.S_ISFIFO(mode) or stat.S_ISCHR(mode) or stat.S_ISSOCK(mode)


def spool(name: str, scratch: Path) -> Path:
    """A copy of all that a stream gives, in the scratch folder.

    Raises:
        UsageError: standard input is a terminal, where nobody sends data.
        OSError: the stream can't be read.
    """
    import shutil
    import tempfile

    if (name == STDIN and sys.stdin.isatty()) or _is_terminal(name):
        raise UsageError(f"{name}: this is a terminal", hint="Pipe the data in: COMMAND | lfwrap prepare-data - …")
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="stream.", delete=False) as sink:
        if name == STDIN:
            shutil.copyfileobj(sys.stdin.buffer, sink, _COPIED_BYTES)
        else:
            with Path(name).open("rb") as source:
                shutil.copyfileobj(source, sink, _COPIED_BYTES)
    return Path(sink.name)


def _is_terminal(name: str) -> bool:
    if not Path(name).is_char_device():
        return False
    with Path(name).open("rb") as source:
        return source.isatty()
