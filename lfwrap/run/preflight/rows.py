"""What the rows of a training say about its outcome: repeated ones, cut ones, ones that evaluation has as well."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import xxhash

from lfwrap.data.datasets.dataset import find_dataset
from lfwrap.data.datasets.token_counts import TRAINED
from lfwrap.engine.keys import CUTOFF_KEY, DEFAULT_CUTOFF
from lfwrap.errors import Finding, LfwrapError, Severity
from lfwrap.recipe.inputs.datasets import measure_rows
from lfwrap.recipe.recipe import split_names
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.units import plural

_MOST_ROWS = 100_000
_REPEATED_SHARE = 0.2
_FEW_COPIES = 5
_CUT_SHARE = 0.1


@dataclass(slots=True)
class _Seen:
    """The rows of some data sets, by hashes of what is in them.

    Attributes:
        rows: how many there are.
        whole: hashes of whole rows.
        asked: hashes of all that stands before the last answer.
        silent: rows in which the assistant says nothing.
    """

    rows: int = 0
    whole: list[int] = field(default_factory=list)
    asked: list[int] = field(default_factory=list)
    silent: int = 0


def check_rows(context: PreflightContext, folder: Path) -> Iterator[Finding]:
    """Findings on the rows of all data sets together; none where they can't be read here.

    Args:
        context: the run.
        folder: where the data sets are registered.
    """
    train, held = (split_names(context.values.get(key)) for key in ("dataset", "eval_dataset"))
    try:
        seen = _look(train, folder)
        evaluated = _look([name for name in held if name not in train], folder)
    except (LfwrapError, OSError):
        return
    if seen.rows:
        yield from _about_training(context, seen)
        yield from _about_evaluation(context, seen, evaluated)
        yield from _about_length(context, folder)


def repeated_share(names: Sequence[str], folder: Path) -> float | None:
    """Which part of the rows of some data sets are copies of others; None where they can't be read here.

    Args:
        names: the data sets.
        folder: where they are registered.
    """
    try:
        seen = _look(names, folder)
    except (LfwrapError, OSError):
        return None
    return (seen.rows - len(set(seen.whole))) / seen.rows if seen.rows else None


def _look(names: Sequence[str], folder: Path) -> _Seen:
    seen = _Seen()
    rows = itertools.chain.from_iterable(find_dataset(name, folder).rows() for name in names)
    for row in itertools.islice(rows, _MOST_ROWS):
        if row.value is None:
            continue
        turns = row.value["conversations"]
        seen.rows += 1
        seen.whole.append(_digest(row.value))
        seen.asked.append(_digest([row.value["system"], turns[:-1]]))
        seen.silent += not any(turn["from"] in TRAINED and turn["value"].strip() for turn in turns)
    return seen


def _digest(value: Any) -> int:
    return xxhash.xxh3_64_intdigest(orjson.dumps(value))


def _about_training(context: PreflightContext, seen: _Seen) -> Iterator[Finding]:
    if seen.silent:
        severity = Severity.ERROR if seen.silent == seen.rows else Severity.WARNING
        message = f"{seen.silent:,} of {plural(seen.rows, 'row')} have no answer: nothing of them is trained."
        yield context.finding("no-trained-token", "dataset", message, "Leave them out, or fill the answers.", severity)
    repeated = seen.rows - len(set(seen.whole))
    if repeated >= max(_FEW_COPIES, _REPEATED_SHARE * seen.rows):
        message = f"{repeated:,} of {plural(seen.rows, 'row')} are copies of others: they are learned by heart."
        hint = "`lfwrap prepare-data` removes copies; repeat the data with num_train_epochs instead."
        yield context.finding("repeated-rows", "dataset", message, hint, Severity.WARNING)


def _about_evaluation(context: PreflightContext, seen: _Seen, evaluated: _Seen) -> Iterator[Finding]:
    whole, asked = set(seen.whole), set(seen.asked)
    copies = sum(1 for digest in evaluated.whole if digest in whole)
    questions = sum(1 for digest in evaluated.asked if digest in asked)
    if not questions:
        return
    which = f"{copies:,} are trained on as they are" if copies else "none with the same answer"
    message = (
        f"{questions:,} of {plural(evaluated.rows, 'validation row')} ask what a training row asks, too ({which}):"
        " the evaluation shows what was learned by heart."
    )
    hint = "Split with `lfwrap prepare-data … --val-size 5%`, or leave them out of the training: --test FILE."
    yield context.finding("validation-in-training", "eval_dataset", message, hint, Severity.WARNING)


def _about_length(context: PreflightContext, folder: Path) -> Iterator[Finding]:
    lengths = measure_rows(context.recipe, folder, str(context.values.get("template") or ""), context.environ)
    if lengths is None or not lengths.lengths:
        return
    cutoff = int(context.values.get(CUTOFF_KEY) or DEFAULT_CUTOFF)
    cut = sum(1 for length in lengths.lengths if length > cutoff)
    total = len(lengths.lengths)
    if cut < _CUT_SHARE * total or not cut:
        return
    every = "Every row is" if cut == total else f"{cut:,} of {plural(total, 'row')} are"
    message = (
        f"{every} longer than cutoff_len: {cutoff} tokens: the engine cuts their ends off, and the model does not learn"
        f" to stop there (the longest has {lengths.longest_tokens:,} tokens)."
    )
    hint = f"cutoff_len={_rounded_up(lengths.longest_tokens)} keeps them whole."
    if not lengths.is_exact:
        message, hint = message.replace("the longest has", "the longest has about"), hint.replace("keeps", "would keep")
    yield context.finding("rows-cut", CUTOFF_KEY, message, hint, Severity.WARNING)


def _rounded_up(tokens: int, step: int = 64) -> int:
    return -(-tokens // step) * step
