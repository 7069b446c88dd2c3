"""Diagnoses of faults that torch, the hub's library and the engine really raise, in their own words of today."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap.engine.diagnose import diagnose

pytestmark = [pytest.mark.engine, pytest.mark.timeout(200)]

EXPECTED = {
    "late": {"collective-timeout"},
    "peer": {"collective-timeout"},
    "gpu": {"no-driver", "no-gpu", "cuda-mismatch"},  # as torch was built; nothing is raised where there is a GPU
    "library": {"cuda-mismatch"},
    "gated": {"gated-model"},
    "offline": {"hub-unreachable"},
    "turns": {"template-error"},
    "template": {"unknown-template"},
    "json": {"data-unreadable"},
    "memory": {"cpu-out-of-memory"},
    "disk": {"disk-full"},
}


@pytest.fixture(scope="module")
def raised() -> dict[str, str]:
    """Fault → traceback, all provoked in one process of the engine's Python."""
    pytest.importorskip("transformers", reason="the engine is not installed")
    script = Path(__file__).with_name("provoke_faults.py")
    done = subprocess.run([sys.executable, str(script)], capture_output=True, text=True, check=False, timeout=180)
    assert done.returncode == 0, done.stderr
    found: dict[str, str] = json.loads(done.stdout)
    return found


@pytest.mark.parametrize("fault", EXPECTED)
def test_a_real_fault_is_told_with_its_remedy(raised: dict[str, str], fault: str) -> None:
    if fault == "gpu" and fault not in raised:
        pytest.skip("there is a GPU here")
    found = diagnose([raised[fault]], 1)
    assert found.rule in EXPECTED[fault], raised[fault]
    assert found.evidence
    assert found.remedy
