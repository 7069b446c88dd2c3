"""Commands and servers of the engine's as real children: their output, their failures, nothing left of them."""

from __future__ import annotations

import os
import socket
import sys
import time
from pathlib import Path

import psutil
import pytest

from lfwrap.engine.arguments import ALL_ADDRESSES, free_port
from lfwrap.engine.commands import captured_output, import_problem, run_logged, run_shown
from lfwrap.engine.failure import FailureText
from lfwrap.engine.server_process import ServerProcess
from lfwrap.errors import EngineError, PreflightError

PYTHON = Path(sys.executable)


def _code(text: str) -> list[str]:
    return [sys.executable, "-c", text]


def _is_gone(pid: int) -> bool:
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.05)
    return False


def test_a_command_with_a_log_leaves_its_output_and_no_process(tmp_path):
    code = "import os, subprocess, sys; print(os.getcwd()); subprocess.Popen(['sleep', '60']); print(os.environ['X'])"
    run_logged(_code(code), tmp_path, environment={**os.environ, "X": "狗", "PYTHONUTF8": "1"}, what="it")
    assert (tmp_path / "stdout.log").read_text().splitlines() == [str(tmp_path), "狗"]
    assert not [one for one in psutil.process_iter() if _has_marker(one, str(tmp_path))]


def _has_marker(process: psutil.Process, marker: str) -> bool:
    try:
        return process.environ().get("LFWRAP_RUN") == marker
    except (psutil.Error, OSError):
        return False


def test_a_command_that_fails_is_told_with_its_last_words(tmp_path):
    with pytest.raises(EngineError, match="the converter ended with exit code 3: no such model"):
        run_logged(
            _code("import sys; print('no such model', file=sys.stderr); sys.exit(3)"),
            tmp_path,
            environment=os.environ,
            what="the converter",
        )


def test_a_shown_command_writes_on_our_stderr(capfd):
    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(5)"
    assert run_shown(_code(code), environment=os.environ) == 5
    shown = capfd.readouterr()
    assert (shown.out, sorted(shown.err.split())) == ("", ["err", "out"])


def test_captured_output_is_bytes_as_they_came():
    code = "import os; os.write(1, b'\\xff\\n' * 70000)"
    assert captured_output(_code(code), environment=os.environ, timeout_s=30, what="it") == b"\xff\n" * 70000


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit('no')", "it ended with exit code 1: no"),
        ("import time; time.sleep(60)", "no answer within 0.5 s"),
    ],
)
def test_captured_output_that_does_not_come(code, words):
    with pytest.raises(EngineError, match=words):
        captured_output(_code(code), environment=os.environ, timeout_s=0.5 if "sleep" in code else 30, what="it")


def test_modules_that_can_not_be_imported_say_why():
    assert import_problem(PYTHON, ("json", "os.path"), environment=os.environ, timeout_s=30) is None
    problem = import_problem(PYTHON, ("json", "no_such.module"), environment=os.environ, timeout_s=30)
    assert problem == "ModuleNotFoundError: No module named 'no_such'"
    with pytest.raises(PreflightError, match="can't be started"):
        import_problem(Path("/no/such/python"), ("json",), environment=os.environ, timeout_s=30)


SERVES = """
import http.server, sys, subprocess
print("loading", file=sys.stderr, flush=True)
subprocess.Popen(["sleep", "61"])
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.BaseHTTPRequestHandler).serve_forever()
"""


def _answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def test_a_server_is_up_until_it_is_left():
    port = free_port()
    with ServerProcess([*_code(SERVES), str(port)], environment=os.environ) as server:
        server.wait_until(lambda: _answers(port), limit_s=30, poll_s=0.05)
        children = psutil.Process(server.pid).children()
    assert not _answers(port)
    assert all(_is_gone(child.pid) for child in children)
    assert children


@pytest.mark.parametrize(
    ("code", "words"),
    [
        ("raise SystemExit('bad file')", "the server ended with exit code 1: bad file"),
        ("import time; time.sleep(60)", "the server: no answer within 0.5 s"),
    ],
)
def test_a_server_that_does_not_come_up(code, words):
    text = FailureText("the server", hint="Look.")
    with ServerProcess(_code(code), environment=os.environ, text=text) as server:
        with pytest.raises(EngineError, match=words) as caught:
            server.wait_until(lambda: False, limit_s=0.5 if "sleep" in code else 30, poll_s=0.05)
        assert caught.value.hint == "Look."


def test_a_server_that_fails_later_is_told_and_one_that_ends_well_is_not():
    with ServerProcess(_code("pass"), environment=os.environ) as server:
        server.wait()
    failing = ServerProcess(_code("raise SystemExit('gone')"), environment=os.environ)
    with failing, pytest.raises(EngineError, match=r"python[\d.]* ended with exit code 1: gone"):
        failing.wait()


@pytest.mark.parametrize("host", ["127.0.0.1", ALL_ADDRESSES])
def test_a_free_port_can_be_listened_on(host):
    port = free_port(host)
    with socket.create_server((host, port)):
        assert 0 < port < 65536
