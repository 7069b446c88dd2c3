"""What commands print as ``--json`` and how they exit, held to files: other programs read both.

Cases stand in ``commands/cases.yaml``. A case without its file writes it and fails: look at it, then commit it.
"""

from __future__ import annotations

import json
import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from lfwrap.cli.app import run

FOLDER = Path(__file__).with_name("commands")
ROOT = Path(__file__).resolve().parents[2]
CASES: dict[str, str] = yaml.safe_load((FOLDER / "cases.yaml").read_text(encoding="utf-8"))
# Sentences for people, which may be said better; that they are there, and how many, is held.
SENTENCES = {"message", "hint", "notes", "note", "reason", "reasons", "why", "help", "summary", "remedy"}
# Where these keys stand, the value is this moment's or this machine's: only its type is held.
PASSING = {
    "age_s", "bytes_per_s", "command_line", "created_at", "cwd", "duration_s", "elapsed_s", "engine_package",
    "engine_python", "finished_at", "free_bytes", "git", "host", "name_of_host", "now", "packages", "platform",
    "python", "rows_per_s", "seconds", "started_at", "updated_at", "wall_s",
}  # fmt: skip


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, old_runs: Any) -> Path:
    """A folder with runs, a model, bundled data, and files to convert."""
    folder = tmp_path_factory.mktemp("commands")
    old_runs(folder)
    (folder / "rows.csv").write_text("question,answer\nWho?,Me.\nWhere?,\nWho?,Me.\n", encoding="utf-8")
    (folder / "bad.yaml").write_text("lora_rnak: 8\nmodel_name_or_path: model\nstage: sft\n", encoding="utf-8")
    (folder / "broken.yaml").write_text("a: [\n", encoding="utf-8")
    peft = {"r": 16, "lora_alpha": 32, "target_modules": ["q_proj"], "base_model_name_or_path": "m", "odd": 1}
    (folder / "peft.json").write_text(json.dumps(peft), encoding="utf-8")
    return folder


def told(value: Any, place: Path) -> Any:
    """A value without what is this machine's or this moment's."""
    if isinstance(value, dict):
        return {clean(key, place): told_under(key, one, place) for key, one in value.items()}
    if isinstance(value, list):
        return [told(one, place) for one in value]
    if isinstance(value, str):
        return clean(value, place)
    return value


def told_under(key: str, value: Any, place: Path) -> Any:
    if key == "argv":  # a worker is one word or two
        return clean(" ".join(value), place)
    if key in PASSING:
        return type(value).__name__
    if key in SENTENCES and isinstance(value, str):
        return "a sentence" if value else ""
    if key in SENTENCES and isinstance(value, list):
        return ["a sentence" if isinstance(one, str) else told(one, place) for one in value]
    return told(value, place)


def clean(text: str, place: Path) -> str:
    for path, name in ((place, "PLACE"), (ROOT, "ROOT"), (Path(sys.executable).parent, "BIN")):
        text = text.replace(str(path), name)
    text = re.sub(r"\d{8}T\d{6}Z-((?!through|stopped)[\w.-]+?)-[0-9a-f]{8}", r"WHEN-\1-HASH", text)
    text = re.sub(r"[^\s\"']*/worker(/\S*?train_engine\.py| train_engine)", "TRAIN", text)
    text = re.sub(r"(master_port[ =]+|MASTER_PORT[ =:\"]+)\d+", r"\1PORT", text)
    return re.sub(r"\S*site-packages", "SITE", text)


@pytest.mark.parametrize("name", sorted(CASES))
def test_a_command_prints_what_it_printed(name, place, capsys, monkeypatch):
    monkeypatch.chdir(place)
    for variable in ("CUDA_VISIBLE_DEVICES", "WANDB_API_KEY", "HF_TOKEN", "OMP_NUM_THREADS", "RAY_ADDRESS"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("OMP_WAIT_POLICY", "PASSIVE")  # else it depends on what this machine is busy with
    code = run(shlex.split(CASES[name].replace("ROOT", str(ROOT))))
    out = capsys.readouterr().out
    value = json.loads(out) if out and "--json" in CASES[name] else out
    found = {"command": CASES[name], "exit_code": code, "stdout": told(value, place)}
    path = FOLDER / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        pytest.fail(f"{path} was not there and has been written: look at it, then commit it")
    assert found == json.loads(path.read_text(encoding="utf-8"))


def test_every_file_has_its_case():
    assert {path.stem for path in FOLDER.glob("*.json")} == CASES.keys()
    assert len(CASES) >= 40
