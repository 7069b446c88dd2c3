"""An answer beside what was expected: for the figures, and for looking at failures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from lfwrap.evaluate.tool_calls.cases import Case
from lfwrap.evaluate.tool_calls.matching import Judgement, ReadAnswer, Reading, read_leniently, read_strictly


@dataclass(frozen=True, slots=True)
class JudgedAnswer:
    """An answer with what it is worth, read in the template's format and leniently.

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
        """For looking at failures."""
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
