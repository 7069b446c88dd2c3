"""The few rows that a verdict looks at: those that were not trained on, where there are some, else training rows."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.data.datasets.dataset import find_dataset
from lfwrap.engine.chat_templates import chat_template, chat_template_names
from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.model_template import suit_same_models
from lfwrap.errors import LfwrapError
from lfwrap.inference.held_out_rows import EvalRow, engine_settings, load_rows
from lfwrap.model.folder import ModelFolder
from lfwrap.recipe.recipe import split_names
from lfwrap.run.folder.record import Run
from lfwrap.units import format_bytes
from lfwrap.verdict.evidence import DataFacts

VALIDATION_SUFFIX = "_val"
"""How `lfwrap prepare-data --val-size` names the rows that it keeps back."""
_SEED = 17
_FIRST_ROWS = 2000
_CANDIDATES = 4
_LOOKED_AT_BYTES = 64
_MOST_WHOLE_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows to ask.

    Attributes:
        source: the data set.
        is_held_out: whether it was not trained on.
        rows: the rows, the shortest first.
    """

    source: str
    is_held_out: bool
    rows: tuple[EvalRow, ...]


def choose_rows(run: Run, count: int) -> Rows:
    """At most ``count`` rows, the same ones each time; of four times as many drawn, the shortest: they cost least.

    Raises:
        LfwrapError: no row can be read.
    """
    folder = _folder(run)
    settings, template = engine_settings(run), run.record.template or ""
    held_out = [*split_names(settings.get("eval_dataset")), *(f"{name}{VALIDATION_SUFFIX}" for name in _trained(run))]
    names = [(name, True) for name in held_out if name not in _trained(run)]
    failed: LfwrapError | None = None
    for name, is_held_out in [*names, *((name, False) for name in _trained(run))]:
        try:
            found = _load(name, folder, template)
        except (LfwrapError, OSError) as error:
            failed = error if isinstance(error, LfwrapError) else LfwrapError(str(error))
            continue
        rows = [row for row in found if row.messages]
        drawn = random.Random(_SEED).sample(rows, min(len(rows), _CANDIDATES * count))  # noqa: S311 - repeatable
        return Rows(name, is_held_out, tuple(sorted(drawn, key=_length)[:count]))
    raise failed or LfwrapError("the record names no data set")


def _load(name: str, folder: Path | None, template: str) -> tuple[EvalRow, ...]:
    """The first rows of a data set.

    Raises:
        LfwrapError: there are none that can be read, or a file has to be read as a whole and is too large for that.
    """
    for path in find_dataset(name, folder).files:
        with path.open("rb") as source:
            is_list = source.read(_LOOKED_AT_BYTES).lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"[")
        if is_list and path.stat().st_size > _MOST_WHOLE_BYTES:
            raise LfwrapError(f"{path}: one list of {format_bytes(path.stat().st_size)}, which takes too long to read")
    return load_rows(name, folder, template, most=_FIRST_ROWS).rows


def swapped_rows(rows: Sequence[EvalRow]) -> list[tuple[EvalRow, EvalRow]]:
    """Pairs of rows with each other's answers, of about the same length; none where all answers are alike.

    Over both rows of a pair, what makes an answer or a question easy by itself cancels: what is left is whether they
    belong together.
    """
    left, pairs = list(rows), []
    while left:
        row = left.pop(0)
        own = row.messages[-1]
        others = [
            other
            for other in left
            if other.messages[-1]["content"] != own["content"] and other.messages[-1]["role"] == own["role"]
        ]
        if others:
            other = min(others, key=lambda each: abs(len(each.messages[-1]["content"]) - len(own["content"])))
            left.remove(other)
            pairs.append((_with_answer(row, other), _with_answer(other, row)))
    return pairs


def _with_answer(row: EvalRow, other: EvalRow) -> EvalRow:
    return EvalRow(row.number, (*row.messages[:-1], other.messages[-1]), row.system, row.tools)


def data_facts(run: Run) -> DataFacts:
    """Whether the training data repeat themselves, and whether the tokenizer knows the template's control tokens."""
    template = run.record.template or ""
    rows: tuple[EvalRow, ...] = ()
    for name in _trained(run)[:1]:
        try:
            rows = _load(name, _folder(run), template)
        except (LfwrapError, OSError):
            continue
    distinct = len({orjson.dumps([row.to_request()["messages"], row.system, row.tools]) for row in rows})
    return DataFacts(len(rows), distinct, _foreign_tokens(run.record.base_model, template), template)


def _foreign_tokens(model: str, template: str) -> tuple[str, ...]:
    """The control tokens of a template of which the model's tokenizer knows none; empty where it knows one."""
    if template not in chat_template_names():
        return ()
    mapped = load_engine_facts().template_for(model)
    tokens = chat_template(template).special_tokens
    folder = ModelFolder.find(model)
    if not tokens or folder is None or (mapped is not None and suit_same_models(mapped, template)):
        return ()
    known = _known_tokens(folder.path)
    own = _own_template(folder.path)
    return () if known is None or any(token in known or token in own for token in tokens) else tokens


def _known_tokens(folder: Path) -> frozenset[str] | None:
    """The tokens of a tokenizer that are added to its vocabulary, and those of it that look like marks."""
    tokenizer = _object(folder / "tokenizer.json")
    added = tokenizer.get("added_tokens")
    vocabulary = (tokenizer.get("model") or {}).get("vocab") or {}
    if not isinstance(added, list):
        return None
    names = vocabulary if isinstance(vocabulary, dict) else [each[0] for each in vocabulary if isinstance(each, list)]
    return frozenset([*(str(each.get("content")) for each in added if isinstance(each, dict)), *map(str, names)])


def _own_template(folder: Path) -> str:
    """The model's own chat template, as text; empty without one."""
    try:
        return (folder / "chat_template.jinja").read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError):
        return str(_object(folder / "tokenizer_config.json").get("chat_template") or "")


def _object(path: Path) -> Mapping[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _folder(run: Run) -> Path | None:
    return Path(run.record.dataset_dir) if run.record.dataset_dir else None


def _trained(run: Run) -> Sequence[str]:
    return run.record.datasets


def _length(row: EvalRow) -> int:
    return sum(len(turn["content"]) for turn in row.messages) + len(row.system) + len(row.tools)
