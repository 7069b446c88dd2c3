"""`lfwrap --debug`: child processes on stderr, stdout untouched, silent without it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

MASKED = "hf_verymasked"
TORCH = '{"event": "done", "error": "ImportError: no torch"}'


@pytest.fixture
def doctor(tmp_path):
    """doctor(*options, **variables): `lfwrap OPTIONS doctor --json` with a stand-in for the engine's Python."""
    python = tmp_path / "python"
    python.write_text(
        f"#!{sys.executable}\nimport sys\n"
        f"print('[\"/nowhere/llamafactory\", \"0.9.5\"]' if '-c' in sys.argv else {TORCH!r})\n"
    )
    python.chmod(0o755)
    (tmp_path / "llamafactory-cli").write_text("")

    def run(*options: str, **variables: str) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "LFWRAP_ENGINE_PYTHON": str(python), "HF_TOKEN": MASKED, "HF_HUB_OFFLINE": "1"}
        environment.pop("LFWRAP_DEBUG", None)
        command = [sys.executable, "-m", "lfwrap", *options, "doctor", "--json"]
        return subprocess.run(
            command, capture_output=True, text=True, check=False, env=environment | variables, cwd=tmp_path
        )

    return run


def test_it_is_silent_without_the_flag(doctor):
    assert doctor().stderr == doctor(LFWRAP_DEBUG="0").stderr == doctor(LFWRAP_DEBUG="").stderr == ""


@pytest.mark.parametrize(
    ("options", "variables"),
    [(["--debug"], {}), ([], {"LFWRAP_DEBUG": "1"}), ([], {"LFWRAP_DEBUG": "yes"}), ([], {"LFWRAP_DEBUG": "2"})],
)
def test_children_are_shown_and_stdout_stays_one_json_value(doctor, options, variables, tmp_path):
    done = doctor(*options, **variables)
    assert json.loads(done.stdout)
    assert f"starts: {tmp_path / 'python'} " in done.stderr
    assert "torch_facts" in done.stderr
    assert "TOKENIZERS_PARALLELISM=false" in done.stderr
    assert "ended with exit code 0 after " in done.stderr
    assert MASKED not in done.stderr


def test_a_command_that_fails_fails_as_it_does_without(doctor):
    plain, debugged = doctor(PATH=""), doctor("--debug", PATH="")
    assert (plain.returncode, json.loads(plain.stdout).keys()) == (
        debugged.returncode,
        json.loads(debugged.stdout).keys(),
    )


def test_help_does_not_load_it():
    code = "import sys; from lfwrap.cli.app import run; run(['--help']); sys.exit('lfwrap.debug' in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True, capture_output=True)


def test_decisions_are_shown(tmp_path):
    recipe = Path(__file__).parents[2] / "recipes" / "paper.yaml"
    command = [sys.executable, "-m", "lfwrap", "--debug", "train", str(recipe), "--dry-run", "--hardware", "rtx-4090"]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert "lfwrap.strategy: from the plan: " in done.stderr
    assert "lfwrap.strategy: " not in done.stdout
