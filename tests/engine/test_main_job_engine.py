"""The README's main job on the real small model, word for word in a fresh folder: the answers come from the data."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from main_job import commands

from lfwrap.bundled import bundled_path

# 72 updates on a CPU: a quarter of an hour on two free cores, so only when it is asked for.
pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(3600),
    pytest.mark.skipif(not os.environ.get("LFWRAP_MAIN_JOB"), reason="LFWRAP_MAIN_JOB=1 runs the README's main job"),
]
# A conversation and a server wait for somebody; the last training is for a GPU.
LEFT_OUT = {"chat", "serve"}


def lfwrap(words: list[str], cwd: Path, environment: dict[str, str]) -> str:
    command = [sys.executable, "-m", "lfwrap", *words]
    done = subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=3000, check=False)
    assert done.returncode == 0, (words, done.stderr[-3000:])
    return done.stdout + done.stderr


def test_the_main_job_ends_with_answers_that_come_from_the_data(smollm2, tmp_path):
    (tmp_path / "data").symlink_to(bundled_path("data"))
    environment = {**os.environ, "MODEL_PATH": str(smollm2)}
    said: dict[str, str] = {}
    for words in commands("README.md"):
        if words[0] in LEFT_OUT or any("7B" in word for word in words):
            continue
        said[words[0]] = lfwrap(words, tmp_path, environment)
    assert "verdict: learned" in said["train"]
    report = json.loads(next((tmp_path / "comparisons").glob("*/report.json")).read_bytes())
    answers = [{name: given["text"] for name, given in row["answers"].items()} for row in report["rows"]]
    assert len(answers) == 8
    signed = [[text.rstrip().endswith("— Harbour Desk") for text in row.values()] for row in answers]
    assert sum(base for base, _ in signed) == 0
    assert sum(tuned for _, tuned in signed) >= 6
    assert (tmp_path / "my/model/model.safetensors").is_file()
