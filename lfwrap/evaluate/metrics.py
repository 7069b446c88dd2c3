"""Figures over many answers and rows: accuracies, counts, loss per token."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.evaluate.tool_calls.cases import Case, CaseKind
from lfwrap.evaluate.tool_calls.matching import CallPair, Judgement, Reading

_Z95 = 1.959964  # the standard normal's 97.5 % point


@dataclass(frozen=True, slots=True)
class RowLoss:
    """The loss of one row.

    Attributes:
        id: the row's number.
        loss_sum: cross-entropy in nats, summed over its supervised tokens.
        supervised_tokens: how many those are; 0 for a row that the engine drops or the cut empties.
        tokens: all of its tokens, after the cut.
        is_cut: whether the cut took something away.
    """

    id: int
    loss_sum: float
    supervised_tokens: int
    tokens: int
    is_cut: bool


def loss_metrics(losses: Iterable[RowLoss]) -> dict[str, Any]:
    """Loss and perplexity per supervised token, and the mean of the rows' own losses.

    The engine's ``eval_loss`` is a mean over batches of the mean over a batch's tokens: with one row a batch it is
    ``loss_of_rows``, with all rows in one batch it is ``loss``.
    """
    rows = list(losses)
    counted = [row for row in rows if row.supervised_tokens]
    tokens = sum(row.supervised_tokens for row in counted)
    loss = math.fsum(row.loss_sum for row in counted) / tokens if tokens else None
    of_rows = math.fsum(row.loss_sum / row.supervised_tokens for row in counted) / len(counted) if counted else None
    return {
        "loss": loss,
        "perplexity": perplexity(loss),
        "loss_of_rows": of_rows,
        "supervised_tokens": tokens,
        "rows": len(counted),
        "rows_cut": sum(row.is_cut for row in rows),
        "rows_without_supervised_token": len(rows) - len(counted),
    }


def perplexity(loss: float | None) -> float | None:
    """``e`` to the loss; None where that is beyond a float's range."""
    try:
        return None if loss is None else math.exp(loss)
    except OverflowError:
        return None


def wilson_interval(successes: int, trials: int) -> list[float] | None:
    """The 95 % interval of a share (Wilson 1927, the score interval without continuity correction)."""
    if not trials:
        return None
    share, weight = successes / trials, _Z95 * _Z95 / trials
    centre = (share + weight / 2) / (1 + weight)
    half = math.sqrt(share * (1 - share) * weight + weight * weight / 4) / (1 + weight)
    return [max(0.0, centre - half), min(1.0, centre + half)]


def call_metrics(judged: Sequence[tuple[Case, Judgement]], seen: Collection[str] | None) -> dict[str, Any]:
    """All figures of one model's answers, read in one way."""
    calling = [(case, judgement) for case, judgement in judged if case.expected]
    silent = [judgement for case, judgement in judged if not case.expected]
    readings = Counter(judgement.reading for _, judgement in calling)
    figures = {
        **_accuracies([judgement for _, judgement in calling]),
        "ast_interval": wilson_interval(sum(judgement.ast for _, judgement in calling), len(calling)),
        "parse_failures": sum(judgement.reading is Reading.MALFORMED for _, judgement in judged),
        "no_call": readings[Reading.TEXT],
        "no_call_cases": len(silent),
        "no_call_accuracy": _share(sum(judgement.ast for judgement in silent), len(silent)),
        "calls": {
            "expected": sum(len(case.expected) for case, _ in judged),
            "missing": sum(judgement.missing for _, judgement in judged),
            "extra": sum(judgement.extra for _, judgement in judged),
            "hallucinated": sum(judgement.hallucinated for _, judgement in judged),
        },
        "arguments": _arguments([pair for _, judgement in calling for pair in judgement.pairs]),
        "by_kind": {
            str(kind): _accuracies([judgement for case, judgement in judged if case.kind is kind])
            for kind in CaseKind
            if any(case.kind is kind for case, _ in judged)
        },
        "by_tool": _by_tool(calling),
    }
    if seen is not None:
        figures["seen"], figures["unseen"] = (
            _accuracies([judgement for case, judgement in calling if _all_seen(case, seen) is wanted])
            for wanted in (True, False)
        )
    return figures


def _all_seen(case: Case, seen: Collection[str]) -> bool:
    return all(call.name in seen for call in case.expected)


def _accuracies(judgements: Sequence[Judgement]) -> dict[str, Any]:
    count = len(judgements)
    return {
        "cases": count,
        "tool_accuracy": _share(sum(judgement.tool for judgement in judgements), count),
        "param_accuracy": _share(sum(judgement.param for judgement in judgements), count),
        "ast_accuracy": _share(sum(judgement.ast for judgement in judgements), count),
    }


def _arguments(pairs: Sequence[CallPair]) -> dict[str, Any]:
    expected = sum(pair.arguments for pair in pairs)
    exact = sum(pair.exact_arguments for pair in pairs)
    return {"expected": expected, "exact": exact, "exact_match": _share(exact, expected)}


def _by_tool(judged: Sequence[tuple[Case, Judgement]]) -> Mapping[str, Any]:
    """By expected tool: calls, and how many were made at all, with the right arguments, with the right values."""
    grouped: dict[str, list[CallPair]] = defaultdict(list)
    for _, judgement in judged:
        for pair in judgement.pairs:
            grouped[pair.name].append(pair)
    return {
        name: {
            "calls": len(pairs),
            "called": sum(pair.is_called for pair in pairs),
            "right_arguments": sum(pair.has_keys for pair in pairs),
            "exact": sum(pair.is_exact for pair in pairs),
        }
        for name, pairs in sorted(grouped.items())
    }


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
