"""`lfwrap hardware`, as it is typed."""

from __future__ import annotations

import json
import sys

import pytest

from lfwrap.cli.app import run
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import catalog_names


def answer(capsys, *arguments):
    code = run(["hardware", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_list_names_all(capsys):
    code, out, _ = answer(capsys, "list")
    assert code == 0
    assert [line.split()[0] for line in out.splitlines()] == list(catalog_names())
    value = json.loads(answer(capsys, "list", "--json")[1])
    assert value["schema"] == "lfwrap.hardware-list/1"
    assert len(value["machines"]) == len(catalog_names())


@pytest.mark.parametrize("machine", ["cpu", "t4", "2xh200", "m1-16gb"])
def test_show(capsys, machine):
    code, out, _ = answer(capsys, "show", machine)
    assert code == 0
    assert load_hardware(machine).name in out
    value = json.loads(answer(capsys, "show", machine, "--json")[1])
    assert value["schema"] == "lfwrap.hardware/1"
    assert value["world_size"] == load_hardware(machine).world_size


def test_show_suggests_for_a_wrong_name(capsys):
    code, out, err = answer(capsys, "show", "h100")
    assert (code, out) == (2, "")
    assert "h100-80gb" in err


def test_show_warns_of_mixed_gpus(capsys, tmp_path):
    path = tmp_path / "mixed.yaml"
    path.write_text("gpus:\n- {name: A, memory_gib: 24}\n- {name: B, memory_gib: 8}\n", encoding="utf-8")
    _, out, err = answer(capsys, "show", str(path))
    assert "24.00 GiB" in out
    assert "the GPUs differ" in err


def test_a_probed_profile_is_taken_by_show_and_never_overwritten(capsys, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)
    path = tmp_path / "mine.yaml"
    monkeypatch.setattr("lfwrap.hardware.probe.probe_hardware", lambda: load_hardware("2x-h100-80gb"))
    assert answer(capsys, "probe", "--out", str(path))[0] == 0
    assert load_hardware(str(path)).gpus == load_hardware("2x-h100-80gb").gpus
    assert load_hardware(str(path)).name == "mine"
    path.write_text("mine", encoding="utf-8")
    code, _, err = answer(capsys, "probe", "--out", str(path))
    assert code == 2
    assert "--force" in err
    assert path.read_text(encoding="utf-8") == "mine"
    assert answer(capsys, "probe", "--out", str(path), "--force")[0] == 0
    assert path.read_text(encoding="utf-8") != "mine"


def test_probe_answers_on_any_machine(capsys):
    code, out, _ = answer(capsys, "probe", "--json")
    assert code == 0
    assert json.loads(out)["cpu_cores"] >= 1
