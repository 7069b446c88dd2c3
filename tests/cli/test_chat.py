"""`lfwrap chat`: what it refuses, and how a conversation goes, with a stand-in for the model."""

from __future__ import annotations

import json

import pytest

from lfwrap.cli.app import run
from lfwrap.cli.chat import Talk, _answer_file
from lfwrap.results.answers import Answer
from lfwrap.results.questions import ask


class FakeSession:
    """Answers with the number of the question, and keeps what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[list[str], str | None, str | None]] = []

    def default_adapter(self) -> str:
        return "tuned"

    def interrupt(self) -> None:
        pass

    def stream(self, question, adapter):
        self.asked.append(([message["content"] for message in question.messages], question.system, adapter))
        yield "so "
        yield "be it"
        yield Answer(question.id, "so be it", 3, 2, "stop", 0.1)

    def answer_all(self, questions, adapter, *, batch_size):
        for question in reversed(questions):
            yield Answer(question.id, f"re {question.text}", 3, 2, "stop", 0.1)


@pytest.fixture
def session() -> FakeSession:
    return FakeSession()


def test_a_conversation_keeps_its_history_until_it_is_reset(session, capsys):
    talk = Talk(session, None, "tuned")
    for line in ("one", "two", "/reset", "three"):
        assert talk.take(line)
    assert [asked[0] for asked in session.asked] == [["one"], ["one", "so be it", "two"], ["three"]]
    assert capsys.readouterr().out == "so be it\n" * 3


def test_system_prompt_and_base_can_be_switched(session):
    talk = Talk(session, "first", "tuned")
    for line in ("a", "/system be brief", "b", "/base", "c", "/base", "d", "/system", "e"):
        talk.take(line)
    assert [asked[1:] for asked in session.asked] == [
        ("first", "tuned"), ("be brief", "tuned"), ("be brief", None), ("be brief", "tuned"), (None, "tuned"),
    ]  # fmt: skip


@pytest.mark.parametrize(("line", "goes_on"), [("/exit", False), ("exit", False), ("/quit", False), ("/nope", True)])
def test_commands_end_the_conversation_or_say_what_there_is(session, line, goes_on, capsys):
    assert Talk(session, None, None).take(line) is goes_on
    assert session.asked == []
    assert ("/system TEXT" in capsys.readouterr().err) is goes_on


def test_a_question_may_begin_with_a_slash_path(session):
    Talk(session, None, None).take("/etc/passwd is what?")
    assert len(session.asked) == 1


def test_a_file_is_answered_in_its_own_order(session, capsys):
    _answer_file(session, [ask(text, number=number) for number, text in enumerate("abc")], "tuned", 8, as_json=False)
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [(row["id"], row["answer"]) for row in rows] == [(0, "re a"), (1, "re b"), (2, "re c")]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["x", "--prompt", "a", "--file", "b"], 2, "--prompt and --file: one of the two."),
        (["x", "--json"], 2, "--json needs --prompt or --file."),
        (["x", "--prompt", " "], 2, "--prompt: empty."),
        (["x", "--file", "/no/such/file"], 4, "/no/such/file: can't be read"),
        (["x", "--prompt", "a", "--temperature", "-1"], 2, "not in the range"),
        ([], 2, "Missing argument 'RUN'"),
    ],
)
def test_what_makes_no_sense_is_refused_before_anything_loads(arguments, code, message, capsys):
    assert run(["chat", *arguments]) == code
    assert message in capsys.readouterr().err


def test_an_unknown_run_is_an_error_object_too(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = run(["chat", "nope", "--prompt", "a", "--json"])
    found = json.loads(capsys.readouterr().out)
    assert (found["schema"], found["error"]["exit_code"]) == ("lfwrap.error/1", code)
    assert code in {6, 8}  # 6 where there is no engine
