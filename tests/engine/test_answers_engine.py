"""Chat and export with the real engine: a tiny random model and a strong random adapter."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from lfwrap.engine.contract import GenerationSettings
from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.locate import locate_engine
from lfwrap.errors import EngineError
from lfwrap.inference.questions import Question, ask
from lfwrap.inference.session import TUNED, AnswerSession
from lfwrap.inference.target import resolve_target

pytestmark = pytest.mark.engine

QUESTIONS = [
    ask(text, number=number) for number, text in enumerate(("Hi", "What is a lien, and why?", "羊驼属于哪一类？"))
]
LFWRAP = [sys.executable, "-m", "lfwrap"]


def _make_adapter(model: Path, out: Path, seed: int) -> Path:
    script = Path(__file__).with_name("make_adapter.py")
    subprocess.run([sys.executable, script, model, out, str(seed)], check=True, capture_output=True, timeout=120)
    return out


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory) -> Path:
    return _make_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "one", 1)


@pytest.fixture(scope="module")
def target(adapter):
    return resolve_target(str(adapter), load_engine_facts(), template="qwen")


@pytest.fixture(scope="module")
def session(target, adapter, tiny_model, tmp_path_factory):
    other = _make_adapter(tiny_model, tmp_path_factory.mktemp("adapter") / "two", 2)
    adapters = {TUNED: adapter, "checkpoint-1.5": other}
    with AnswerSession(locate_engine(), target, adapters=adapters, settings=GenerationSettings(24)) as session:
        yield session


def test_base_and_each_adapter_answer_from_one_load(session):
    answers = [session.answer(QUESTIONS[0], name).text for name in (None, TUNED, "checkpoint-1.5", None, TUNED)]
    assert len(set(answers[:3])) == 3
    assert answers[3:] == answers[:2]


@pytest.mark.parametrize("adapter_name", [None, TUNED])
def test_a_batch_answers_as_one_by_one(session, adapter_name):
    alone = {question.id: session.answer(question, adapter_name).text for question in QUESTIONS}
    together = {answer.id: answer.text for answer in session.answer_all(QUESTIONS, adapter_name, batch_size=2)}
    assert together == alone


def test_streamed_pieces_make_the_answer(session):
    *pieces, answer = session.stream(QUESTIONS[1], TUNED)
    assert "".join(pieces).strip() == answer.text.strip()
    assert (answer.finish, answer.answer_tokens) == ("length", 24)


def test_system_prompt_and_history_reach_the_prompt(session):
    plain = session.answer(QUESTIONS[0], None).prompt_tokens
    assert session.answer(ask("Hi", system="Be brief, be exact, be kind."), None).prompt_tokens != plain
    turns = ({"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Yes?"}, QUESTIONS[0].messages[0])
    assert session.answer(Question(0, turns), None).prompt_tokens > plain


def test_a_bad_request_is_an_error_and_the_session_goes_on(session):
    broken = Question(0, ({"role": "nobody", "content": "x"},))
    with pytest.raises(EngineError, match=r"NotImplementedError|KeyError|ValueError"):
        session.answer(broken, None)
    assert session.answer(QUESTIONS[0], None).text


@contextlib.contextmanager
def _settings(session, settings):
    before, session.settings = session.settings, settings
    yield
    session.settings = before


def test_sampling_follows_its_seed(session):
    texts = []
    for seed in (1, 1, 2):
        with _settings(session, GenerationSettings(16, 2.0, 1.0, seed)):
            texts.append(session.answer(QUESTIONS[0], TUNED).text)
    assert texts[0] == texts[1] != texts[2]


def test_an_answer_can_be_ended_early(session):
    """A random model at a high temperature seldom stops by itself; where it does, it is asked again."""
    for seed in range(20):
        with _settings(session, GenerationSettings(100_000, 50.0, 1.0, seed)):
            stream = session.stream(QUESTIONS[1], TUNED)
            next(stream)
            session.interrupt()
            *_, answer = stream
        if answer.finish == "interrupted":
            break
    assert answer.finish == "interrupted"
    assert answer.answer_tokens < 50_000
    assert session.answer(QUESTIONS[0], TUNED).finish == "length"


def _child_of(process: subprocess.Popen, worker: str) -> psutil.Process:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        for child in psutil.Process(process.pid).children(recursive=True):
            if worker in child.cmdline():
                return child
        time.sleep(0.1)
    raise AssertionError(f"no {worker}")


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_no_child_outlives_lfwrap(adapter, number):
    command = [*LFWRAP, "chat", str(adapter), "--template", "qwen"]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    child = _child_of(process, "answer")
    os.kill(process.pid, number)
    process.communicate(timeout=30)
    assert psutil.wait_procs([child], timeout=20)[0] == [child]


def test_chat_answers_on_the_command_line(adapter):
    command = [*LFWRAP, "chat", str(adapter), "--template", "qwen", "--prompt", "Hi", "--max-new-tokens", "8", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    found = json.loads(done.stdout)
    assert (found["schema"], found["question"], found["answer_tokens"]) == ("lfwrap.answer/1", "Hi", 8)


def test_a_model_that_does_not_load_says_why(tiny_model, tmp_path):
    broken = tmp_path / "broken"
    broken.mkdir()
    for path in tiny_model.iterdir():
        (broken / path.name).write_bytes(path.read_bytes())
    config = json.loads((broken / "config.json").read_text()) | {"model_type": "no_such_type"}
    (broken / "config.json").write_text(json.dumps(config))
    broken_target = resolve_target(str(broken), load_engine_facts(), template="qwen")
    with pytest.raises(EngineError, match=r"no_such_type|Unrecognized"), AnswerSession(locate_engine(), broken_target):
        pass
