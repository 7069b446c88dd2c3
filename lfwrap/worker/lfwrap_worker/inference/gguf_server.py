"""Serve a GGUF file over HTTP with xllamacpp: a worker.

``gguf_server FILE CONTEXT_TOKENS`` listens on a free port of 127.0.0.1 and writes one JSON line with its address. It
ends when its stdin does. The requests are those of llama.cpp's own server.
"""

from __future__ import annotations

import os
import sys

from lfwrap_worker.channel import failure, take_stdout, write_event
from lfwrap_worker.contract import EVENT_READY


def serve(path: str, context_tokens: str) -> None:
    """Serve until nobody listens any more."""
    channel = take_stdout()
    try:
        import xllamacpp  # an extra of lfwrap's

        parameters = xllamacpp.CommonParams()
        parameters.model.path = path
        parameters.n_ctx = int(context_tokens)
        parameters.n_parallel = 1
        parameters.warmup = False
        parameters.port = 0
        server = xllamacpp.Server(parameters)
        event = {"event": EVENT_READY, "address": server.listening_address}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        event = failure(error)
    write_event(channel, event)
    sys.stdin.read()
    os._exit(0)  # the library's own end can take seconds


def main() -> None:
    """Serve the file that the command line names."""
    serve(*sys.argv[1:])
