"""Child processes that serve their parent: how they start and end, and the messages between them.

They end by themselves: a child whose parent is gone, however it went, finds its messages ended.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable
from typing import NamedTuple, NoReturn, Protocol

_LENGTH_BYTES = 8


class Channel(Protocol):
    """Messages to and from another process; a connection of `multiprocessing` is one, too."""

    def send_bytes(self, content: bytes, /) -> None:
        """Send a message. Raises OSError when the other process is gone."""

    def recv_bytes(self) -> bytes:
        """The next message. Raises EOFError or OSError when the other process is gone."""

    def fileno(self) -> int:
        """What to wait for messages at."""

    def close(self) -> None:
        """Say that no more messages will come."""


class Child(Protocol):
    """A child process; one of `multiprocessing` is one, too."""

    def kill(self) -> None:
        """End it at once."""

    def join(self) -> None:
        """Wait for its end."""


class PipeChannel:
    """A channel over two pipes: messages with their lengths before them."""

    def __init__(self, read_descriptor: int, write_descriptor: int) -> None:
        self._source = read_descriptor
        self._sink = write_descriptor

    def send_bytes(self, content: bytes, /) -> None:
        """Send a message. Raises OSError when the other process is gone."""
        rest = memoryview(len(content).to_bytes(_LENGTH_BYTES, "little") + content)
        while rest:
            rest = rest[os.write(self._sink, rest) :]

    def recv_bytes(self) -> bytes:
        """The next message. Raises EOFError when the other process is gone."""
        return self._read(int.from_bytes(self._read(_LENGTH_BYTES), "little"))

    def _read(self, size: int) -> bytes:
        pieces = []
        while size:
            piece = os.read(self._source, size)
            if not piece:
                raise EOFError
            pieces.append(piece)
            size -= len(piece)
        return b"".join(pieces)

    def fileno(self) -> int:
        """What to wait for messages at."""
        return self._source

    def close(self) -> None:
        """Say that no more messages will come."""
        os.close(self._source)
        os.close(self._sink)


class ForkedChild(NamedTuple):
    """A child process that was forked, by its process id."""

    pid: int

    def kill(self) -> None:
        """End it at once."""
        os.kill(self.pid, signal.SIGKILL)

    def join(self) -> None:
        """Wait for its end."""
        os.waitpid(self.pid, 0)


def start(method: str, serve: Callable[[Channel], None], strangers: Iterable[Channel]) -> tuple[Child, Channel]:
    """Start a process that serves a channel until it ends, and keep the channel's other end.

    Args:
        method: ``fork``, which takes no time, or a start method of `multiprocessing`.
        serve: what the process does; unless it is forked, it is pickled.
        strangers: channels to other children, which this one must not hold open.
    """
    return _fork(serve, strangers) if method == "fork" else _spawn(method, serve)


def quickest_method() -> str:
    """The quickest start method that is safe: elsewhere than on Linux, libraries of the system dislike forks."""
    return "fork" if sys.platform == "linux" else "spawn"


def _fork(serve: Callable[[Channel], None], strangers: Iterable[Channel]) -> tuple[Child, Channel]:
    child_source, parent_sink = os.pipe()
    parent_source, child_sink = os.pipe()
    # A signal that came to the child here would unwind the parent's work in it.
    held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT, signal.SIGTERM, signal.SIGHUP})
    try:
        pid = os.fork()
        if not pid:
            foreign = [PipeChannel(parent_source, parent_sink), *strangers]
            _serve_forked(serve, PipeChannel(child_source, child_sink), foreign, held)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
    os.close(child_source)
    os.close(child_sink)
    return ForkedChild(pid), PipeChannel(parent_source, parent_sink)


def _serve_forked(
    serve: Callable[[Channel], None], channel: Channel, foreign: Iterable[Channel], held: Iterable[int]
) -> NoReturn:
    """Never returns: what the parent clears away at its end is not the child's."""
    code = 1
    try:
        for other in foreign:
            other.close()
        _leave_signals_to_the_parent()
        signal.pthread_sigmask(signal.SIG_SETMASK, held)
        serve(channel)
        code = 0
    finally:
        os._exit(code)


def _spawn(method: str, serve: Callable[[Channel], None]) -> tuple[Child, Channel]:
    import multiprocessing

    context = multiprocessing.get_context(method)
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve_spawned, args=(serve, theirs), daemon=True)  # type: ignore[attr-defined]
    process.start()
    theirs.close()
    return process, ours


def _serve_spawned(serve: Callable[[Channel], None], channel: Channel) -> None:
    _leave_signals_to_the_parent()
    serve(channel)


def _leave_signals_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    for name in ("SIGTERM", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)
