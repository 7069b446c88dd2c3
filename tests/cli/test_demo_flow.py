"""`lfwrap demo` from the first step to the summary, each heavy step with a stand-in; the data step is the real one."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fake_engine import fake_engine

from lfwrap import demo_model
from lfwrap.cli.app import run
from lfwrap.engine.locate import Engine
from lfwrap.export import export
from lfwrap.inference import session, target
from lfwrap.inference.parity import ParityReport, ParityRow
from lfwrap.run.folder.identity import probe_process
from lfwrap.run.folder.paths import create_run_folder
from lfwrap.run.folder.record import Run, RunRecord, RunState, change_state, prepare_record, utc_now
from lfwrap.run.prepare import start
from lfwrap.run.supervise import attempt


class Session:
    """Answers as the base until it is asked with an adapter."""

    def __init__(self, *_: Any, **__: Any) -> None:
        pass

    def __enter__(self):
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def answer_all(self, questions: list[Any], adapter: str | None):
        for question in reversed(questions):
            yield session.Answer(question.id, f"{adapter or 'base'} {question.id}", 1, 1, "stop", 0.1)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_engine: Callable[[Engine | None], None]) -> Path:
    monkeypatch.chdir(tmp_path)
    use_engine(fake_engine())
    monkeypatch.setattr(demo_model, "ensure_demo_model", lambda *_: tmp_path / "cache/model")
    monkeypatch.setattr(target, "resolve_target", lambda *_: SimpleNamespace(to_json=dict))
    monkeypatch.setattr(session, "AnswerSession", Session)
    row = ParityRow("How?", "So.", "So.", True, True, 3, 0.0, 0.0)
    report = ParityReport("float32", "float32", "cpu", (row,), 1.0)
    monkeypatch.setattr(
        export,
        "export_model",
        lambda _engine, of, out, options, _say: export.Export(out, of, options.dtype, 1, (), report, (), 1.0),
    )
    return tmp_path


def train_to(monkeypatch: pytest.MonkeyPatch, state: RunState, reason: str = "") -> list[Any]:
    requests = []

    def create_run(request: Any, _invocation: Any):
        requests.append(request)
        paths = create_run_folder(request.runs_dir, "demo")
        record = RunRecord("demo", RunState.PREPARED, "demo", utc_now(), "", "m", "lora", "sft", "qwen")
        job = SimpleNamespace(
            report=SimpleNamespace(warnings=()),
            rendered=SimpleNamespace(batch=None, engine={}),
            notes=("a note",),
            schedule=None,
            paths=paths,
            command=None,
        )
        return job, prepare_record(paths, record)

    def run_attempt(run: Run, *_: Any):
        running = change_state(run, RunState.RUNNING, supervisor=probe_process(), attempt=0)
        running.paths.output.mkdir()
        (running.paths.output / "adapter_model.safetensors").write_bytes(b"")
        return change_state(running, state, reason=reason, first_loss=3.0, last_loss=1.0, global_step=9, max_steps=9)

    monkeypatch.setattr(start, "create_run", create_run)
    monkeypatch.setattr(attempt, "run_attempt", run_attempt)
    return requests


def demo(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["demo", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_whole_demo(folder, capsys, monkeypatch):
    [] = requests = train_to(monkeypatch, RunState.SUCCEEDED)
    code, out, err = demo(capsys, "--out", "here")
    place = folder / "here"
    assert code == 0
    assert out.splitlines() == [
        f"run folder    {place / 'runs/demo'}",
        f"adapter       {place / 'runs/demo/output'}",
        f"merged model  {place / 'merged'}",
    ]
    for number, step in enumerate(("model", "data", "training", "answers", "export"), 1):
        assert f"[{number}/5] {step}: " in err
    assert "0 rejected" in err
    assert "loss 3.00 → 1.00 in 9 steps" in err
    assert " base  base 0\n tuned tuned 0" in err
    assert f"lfwrap chat {place / 'runs/demo'}" in err
    assert json.loads((place / "data/dataset_info.json").read_bytes())
    [request] = requests
    assert f"model_name_or_path={folder / 'cache/model'}" in request.overrides
    assert f"dataset_dir={place / 'data'}" in request.overrides


def test_the_demo_as_json_is_its_note(folder, capsys, monkeypatch):
    train_to(monkeypatch, RunState.SUCCEEDED)
    code, out, _ = demo(capsys, "--out", "here", "--json")
    value = json.loads(out)
    assert code == 0
    assert value == json.loads((folder / "here/demo.json").read_bytes())
    assert value["schema"] == "lfwrap.demo/1"
    assert set(value["seconds"]) == {"model", "data", "training", "answers", "export"}
    assert value["parity"]["passed"] is True
    assert value["answers"][0].keys() == {"question", "base", "tuned"}
    assert (value["loss"], value["steps"]) == ([3.0, 1.0], 9)


@pytest.mark.parametrize(
    ("state", "reason", "code", "words"),
    [
        (RunState.FAILED, "It broke.", 7, "demo failed at step 9 of 9: It broke."),
        (RunState.INTERRUPTED, "Stopped by SIGINT.", 130, "interrupted"),
        (RunState.INTERRUPTED, "Stopped by SIGTERM.", 7, "with --force"),
    ],
)
def test_a_training_that_ends_otherwise_ends_the_demo(folder, capsys, monkeypatch, *, state, reason, code, words):
    train_to(monkeypatch, state, reason)
    found, out, err = demo(capsys, "--out", "here")
    assert (found, out) == (code, "")
    assert words in err
    assert "[4/5]" not in err


def test_only_the_model_makes_no_folder(folder, capsys):
    assert demo(capsys, "--only-model")[:2] == (0, f"{folder / 'cache/model'}\n")
    value = json.loads(demo(capsys, "--only-model", "--json")[1])
    assert value == {"schema": "lfwrap.demo-model/1", "path": str(folder / "cache/model")}
    assert list(folder.iterdir()) == []
