"""An evaluation with a stand-in for the engine: one load of a base, results that survive an interruption."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from fake_engine import runnable_engine

from lfwrap.engine.contract import GenerationSettings
from lfwrap.errors import EngineError, UsageError
from lfwrap.evaluate.evaluate import EvalSettings, Material, evaluate
from lfwrap.evaluate.tool_calls.cases import tool_cases
from lfwrap.inference.candidates import BASE, ModelUnderTest, with_base
from lfwrap.inference.held_out_rows import EvalRow, EvalRows, LabelSettings
from lfwrap.inference.model_pool import AnsweringListener
from lfwrap.inference.target import resolve_target

# The base never calls; an adapter calls what the last user said. Loads and requests are written down; after LIMIT
# results the worker dies.
WORKER = """
import json, os, sys
from pathlib import Path
folder = Path(__file__).parent
limit = int((folder / "limit").read_text()) if (folder / "limit").exists() else 10 ** 9
sent = 0
def emit(**fields):
    global sent
    sent += fields["event"] in ("loss", "answer")
    if sent > limit: os._exit(9)
    print(json.dumps(fields), flush=True)
def note(**fields):
    with (folder / "log").open("a") as sink: sink.write(json.dumps(fields) + "\\n")
requests = (json.loads(line) for line in sys.stdin)
load = next(requests)
note(load=sorted(load["adapters"]))
emit(event="ready", device="cpu", dtype="float32", seconds=0.1)
for request in requests:
    tuned = request["adapter"] is not None
    if request["op"] == "losses":
        note(losses=len(request["rows"]), adapter=request["adapter"], labels=request["labels"])
        for row in request["rows"]:
            emit(event="loss", id=row["id"], loss_sum=2.0 if tuned else 6.0, supervised_tokens=4, tokens=9,
                 is_cut=False)
    else:
        left = [item for item in request["requests"] if item["id"] not in request["known"]]
        note(answers=len(left), adapter=request["adapter"], size=request["batch_size"])
        for item in left:
            name = item["messages"][-1]["content"]
            calls = [{"name": name, "arguments": {}}] if tuned else []
            text = json.dumps(calls[0]) if calls else "No."
            emit(event="answer", id=item["id"], text=text, calls=calls, prompt_tokens=1, answer_tokens=2, finish="stop",
                 seconds=0.1)
    emit(event="done", stopped=False)
"""
TOOLS = json.dumps([{"type": "function", "function": {"name": name, "parameters": {}}} for name in ("a", "b")])
SETTINGS = EvalSettings(LabelSettings(99), GenerationSettings(32), batch_size=3)


def _row(number: int, name: str) -> EvalRow:
    call = {"role": "function", "content": json.dumps({"name": name, "arguments": {}})}
    return EvalRow(number, ({"role": "user", "content": name}, call), "", TOOLS)


ROWS = tuple(_row(number, name) for number, name in enumerate("abab", 1))


class Bench:
    """Runs evaluations in one folder."""

    def __init__(self, root: Path, build, facts) -> None:
        self.root, self.out, self.build, self.facts = root, root / "evals", build, facts
        self.engine = runnable_engine()
        self.base = build.model()
        self.seen: list[tuple[str, int, int]] = []

    def candidate(self, label: str) -> ModelUnderTest:
        folder = self.root / label
        if not folder.exists():
            self.build.adapter(folder, self.base)
        return ModelUnderTest(label, resolve_target(str(folder), self.facts))

    def material(self, rows=ROWS) -> Material:
        return Material("rows", EvalRows("rows", rows).digest, rows, tuple(tool_cases(rows)), frozenset({"a"}))

    def run(self, *labels: str, rows=ROWS) -> dict:
        listener = AnsweringListener(on_progress=lambda *step: self.seen.append(step))
        everyone = with_base([self.candidate(label) for label in labels])
        return evaluate(self.engine, everyone, self.material(rows), SETTINGS, self.out, listener=listener)

    def log(self) -> list[dict]:
        path = self.root / "log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.fixture
def bench(tmp_path, build, facts, fake_worker) -> Bench:
    fake_worker("score", WORKER)
    return Bench(tmp_path, build, facts)


def test_base_and_adapters_are_measured_in_one_load(bench):
    report = bench.run("one", "two")
    assert [entry for entry in bench.log() if "load" in entry] == [{"load": ["one", "two"]}]
    base, one, _two = report["models"]
    assert (base["name"], base["loss"]["loss"], one["loss"]["loss"]) == (BASE, 1.5, 0.5)
    assert base["calls"]["ast_accuracy"] == 0.0
    assert one["calls"]["ast_accuracy"] == one["calls_in_any_format"]["ast_accuracy"] == 1.0
    assert one["calls"]["unseen"]["cases"] == 2
    assert json.loads((bench.out / "report.json").read_text())["models"] == report["models"]
    judged = [json.loads(line) for line in Path(base["judged_answers"]).read_text().splitlines()]
    assert [row["case"] for row in judged] == ["1.2", "2.2", "3.2", "4.2"]
    assert judged[0]["template"] == {
        "reading": "text",
        "calls": [],
        "tool": False,
        "param": False,
        "ast": False,
        "error": "no call",
    }
    assert (f"{BASE}: loss", 4, 4) in bench.seen
    assert ("two: answers", 4, 4) in bench.seen


@pytest.mark.parametrize("limit", [0, 1, 5, 9, 15])
def test_what_was_done_before_an_interruption_is_not_done_again(bench, limit):
    (bench.root / "limit").write_text(str(limit))
    with pytest.raises(EngineError):
        bench.run("one")
    (bench.root / "limit").unlink()
    before = len(bench.log())
    report = bench.run("one")
    again = bench.log()[before:]
    assert sum(entry.get("losses", 0) + entry.get("answers", 0) for entry in again) == 16 - limit
    assert report["models"][1]["calls"]["ast_accuracy"] == 1.0


def test_a_line_that_was_cut_off_is_done_again(bench):
    report = bench.run("one")
    path = bench.out / "one.answers.jsonl"
    path.write_bytes(path.read_bytes()[:-20])
    before = len(bench.log())
    assert bench.run("one") == report
    assert [entry.get("answers") for entry in bench.log()[before:]] == [None, 1]


def test_a_finished_evaluation_loads_nothing(bench):
    report = bench.run("one")
    before = bench.log()
    assert bench.run("one") == report
    assert bench.log() == before


def test_another_adapter_joins_without_asking_the_others_again(bench):
    bench.run("one")
    before = len(bench.log())
    bench.run("one", "two")
    assert {entry.get("adapter") for entry in bench.log()[before:]} - {None} == {"two"}


@pytest.mark.parametrize("what", ["weights", "rows"])
def test_results_of_something_else_are_not_mixed_in(bench, what):
    bench.run("one")
    rows = ROWS
    if what == "weights":
        (bench.root / "one" / "adapter_model.safetensors").touch()
        bench.build.adapter(bench.root / "one", bench.base, hidden=8)
    else:
        rows = ROWS[:2]
    with pytest.raises(UsageError, match=r"\((weights|data) differ\)"):
        bench.run("one", rows=rows)


def test_a_base_that_is_named_itself_is_measured_once(bench, facts):
    whole = ModelUnderTest("smol", resolve_target(str(bench.base), facts))
    adapter = bench.candidate("one")
    labels = [each.name for each in with_base([whole, adapter])]
    assert labels == ["smol", "one"]
