"""`lfwrap eval` as typed, with a stand-in for the engine's worker and for lm_eval."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import fake_engine, runnable_engine

from lfwrap.cli.app import run
from lfwrap.engine.locate import Engine

TOOLS = json.dumps([{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("look", "send")])
WORKER = """
import json, sys
from collections.abc import Callable
from pathlib import Path
def emit(**fields): print(json.dumps(fields), flush=True)
requests = (json.loads(line) for line in sys.stdin)
load = next(requests)
with (Path(__file__).parent / "loads").open("a") as sink: sink.write("load\\n")
emit(event="ready", device="cpu", dtype="float32", seconds=0.1)
for request in requests:
    tuned = request["adapter"] is not None
    if request["op"] == "losses":
        for row in request["rows"]:
            emit(event="loss", id=row["id"], loss_sum=1.0 + (not tuned), supervised_tokens=2, tokens=5, is_cut=False)
    else:
        for item in request["requests"]:
            calls = [{"name": "look", "arguments": {"at": item["messages"][-1]["content"]}}] if tuned else []
            emit(event="answer", id=item["id"], text=json.dumps(calls[0]) if calls else "I can't.", calls=calls,
                 prompt_tokens=1, answer_tokens=2, finish="stop", seconds=0.1)
    emit(event="done", stopped=False)
"""
LM_EVAL = """#!{python}
import json, sys
from pathlib import Path
arguments = sys.argv[1:]
with Path({log!r}).open("a") as sink: sink.write(json.dumps(arguments) + "\\n")
if "--fail" in arguments: sys.exit(3)
out = Path(arguments[arguments.index("--output_path") + 1]) / "model"
out.mkdir(parents=True)
score = 0.5 if "peft=" in " ".join(arguments) else 0.25
(out / "results_2026.json").write_text(json.dumps(
    {{"results": {{"quiz": {{"alias": "quiz", "acc,none": score, "acc_stderr,none": 0.1, "sample_len": 3}}}}}}))
"""


def sharegpt(question: str, *, at: str) -> dict:
    call = json.dumps({"name": "look", "arguments": {"at": at}}, ensure_ascii=False)
    turns = [{"from": "human", "value": question}, {"from": "function_call", "value": call}]
    return {"conversations": turns, "system": "", "tools": TOOLS}


@pytest.fixture
def place(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    use_engine: Callable[[Engine | None], None],
    fake_worker: Callable[[str, str], Path],
) -> Path:
    """A folder with a base, an adapter and three rows, of which the stand-in gets two right."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "bin").mkdir()
    use_engine(runnable_engine())
    fake_worker("score", WORKER)
    base = tmp_path / "SmolLM2-135M-Instruct"
    base.mkdir()
    for name, text in (("config.json", '{"model_type": "llama"}'), ("tokenizer.json", "{}")):
        (base / name).write_text(text, encoding="utf-8")
    weights = (2).to_bytes(8, "little") + b"{}"
    (base / "model.safetensors").write_bytes(weights)
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    (adapter / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": str(base)}))
    (adapter / "adapter_model.safetensors").write_bytes(weights)
    rows = [sharegpt("北京", at="北京"), sharegpt("Kiel", at="Kiel"), sharegpt("Bergen", at="Oslo")]
    (tmp_path / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return tmp_path


def lfwrap(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(["eval", *arguments])
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def loads(place: Path) -> int:
    return len((place / "loads").read_text().splitlines()) if (place / "loads").exists() else 0


def test_base_and_adapter_stand_in_one_table(place, capsys):
    code, out, err = lfwrap(capsys, "mine=adapter", "--data", "rows.jsonl", "--show-failures", "1", "--per-tool")
    assert code == 0, err
    assert "base   1.0000      2.7183" in out
    assert "mine   0.5000" in out
    assert [line.split() for line in out.splitlines() if line.startswith("mine ")][1][:8] == [
        "mine", "3", "100.0", "%", "100.0", "%", "66.7", "%",
    ]  # fmt: skip
    assert "look   0/3   2/3" in out
    assert "mine: 1 wrong, 1 shown" in err
    assert '{"name":"look","arguments":{"at":"Oslo"}}' in err
    assert loads(place) == 1


def test_json_is_the_report_that_is_kept_and_a_second_call_loads_nothing(place, capsys):
    arguments = ("adapter", "--data", "rows.jsonl", "--json")
    code, out, _ = lfwrap(capsys, *arguments)
    report = json.loads(out)
    assert (code, report["schema"], [model["name"] for model in report["models"]]) == (
        0,
        "lfwrap.eval/1",
        ["base", "adapter"],
    )
    kept = json.loads((Path(report["folder"]) / "report.json").read_text())
    assert kept["models"] == report["models"]
    assert lfwrap(capsys, *arguments)[1] == out
    assert loads(place) == 1
    assert lfwrap(capsys, *arguments, "--force")[1] == out
    assert loads(place) == 2


def test_parts_can_be_left_out(place, capsys):
    _, out, _ = lfwrap(capsys, "adapter", "--data", "rows.jsonl", "--no-base", "--no-calls", "--limit", "2", "--json")
    [model] = json.loads(out)["models"]
    assert (model["name"], model["loss"]["rows"], "calls" in model) == ("adapter", 2, False)
    _, out, _ = lfwrap(capsys, "adapter", "--data", "rows.jsonl", "--no-loss", "--json")
    assert all("loss" not in model and model["calls"]["cases"] == 3 for model in json.loads(out)["models"])


def test_a_folder_of_something_else_is_left_alone(place, capsys):
    (place / "mine").mkdir()
    (place / "mine" / "thesis.txt").write_text("x")
    code, _, err = lfwrap(capsys, "adapter", "--data", "rows.jsonl", "--out", "mine", "--force")
    assert (code, (place / "mine" / "thesis.txt").read_text()) == (2, "x")
    assert "not empty, and not an evaluation" in err


def test_force_removes_results_and_nothing_else(place, capsys):
    lfwrap(capsys, "adapter", "--data", "rows.jsonl", "--out", "mine")
    (place / "mine" / "notes.txt").write_text("x")
    assert lfwrap(capsys, "adapter", "--data", "rows.jsonl", "--out", "mine", "--force")[0] == 0
    assert (place / "mine" / "notes.txt").read_text() == "x"


def test_answers_made_elsewhere_are_scored_without_a_model(place, capsys):
    answers = [
        {"id": "1.2", "answer": 'look(at="北京")'},
        {"id": "2.2", "calls": [{"name": "look", "arguments": {"at": "Kiel"}}]},
    ]
    (place / "made.jsonl").write_text("".join(json.dumps(row) + "\n" for row in answers), encoding="utf-8")
    code, out, _ = lfwrap(capsys, "--answers", "made.jsonl", "--data", "rows.jsonl", "--json")
    [model] = json.loads(out)["models"]
    assert (code, model["unanswered"], model["calls_in_any_format"]["ast_accuracy"]) == (0, 1, pytest.approx(2 / 3))
    assert loads(place) == 0


def test_answers_that_are_none_are_named_by_line(place, capsys):
    (place / "made.jsonl").write_text('{"id": "1.2", "answer": "x"}\n{"answer": "y"}\nnone\n', encoding="utf-8")
    code, _, err = lfwrap(capsys, "--answers", "made.jsonl", "--data", "rows.jsonl")
    assert code == 4
    assert "made.jsonl:2" in err
    assert "made.jsonl:3" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), "name what is to be measured"),
        (("adapter",), "not the result of a run"),
        (("adapter", "--suite", "mmlu"), "no such suite"),
        (("adapter", "--suite", "lm-eval:"), "no such suite"),
        (("adapter", "--suite", "bfcl-simple"), "needs --bfcl-dir"),
        (("adapter", "--suite", "bfcl-simple", "--data", "rows.jsonl"), "give only one of them"),
        (("adapter", "--data", "rows.jsonl", "--no-loss", "--no-calls"), "nothing to measure"),
        (("adapter", "--answers", "rows.jsonl", "--data", "rows.jsonl"), "takes no TARGET"),
        (("--answers", "rows.jsonl"), "the questions are missing"),
        (("a=adapter", "a=SmolLM2-135M-Instruct", "--data", "rows.jsonl"), "is called a"),
    ],
)
def test_a_command_line_that_makes_no_sense_says_so(place, capsys, arguments, said):
    code, _, err = lfwrap(capsys, *arguments)
    assert code == 2
    assert said in err


@pytest.fixture
def harness(place, use_engine) -> Path:
    """A stand-in for lm_eval on PATH; its log has one line a call."""
    program = place / "bin" / "lm_eval"
    program.write_text(LM_EVAL.format(python=sys.executable, log=str(place / "calls")), encoding="utf-8")
    program.chmod(0o755)
    use_engine(fake_engine(place))
    return place / "calls"


def test_the_harness_is_run_for_base_and_adapter_and_only_once(place, harness, capsys):
    arguments = (
        "tuned=adapter",
        "--suite",
        "lm-eval:quiz",
        "--limit",
        "5",
        "--lm-eval-arg=--num_fewshot",
        "--lm-eval-arg=2",
    )
    code, out, err = lfwrap(capsys, *arguments)
    assert code == 0, err
    assert [line.split() for line in out.splitlines()] == [
        ["task", "metric", "base", "tuned"],
        ["quiz", "acc", "0.2500", "0.5000"],
    ]
    base, tuned = (json.loads(line) for line in harness.read_text().splitlines())
    model = f"pretrained={place / 'SmolLM2-135M-Instruct'}"
    assert base[:4] == ["--model", "hf", "--model_args", f"{model},dtype=auto"]
    assert tuned[3] == f"{model},peft={place / 'adapter'},dtype=auto"
    assert tuned[-4:] == ["--limit", "5", "--num_fewshot", "2"]
    assert lfwrap(capsys, *arguments)[1] == out
    assert len(harness.read_text().splitlines()) == 2


def test_a_harness_that_fails_is_an_error(place, harness, capsys):
    code, _, err = lfwrap(capsys, "adapter", "--suite", "lm-eval:quiz", "--lm-eval-arg=--fail")
    assert code == 7
    assert "lm_eval ended with exit code 3" in err


def test_a_missing_harness_says_how_to_get_it(place, monkeypatch, use_engine, capsys):
    monkeypatch.setenv("PATH", str(place / "empty"))
    use_engine(fake_engine(place / "empty"))
    code, _, err = lfwrap(capsys, "adapter", "--suite", "lm-eval:quiz")
    assert code == 6
    assert "lfwrap[lm-eval]" in err
