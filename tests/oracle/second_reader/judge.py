"""Whether what was written is what the sources say, and every row of theirs is accounted for."""

from __future__ import annotations

import itertools
import json
from dataclasses import dataclass, field
from typing import Any

from second_reader.doubts import AFTER_A_RESULT
from second_reader.said import Call, Row, Told, Tool, Turn, Unclear
from second_reader.schemas import tool_differs, tools_differ
from second_reader.traces import Source
from second_reader.values import exact, spelled
from second_reader.written import Outcome, assistant_texts

_JOINT = "\n</tool_response>\n<tool_response>\n"
_TELLING = 12  # a text so long is no answer of another row by chance
_USER_AGAIN = "<|im_end|>\n<|im_start|>user\n"  # how Qwen's own template goes on after a result
_TAGS = {"user": "human", "results": "observation"}


@dataclass
class Offer:
    """Tools that stand in files of their own, and how many others are offered beside those that are called."""

    tools: dict[str, Tool] = field(default_factory=dict)
    others: int = 0


@dataclass
class _Step:
    """One of the engine's turns: what was said, the calls before it, and results that stand in the same turn."""

    turn: Turn
    calls: tuple[Call, ...]
    after: Turn | None = None


def complaints(
    sources: dict[str, list[Row]], outcome: Outcome, *, template: str = "", offer: Offer | None = None
) -> list[str]:
    """Everything that is wrong with an outcome.

    Args:
        sources: file → its rows, in the order in which the files were read.
        outcome: what was left.
        template: for which chat template it was written: none, or one of Qwen's kin.
        offer: the tools of ``--tools``.
    """
    judge = _Judge(outcome, template, offer or Offer())
    if outcome.refused and not outcome.rejects:
        plain = [
            f"{name}:{row.number}" for name, rows in sources.items() for row in rows if row.told and not row.doubts
        ]
        return [f"refused ({outcome.refused}), though these rows are plain: {plain[:5]}"] if plain else []
    judge.rejects(sources)
    for name, rows in sources.items():
        judge.walk(name, rows)
    judge.banned(sources)
    judge.counts(sources)
    judge.traces(sources)
    return judge.wrong


class _Judge:
    def __init__(self, outcome: Outcome, template: str, offer: Offer) -> None:
        self.outcome, self.template, self.offer = outcome, template, offer
        self.wrong: list[str] = []
        self.train, self.val = list(outcome.train), list(outcome.val)
        self.seen: list[str] = []
        self.keys: set[str] = set()
        self.known_tools: dict[tuple[str, str], str] = {}
        self.duplicates = self.left_out = 0
        self.rejected: dict[str, set[int]] = {}

    def rejects(self, sources: dict[str, list[Row]]) -> None:
        """Every reject names a row of a source, once, with a rule and its line."""
        by_number = {name: {row.number: row for row in rows} for name, rows in sources.items()}
        for reject in self.outcome.rejects:
            name, number = str(reject["file"]), reject["row"]
            row = by_number.get(name, {}).get(number)
            if row is None or number in self.rejected.setdefault(name, set()):
                self.wrong.append(f"a reject of {name}, row {number}: no such row, or named twice")
                continue
            self.rejected[name].add(number)
            if row.line is not None and reject["line"] not in (None, row.line):
                self.wrong.append(f"{name}: row {number} is on line {row.line}, not {reject['line']}")
            if not [doubt for doubt in row.doubts if not self.template or doubt != AFTER_A_RESULT]:
                self.wrong.append(
                    f"{name}:{row.line or number}: rejected as {reject['rule']} ({reject['reason']}), but it is plain"
                )

    def walk(self, name: str, rows: list[Row]) -> None:
        """Each row that was not rejected is the next one written, or was seen before."""
        for row in rows:
            if row.number in self.rejected.get(name, set()):
                continue
            where = f"{name}: row {row.number}"
            if row.told is None:
                self._absent(where, row)
                continue
            if repr(row.told) in self.keys:
                self.duplicates += 1
                continue
            sides = [self.train, self.val]
            misfits = [self.misfit(row.told, side[0]) if side else "it is not written" for side in sides]
            if "" in misfits:
                self.seen.append(spelled(sides[misfits.index("")].pop(0)))
                self.keys.add(repr(row.told))
            elif any(not self.misfit(row.told, json.loads(known)) for known in self.seen):
                self.duplicates += 1
            elif row.doubts:
                self.left_out += 1
            else:
                self.wrong.append(f"{where}: {misfits[0]}" + (f"; or {misfits[1]}" if self.val else ""))
                if self.train:
                    self.train.pop(0)

    def _absent(self, where: str, row: Row) -> None:
        """A row that must not be written: what comes next is not it, and it is counted as left out."""
        for side in (self.train, self.val):
            if row.forbidden is not None and side and not self.misfit(row.forbidden, side[0]):
                side.pop(0)
                self.wrong.append(f"{where}: written, though {'; '.join(row.doubts)}")
                return
        self.left_out += 1

    def counts(self, sources: dict[str, list[Row]]) -> None:
        """Nothing is left over, and the report's figures are these."""
        for side in (self.train, self.val):
            self.wrong += [f"written, but no row says it: {spelled(row)[:300]}" for row in side[:3]]
        if self.outcome.refused:
            missing = {
                name: [row.number for row in rows if row.number not in self.rejected.get(name, set())]
                for name, rows in sources.items()
            }
            self.wrong += [
                f"{name}: rows {lost[:5]} are neither written nor rejected" for name, lost in missing.items() if lost
            ]
            return
        report = self.outcome.report
        figures = {
            "rows_in": sum(map(len, sources.values())), "train_rows": len(self.outcome.train),
            "val_rows": len(self.outcome.val), "rejected": len(self.outcome.rejects), "duplicates": self.duplicates,
        }  # fmt: skip
        told = {key: report.get(key) for key in figures}
        if told != figures:
            self.wrong.append(f"the report says {told}, the files {figures}")
        if sum(report.get("left_out", {}).values()) != self.left_out:
            self.wrong.append(f"left out: {report.get('left_out')}, the files say {self.left_out}")

    def traces(self, sources: dict[str, list[Row]]) -> None:
        """Every text that was written stands in a source."""
        rows = [row for held in sources.values() for row in held if row.told is not None or row.source is not None]
        if any(row.source is None for row in rows):
            return
        source = Source([row.source for row in rows])
        for row in self.outcome.train + self.outcome.val:
            if lost := source.lacks(row):
                self.wrong.append(f"written, but in no source: {lost[:200]!r}")

    def banned(self, sources: dict[str, list[Row]]) -> None:
        """No text that must not be an answer is trained, unless another row says it."""
        told = [row.told for rows in sources.values() for row in rows if row.told]
        plain = {text for each in told for text in _answers(each)}
        written = [text for row in self.outcome.train + self.outcome.val for text in assistant_texts(row)]
        trained = {text.rpartition("</think>")[2].strip() for text in written}
        for name, rows in sources.items():
            for row in rows:
                for text, reason in row.banned:
                    if text in plain or (len(text) >= _TELLING and any(text in said for said in plain)):
                        continue
                    if text.strip() in trained or (len(text) >= _TELLING and any(text in said for said in trained)):
                        self.wrong.append(f"{name}: row {row.number}: trained though {reason}: {text[:80]!r}")

    def misfit(self, told: Told, written: Any) -> str:
        """How a written row differs from what was said, or nothing."""
        try:
            return self._misfit(told, written)
        except (Unclear, ValueError, KeyError, TypeError) as error:
            return f"not in the layout of rows: {error!r}: {spelled(written)[:200]}"

    def _misfit(self, told: Told, written: Any) -> str:
        if set(written) != {"conversations", "system", "tools"}:
            return f"columns {sorted(written)}"
        if written["system"] not in told.systems:
            return f"system {written['system'][:200]!r}, said {told.systems[0][:200]!r}"
        turns, steps = written["conversations"], self._steps(told)
        for place, (turn, said) in enumerate(zip(turns, steps, strict=False), 1):
            wrongs = [self._turn_misfit(each, turn) for each in said]
            if "" not in wrongs:
                return f"turn {place}: {wrongs[0]}"
        if len(turns) != len(steps):
            return f"{len(turns)} turns, said were {len(steps)}"
        return self._tools_misfit(told, written["tools"])

    def _steps(self, told: Told) -> list[list[_Step]]:
        """The turns as the engine has them, each in every way that is right: what follows a result may join it."""
        steps: list[list[_Step]] = []
        calls: tuple[Call, ...] = ()
        for before, turn in itertools.pairwise((None, *told.turns)):
            if self.template and turn.who == "user" and before is not None and before.who == "results":
                steps[-1] = [_Step(turn, calls, before)]
            else:
                steps.append([_Step(each, calls) for each in (turn, *turn.also)])
            calls = turn.calls or calls
        return steps

    def _turn_misfit(self, step: _Step, turn: Any) -> str:
        said = step.turn
        tag = _TAGS.get(said.who) or ("function_call" if said.calls else "gpt")
        if turn["from"] != tag or set(turn) != {"from", "value"}:
            return f"{turn['from']}, said by {tag}"
        value = turn["value"]
        if step.after is not None:
            opening, between = "<tool_response>\n", f"\n</tool_response>{_USER_AGAIN}{said.text}"
            if not value.startswith(opening) or not value.endswith(between):
                return f"{value[:200]!r}, the user said {said.text[:200]!r} after a result"
            return self._results_misfit(step.after, value[len(opening) : -len(between)], step.calls)
        if said.who == "user":
            return "" if value == said.text else f"{value[:200]!r}, the user said {said.text[:200]!r}"
        if said.who == "results":
            return self._results_misfit(said, value, step.calls)
        return _assistant_misfit(said, value)

    def _results_misfit(self, said: Turn, value: str, calls: tuple[Any, ...]) -> str:
        results = said.results
        if len(results) == 1 and (len(calls) == 1 or not results[0].name):
            texts = [value]
        elif self.template:
            texts = value.split(_JOINT)
        else:
            listed = json.loads(value)
            if [set(each) for each in listed] != [{"name", "content"}] * len(results):
                return f"results are {value[:200]!r}"
            if [each["name"] for each in listed] != [result.name for result in results]:
                return f"results of {[each['name'] for each in listed]}, not of {[result.name for result in results]}"
            texts = [each["content"] for each in listed]
        if len(texts) != len(results):
            return f"{len(texts)} results, not {len(results)}"
        wrong = [(text, result) for text, result in zip(texts, results, strict=True) if text not in result.texts]
        return f"{wrong[0][0][:200]!r}, the tool answered {wrong[0][1].texts[0][:200]!r}" if wrong else ""

    def _tools_misfit(self, told: Told, written: str) -> str:
        if told.tools is not None and (told.tools or not self.offer.tools):
            return self._listed_misfit(told.tools, written)
        called = {call.name for turn in told.turns for call in turn.calls}
        if not called:
            return "" if not written else "tools where none is called"
        values = {value["function"]["name"]: value for value in exact(written)}
        wanted = min(len(called) + self.offer.others, len(self.offer.tools))
        if not called <= set(values) <= set(self.offer.tools) or len(values) != wanted or len(exact(written)) != wanted:
            return f"tools {sorted(values)} for calls of {sorted(called)}"
        return next(
            (wrong for name, value in values.items() if (wrong := tool_differs(self.offer.tools[name], value))), ""
        )

    def _listed_misfit(self, tools: tuple[Tool, ...], written: str) -> str:
        """The same lists of tools stand in many rows."""
        pair = (repr(tools), written)
        if pair not in self.known_tools:
            self.known_tools[pair] = tools_differ(tools, written)
        return self.known_tools[pair]


def _assistant_misfit(said: Turn, value: str) -> str:
    head = f"<think>\n{said.thought}\n</think>\n\n" if said.thought else ""
    if not said.calls:
        return "" if value == head + said.text else f"{value[:200]!r}, said was {(head + said.text)[:200]!r}"
    body, tail = value, ""
    if said.text.strip():
        head, tail = f"{head}{said.text}\n<tool_call>", "</tool_call>"
    if not body.startswith(head) or not body.endswith(tail):
        return f"{value[:200]!r}, before the call was said {head[:200]!r}"
    calls = exact(body[len(head) : len(body) - len(tail)])
    listed = calls if isinstance(calls, list) else [calls]
    if isinstance(calls, list) != (len(said.calls) > 1) or [list(each) for each in listed] != [
        ["name", "arguments"]
    ] * len(listed):
        return f"calls are {value[:200]!r}"
    made = [(each["name"], spelled(each["arguments"])) for each in listed]
    wanted = [(call.name, call.arguments) for call in said.calls]
    return "" if made == wanted else f"calls {made}, said were {wanted}"


def _answers(told: Told) -> list[str]:
    texts = [turn.text for turn in told.turns if turn.who == "assistant"]
    return texts + [turn.thought for turn in told.turns if turn.thought]
