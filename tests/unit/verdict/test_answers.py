"""The base and the result are asked the same, with a stand-in for the engine; what takes too long is left out."""

from __future__ import annotations

import json
import random
import time

import pytest
from fake_engine import runnable_engine

from lfwrap.errors import LfwrapError
from lfwrap.evaluate.metrics import RowLoss
from lfwrap.run.folder.record import load_run
from lfwrap.verdict.answers import ask_both, margin_of, mean_with_error
from lfwrap.verdict.rows import choose_rows, data_facts, swapped_rows

# The base calls nothing, the result calls what was asked for; own answers lose less than others, where they end in
# the question's last word.
WORKER = """
import json, sys, time
from pathlib import Path
folder = Path(__file__).parent
slow = (folder / "slow").read_text() if (folder / "slow").exists() else ""
def emit(**fields): print(json.dumps(fields), flush=True)
requests = (json.loads(line) for line in sys.stdin)
load = next(requests)
with (folder / "loads").open("a") as sink: sink.write(json.dumps(load["arguments"]["model_name_or_path"]) + "\\n")
if slow == "load": time.sleep(60)
emit(event="ready", device="cpu", dtype="float32", seconds=0.1)
whole = not load["adapters"] and "tuned" in load["arguments"]["model_name_or_path"]
for request in requests:
    tuned = request["adapter"] is not None or whole
    if request["op"] == slow: time.sleep(60)
    if request["op"] == "losses":
        for row in request["rows"]:
            question, answer = row["messages"][-2]["content"], row["messages"][-1]["content"]
            fits = question.split()[-1] in answer
            total = (4.0 if tuned else 12.0) + (0.0 if fits else 4.0) + 0.01 * row["id"]
            emit(event="loss", id=row["id"], loss_sum=total, supervised_tokens=4, tokens=9, is_cut=False)
    else:
        for item in request["requests"]:
            name = item["messages"][-1]["content"].split()[-1]
            calls = [{"name": name, "arguments": {}}] if tuned and item["tools"] else []
            emit(event="answer", id=item["id"], text=name if tuned else "No.", calls=calls, prompt_tokens=1,
                 answer_tokens=2, finish="stop", seconds=0.1)
    emit(event="done", stopped=False)
"""
TOOLS = json.dumps([{"type": "function", "function": {"name": f"t{number}", "parameters": {}}} for number in range(9)])


def alpaca(count: int) -> list[dict]:
    return [{"instruction": f"Say t{number}", "input": "", "output": f"t{number}"} for number in range(count)]


def calling(count: int) -> list[dict]:
    return [
        {
            "conversations": [
                {"from": "human", "value": f"Say t{number}"},
                {"from": "function_call", "value": json.dumps({"name": f"t{number}", "arguments": {}})},
            ],
            "tools": TOOLS,
        }
        for number in range(count)
    ]


@pytest.fixture
def asked(build, use_engine, fake_worker, tmp_path):
    """asked(sets, settings, budget): what was found for a run that was trained on ``d``."""
    fake_worker("score", WORKER)
    use_engine(runnable_engine())

    def ask(sets, settings="", budget_s=30.0, slow="", **changes):
        data = tmp_path / "data"
        data.mkdir(exist_ok=True)
        registry = {}
        for name, rows in sets.items():
            (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
            has_turns = bool(rows) and "conversations" in rows[0]
            extra = {"formatting": "sharegpt", "columns": {"messages": "conversations", "tools": "tools"}}
            registry[name] = {"file_name": f"{name}.jsonl", **(extra if has_turns else {})}
        (data / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
        if slow:
            (tmp_path / "slow").write_text(slow)
        paths = build.run(build.model(), engine_yaml=f"template: qwen\n{settings}")
        record = json.loads(paths.record.read_bytes()) | {"datasets": ["d"], "dataset_dir": str(data), **changes}
        paths.record.write_text(json.dumps(record), encoding="utf-8")
        run = load_run(paths.root)
        return ask_both(runnable_engine(), run, time.monotonic() + budget_s), run

    return ask


def test_rows_that_were_not_trained_on_go_before_those_that_were(asked):
    (answers, left_out), run = asked({"d": alpaca(40), "d_val": alpaca(20)})
    assert (answers.source, answers.is_held_out, answers.rows, left_out) == ("d_val", True, 16, [])
    assert answers.base_loss - answers.tuned_loss == pytest.approx(2.0)
    assert answers.gain.is_there
    assert (answers.asked, answers.changed, answers.supervised_tokens) == (8, 8, 64)
    assert answers.margin.mean == pytest.approx(1.0)
    assert answers.margin.is_there
    assert choose_rows(run, 16) == choose_rows(run, 16)


@pytest.mark.parametrize(
    ("sets", "settings", "source", "is_held_out"),
    [
        ({"d": alpaca(12)}, "", "d", False),
        ({"d": alpaca(12), "other": alpaca(9)}, "eval_dataset: other\n", "other", True),
        ({"d": alpaca(12), "d_val": []}, "", "d", False),
        ({"d": alpaca(12)}, "eval_dataset: gone\n", "d", False),
        ({"d": alpaca(12)}, "eval_dataset: d\n", "d", False),
    ],
)
def test_which_rows_are_asked(asked, sets, settings, source, is_held_out):
    (answers, _), _ = asked(sets, settings)
    assert (answers.source, answers.is_held_out) == (source, is_held_out)


def test_tool_calls_are_counted_where_rows_have_tools(asked):
    (answers, left_out), _ = asked({"d": calling(9), "d_val": calling(6)})
    assert left_out == []
    assert (answers.calls.cases, answers.calls.base, answers.calls.tuned) == (6, 0, 6)


def test_a_whole_model_is_asked_beside_its_base(asked, tmp_path, build):
    tuned = build.root / "runs" / "20260101T000000Z-law-00000000" / "output"
    (_, left_out), _ = asked({"d": alpaca(12)}, budget_s=0.0)
    assert left_out
    for name in ("adapter_model.safetensors", "adapter_config.json"):
        (tuned / name).unlink()
    build.weights(tuned / "model.safetensors", {"a": (2, 2)})
    (tuned / "config.json").write_text("{}")
    (tuned / "tokenizer.json").write_text("{}")
    run = load_run(tuned.parent)
    (tmp_path / "loads").unlink(missing_ok=True)
    ask_both(runnable_engine(), run, time.monotonic() + 30)
    loaded = [json.loads(line) for line in (tmp_path / "loads").read_text().splitlines()]
    assert loaded == [run.record.base_model, str(tuned)]


@pytest.mark.parametrize(("slow", "has_losses"), [("load", False), ("losses", False), ("batch", True)])
def test_what_takes_too_long_is_left_out_and_what_was_found_stays(asked, slow, has_losses):
    begun_s = time.monotonic()
    (answers, left_out), _ = asked({"d": alpaca(12)}, budget_s=3.0, slow=slow)
    assert time.monotonic() - begun_s < 10
    assert "took more than the verdict's time" in left_out[0]
    assert (answers is not None) is has_losses


def test_other_stages_and_data_that_are_gone_are_not_asked(asked):
    with pytest.raises(LfwrapError, match="stage dpo"):
        asked({"d": alpaca(3)}, stage="dpo")


def test_data_that_are_gone_are_not_asked(asked):
    with pytest.raises(LfwrapError, match="d"):
        asked({"other": alpaca(3)})


def test_rows_lend_each_other_their_answers_and_never_the_same(asked):
    _, run = asked({"d": [*alpaca(6), *alpaca(6)]})
    rows = {row.number: row for row in choose_rows(run, 16).rows}
    pairs = swapped_rows(list(rows.values()))
    assert len(pairs) == 6
    for pair in pairs:
        for one, other in (pair, pair[::-1]):
            assert one.messages == (*rows[one.number].messages[:-1], rows[other.number].messages[-1])
            assert one.messages[-1] != rows[one.number].messages[-1]
    assert swapped_rows(list(rows.values())[:1]) == []
    assert (data_facts(run).rows, data_facts(run).distinct) == (12, 6)


@pytest.mark.parametrize("relation", [0.0, 0.5])
def test_what_makes_answers_and_questions_easy_by_themselves_is_no_relation(relation):
    """Losses that differ wildly between answers and between questions: only what belongs together is left."""
    source = random.Random(3)  # noqa: S311 - repeatable
    easy, plain = ([source.uniform(0, 5) for _ in range(16)] for _ in range(2))

    def loss(question: int, answer: int) -> RowLoss:
        value = easy[question] + plain[answer] - relation * (question == answer) + source.gauss(0, 0.02)
        return RowLoss(question, value, 1, 3, is_cut=False)

    pairs = [(number, number + 1) for number in range(0, 16, 2)]
    own = {number: loss(number, number) for number in range(16)}
    swapped = {one: loss(one, other) for pair in pairs for one, other in (pair, pair[::-1])}
    found = margin_of(own, swapped, pairs)
    assert found.mean == pytest.approx(relation, abs=0.05)
    assert found.error < 0.03
    assert margin_of(own, swapped, pairs[:3]) is None


def test_what_has_no_spread_or_no_number_is_no_evidence():
    assert mean_with_error([1.0]) is None
    assert mean_with_error([1.0, float("nan")]) is None
    assert margin_of({}, {}, [(1, 2)] * 9) is None
