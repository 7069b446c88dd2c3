"""`lfwrap train` up to the start of the engine, and `lfwrap runs` on runs that lie there."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lfwrap.cli.app import run
from lfwrap.run.folder.identity import probe_process
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, change_state, prepare_record, utc_now
from lfwrap.yaml_files import parse_yaml

GOOD_ROW = {"instruction": "What is one plus one?", "input": "", "output": "Two."}
PLAIN = """\
model_name_or_path: {model}
stage: sft
do_train: true
finetuning_type: lora
lora_target: all
dataset: d
dataset_dir: {data}
template: qwen
learning_rate: 1.0e-4
per_device_train_batch_size: 1
use_cpu: true
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MODEL_PATH", raising=False)
    (tmp_path / "data").mkdir()
    write_rows(tmp_path, json.dumps(GOOD_ROW) + "\n")
    (tmp_path / "data/dataset_info.json").write_text('{"d": {"file_name": "d.jsonl"}}', encoding="utf-8")
    return tmp_path


def write_rows(folder: Path, text: str) -> None:
    (folder / "data/d.jsonl").write_text(text, encoding="utf-8")


def write_recipe(folder: Path, text: str = PLAIN) -> str:
    path = folder / "r.yaml"
    path.write_text(text.format(model="nobody/tiny", data=folder / "data"), encoding="utf-8")
    return str(path)


def train(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["train", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


@pytest.mark.parametrize("gpus", [1, 2, 4, 8])
def test_the_paper_recipe_keeps_its_batch_on_any_number_of_gpus(
    folder: Path, capsys: pytest.CaptureFixture[str], gpus: int
) -> None:
    hardware = "h100-80gb" if gpus == 1 else f"{gpus}x-h100-80gb"
    code, out, _ = train(capsys, "recipes/paper.yaml", "--dry-run", "--hardware", hardware, "--json")
    assert code == 0
    job = json.loads(out)
    assert job["schema"] == "lfwrap.dry-run/1"
    assert job["micro_batch_size"] * job["gradient_accumulation_steps"] * gpus == 128
    assert job["world_size"] == gpus
    assert job["launcher"] == ("process" if gpus == 1 else "torchrun")
    engine = parse_yaml(job["engine_yaml"], "engine.yaml").values
    assert engine == job["engine"]
    assert "lfwrap" not in engine
    assert (engine["lora_rank"], engine["lora_alpha"], engine["num_train_epochs"]) == (64, 128, 1.0)


def test_a_dry_run_shows_files_and_command_and_writes_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = sorted(folder.rglob("*"))
    recipe = write_recipe(folder)
    code, out, _ = train(capsys, recipe, "--dry-run", "lora_rank=16")
    assert code == 0
    assert "lora_rank: 16" in out
    assert "worker train_engine" in out
    assert "PYTHONUTF8=1" in out
    assert sorted(folder.rglob("*")) == sorted([*before, Path(recipe)])


def test_a_plain_recipe_stays_what_it_is(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    _, out, _ = train(capsys, write_recipe(folder), "--dry-run", "--json")
    engine = json.loads(out)["engine"]
    given = parse_yaml(Path(write_recipe(folder)).read_text(encoding="utf-8"), "r").values
    assert {key: engine[key] for key in given if key != "dataset_dir"} == {
        key: value for key, value in given.items() if key != "dataset_dir"
    }


def test_data_without_a_task_are_trained_on_and_that_is_said(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The engine itself would load the model and end."""
    code, out, said = train(capsys, write_recipe(folder, PLAIN.replace("do_train: true\n", "")), "--dry-run")
    assert code == 0
    assert "do_train: true" in out
    assert "info: r.yaml" in said.replace(f"{folder}/", "")
    assert "do_train: is not written; `lfwrap train` trains all the same." in said
    _, out, said = train(capsys, write_recipe(folder, PLAIN.replace("do_train: true", "do_predict: true")), "--dry-run")
    assert "do_train" not in out + said


# Each row of the table "Errors as the engine gives them": said before the engine starts, with place and remedy.
ERRORS: dict[str, tuple[list[str], str | None, int, list[str]]] = {
    "unknown key": (["lora_rnak=8"], None, 3, ["lora_rnak", "lora_rank"]),
    "unknown template": (["template=qwenn"], None, 3, ["qwenn", "qwen"]),
    "undefined data set": (["dataset=nosuch"], None, 4, ["nosuch", "not registered"]),
    "data set given as a path": (["dataset=data/d.jsonl"], None, 3, ["data/d.jsonl", "is a path"]),
    "bad column": ([], '{"question": "q", "answer": "a"}\n', 4, ["d.jsonl", "'instruction'", "answer, question"]),
    "empty file": ([], "", 4, ["d.jsonl", "is empty"]),
    "broken JSON": ([], '{"instruction": \n', 4, ["d.jsonl:1:", "broken JSON"]),
    "text for a number": (["lora_rank=abc"], None, 3, ["lora_rank", "abc"]),
    "no data set": (["dataset=null"], None, 3, ["dataset"]),
    "no such model": (["model_name_or_path=./none"], None, 6, ["./none", "hub id"]),
    "large model on a CPU": (["model_name_or_path=Qwen/Qwen2.5-7B-Instruct"], None, 6, ["7.62B", "--force"]),
    "all rows without an answer": ([], '{"instruction": "q", "input": "", "output": null}\n', 4, ["drops them"]),
}


@pytest.mark.parametrize("case", ERRORS)
def test_errors_are_said_before_the_engine_starts(folder: Path, capsys: pytest.CaptureFixture[str], case: str) -> None:
    overrides, rows, expected, words = ERRORS[case]
    if rows is not None:
        write_rows(folder, rows)
    code, out, err = train(capsys, write_recipe(folder), *overrides, "--hardware", "cpu")
    assert code == expected, err
    assert out == ""
    assert [word for word in words if word not in err] == []
    assert not (folder / "runs").exists()


def test_bf16_on_a_cpu_is_found_or_mended(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    recipe = write_recipe(folder, PLAIN.replace("use_cpu: true", "bf16: true") + "lfwrap:\n  speed: none\n")
    code, out, _ = train(capsys, recipe, "--dry-run", "--json", "--hardware", "cpu")
    assert code == 0
    engine = json.loads(out)["engine"]
    assert (engine["bf16"], engine["use_cpu"]) == (False, True)


def test_all_findings_come_at_once(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_rows(folder, "{\n")
    code, out, err = train(capsys, write_recipe(folder), "lora_rnak=8", "model_name_or_path=./none", "--json")
    assert code == 3
    rules = [finding["rule"] for finding in json.loads(out)["error"]["findings"]]
    assert {"unknown-key", "data-json", "model-not-found"} <= set(rules)
    assert "3 errors" in err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--lora_rank=8"], "lora_rank"),
        (["lora_rank"], "key=value"),
        (["--gpus", "0"], "--gpus"),
        (["--hardware", "h100-80gb", "--gpus", "4", "--dry-run"], "--gpus 4"),
        (["--launcher", "process", "--gpus", "2", "--dry-run"], "--launcher process"),
        (["--hardware", "h101"], "no such machine"),
    ],
)
def test_options_that_make_no_sense(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    code, _, err = train(capsys, write_recipe(folder), *arguments)
    assert code == 2
    assert words in err


def test_no_such_recipe(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert train(capsys, "nosuch.yaml")[0] == 3


def make_run(folder: Path, name: str, **changes: Any) -> Run:
    paths = create_run_folder(folder / "runs", name)
    record = RunRecord(paths.name, RunState.PREPARED, "r", utc_now(), "", "some/model", "lora", "sft", "qwen")
    return prepare_record(paths, dataclasses.replace(record, **changes))


def runs(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["runs", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_runs_are_listed_and_shown(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no runs here" in runs(capsys, "list")[2]
    run_here = change_state(make_run(folder, "one"), RunState.RUNNING, supervisor=probe_process(), attempt=0)
    run_here.paths.output.mkdir()
    lines = [{"current_steps": n, "total_steps": 8, "loss": 4 / n} for n in range(1, 5)]
    run_here.paths.trainer_log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    _, out, _ = runs(capsys, "list")
    assert out.split() == ["one", "running", "4/8", "1.0000", "-", "some/model"]
    _, out, _ = runs(capsys, "list", "--json")
    assert [entry["name"] for entry in json.loads(out)["runs"]] == ["one"]
    _, out, _ = runs(capsys, "show", "latest")
    assert "4 of 8" in out
    assert "4.0000 █▃▂▁ 1.0000" in out
    _, out, _ = runs(capsys, "show", "one", "--json")
    assert json.loads(out)["schema"] == "lfwrap.run/1"


@pytest.mark.parametrize(
    ("arguments", "state", "words"),
    [
        (["show", "nosuch"], None, "no run"),
        (["resume", "one"], RunState.SUCCEEDED, "a succeeded run can't be resumed"),
        (["stop", "one"], RunState.FAILED, "none of its processes runs"),
    ],
)
def test_what_can_not_be_done_with_a_run(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], state: RunState | None, words: str
) -> None:
    if state is not None:
        change_state(change_state(make_run(folder, "one"), RunState.RUNNING, supervisor=probe_process()), state)
    code, _, err = runs(capsys, *arguments)
    assert code == 8
    assert words in err


def test_a_running_run_can_not_be_resumed(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change_state(make_run(folder, "one"), RunState.RUNNING, supervisor=probe_process())
    code, _, err = runs(capsys, "resume", "one")
    assert (code, "a running run" in err) == (8, True)


def test_help_stays_quick_and_names_every_option(folder: Path) -> None:
    for arguments in (["train"], ["runs"], ["runs", "resume"]):
        done = subprocess.run(
            [sys.executable, "-m", "lfwrap", *arguments, "--help"], capture_output=True, text=True, check=True
        )
        assert "Example:" in done.stdout
