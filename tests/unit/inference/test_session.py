"""The session's side of the talk with its worker, and the comparison's: real children that answer by the protocol."""

from __future__ import annotations

from types import SimpleNamespace

import psutil
import pytest
from fake_engine import runnable_engine

from lfwrap.engine.contract import GenerationSettings
from lfwrap.errors import EngineError, PreflightError
from lfwrap.inference.parity import measure_parity
from lfwrap.inference.questions import ask
from lfwrap.inference.session import TUNED, Answer, AnswerSession
from lfwrap.inference.target import resolve_target

HEAD = """
import json, sys
def emit(**fields): print(json.dumps(fields), flush=True)
def answer(request, text): emit(event="answer", id=request["id"], text=text, prompt_tokens=1, answer_tokens=2,
                                finish="stop", seconds=0.1)
requests = (json.loads(line) for line in sys.stdin)
load = next(requests)
"""
ECHO = """
emit(event="ready", device="cpu", dtype="float32", seconds=0.1, load=load)
for request in requests:
    if request["op"] == "attach":
        emit(event="attached", name=request["name"])
    elif request["op"] == "stream":
        for piece in ("so ", "be ", "it"):
            emit(event="token", id=request["id"], text=piece)
        answer(request, json.dumps(request))
    else:
        for item in reversed(request["requests"]):
            answer(item, f"{request['adapter']} {request['batch_size']} {request['generation']['seed']}")
        emit(event="done", stopped=False)
"""


@pytest.fixture
def session(build, facts, tmp_path, fake_worker):
    """A maker of sessions whose worker runs a given script."""
    base = build.model()
    adapter = build.adapter(tmp_path / "adapter", base)
    target = resolve_target(str(adapter), facts)

    def make(script: str, **options) -> AnswerSession:
        fake_worker("answer", HEAD + script)
        engine = runnable_engine()
        return AnswerSession(engine, target, **options)

    return make


def test_the_model_is_loaded_with_its_adapter_before_the_first_question(session, tmp_path):
    with session(ECHO) as opened:
        assert opened.ready["device"] == "cpu"
        load = opened.ready["load"]
        assert load["adapters"] == {TUNED: str(tmp_path / "adapter")}
        assert load["arguments"]["model_name_or_path"] == str(tmp_path / "SmolLM2-135M-Instruct")
        assert opened.default_adapter() == TUNED
        pid = opened.pid
    assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_other_adapters_can_be_given_and_none(session, tmp_path):
    with session(ECHO, adapters={"v1": tmp_path / "a", "v2": tmp_path / "b"}) as opened:
        assert opened.default_adapter() == "v1"
        assert set(opened.ready["load"]["adapters"]) == {"v1", "v2"}
    with session(ECHO, adapters={}) as opened:
        assert opened.default_adapter() is None


def test_an_adapter_can_be_attached_later(session, tmp_path):
    with session(ECHO) as opened:
        opened.attach("v2", tmp_path / "b")
        assert opened.adapters == (TUNED, "v2")
        opened.attach(TUNED, tmp_path / "c")
        assert opened.adapters == ("v2", TUNED)


def test_a_stream_is_pieces_and_then_the_whole_answer(session):
    with session(ECHO, settings=GenerationSettings(max_new_tokens=9)) as opened:
        *pieces, last = opened.stream(ask("why?", system="be brief"), TUNED)
        assert pieces == ["so ", "be ", "it"]
        assert isinstance(last, Answer)
        assert '"max_new_tokens": 9' in last.text
        assert '"system": "be brief"' in last.text
        again = opened.answer(ask("and now?"), None)
        assert '"adapter": null' in again.text
        assert Answer.from_event({"event": "answer", **again.to_json()}) == again


def test_a_batch_comes_as_it_is_done_and_ends(session):
    with session(ECHO, settings=GenerationSettings(seed=7)) as opened:
        for _ in range(2):
            found = list(opened.answer_all([ask("a", number=0), ask("b", number=1)], "tuned", batch_size=3))
            assert [answer.id for answer in found] == [1, 0]
            assert {answer.text for answer in found} == {"tuned 3 7"}
        [rest] = opened.answer_all([ask("a", number=0), ask("b", number=1)], "tuned", known={1})
        assert rest.id == 0


@pytest.mark.parametrize(
    ("script", "words"),
    [
        ("emit(event='error', message='OSError: no such model', fatal=True)", "no such model"),
        ("sys.exit('the engine is broken')", "the engine is broken"),
    ],
)
def test_a_model_that_can_not_be_loaded_is_an_engine_error_and_nothing_is_left(session, script, words):
    opened = session(script)
    with pytest.raises(EngineError, match=words), opened:
        pass
    assert not psutil.pid_exists(opened.pid) or psutil.Process(opened.pid).status() == psutil.STATUS_ZOMBIE


def test_a_request_that_fails_is_an_engine_error(session):
    script = "emit(event='ready', seconds=0)\nnext(requests)\nemit(event='error', message='ValueError: too long')"
    with session(script) as opened, pytest.raises(EngineError, match="too long"):
        opened.answer(ask("why?"), None)


PARITY = """
exported = next(requests)["sides"]["merged"]
assert exported["arguments"]["model_name_or_path"] == "exported" and exported["adapter"] is None, load
assert "adapter_name_or_path" not in exported["arguments"]
assert load["reference"]["adapter"].endswith("adapter")
row = {"question": load["questions"][0], "reference_answer": "a", "exported_answer": "a", "same_prompt": True,
       "same_answer": True, "answer_tokens": load["max_new_tokens"], "mean_abs_logit_difference": 0.0,
       "max_abs_logit_difference": 0.0, "first_difference": None}
side = dict(rows=[row], compute_dtype="float32", device="cpu", seconds=1.5)
emit(event="parity", reference=[], sides={"merged": side}, seconds=2.5)
"""


def test_the_comparison_asks_base_with_adapter_against_what_was_exported(build, facts, tmp_path, fake_worker):
    target = resolve_target(str(build.adapter(tmp_path / "adapter", build.model())), facts)
    fake_worker("parity", HEAD + PARITY)
    engine = runnable_engine()
    report = measure_parity(engine, target, "exported", "bfloat16", questions=("How?",), max_new_tokens=4)
    assert report.problems() == []
    assert [(row.question, row.answer_tokens) for row in report.rows] == [("How?", 4)]
    assert report.to_json()["dtype"] == "bfloat16"


def test_nothing_is_left_running_where_the_arguments_cannot_be_made(monkeypatch):
    started: list[object] = []

    def refuse() -> None:
        raise PreflightError("broken adapter", hint="Mend it.")

    monkeypatch.setattr("lfwrap.inference.session.WorkerProcess", lambda *args, **_: started.append(args))
    broken = SimpleNamespace(adapter=None, model_is_local=True, engine_arguments=refuse)
    with pytest.raises(PreflightError):
        AnswerSession(SimpleNamespace(python="python"), broken)
    assert started == []
