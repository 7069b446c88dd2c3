"""BFCL's simple cases (Python) from a folder: one question, one function, the accepted values of each argument."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.data.convert import writer
from lfwrap.data.formats import FORMATS
from lfwrap.data.formats.base import ConvertOptions, Reject, RowNotes
from lfwrap.data.formats.bfcl import answers_file, read
from lfwrap.data.schema.conversation import Conversation
from lfwrap.engine.chat_templates import Saying, chat_template
from lfwrap.errors import DataError
from lfwrap.evaluate.tool_calls.bfcl_match import AcceptedCall
from lfwrap.evaluate.tool_calls.cases import Case
from lfwrap.inference.questions import Question

_FILES = re.compile(r"^BFCL_v(\d+)_simple(_python)?\.jsonl?$")
_ROLES = {"human": "user", "gpt": "assistant", "observation": "observation"}


@dataclass(frozen=True, slots=True)
class BfclSuite:
    """The cases of a file.

    Attributes:
        path: the file of questions.
        cases: those that can be asked.
        left_out: ids of those that can't, each with the reason.
    """

    path: Path
    cases: tuple[Case, ...]
    left_out: Mapping[str, str]


def load_bfcl(folder: Path, template: str) -> BfclSuite:
    """The simple cases of a folder, written for a template.

    Where the template can't read names with dots back, they become underscores, as BFCL itself does for such models.

    Raises:
        DataError: no such file, or no answers beside it.
    """
    path = _cases_file(folder)
    dotted = chat_template(template).dotted_names is Saying.READ_BACK
    cases: list[Case] = []
    left_out: dict[str, str] = {}
    for record in read(path, ConvertOptions()):
        value = record.value if isinstance(record.value, Mapping) else {}
        key = str(value.get("id", f"row {record.row}"))
        try:
            cases.append(_case(key, len(cases), value, template, dotted=dotted))
        except Reject as reject:
            left_out[key] = reject.reason
    if not cases:
        raise DataError(f"{path}: no usable case", hint="Name the file as BFCL publishes it.")
    return BfclSuite(path, tuple(cases), left_out)


def _cases_file(folder: Path) -> Path:
    found = {int(match[1]): path for path in folder.glob("BFCL_v*_simple*") if (match := _FILES.match(path.name))}
    if not found:
        raise DataError(
            f"{folder}: no BFCL_v*_simple_python.json",
            hint="Name the folder of BFCL's data files: --bfcl-dir DIR.",
        )
    path = found[max(found)]
    if answers_file(path) is None:
        raise DataError(
            f"{path}: no accepted answers beside it",
            hint=f"BFCL publishes them as possible_answer/{path.name}.",
        )
    return path


def _case(key: str, number: int, record: Mapping[str, Any], template: str, *, dotted: bool) -> Case:
    functions, truth = record.get("function"), record.get("ground_truth")
    conversation = FORMATS["bfcl"].convert(record, ConvertOptions(), RowNotes())
    if not isinstance(functions, list) or len(functions) != 1 or not isinstance(truth, list) or len(truth) != 1:
        raise Reject("structure", "not one function with one accepted call")
    if not dotted:
        conversation = _without_dots(conversation)
    [expected] = conversation.messages[-1].calls
    row = writer.engine_row(conversation, template)
    messages = tuple({"role": _ROLES[turn["from"]], "content": turn["value"]} for turn in row["conversations"][:-1])
    [values] = truth[0].values()
    accepted = AcceptedCall(expected.name, functions[0].get("parameters") or {}, values)
    question = Question(number, messages, row["system"] or None, row["tools"], row["conversations"][-1]["value"])
    return Case(key, question, (expected,), frozenset(tool.name for tool in conversation.tools), accepted)


def _without_dots(conversation: Conversation) -> Conversation:
    tools = tuple(dataclasses.replace(tool, name=tool.name.replace(".", "_")) for tool in conversation.tools)
    messages = tuple(
        dataclasses.replace(
            message,
            calls=tuple(dataclasses.replace(call, name=call.name.replace(".", "_")) for call in message.calls),
        )
        for message in conversation.messages
    )
    return dataclasses.replace(conversation, tools=tools, messages=messages)
