"""What --debug shows, and that nothing is shown, or costs anything, without it."""

from __future__ import annotations

import logging
import subprocess
import sys

import pytest

from lfwrap import debug
from lfwrap.engine.commands import captured_output, run_logged, run_shown
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.server_process import ServerProcess
from lfwrap.engine.worker_process import run_worker

MASKED = "hf_verymasked"
PRINTS = 'print(\'{"event": "done"}\')'


@pytest.fixture(autouse=True)
def _silent_afterwards():
    yield
    debug.hide()


def _run_all(tmp_path, *, code: str = PRINTS) -> None:
    """A child of every kind, each with a secret in its environment and on its command line."""
    environment = engine_environment(
        model_is_local=True,
        runs_model=False,
        added={"HF_TOKEN": MASKED, "ADDED": "yes", "HTTPS_PROXY": f"http://me:{MASKED}@proxy:80"},
        without=("PWD",),
    )
    python = tmp_path / "python"
    python.write_text(f"#!{sys.executable}\n{code}\n")
    python.chmod(0o755)
    secrets = [f"hf_hub_token={MASKED}", "--api-key", MASKED]
    run_worker(python, "encode", {"token": MASKED}, arguments=secrets, environment=environment)
    run_logged([str(python), *secrets], tmp_path, environment=environment, what="a command")
    run_shown([str(python), *secrets], environment=environment)
    captured_output([str(python), *secrets], environment=environment, timeout_s=20, what="a command")
    with ServerProcess([str(python), *secrets], environment=environment) as server:
        server.wait()


def test_nothing_is_written_without_it(tmp_path, capfd):
    _run_all(tmp_path, code=f"import sys\nif 'encode' in str(sys.argv): {PRINTS}")
    assert capfd.readouterr() == ("", "")


def test_children_are_shown_with_their_ends_and_without_secrets(tmp_path, capsys):
    debug.show()
    _run_all(tmp_path)
    text = capsys.readouterr().err
    lines = [line for line in text.splitlines() if line.startswith("lfwrap.engine: ")]
    assert sum(f"{tmp_path / 'python'} " in line and " starts: " in line for line in lines) == 5
    assert any(line.startswith(f"lfwrap.engine: starts: {tmp_path / 'python'} ") for line in lines)
    assert sum("ended with exit code 0 after " in line for line in lines) >= 5
    assert "ADDED=yes" in text
    assert "HF_TOKEN=***" in text
    assert "HTTPS_PROXY=http://***@proxy:80" in text
    assert "hf_hub_token=***" in text.replace("'", "")
    assert MASKED not in text


def test_a_program_that_uses_lfwrap_decides_by_itself(caplog):
    debug.note("strategy", "silent %s", 1)
    with caplog.at_level(logging.DEBUG, logger="lfwrap"):
        assert debug.is_shown("strategy")
        debug.note("strategy", "the lock of %s is used", "rtx-4090")
    assert [(record.name, record.getMessage()) for record in caplog.records] == [
        ("lfwrap.strategy", "the lock of rtx-4090 is used")
    ]


def test_logging_is_not_imported_for_nothing():
    code = "import sys, lfwrap.debug as debug; debug.note('engine', 'x'); sys.exit('logging' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
