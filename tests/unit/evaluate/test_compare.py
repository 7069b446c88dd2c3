"""A comparison with real children that answer by the protocol: loads, resuming, figures, a judge."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest
from fake_engine import runnable_engine

from lfwrap.engine.contract import GenerationSettings
from lfwrap.errors import EngineError, RunStateError, UsageError
from lfwrap.evaluate.compare import compare, default_folder
from lfwrap.evaluate.comparison import CompareRequest
from lfwrap.evaluate.judge import JudgeAddress
from lfwrap.files import locked
from lfwrap.inference.candidates import TargetOptions, resolve_candidates, with_base
from lfwrap.inference.model_pool import AnsweringListener
from lfwrap.inference.question_rows import Question, ask

_spec = importlib.util.spec_from_file_location(
    "judge_server", Path(__file__).parents[2] / "process" / "judge_server.py"
)
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)

# Answers with the adapter's name and the question; writes down each load; fails when a file tells it to.
WORKER = """
import json, sys, pathlib
here = pathlib.Path(__file__).parent
def emit(**fields): print(json.dumps(fields), flush=True)
requests = (json.loads(line) for line in sys.stdin)
load = next(requests)
with (here / "loads").open("a") as sink:
    sink.write(json.dumps([load["arguments"]["template"], sorted(load["adapters"])]) + "\\n")
emit(event="ready", device="cpu", dtype="float32", seconds=0.1, phases={"base_s": 0.1})
for request in requests:
    for number, item in enumerate(request["requests"]):
        if (here / "break").exists() and number == 1:
            emit(event="error", message="ValueError: broken")
            break
        text = item["messages"][-1]["content"]
        answer = f"{request['adapter'] or 'base'}: {text}" if "same" not in text else text
        emit(event="answer", id=item["id"], text=answer, calls=[], prompt_tokens=3, answer_tokens=len(answer),
             finish="length" if "long" in text else "stop", seconds=0.5)
    else:
        emit(event="done", stopped=False)
"""
QUESTIONS = [
    ask("one", number=0),
    ask("same", number=1),
    Question(2, ({"role": "user", "content": "long"},), reference="a: long", must_contain=("a:",)),
]


@pytest.fixture
def engine(fake_worker):
    fake_worker("answer", WORKER)
    return runnable_engine()


@pytest.fixture
def request_(build, facts, tmp_path):
    base = build.model()
    folders = [str(build.adapter(tmp_path / name, base)) for name in "ab"]
    candidates = with_base(resolve_candidates(folders, facts, TargetOptions()))
    return CompareRequest(candidates, QUESTIONS, "q.jsonl", tmp_path / "out", must_contain=("o",))


def loads(tmp_path: Path) -> list:
    return [json.loads(line) for line in (tmp_path / "loads").read_text().splitlines()]


def test_one_load_serves_the_base_and_all_adapters(engine, request_, tmp_path):
    report = compare(engine, request_).to_json()
    assert loads(tmp_path) == [["smollm2", ["a", "b"]]]
    assert [target["name"] for target in report["targets"]] == ["base", "a", "b"]
    assert report["rows"][0]["answers"]["a"]["text"] == "a: one"
    assert [row["all_same"] for row in report["rows"]] == [False, True, False]
    [load] = report["loads"]
    assert (load["phases"], list(load["turns_s"])) == ({"base_s": 0.1}, ["base", "a", "b"])
    assert 0 < load["load_s"] < 60
    assert compare(engine, request_).to_json()["loads"] == []


def test_the_figures(engine, request_):
    pytest.importorskip("sacrebleu", reason="the extra 'eval' is not installed")
    report = compare(engine, request_).to_json()
    base, first, _ = (target["summary"] for target in report["targets"])
    assert (base["same_as_baseline"], first["same_as_baseline"]) == (3, 1)
    assert (first["cut_at_limit"], first["seconds"], first["mean_answer_tokens"]) == (
        1,
        1.5,
        pytest.approx(17 / 3, 0.01),
    )
    assert first["keywords"] == {"passed": 2, "checked": 3}
    assert first["scores"]["rougeL"] == 100
    assert base["scores"]["rougeL"] < 100
    assert report["rows"][0]["answers"]["a"]["scores"] is None
    assert report["rows"][2]["answers"]["base"]["missing_keywords"] == ["a:"]


def test_a_second_call_goes_on_where_the_first_was_broken_off(engine, request_, tmp_path):
    (tmp_path / "break").touch()
    with pytest.raises(EngineError, match="broken"):
        compare(engine, request_)
    (tmp_path / "break").unlink()
    seen = []
    listener = AnsweringListener(
        seen.append, lambda _, names: seen.append(names), on_progress=lambda *at: seen.append(at)
    )
    compare(engine, request_, listener)
    assert seen[0] == "base: 1 of 3 answers were there already"
    assert seen[1] == ["base", "a", "b"]
    assert ("base", 3, 3) in seen
    assert len(loads(tmp_path)) == 2
    compare(engine, request_)
    assert len(loads(tmp_path)) == 2  # everything is there: nothing is loaded


def test_an_adapter_that_comes_later_is_asked_alone(engine, request_, tmp_path):
    first = dataclasses.replace(request_, candidates=request_.candidates[:2])
    compare(engine, first)
    compare(engine, request_)
    assert loads(tmp_path) == [["smollm2", ["a"]], ["smollm2", ["b"]]]


def test_a_question_longer_than_the_model_can_take_is_named(engine, request_, tmp_path):
    """The worker counts three tokens of each prompt, and a token a letter of the answer."""
    worker = tmp_path / "answer.py"
    worker.write_text(worker.read_text().replace('dtype="float32"', 'dtype="float32", context_tokens=9'))
    seen = []
    compare(engine, request_, AnsweringListener(seen.append))
    told = "tokens with its answer, the model was made for 9: the answer may be poor"
    whom = ["base, question 1: 12", "base, question 3: 13", "a, question 3: 10", "b, question 3: 10"]
    assert seen == [f"{who} {told}" for who in whom]


def test_another_template_is_another_load(engine, request_, tmp_path):
    base, first, second = request_.candidates
    other = dataclasses.replace(second, target=dataclasses.replace(second.target, template="qwen"))
    compare(engine, dataclasses.replace(request_, candidates=[base, first, other]))
    assert loads(tmp_path) == [["smollm2", ["a"]], ["qwen", ["b"]]]


@pytest.mark.parametrize(
    "setting",
    [
        {"init_lora_weights": "pissa_niter_16"},  # as the engine saves PiSSA
        {"bias": "all"},
        {"layer_replication": [[0, 2], [1, 2]]},
        {"trainable_token_indices": [5, 6]},
        {"target_parameters": ["mlp.experts.gate_up_proj"]},
        {"peft_type": "OFT"},
    ],
    ids=lambda setting: next(iter(setting)),
)
def test_an_adapter_that_can_share_no_base_has_a_load_of_its_own(engine, request_, tmp_path, setting):
    config = request_.candidates[1].target.adapter / "adapter_config.json"
    config.write_text(json.dumps(json.loads(config.read_bytes()) | setting))
    compare(engine, request_)
    assert loads(tmp_path) == [["smollm2", ["b"]], ["smollm2", ["a"]]]


@pytest.mark.parametrize(
    "change",
    [{"settings": GenerationSettings(seed=7)}, {"questions": [ask("another", number=0)]}],
    ids=["settings", "questions"],
)
def test_answers_given_otherwise_are_not_mixed_in(engine, request_, change):
    compare(engine, request_)
    with pytest.raises(UsageError, match="differ"):
        compare(engine, dataclasses.replace(request_, **change))
    compare(engine, dataclasses.replace(request_, **change, force=True))


def test_retrained_weights_are_not_taken_for_the_old_ones(engine, request_, build):
    compare(engine, request_)
    build.weights(request_.candidates[1].target.adapter / "adapter_model.safetensors", {"x": (3, 3)})
    with pytest.raises(UsageError, match="weights differ"):
        compare(engine, request_)


def test_folders_of_others_files_and_folders_at_work_are_refused(engine, request_, tmp_path):
    taken = tmp_path / "mine"
    taken.mkdir()
    (taken / "letter.txt").touch()
    for out in (taken, taken / "letter.txt"):
        with pytest.raises(UsageError):
            compare(engine, dataclasses.replace(request_, out=out))
    compare(engine, request_)
    with locked(request_.out / ".lock"), pytest.raises(RunStateError, match="another lfwrap"):
        compare(engine, request_)


def test_nothing_to_compare(engine, request_):
    with pytest.raises(UsageError, match="nothing"):
        compare(engine, dataclasses.replace(request_, questions=[]))


def test_the_same_questions_put_the_same_way_have_the_same_folder():
    folder = default_folder("q", QUESTIONS, GenerationSettings(), "m")
    assert folder == default_folder("q", QUESTIONS, GenerationSettings(), "m")
    assert folder.name.startswith("q-")
    assert default_folder("a run/validation", QUESTIONS, GenerationSettings(), "m").name.startswith("a-run-valid")
    others = [([ask("x")], GenerationSettings(), "m"), (QUESTIONS, GenerationSettings(9), "m")]
    assert len({folder, *(default_folder("q", *other) for other in others)}) == 3


def test_the_judge_is_asked_once_about_each_pair_that_differs(engine, request_):
    def rule(first: str, second: str) -> str:
        return json.dumps({"winner": "A" if first.startswith("b:") else "B" if second.startswith("b:") else "tie"})

    with _module.serve_judge(rule) as server:
        judged = dataclasses.replace(request_, judge=JudgeAddress(server.url, "m", "sk-secret"))
        report = compare(engine, judged).to_json()
        asked = len(server.requests)
        compare(engine, judged)
        assert len(server.requests) == asked == 2 * 2 * 2  # two pairs that differ, two targets, both orders
    verdicts = [target["summary"]["verdicts"] for target in report["targets"]]
    assert verdicts[0] is None
    assert (verdicts[1]["wins"], verdicts[1]["ties"]) == (0, 3)
    assert (verdicts[2]["wins"], verdicts[2]["ties"], verdicts[2]["consistent"]) == (2, 1, 3)
    assert report["judge"] == {"model": "m", "url": server.url}
    kept = "".join(path.read_text() for path in request_.out.rglob("*.jsonl"))
    assert "sk-secret" not in kept + json.dumps(report)
