"""The worker that answers: its protocol, order and failures, with a model made of words. No engine is imported."""

from __future__ import annotations

import contextlib
import io
import json
import signal
import sys
from dataclasses import dataclass
from types import ModuleType
from typing import ClassVar

import pytest

from lfwrap_worker.inference import answer as worker


@dataclass
class Generation:
    max_new_tokens: int = 8
    seed: int = 0


@dataclass
class Answer:
    text: str
    token_ids: list[int]
    stopped: bool


class EngineModel:
    """Tokens are characters; the answer is the prompt backwards, cut at the limit."""

    device, dtype, base_s, context_tokens = "cpu", "float32", 1.5, 2048
    numbers: ClassVar[list[list[int]]] = []

    def __init__(self, arguments, adapters, dtype):
        if arguments.get("model_name_or_path") == "broken":
            raise OSError("no such model")
        self.adapters, self.adapter = adapters, None
        self.adapter_s = dict.fromkeys(adapters, 0.25)
        self.batches = []
        self.numbers.clear()

    @contextlib.contextmanager
    def using(self, adapter):
        if adapter is not None and adapter not in self.adapters:
            raise KeyError(adapter)
        yield

    def encode(self, messages, system, tools):
        return [ord(letter) for letter in (system or "") + messages[-1]["content"]]

    def attach(self, name, folder):
        self.adapters = {**self.adapters, name: folder}

    def calls(self, token_ids):
        return [{"name": chr(token_ids[0]), "arguments": {}}]

    def generate(self, prompts, settings, *, emit=None, stop_asked=lambda: False, numbers=()):
        self.numbers.append(list(numbers))
        answers = []
        for prompt in prompts:
            letters = [chr(number) for number in reversed(prompt)]
            said = []
            for letter in letters[: settings.max_new_tokens]:
                if stop_asked():
                    break
                said.append(letter)
                if emit:
                    emit(letter)
            answers.append(Answer("".join(said), [ord(letter) for letter in said], len(said) == len(letters)))
        return answers

    def generate_many(self, prompts, settings, numbers=()):
        self.batches.append([len(prompt) for prompt in prompts])
        return self.generate(prompts, settings, numbers=numbers)


@pytest.fixture
def talk(monkeypatch):
    """Run the worker's main over requests; gives its exit code and its events."""
    name = "lfwrap_worker.inference.engine_model"
    module = ModuleType(name)
    module.EngineModel, module.Generation = EngineModel, Generation
    monkeypatch.setitem(sys.modules, name, module)
    before = signal.getsignal(signal.SIGINT)

    def run(*requests):
        channel = io.StringIO()
        monkeypatch.setattr(worker, "take_stdout", lambda: channel)
        monkeypatch.setattr(worker, "read_requests", lambda _: iter(requests))
        code = worker.main()
        return code, [json.loads(line) for line in channel.getvalue().splitlines()]

    yield run
    signal.signal(signal.SIGINT, before)


LOAD = {"arguments": {"model_name_or_path": "m"}, "adapters": {"tuned": "/a"}}


def stream(text, **fields):
    return {"op": "stream", "id": 3, "messages": [{"role": "user", "content": text}], **fields}


def batch(*texts, **fields):
    requests = [
        {"id": number, "messages": [{"role": "user", "content": text}], "system": None, "tools": None}
        for number, text in enumerate(texts)
    ]
    return {"op": "batch", "requests": requests, **fields}


def test_ready_comes_first_and_says_where_it_runs(talk):
    code, [ready] = talk(LOAD)
    assert code == 0
    assert (ready["event"], ready["device"], ready["dtype"]) == ("ready", "cpu", "float32")
    assert ready["context_tokens"] == 2048
    assert (ready["phases"]["base_s"], ready["phases"]["adapters_s"]) == (1.5, 0.25)


def test_a_model_that_can_not_be_loaded_is_a_fatal_event(talk):
    code, events = talk({"arguments": {"model_name_or_path": "broken"}})
    assert code == 1
    assert events == [{"event": "error", "message": "OSError: no such model", "fatal": True}]


def test_a_broken_installation_is_a_fatal_event_too(talk, monkeypatch):
    monkeypatch.setitem(sys.modules, "lfwrap_worker.inference.engine_model", None)
    code, [error] = talk(LOAD)
    assert code == 1
    assert error["fatal"] is True
    assert "engine_model" in error["message"]


def test_a_stream_gives_tokens_and_the_whole_answer(talk):
    _, [_, *tokens, answer] = talk(LOAD, stream("狗b", adapter="tuned"))
    assert [(token["event"], token["text"]) for token in tokens] == [("token", "b"), ("token", "狗")]
    assert {"event": "answer", "id": 3, "text": "b狗", "prompt_tokens": 2, "answer_tokens": 2}.items() <= answer.items()
    assert answer["finish"] == "stop"


def test_an_answer_that_reached_the_limit_says_so(talk):
    _, events = talk(LOAD, stream("abcdef", generation={"max_new_tokens": 2}))
    assert (events[-1]["text"], events[-1]["finish"]) == ("fe", "length")


def test_a_batch_takes_the_longest_first_and_ends_with_done(talk):
    _, [_, *answers, done] = talk(LOAD, batch("a", "abc", "ab", batch_size=2, generation={}))
    assert [answer["id"] for answer in answers] == [1, 2, 0]
    assert [answer["text"] for answer in answers] == ["cba", "ba", "a"]
    assert done == {"event": "done", "stopped": False}


def test_a_batch_is_made_as_if_nothing_were_known_and_left_out_when_all_of_it_is(talk):
    """Rounding depends on what is in a batch: a resumed comparison gives what one in one go would."""
    _, [_, *answers, done] = talk(LOAD, batch("a", "abc", "ab", "abcd", batch_size=2, known=[3, 1, 0]))
    assert [answer["id"] for answer in answers] == [2, 0]
    assert EngineModel.numbers == [[2, 0]]
    assert done["event"] == "done"


def test_questions_keep_their_numbers_for_the_seeds_of_their_answers(talk):
    talk(LOAD, stream("a"), batch("a", "abc", batch_size=2))
    assert EngineModel.numbers == [[3], [1, 0]]


def test_calls_are_read_where_there_were_tools(talk):
    _, events = talk(LOAD, stream("ab"), stream("ab", tools="[{}]"))
    calls = [event["calls"] for event in events if event["event"] == "answer"]
    assert calls == [[], [{"name": "b", "arguments": {}}]]


def test_an_adapter_can_come_later(talk):
    _, [_, unknown, attached, *_, answer] = talk(
        LOAD, stream("a", adapter="new"), {"op": "attach", "name": "new", "folder": "/n"}, stream("a", adapter="new")
    )
    assert unknown["event"] == "error"
    assert attached == {"event": "attached", "name": "new"}
    assert answer["text"] == "a"


def test_one_bad_request_does_not_end_the_conversation(talk):
    code, [_, error, answer] = talk(LOAD, stream("a", adapter="nobody"), stream("", adapter=None))
    assert code == 0
    assert (error["event"], error["fatal"]) == ("error", False)
    assert answer["event"] == "answer"


def test_an_unknown_setting_is_an_error_and_no_answer(talk):
    _, [_, error] = talk(LOAD, stream("a", generation={"beams": 4}))
    assert "beams" in error["message"]


def test_sigint_ends_the_answer_that_is_written_and_the_next_is_whole(talk, monkeypatch):
    emitted = worker.AnswerServer.emit

    def emit(self, event, **fields):
        emitted(self, event, **fields)
        if event == "token" and fields["text"] == "b":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(worker.AnswerServer, "emit", emit)
    _, events = talk(LOAD, stream("abc"), stream("xyz"))
    answers = [(event["text"], event["finish"]) for event in events if event["event"] == "answer"]
    assert answers == [("cb", "interrupted"), ("zyx", "stop")]
