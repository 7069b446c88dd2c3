"""A small real HTTP server that speaks OpenAI's chat completions, judges by a rule, and can misbehave on purpose."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

_ANSWERS = re.compile(
    r"\[Answer A\]\n(.*?)\n\[End of answer A\]\n\n\[Answer B\]\n(.*?)\n\[End of answer B\]", re.DOTALL
)
Rule = Callable[[str, str], str]


class JudgeServer:
    """What was asked, with which headers, and what is answered.

    Attributes:
        rule: answer A and answer B → the reply's text.
        failures: status codes to give before the first real reply.
        requests: (path, headers, body) of every request.
    """

    def __init__(self, rule: Rule) -> None:
        self.rule = rule
        self.failures: list[int] = []
        self.requests: list[tuple[str, dict[str, str], dict[str, Any]]] = []
        self.lock = threading.Lock()
        self.url = ""


@contextmanager
def serve_judge(rule: Rule) -> Iterator[JudgeServer]:
    """Serve on a free port of this machine."""
    state = JudgeServer(rule)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:  # http.server's name
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with state.lock:
                state.requests.append((self.path, dict(self.headers), body))
                status = state.failures.pop(0) if state.failures else 200
            if status != 200:
                self.send_response(status)
                self.send_header("Retry-After", "0")
                self.end_headers()
                return
            first, second = _ANSWERS.search(body["messages"][-1]["content"]).groups()
            message = {"role": "assistant", "content": state.rule(first, second)}
            reply = json.dumps({"choices": [{"index": 0, "message": message}]}).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(reply)))
            self.end_headers()
            self.wfile.write(reply)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    state.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield state
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
