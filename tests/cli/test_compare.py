"""`lfwrap compare` as typed, with a worker that answers by the protocol instead of the engine."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

import pytest
from fake_engine import runnable_engine
from model_folders import Builder

from lfwrap.cli.app import run

ROOT = Path(__file__).resolve().parents[1]


def load_script(path: Path) -> Any:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


WORKER = load_script(ROOT / "unit" / "evaluate" / "test_compare.py").WORKER
serve_judge = load_script(ROOT / "process" / "judge_server.py").serve_judge


@pytest.fixture
def place(tmp_path, monkeypatch, use_engine, fake_worker) -> Path:
    """A working folder with a run, its checkpoint, another adapter, and questions."""
    fake_worker("answer", WORKER)
    use_engine(runnable_engine())
    monkeypatch.chdir(tmp_path)
    build = Builder(tmp_path)
    base = build.model()
    paths = build.run(base, engine_yaml="template: qwen\neval_dataset: held_out\ndataset_dir: data\n")
    build.adapter(paths.output / "checkpoint-3", base)
    build.adapter(tmp_path / "other", base)
    rows = [{"question": "one", "answer": "1"}, {"question": "same", "answer": "2"}, "three"]
    (tmp_path / "q.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def lfwrap(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["compare", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_the_report_is_written_in_four_forms_and_named_on_stdout(place, capsys):
    code, out, err = lfwrap(capsys, "latest", "v2=other", "--template", "qwen", "--questions", "q.jsonl")
    assert code == 0, err
    page = Path(out.strip())
    assert page.parent.parent == Path("comparisons")
    assert {path.name for path in page.parent.iterdir()} >= {f"report.{kind}" for kind in ("html", "md", "csv", "json")}
    assert [line.split()[0] for line in err.splitlines()[-4:]] == ["who", "base", "law", "v2"]
    assert "base: 3/3" in err
    report = json.loads((page.parent / "report.json").read_bytes())
    assert report["schema"] == "lfwrap.comparison/1"
    assert (page.parent / "report.csv").read_bytes().startswith(b"\xef\xbb\xbf")


def test_json_holds_everything(place, capsys):
    arguments = ("latest", "--questions", "q.jsonl", "--limit", "2", "--no-base", "--out", "mine", "--json")
    code, out, _ = lfwrap(capsys, *arguments, "--must-contain", "one", "--must-contain", "o")
    assert code == 0
    report = json.loads(out)
    assert (report["out"], report["questions"], len(report["targets"])) == ("mine", 2, 1)
    assert report["rows"][1]["answers"][report["baseline"]]["missing_keywords"] == ["one", "o"]


def test_checkpoints_of_a_run_are_asked_too(place, capsys):
    _, out, _ = lfwrap(capsys, "latest", "--checkpoints", "--questions", "q.jsonl", "--json")
    names = [target["name"] for target in json.loads(out)["targets"]]
    assert names == ["base", "law", "checkpoint-3"]
    code, _, err = lfwrap(capsys, "other", "--checkpoints", "--questions", "q.jsonl")
    assert (code, "no run with checkpoints" in err) == (2, True)


def test_what_the_run_kept_back_is_asked(place, capsys):
    data = place / "data"
    data.mkdir()
    rows = [{"instruction": "kept back", "input": "", "output": "yes"}]
    (data / "held_out.jsonl").write_text(json.dumps(rows[0]) + "\n", encoding="utf-8")
    (data / "dataset_info.json").write_text('{"held_out": {"file_name": "held_out.jsonl"}}', encoding="utf-8")
    code, out, err = lfwrap(capsys, "latest", "--validation", "--json")
    assert code == 0, err
    [row] = json.loads(out)["rows"]
    assert (row["question"], row["reference"]) == ("kept back", "yes")


def test_a_judge_is_asked_with_the_key_of_the_environment(place, capsys, monkeypatch):
    monkeypatch.setenv("MY_KEY", "sk-secret-of-mine")
    with serve_judge(lambda *_: '{"winner": "tie", "reason": "alike"}') as server:
        arguments = ("--judge", server.url, "--judge-model", "m", "--judge-key-env", "MY_KEY")
        code, out, err = lfwrap(capsys, "latest", "--questions", "q.jsonl", *arguments)
    assert code == 0, err
    assert server.requests[0][1]["Authorization"] == "Bearer sk-secret-of-mine"
    assert "0/3/0" in err
    assert "no better than base" in Path(out.strip()).read_text(encoding="utf-8")
    written = b"".join(path.read_bytes() for path in Path("comparisons").rglob("*") if path.is_file())
    assert b"sk-secret" not in written + (out + err).encode()


def test_a_judge_that_is_not_there_costs_no_answers(place, capsys, monkeypatch):
    monkeypatch.setattr("time.sleep", lambda _: None)
    arguments = ("latest", "--questions", "q.jsonl", "--judge", "http://127.0.0.1:9/v1", "--judge-model", "m")
    code, _, err = lfwrap(capsys, *arguments)
    assert code == 6
    assert "the same command goes on" in err
    code, _, err = lfwrap(capsys, *arguments[:3])
    assert (code, "3 of 3 answers were there already" in err) == (0, True)


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        ([], 2, "Missing argument"),
        (["latest"], 2, "--questions FILE or --validation"),
        (["latest", "--questions", "q.jsonl", "--validation"], 2, "--questions FILE or --validation"),
        (["latest", "--questions", "nope.txt"], 4, "nope.txt: can't be read"),
        (["other", "--validation"], 2, "no run among the targets"),
        (["latest", "--questions", "q.jsonl", "--judge", "http://x/v1"], 2, "give both or neither"),
        (["latest", "--questions", "q.jsonl", "--judge", "x", "--judge-model", "m"], 2, "no http address"),
        (["a=other", "a=latest", "--questions", "q.jsonl"], 2, "Give it another name"),
        (["nowhere", "--questions", "q.jsonl"], 8, "nowhere"),
        (["latest", "--questions", "q.jsonl", "--template", "qwenn"], 2, "Did you mean 'qwen"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_loads(place, capsys, arguments, code, message):
    found, _, err = lfwrap(capsys, *arguments)
    assert (found, message in err) == (code, True), err
    assert not (place / "loads").exists()
