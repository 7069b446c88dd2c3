"""What the doctor finds out, tried on stand-ins."""

from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from lfwrap.doctor import machine_facts
from lfwrap.doctor.machine_facts import probe_machine, probe_torch


def _python(tmp_path: Path, code: str) -> Path:
    path = tmp_path / "python"
    path.write_text(f"#!{sys.executable}\n{code}\n")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


def test_torch_facts_come_from_the_child(tmp_path):
    facts = probe_torch(_python(tmp_path, 'print(\'{"event": "done", "torch": "2.9.1", "error": null}\')'))
    assert facts == {"torch": "2.9.1", "error": None}


@pytest.mark.parametrize(
    ("code", "error"), [("pass", "ended with exit code 0"), ("import time; time.sleep(9)", "no answer within")]
)
def test_a_python_that_says_nothing_is_a_finding(tmp_path, code, error):
    assert error in probe_torch(_python(tmp_path, code), timeout_s=1.0)["error"]


def test_a_machine_without_engine_can_be_looked_at(monkeypatch):
    monkeypatch.setattr(machine_facts, "find_engine", lambda _: None)
    facts = probe_machine(
        ask_hub=False, environ={"PATH": "", "HF_HUB_OFFLINE": "1", "HF_ENDPOINT": "https://me:pw@mirror"}
    )
    assert (facts.engine, facts.torch, facts.refused) == (None, None, ())
    assert (facts.offline, facts.endpoint, facts.hub_error) == (True, "https://***@mirror", None)
    assert facts.hardware.ram_bytes > 0


@pytest.mark.parametrize(
    ("environ", "expected"), [({}, False), ({"HF_TOKEN": "secret"}, True), ({"HF_TOKEN": ""}, False), (None, True)]
)
def test_a_token_is_noticed_and_never_kept(tmp_path, monkeypatch, environ, expected):
    monkeypatch.setattr(machine_facts, "find_engine", lambda _: None)
    home = {"HF_HOME": str(tmp_path), "PATH": ""}
    if environ is None:
        (tmp_path / "token").write_text("secret")
    facts = probe_machine(ask_hub=False, environ=home | (environ or {}))
    assert facts.has_token is expected
    assert "secret" not in repr(facts)


def test_an_address_that_does_not_answer_says_why():
    assert machine_facts._ask_hub("http://127.0.0.1:9") != ""
    assert machine_facts._ask_hub("ftp://x") == "not an http address"
