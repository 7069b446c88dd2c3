"""Whether calls come back, and whose fault a failure is; with stand-ins for the engine's templates."""

from __future__ import annotations

import json
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.convert.writer_tools import assistant_text
from lfwrap.data.formats.base import Reject
from lfwrap.data.schema.conversation import Message, Role, ToolCall
from lfwrap.engine.chat_templates import chat_template, chat_template_names
from lfwrap_worker.data import read_back
from lfwrap_worker.data.read_back import CallReader, OwnFaultError, RefusedError

CONTENT = '{"name": "f", "arguments": {"a": 1}}'


class Formatter:
    """Stands for the engine's: JSON in, the calls as JSON out."""

    def __init__(self) -> None:
        self.slots = ["{{content}}", "<|end|>"]
        self.tool_utils: Any = self

    def function_formatter(self, functions: list[Any]) -> str:
        return json.dumps(functions)

    def apply(self, *, content: str, **_: Any) -> list[str]:
        value = json.loads(content)
        calls = value if isinstance(value, list) else [value]
        return [self.tool_utils.function_formatter([(c["name"], json.dumps(c["arguments"])) for c in calls])]


def template(parse: Callable[[str], Any]) -> Any:
    return SimpleNamespace(
        format_function=Formatter(),
        thought_words=("<t>", "</t>"),
        tool_call_words=("<c>", "</c>"),
        extract_tool=parse,
    )


def fails(error: Exception) -> Callable[[str], Any]:
    def parse(_: str) -> Any:
        raise error

    return parse


def spins(_: str) -> Any:
    while True:
        pass


@pytest.mark.parametrize(
    ("parse", "unread", "error"),
    [
        (json.loads, False, ""),
        (lambda _: [("f", '{"a": 1}')], False, ""),
        (lambda _: [("f", '{"a": true}')], True, ""),
        (lambda _: [("f", '{"a": "1"}')], True, ""),
        (lambda _: [("f", "a: 1")], True, ""),
        (lambda _: [("f", None)], True, ""),
        (lambda _: [], True, ""),
        (lambda text: text, True, ""),
        (fails(KeyError("name")), True, "KeyError: 'name'"),
        (fails(RecursionError("deep")), True, "RecursionError: deep"),
        (fails(ValueError("x" * 999)), True, "ValueError: " + "x" * 188 + "…"),
    ],
)
def test_what_the_parser_finds_is_held_against_what_the_engine_wrote(parse: Any, unread: bool, error: str) -> None:
    looked = template(parse)
    verdict = CallReader(looked).look(CONTENT)
    assert (verdict.changed, verdict.unread, verdict.error) == (False, unread, error)
    assert looked.format_function.slots == ["{{content}}", "<|end|>"]
    assert looked.format_function.tool_utils is looked.format_function


def test_a_parser_without_end_is_ended_and_soon_not_tried_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read_back, "_PARSE_LIMIT_S", 0.01)
    reader = CallReader(template(spins))
    errors = [reader.look(CONTENT).error for _ in range(read_back._SLOW_PARSES + 2)]
    assert errors[0] == "TimeoutError: did not end within 0.01 s"
    assert errors[-1] == "TimeoutError: too slow to be tried on all rows"


def test_a_change_on_the_way_is_told() -> None:
    looked = template(json.loads)
    before = looked.format_function.apply
    looked.format_function.apply = lambda *, content, **words: before(content=content.replace("1", "2"), **words)
    assert CallReader(looked).look(CONTENT).changed


DRIVER = """
def blame(call):
    try:
        call()
    except Exception as error:
        return is_own_fault(error)
"""
CULPRITS = {
    "the engine": ("llamafactory.data.formatter", "raise RuntimeError('Invalid JSON format')", False),
    "the engine by json": ("llamafactory.data.formatter", "json.loads('{')", False),
    "a tokenizer": ("transformers.tokenization", "{}['x']", False),
    "its own code": ("lfwrap_worker.data.encode", "{}['x']", True),
    "its own by json": ("lfwrap_worker.data.encode", "json.loads('{')", True),
    "a missing package": ("lfwrap_worker.data.encode", "import no_such_package", False),
    "a full disk": ("lfwrap_worker.data.encode", "raise OSError(28, 'No space left on device')", False),
}


@pytest.mark.parametrize("case", CULPRITS)
def test_the_fault_is_that_of_the_package_whose_code_it_passed(case: str) -> None:
    module, line, own = CULPRITS[case]
    culprit: dict[str, Any] = {"__name__": module, "json": json}
    exec(f"def fail():\n    {line}", culprit)  # noqa: S102 - a module's name decides
    driver: dict[str, Any] = {"__name__": "lfwrap_worker.data.encode", "is_own_fault": read_back.is_own_fault}
    exec(DRIVER, driver)  # noqa: S102 - likewise
    assert driver["blame"](culprit["fail"]) is own


def test_a_row_is_refused_by_the_engine_or_not_judged() -> None:
    with pytest.raises(RefusedError, match="KeyError: 'x'"), read_back.blaming():
        raise KeyError("x")  # from a module that is not the worker's
    with pytest.raises(OwnFaultError, match="as it is"), read_back.blaming():
        raise OwnFaultError("as it is")
    with pytest.raises(MemoryError), read_back.blaming():
        raise MemoryError


MARKS = sorted({word for name in chat_template_names() for word in chat_template(name).thought_words})
TEXTS = st.one_of(
    st.text(max_size=20),
    st.lists(st.sampled_from([*MARKS, "<tool_call>", "</tool_call>", '"', "\\", "{", "[", "x", "\n"])).map("".join),
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)
CALLS = st.lists(
    st.builds(ToolCall, st.text(min_size=1, max_size=8), st.dictionaries(TEXTS, VALUES, max_size=3)),
    min_size=1,
    max_size=3,
)


@given(name=st.sampled_from(chat_template_names()), calls=CALLS, text=TEXTS, thought=TEXTS)
def test_what_prepare_data_writes_is_read_as_it_was_meant(
    name: str, calls: list[ToolCall], text: str, thought: str
) -> None:
    facts = chat_template(name)
    try:
        content = assistant_text(Message(Role.ASSISTANT, text, thought, tuple(calls)), facts)
    except Reject:
        return
    found = read_back.written_calls(content, facts.thought_words, facts.call_words)
    assert read_back.equal(found, [[call.name, dict(call.arguments)] for call in calls])
