"""How a worker hears from lfwrap and answers: JSON lines on stdin and stdout, whatever the engine prints on stderr."""

from __future__ import annotations

import json
import os
import queue
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import IO, Any

from lfwrap_worker.contract import EVENT_ERROR


def take_stdout() -> IO[str]:
    """The real stdout as the channel for events; file descriptor 1 becomes a second stderr."""
    channel = os.fdopen(os.dup(1), "w", encoding="utf-8", buffering=1)
    os.dup2(2, 1)
    return channel


def read_requests(source: IO[str]) -> Iterator[Any]:
    """Requests as they come, as plain values; the process ends when the other side closes."""
    waiting: queue.Queue[str] = queue.Queue()

    def pump() -> None:
        """Put each line into the queue; at the end of the source, which is lfwrap's, end this process."""
        for line in source:
            waiting.put(line)
        os._exit(0)

    threading.Thread(target=pump, daemon=True).start()
    while True:
        yield json.loads(waiting.get())


def write_event(channel: IO[str], event: Mapping[str, Any]) -> None:
    """Send one event at once."""
    channel.write(json.dumps(event, ensure_ascii=False) + "\n")
    channel.flush()


def failure(error: Exception, *, is_fatal: bool = True) -> dict[str, Any]:
    """The event that says what went wrong; after a fatal one the worker ends."""
    return {"event": EVENT_ERROR, "message": f"{type(error).__name__}: {error}", "fatal": is_fatal}


def run_job(work: Callable[[Iterator[Any]], Mapping[str, Any]]) -> int:
    """Do one job and answer with its event, or with what went wrong; returns the exit code, 0.

    Args:
        work: takes the requests as they come and gives the event.
    """
    channel = take_stdout()
    try:
        event: Mapping[str, Any] = work(read_requests(sys.stdin))
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        event = failure(error)
    with channel:
        write_event(channel, event)
    return 0
