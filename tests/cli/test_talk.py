"""`lfwrap chat`: what it refuses, and how a conversation goes, with a stand-in for the model."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import ClassVar

import pytest

from lfwrap.cli.app import run
from lfwrap.cli.view.talk import Talk
from lfwrap.cli.view.tool_turns import ToolDesk
from lfwrap.data.schema.conversation import Tool
from lfwrap.data.tools.mcp_session import ToolResult
from lfwrap.errors import EngineError
from lfwrap.inference.session import Answer


class FakeSession:
    """Answers with the number of the question, and keeps what it was asked."""

    ready: ClassVar = {"context_tokens": 4096}

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

    adapters = ("tuned", "v2")

    def attach(self, name, folder):
        if name == "broken":
            raise EngineError("it does not fit", hint="Take another.")
        self.adapters = (*self.adapters, name)


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


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["x", "--prompt", "a", "--file", "b"], 2, "--ask and --file: give only one of them."),
        (["x", "--json"], 2, "--json needs --ask or --file."),
        (["x", "--prompt", " "], 2, "--ask: empty."),
        (["x", "--web", "--ask", "a"], 2, "--web takes no questions and no tools"),
        (["x", "--yes"], 2, "--yes needs --mcp-server"),
        (["x", "--ask", "-", "--mcp-server", "s"], 2, "stdin can't answer"),
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


def test_adapters_are_switched_listed_and_loaded(session, tmp_path, capsys):
    for name in ("good", "broken"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "adapter_config.json").write_text("{}")
    talk = Talk(session, None, "tuned")
    lines = ["/adapter v2", "a", "/adapter", "/adapter nope", f"/load {tmp_path / 'good'}", "b", "/load /nowhere"]
    for line in [*lines, f"/load broken={tmp_path / 'broken'}", "c"]:
        assert talk.take(line)
    assert [asked[2] for asked in session.asked] == ["v2", "good", "good"]
    said = capsys.readouterr().err
    for words in (
        "Adapters: tuned, v2 *.",
        "nope: no such adapter.",
        "not an adapter's folder",
        "it does not fit. Take",
    ):
        assert words in said


CALL = {"name": "clock", "arguments": {"zone": "UTC"}}


class CallingSession(FakeSession):
    """Calls the clock first, and answers when it has been told."""

    def stream(self, question, adapter):
        self.asked.append(([message["role"] for message in question.messages], question.tools, adapter))
        if question.messages[-1]["role"] == "observation":
            yield Answer(question.id, f"It is {question.messages[-1]['content']}.", 3, 2, "stop", 0.1)
        else:
            yield "<tool_call>…"
            yield Answer(question.id, "<tool_call>…", 3, 2, "stop", 0.1, (CALL,))


class Server:
    """Knows the time."""

    tools = (Tool("clock"),)

    def __init__(self) -> None:
        self.called: list[tuple[str, dict[str, str]]] = []

    def call(self, name, arguments):
        self.called.append((name, arguments))
        return ToolResult("noon")


def replies(*texts: str) -> Iterator[str]:
    """A person that says these things."""
    return iter(texts)


@pytest.mark.parametrize(
    ("said", "allow_all", "runs"), [("y", False, 1), ("a", False, 1), ("", False, 0), ("no", False, 0), ("", True, 1)]
)
def test_a_call_is_run_after_a_yes_and_its_result_goes_back(said, allow_all, runs, capsys):
    session, server, person = CallingSession(), Server(), replies(said)
    desk = ToolDesk("qwen", server, lambda _: next(person), allow_all=allow_all)
    Talk(session, None, None, tools="[{}]", desk=desk).take("What time is it?")
    assert server.called == [("clock", {"zone": "UTC"})] * runs
    assert len(session.asked) == 1 + runs
    if runs:
        assert session.asked[1][0] == ["user", "function", "observation"]
    assert 'call clock {"zone": "UTC"}' in capsys.readouterr().err


def test_always_holds_for_the_tool_and_unknown_tools_are_told_to_the_model(capsys):
    session, server, person = CallingSession(), Server(), replies("a")
    talk = Talk(session, None, None, tools="[{}]", desk=ToolDesk("qwen", server, lambda _: next(person)))
    talk.take("one")
    talk.take("two")
    assert len(server.called) == 2
    server.tools = ()
    talk.take("three")
    assert len(server.called) == 2
    assert "there is no tool clock" in capsys.readouterr().err


def test_without_a_server_the_person_gives_the_result(capsys):
    session = CallingSession()
    talk = Talk(session, None, None, tools="[{}]", desk=ToolDesk("qwen", None, lambda _: ""))
    for line in ("/result too early", "What time is it?", "/result 12:00"):
        talk.take(line)
    assert "the last answer made no call" in capsys.readouterr().err
    assert session.asked[-1][0] == ["user", "function", "observation"]


def test_a_model_that_calls_for_ever_is_stopped(capsys):
    class Endless(CallingSession):
        def stream(self, question, adapter):
            self.asked.append(question)
            yield Answer(question.id, "<tool_call>…", 3, 2, "stop", 0.1, (CALL,))

    session = Endless()
    desk = ToolDesk("qwen", Server(), lambda _: "y")
    Talk(session, None, None, tools="[{}]", desk=desk).take("go")
    assert len(session.asked) == 8
    assert "no more are run" in capsys.readouterr().err
