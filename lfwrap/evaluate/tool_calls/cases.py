"""Questions with tools and what is expected of the answer: from the rows of a data set, or of BFCL."""

from __future__ import annotations

import random
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from lfwrap.data.datasets.dataset import find_dataset
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.calls import has_call_block, parse_call_text
from lfwrap.data.schema.conversation import ToolCall
from lfwrap.errors import DataError
from lfwrap.evaluate.tool_calls.bfcl_match import AcceptedCall, fault_of, keys_fit
from lfwrap.evaluate.tool_calls.matching import (
    Judgement,
    ReadAnswer,
    Reading,
    count_differences,
    judge_calls,
    pair_calls,
    read_leniently,
    read_strictly,
)
from lfwrap.files import sha256_file
from lfwrap.inference.held_out_rows import EvalRow
from lfwrap.inference.questions import Question
from lfwrap.run.folder.record import Run

_THOUGHT = re.compile(r"^<think>.*?</think>\s*", re.DOTALL)
_ANSWERING = ("function", "assistant")


class CaseKind(StrEnum):
    """The kind of answer that a case expects."""

    SINGLE = "single call"
    PARALLEL = "parallel calls"
    NO_CALL = "no call"


@dataclass(frozen=True, slots=True)
class Case:
    """One turn that a model has to answer, the turns before it as they stand in the data.

    Attributes:
        key: names it: the row and turn, or the id of BFCL.
        question: what is asked; its id counts the cases.
        expected: the calls; empty where plain text is right.
        offered: the names of the tools.
        accepted: BFCL's rule for the call, instead of equality.
    """

    key: str
    question: Question
    expected: tuple[ToolCall, ...]
    offered: frozenset[str]
    accepted: AcceptedCall | None = None

    @property
    def kind(self) -> CaseKind:
        """By the number of expected calls."""
        if not self.expected:
            return CaseKind.NO_CALL
        return CaseKind.PARALLEL if len(self.expected) > 1 else CaseKind.SINGLE

    def judge(self, answer: ReadAnswer) -> Judgement:
        """What an answer is worth."""
        if self.accepted is None:
            return judge_calls(self.expected, self.offered, answer)
        fault = (
            fault_of(answer.calls, self.accepted) if answer.reading is Reading.CALLS else f"no call: {answer.reading}"
        )
        missing, extra = count_differences(self.expected, answer.calls)
        return Judgement(
            answer.reading,
            tool=not missing and not extra,
            param=keys_fit(answer.calls, self.accepted),
            ast=not fault,
            pairs=pair_calls(self.expected, answer.calls),
            missing=missing,
            extra=extra,
            hallucinated=sum(call.name not in self.offered for call in answer.calls),
            error=fault,
        )


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """An answer with its scores, read in the template's format and leniently.

    Attributes:
        case: what was asked.
        answer: the answer as the session gave it.
        readings: its calls in the template's format, and in whatever format.
        strict: what it is worth by the first reading.
        lenient: by the second.
    """

    case: Case
    answer: Mapping[str, Any]
    readings: tuple[ReadAnswer, ReadAnswer]
    strict: Judgement
    lenient: Judgement

    def to_json(self) -> dict[str, Any]:
        """Question, expected calls, answer and verdicts as plain values, to look at failures."""
        question = self.case.question
        expected = [{"name": call.name, "arguments": call.arguments} for call in self.case.expected]
        return {
            "case": self.case.key,
            "kind": str(self.case.kind),
            "question": question.text,
            "offered": sorted(self.case.offered),
            "expected": expected or question.reference,
            "answer": self.answer["text"],
            "finish": self.answer["finish"],
            "template": _verdict(self.readings[0], self.strict),
            "lenient": _verdict(self.readings[1], self.lenient),
        }


def _verdict(answer: ReadAnswer, judgement: Judgement) -> dict[str, Any]:
    scores = {"tool": judgement.tool, "param": judgement.param, "ast": judgement.ast, "error": judgement.error}
    return answer.to_json() | scores


def judge_answer(case: Case, answer: Mapping[str, Any]) -> JudgedAnswer:
    """Read an answer (``text``, and the ``calls`` that the engine found in it) in both ways, and judge it."""
    strict = read_strictly(answer["text"], answer["calls"])
    # Whatever the template's reader finds is a call in any format, too.
    lenient = strict if strict.reading is Reading.CALLS else read_leniently(answer["text"], case.offered)
    return JudgedAnswer(case, answer, (strict, lenient), case.judge(strict), case.judge(lenient))


def tool_cases(rows: Iterable[EvalRow]) -> list[Case]:
    """Every answer of every row that has tools, each with the turns before it."""
    cases: list[Case] = []
    for row in rows:
        if row.tools.strip() not in {"", "[]"}:
            cases.extend(_cases_of(row, len(cases)))
    return cases


def sample_cases(cases: Sequence[Case], limit: int | None, seed: int) -> tuple[Case, ...]:
    """At most ``limit`` cases, drawn with a seed, in their order."""
    if limit is None or limit >= len(cases):
        return tuple(cases)
    kept = sorted(random.Random(seed).sample(range(len(cases)), limit))  # noqa: S311 - repeatable, not secret
    return tuple(cases[index] for index in kept)


def _cases_of(row: EvalRow, first: int) -> Iterator[Case]:
    offered = tool_names(row.tools)
    for turn, message in enumerate(row.messages):
        if message["role"] not in _ANSWERING:
            continue
        expected = calls_of(message)
        if expected is None:
            continue  # a turn that can't be read as it stands expects nothing that could be measured
        history = tuple(dict(earlier) for earlier in row.messages[:turn])
        question = Question(first, history, row.system or None, row.tools, message["content"])
        yield Case(f"{row.number}.{turn + 1}", question, expected, offered)
        first += 1


def calls_of(message: Mapping[str, str]) -> tuple[ToolCall, ...] | None:
    """The calls of a turn as the data have them; empty for text, None for a call that can't be read."""
    content = _THOUGHT.sub("", message["content"])
    if message["role"] != "function" and not has_call_block(content):
        return ()
    try:
        return parse_call_text(content, RowNotes())[1]
    except Reject:
        return None


def tool_names(tools: str) -> frozenset[str]:
    """The names in a row's tool definitions."""
    try:
        values = orjson.loads(tools)
    except orjson.JSONDecodeError:
        return frozenset()
    functions = (value.get("function", value) for value in values if isinstance(value, Mapping))
    return frozenset(str(each.get("name")) for each in functions if isinstance(each, Mapping))


@dataclass(frozen=True, slots=True)
class SeenTools:
    """The tools that trainings called.

    Attributes:
        names: called at least once; None when no training data is known.
        notes: why that may not be all, sentences.
    """

    names: frozenset[str] | None
    notes: tuple[str, ...] = ()


def seen_tools(runs: Sequence[Run]) -> SeenTools:
    """The tools that the training data of some runs call."""
    names: set[str] = set()
    notes: list[str] = []
    known = False
    for run in runs:
        folder = Path(run.record.dataset_dir) if run.record.dataset_dir else None
        for dataset in run.record.datasets:
            try:
                names |= _called_names(dataset, folder)
                known = True
            except DataError as error:
                notes.append(f"{run.paths.name}: which tools it saw is not known: {error.message}.")
        notes += _changes(run)
    return SeenTools(frozenset(names) if known else None, tuple(notes))


def _called_names(dataset: str, folder: Path | None) -> set[str]:
    names: set[str] = set()
    for row in find_dataset(dataset, folder).rows():
        for turn in (row.value or {}).get("conversations", ()):
            if turn["from"] == "function_call" or (turn["from"] == "gpt" and has_call_block(turn["value"])):
                calls = calls_of({"role": "function", "content": turn["value"]})
                names |= {call.name for call in calls or ()}
    return names


def _changes(run: Run) -> Iterator[str]:
    """A sentence for each data file that is no longer what the run was trained on."""
    try:
        files: Mapping[str, Any] = orjson.loads(run.paths.inputs.read_bytes())["files"]
    except (OSError, ValueError, KeyError):
        return
    for name, entry in files.items():
        path = Path(str(entry.get("path")))
        if (
            name.startswith("dataset:")
            and "sha256" in entry
            and path.is_file()
            and sha256_file(path) != entry["sha256"]
        ):
            yield f"{path}: has changed since {run.paths.name} was trained on it: seen tools may be wrong."
