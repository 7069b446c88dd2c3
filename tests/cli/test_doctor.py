"""`lfwrap doctor` on this very machine, whatever it is."""

from __future__ import annotations

import json
import sys

from lfwrap.cli.app import run


def _stub(monkeypatch):
    """No torch is imported: that takes seconds and is tried with the real engine elsewhere."""
    from lfwrap.doctor import machine_facts

    monkeypatch.setattr(machine_facts, "probe_torch", lambda _: {"error": "not tried"})


def test_without_engine_it_ends_with_code_6(monkeypatch, capsys, tmp_path):
    _stub(monkeypatch)
    monkeypatch.setenv("LFWRAP_ENGINE_PYTHON", str(tmp_path / "python"))
    assert run(["doctor", "--offline"]) == 6
    out = capsys.readouterr().out
    assert "LLaMA-Factory" in out
    assert "blocks: train, chat, export, demo" in out
    assert "Training can't work here yet" in out


def test_json_has_every_row_and_no_secret(monkeypatch, capsys):
    _stub(monkeypatch)
    monkeypatch.setenv("HF_TOKEN", "hf_very_secret")
    code = run(["doctor", "--offline", "--json"])
    captured = capsys.readouterr()
    report = json.loads(captured.out)
    assert report["schema"] == "lfwrap.doctor/1"
    assert report["can_train"] is (code == 0)
    rows = {check["name"]: check for check in report["checks"]}
    assert sys.version.split()[0] in rows["Python"]["found"]
    assert rows["hub token"]["state"] == "ok"
    assert "hf_very_secret" not in captured.out + captured.err
