"""A server's life with a stand-in for the engine's worker: ready, answers, checks, and nothing left."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import psutil
import pytest
from fake_engine import runnable_engine

from lfwrap.errors import EngineError, PreflightError
from lfwrap.inference.parity import ReferenceAnswer
from lfwrap.inference.serving.serve import ServeOptions, Server, check_address, check_answers, new_key
from lfwrap.inference.target import resolve_target

ENGINE = runnable_engine()
# Answers what its environment says, behind the key, as the real worker does.
WORKER = """
import json, os, sys, threading
from http.server import BaseHTTPRequestHandler, HTTPServer
job = json.loads(sys.stdin.readline())
assert os.environ["ALLOW_LOCAL_FILES"] == "0" and "LFWRAP_API_KEY" not in os.environ
assert os.environ["API_KEY"] not in " ".join(sys.argv)
class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        allowed = self.headers["Authorization"] == "Bearer " + os.environ["API_KEY"]
        assert body["temperature"] == 0
        text = json.dumps({"choices": [{"message": {"content": os.environ["ANSWER"]}}]}).encode()
        self.send_response(200 if allowed else 401)
        self.end_headers()
        self.wfile.write(text)
    def log_message(self, *_): pass
server = HTTPServer((job["host"], job["port"]), Handler)
threading.Thread(target=server.serve_forever, daemon=True).start()
print(json.dumps({"event": "ready", "host": job["host"], "port": server.server_port, "seconds": 0.1}), flush=True)
sys.stdin.read()
"""
REFERENCE = ReferenceAnswer(
    "How?", "So it is.", (1,), (10, 11, 12), (2, 5, 9), (-0.1,) * 3,
    ({10: 0.0, 20: 3.0}, {11: 0.0, 21: 0.05}, {12: 0.0, 20: 2.0}, {99: 0.0, 20: 2.0}), stopped=True,
)  # fmt: skip


@pytest.fixture
def serve(build, facts, tmp_path, monkeypatch, fake_worker):
    target = resolve_target(str(build.adapter(tmp_path / "adapter", build.model())), facts)
    monkeypatch.setenv("LFWRAP_API_KEY", "not for the child")

    def make(answer: str = "So it is.", script: str = WORKER) -> Server:
        fake_worker("serve_api", script)
        monkeypatch.setenv("ANSWER", answer)
        return Server(ENGINE, target, ServeOptions(port=0, api_key=new_key()))

    return make


def test_a_server_answers_and_is_gone_afterwards(serve):
    with serve() as server:
        assert server.address == f"http://127.0.0.1:{server.ready['port']}/v1"
        assert server.ask("How?", 8) == "So it is."
        assert check_answers(server, [REFERENCE]) == {"passed": True, "same_answers": 1, "questions": 1}
    assert not psutil.pid_exists(server.pid)


def test_another_answer_is_an_error_with_the_first_differing_token(serve):
    with serve("No.") as server, pytest.raises(EngineError, match=r"part at token 1: 'So it is.' before, 'No.' served"):
        check_answers(server, [REFERENCE])


def test_a_near_tie_is_rounding(serve):
    with serve("So he is.") as server:
        assert check_answers(server, [REFERENCE])["same_answers"] == 0


def test_a_server_that_can_not_load_says_why(serve):
    script = 'import sys\nsys.stdin.readline()\nprint(\'{"event": "error", "message": "OSError: port taken"}\')'
    with pytest.raises(EngineError, match="port taken"), serve(script=script):
        pass


def test_a_server_that_ends_by_itself_is_told(serve):
    script = WORKER.replace("sys.stdin.read()", "sys.exit('CUDA error')")
    with serve(script=script) as server, pytest.raises(EngineError, match="CUDA error"):
        next(server.requests())


def test_the_key_is_in_no_text():
    options = ServeOptions(api_key="sekrit")
    assert "sekrit" not in repr(options)
    assert new_key() != new_key()


@pytest.mark.parametrize(
    ("host", "local"),
    [
        ("127.0.0.1", True),
        ("localhost", True),
        ("::1", True),
        ("10.0.0.5", False),
        ("192.168.1.5", False),
        ("gpu1", False),
    ],
)
def test_addresses_that_others_reach_are_known(host, local):
    assert ServeOptions(host=host).is_local is local


def test_the_engine_s_python_comes_first_on_the_path(serve):
    """SGLang's server is started as `python3`."""
    script = WORKER.replace('"seconds": 0.1', '"seconds": 0.1, "path": os.environ["PATH"]')
    with serve(script=script) as server:
        assert server.ready["path"].startswith(f"{Path(sys.executable).parent}:")


def test_an_address_that_is_taken_is_refused_before_a_model_is_loaded():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(PreflightError, match=f"127.0.0.1, port {port}: another program") as caught:
            check_address(ServeOptions(port=port))
    assert "--port 0" in caught.value.hint
    check_address(ServeOptions(port=port))
    check_address(ServeOptions(port=0))


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(PreflightError, match=r"192\.0\.2\.1, port 0: "):
        check_address(ServeOptions(host="192.0.2.1", port=0))
