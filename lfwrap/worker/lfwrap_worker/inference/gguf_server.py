"""Serve a GGUF file over HTTP with xllamacpp; run by the engine's Python, not imported.

``gguf_server.py FILE CONTEXT_TOKENS`` listens on a free port of 127.0.0.1 and writes one JSON line with its address. It
ends when its stdin does. The requests are those of llama.cpp's own server.
"""

from __future__ import annotations

import json
import os
import sys

from answer import take_stdout  # type: ignore[import-not-found]  # beside this script


def main(path: str, context_tokens: str) -> int:
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
        event = {"event": "ready", "address": server.listening_address}
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        event = {"event": "error", "message": f"{type(error).__name__}: {error}", "fatal": True}
    channel.write(json.dumps(event) + "\n")
    channel.flush()
    sys.stdin.read()
    os._exit(0)  # the library's own end can take seconds


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
