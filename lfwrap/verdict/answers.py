"""The base and the result side by side on a few rows: losses, answers, tool calls; as far as the time allows."""

from __future__ import annotations

import dataclasses
import math
import statistics
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import orjson

from lfwrap.engine.contract import GenerationSettings
from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.locate import Engine
from lfwrap.errors import EngineError, LfwrapError
from lfwrap.evaluate.evaluate import EvalSession
from lfwrap.evaluate.metrics import RowLoss
from lfwrap.evaluate.tool_calls.cases import Case, judge_answer, tool_cases
from lfwrap.inference.held_out_rows import EvalRow, LabelSettings
from lfwrap.inference.questions import Question, question_of_messages
from lfwrap.inference.session import Answer
from lfwrap.inference.target import Target, TargetKind, resolve_target
from lfwrap.run.folder.record import Run
from lfwrap.verdict.evidence import Answers, CallCounts, Margin
from lfwrap.verdict.rows import Rows, choose_rows, swapped_rows

_ROWS = 16
_QUESTIONS = 8
_ANSWER_TOKENS = 32
_CALL_TOKENS = 96
_FEWEST_PAIRS = 4
_DEVICES = "CUDA_VISIBLE_DEVICES"
_STAGE = "sft"


class _TimeIsUpError(LfwrapError):
    """The time of the verdict is over."""


def ask_both(engine: Engine, run: Run, deadline_s: float) -> tuple[Answers | None, list[str]]:
    """Ask the base and the result; what was found until the deadline, and what was left out.

    The losses on the rows come first, then answers, then the losses of other rows' answers.

    Args:
        engine: the engine.
        run: a run that has succeeded.
        deadline_s: the time of `time.monotonic` at which it has to be over.

    Raises:
        LfwrapError: nothing could be asked.
    """
    if run.record.stage != _STAGE:
        raise LfwrapError(f"rows of stage {run.record.stage} are no questions with answers")
    rows = choose_rows(run, _ROWS)
    target = resolve_target(str(run.paths.root), load_engine_facts())
    asking = _Asking(engine, run, target, rows, deadline_s)
    left_out: list[str] = []
    try:
        asking.work()
    except (_TimeIsUpError, TimeoutError):
        left_out.append(f"{asking.doing} took more than the verdict's time")
    except EngineError as error:
        left_out.append(f"{asking.doing}: {error.message}")
    return asking.answers if asking.has_something else None, left_out


class _Asking:
    """Puts the questions one after the other; what has been found so far is in ``answers``."""

    def __init__(self, engine: Engine, run: Run, target: Target, rows: Rows, deadline_s: float) -> None:
        self._engine, self._target, self._rows, self._deadline_s = engine, target, rows, deadline_s
        self._run = run
        self._labels = LabelSettings.of_run(run, None)
        self.answers = Answers(rows.source, rows.is_held_out)
        self.doing = "loading the model"

    @property
    def has_something(self) -> bool:
        """Whether anything was found."""
        return self.answers.supervised_tokens is not None or self.answers.asked > 0

    def work(self) -> None:
        """Ask everything. Raises TimeoutError at the deadline, EngineError where a model fails."""
        if self._target.adapter is not None:
            with self._session(self._target) as session:
                adapter = session.default_adapter()
                self._compare([(session, None), (session, adapter)])
            return
        base = dataclasses.replace(
            self._target, model=_base_of(self._run), adapter=None, kind=TargetKind.MODEL, prior_adapters=()
        )
        with self._session(base) as one, self._session(self._target) as other:
            self._compare([(one, None), (other, None)])

    @contextmanager
    def _session(self, target: Target) -> Iterator[EvalSession]:
        tokens = _CALL_TOKENS if any(_has_tools(row) for row in self._rows.rows) else _ANSWER_TOKENS
        settings = GenerationSettings(max_new_tokens=tokens)
        self.doing = "loading the model"
        devices = _devices(self._run)
        with EvalSession(
            self._engine, target, settings=settings, deadline_s=self._deadline_s, added=devices
        ) as session:
            yield session

    def _compare(self, sides: Sequence[tuple[EvalSession, str | None]]) -> None:
        rows = self._rows.rows
        self.doing = "measuring losses"
        base, tuned = (self._losses(side, rows) for side in sides)
        self._note_losses(base, tuned)
        self.doing = "answering"
        self._answer(sides)
        pairs = swapped_rows(rows)
        if pairs:
            self.doing = "measuring the losses of other rows' answers"
            swapped = [row for pair in pairs for row in pair]
            numbers = [(one.number, other.number) for one, other in pairs]
            margins = [
                margin_of(own, self._losses(side, swapped), numbers)
                for side, own in zip(sides, (base, tuned), strict=True)
            ]
            self.answers = dataclasses.replace(self.answers, base_margin=margins[0], margin=margins[1])

    def _losses(self, side: tuple[EvalSession, str | None], rows: Sequence[EvalRow]) -> dict[int, RowLoss]:
        self._look_at_the_clock()
        session, adapter = side
        return {loss.id: loss for loss in session.losses(rows, adapter, self._labels)}

    def _note_losses(self, base: Mapping[int, RowLoss], tuned: Mapping[int, RowLoss]) -> None:
        counted = [number for number, loss in tuned.items() if loss.supervised_tokens and number in base]
        tokens = sum(loss.supervised_tokens for loss in tuned.values())
        gains = [per_token(base[number]) - per_token(tuned[number]) for number in counted]
        self.answers = dataclasses.replace(
            self.answers,
            rows=len(counted),
            base_loss=statistics.fmean(per_token(base[number]) for number in counted) if counted else None,
            tuned_loss=statistics.fmean(per_token(tuned[number]) for number in counted) if counted else None,
            gain=mean_with_error(gains),
            supervised_tokens=tokens,
        )

    def _answer(self, sides: Sequence[tuple[EvalSession, str | None]]) -> None:
        cases = tool_cases(self._rows.rows)[:_QUESTIONS]
        questions = [case.question for case in cases] or _questions(self._rows.rows)[:_QUESTIONS]
        if not questions:
            return
        found: list[dict[int, Answer]] = []
        for session, adapter in sides:
            self._look_at_the_clock()
            answers = session.answer_all(questions, adapter, batch_size=_QUESTIONS)
            found.append({answer.id: answer for answer in answers})
        base, tuned = found
        changed = sum(base[question.id].text != tuned[question.id].text for question in questions)
        calls = _count_calls(cases, base, tuned)
        self.answers = dataclasses.replace(self.answers, asked=len(questions), changed=changed, calls=calls)

    def _look_at_the_clock(self) -> None:
        if time.monotonic() >= self._deadline_s:
            raise _TimeIsUpError("the time is over")


def per_token(loss: RowLoss) -> float:
    """A row's loss a token, in nats."""
    return loss.loss_sum / loss.supervised_tokens


def mean_with_error(values: Sequence[float]) -> Margin | None:
    """The mean and its standard error; None for fewer than two values, or one that is no number.

    >>> mean_with_error([1.0, 3.0])
    Margin(mean=2.0, error=1.0)
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):  # noqa: PLR2004 - a spread takes two
        return None
    return Margin(statistics.fmean(values), statistics.stdev(values) / math.sqrt(len(values)))


def margin_of(
    own: Mapping[int, RowLoss], swapped: Mapping[int, RowLoss], pairs: Sequence[tuple[int, int]]
) -> Margin | None:
    """How much more pairs of rows lose with each other's answers than with their own, a token and row.

    Args:
        own: row → its loss with its own answer.
        swapped: row → its loss with the other's.
        pairs: the rows that lend each other their answers.

    Returns:
        None for fewer than four pairs.
    """
    gaps = [
        sum(per_token(swapped[row]) - per_token(own[row]) for row in pair) / len(pair)
        for pair in pairs
        if all(row in side and side[row].supervised_tokens for row in pair for side in (own, swapped))
    ]
    return mean_with_error(gaps) if len(gaps) >= _FEWEST_PAIRS else None


def _questions(rows: Iterable[EvalRow]) -> list[Question]:
    asked = (question_of_messages(row.number, row.messages, row.system, row.tools) for row in rows)
    return [question for question in asked if question is not None]


def _count_calls(cases: Sequence[Case], base: Mapping[int, Answer], tuned: Mapping[int, Answer]) -> CallCounts | None:
    calling = [case for case in cases if case.expected]
    if not calling:
        return None
    right = [
        sum(judge_answer(case, answers[case.question.id].to_json()).strict.ast for case in calling)
        for answers in (base, tuned)
    ]
    return CallCounts(len(calling), *right)


def _has_tools(row: EvalRow) -> bool:
    return row.tools.strip() not in {"", "[]"}


def _devices(run: Run) -> dict[str, str]:
    """The variable that names the GPUs that the training had: they are free now, others may not be."""
    try:
        command = orjson.loads(run.paths.attempt(max(run.record.attempt, 0)).command.read_bytes())
        named = command["environment"].get(_DEVICES)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}
    return {_DEVICES: named} if isinstance(named, str) else {}


def _base_of(run: Run) -> str:
    """The base model as the engine takes it: an absolute folder, or a hub id."""
    folder = Path(run.record.base_model)
    return str(folder.absolute()) if folder.is_dir() else run.record.base_model
