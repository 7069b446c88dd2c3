"""Which lists of an object hold the records: all of one kind are read, and what must not be mixed is refused."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from lfwrap.data.readers.chunk_plan import LARGEST_RECORD_BYTES, ChunkPlan, Layout, line_at, opening_of
from lfwrap.data.readers.json_files.array_block import array_items
from lfwrap.data.readers.json_files.json_records import exact_record, is_wrapped, unwrapped
from lfwrap.data.readers.json_files.outline import Entry, JsonBytes, MalformedError, outline
from lfwrap.data.readers.json_files.wanted import SAMPLE_ROWS, Wanted, evidence_of
from lfwrap.data.schema.held_out import is_held_out
from lfwrap.errors import DataError

_SAMPLED_BYTES = 1 << 20
_DEEPEST = 4
# Lists that describe the records and are not records themselves.
_DESCRIPTIONS = {"features", "fields", "schema", "tools", "functions", "licenses", "license", "splits", "tasks", "tags",
                 "authors", "contributors", "sources", "references"}  # fmt: skip


_BAD = {"bad", "negative", "negatives", "rejected", "rejects", "error", "errors", "failed", "failures", "failure",
        "wrong", "incorrect", "invalid", "discarded", "removed", "deleted", "excluded", "skipped", "dropped", "ignored",
        "undesirable", "坏", "错误"}  # fmt: skip


_BAD_WORDS = {"bad", "negatives", "rejected", "incorrect", "wrong", "discarded", "deleted", "deprecated", "obsolete"}


@dataclass(frozen=True, slots=True)
class RecordLists:
    """The lists to read, in order.

    Attributes:
        plans: how to read each.
        sample: the first rows.
        note: their names, and the keys that are not used.
        beside: what the keys that are not used say.
    """

    plans: tuple[ChunkPlan, ...]
    sample: list[Any]
    note: str
    beside: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _List:
    entry: Entry
    plan: ChunkPlan
    sample: list[Any]
    kind: str

    @property
    def key(self) -> str:
        return self.entry.key


def plan_of(plan: ChunkPlan, entry: Entry) -> ChunkPlan:
    """How the list of an entry is read."""
    with plan.path.open("rb") as opened:
        source = JsonBytes(opened, plan.size)
        opening = opening_of(source.window(source.past_space(entry.start + 1)))
    return replace(
        plan,
        layout=Layout.ARRAY,
        start=entry.start + 1,
        size=entry.end,
        first_line=line_at(plan.path, entry.start),
        first_key=opening,
        key=entry.key,
    )


def sample_of(plan: ChunkPlan) -> list[Any]:
    """The first items of a list."""
    with plan.path.open("rb") as source:
        source.seek(plan.start)
        head = source.read(min(_SAMPLED_BYTES, plan.size - plan.start)).decode(errors="ignore")
    return array_items(head, SAMPLE_ROWS) or first_item(plan)


def first_item(plan: ChunkPlan) -> list[Any]:
    """The first item of a list, where it is longer than what is looked at otherwise; none where it is broken."""
    with plan.path.open("rb") as opened:
        source = JsonBytes(opened, plan.size)
        start = source.past_space(plan.start)
        if source.character(start) not in {"[", "{"}:
            return []
        try:
            end = source.end_of_value(start)
        except MalformedError:
            return []
        if end - start > LARGEST_RECORD_BYTES:
            return []
        value = exact_record(source.read(start, end))
    return [value] if isinstance(value, dict | list) else []


def choose(plan: ChunkPlan, entries: Sequence[Entry], wanted: Wanted) -> RecordLists | None:
    """The lists of an object that hold its records, or None where there are none.

    Raises:
        DataError: lists of different kinds, one that is held out beside others, or none of the name that is wanted.
    """
    if wanted.member:
        return _named(plan, entries, wanted)
    level: Sequence[Entry] = entries
    above: list[Entry] = []
    for _ in range(_DEEPEST):
        lists = [_list(plan, entry, wanted) for entry in level if _may_hold_records(entry)]
        if lists and (any(each.kind for each in lists) or not _objects(level)):
            break
        inner = _inner(plan, level)
        if not inner:
            break
        above += [entry for entry in level if entry not in _objects(level)]
        level = inner
    if not lists:
        return None
    chosen = _of_one_kind(plan, lists)
    unused = _unused([*above, *level], chosen)
    return replace(_record_lists(chosen, _named_keys(unused)), beside=_values(plan, unused))


def _may_hold_records(entry: Entry) -> bool:
    return entry.opening == "[" and entry.first in {"[", "{"}


def _objects(level: Sequence[Entry]) -> list[Entry]:
    return [entry for entry in level if entry.opening == "{"]


def _inner(plan: ChunkPlan, level: Sequence[Entry]) -> list[Entry]:
    found: list[Entry] = []
    with plan.path.open("rb") as opened:
        source = JsonBytes(opened, plan.size)
        for entry in _objects(level):
            found += outline(source, entry.start, f"{entry.key}.").entries
    return found


def _list(plan: ChunkPlan, entry: Entry, wanted: Wanted) -> _List:
    own = plan_of(plan, entry)
    sample = sample_of(own)
    rows = [unwrapped(item) for item in sample] if is_wrapped(sample) else sample
    first = next((row for row in rows if isinstance(row, dict)), {})
    kind = "wanted" if wanted.fits(first) else evidence_of(first) or ""
    return _List(entry, own, sample, kind)


def _of_one_kind(plan: ChunkPlan, lists: Sequence[_List]) -> list[_List]:
    """The lists to read. Raises DataError where it can't be told which they are."""
    known = [each for each in lists if each.kind]
    others = [each for each in lists if not each.kind and each.key.rpartition(".")[2] not in _DESCRIPTIONS]
    if not known and len(others) > 1:
        raise _ambiguous(plan, others, "none of them holds rows of a known kind")
    chosen = known or others or list(lists[:1])
    if len({each.kind for each in chosen}) > 1:
        kinds = ", ".join(f"{each.key}: {each.kind}" for each in chosen)
        raise _ambiguous(plan, chosen, f"they hold rows of different kinds ({kinds})")
    if known and others:
        names = ", ".join(f"'{each.key}'" for each in others)
        raise _ambiguous(plan, lists, f"{names} may hold records, too, but of no known kind")
    bad = [each for each in chosen if _is_bad(each.key.rpartition(".")[2].lower())]
    if bad and len(chosen) > 1:
        others = [each for each in chosen if each not in bad]
        raise _ambiguous(plan, [*others, *bad], f"'{bad[0].key}' holds bad rows, by its name")
    held_out = [each for each in chosen if is_held_out(each.key)]
    if held_out and len(chosen) > 1:
        raise _mixed(plan, chosen, held_out)
    return chosen


def _is_bad(name: str) -> bool:
    return name in _BAD or not _BAD_WORDS.isdisjoint(re.split(r"[\W_]+", name))


def _ambiguous(plan: ChunkPlan, lists: Sequence[_List], why: str) -> DataError:
    names = ", ".join(f"'{each.key}'" for each in lists)
    return DataError(
        f"{plan.name}: it holds several lists: {names}; {why}",
        hint=f"Say which: {plan.name}#{lists[0].key} (each list that you name is a source of its own).",
    )


def _mixed(plan: ChunkPlan, lists: Sequence[_List], held_out: Sequence[_List]) -> DataError:
    training = next((each for each in lists if each not in held_out), lists[0])
    other = next(each for each in held_out if each is not training)
    names = ", ".join(f"'{each.key}'" for each in held_out)
    rest = ", ".join(f"'{each.key}'" for each in lists if each not in held_out)
    return DataError(
        f"{plan.name}: the rows of {names} are there to validate or test on: they are not mixed with "
        f"{rest or 'each other'}",
        hint=f"Take {plan.name}#{training.key} for training, and {plan.name}#{other.key} with --name NAME_val for the "
        "validation rows of that data set NAME.",
    )


def _named(plan: ChunkPlan, entries: Sequence[Entry], wanted: Wanted) -> RecordLists:
    """The list that the user named, by its key or the last part of its path."""
    lists: list[Entry] = []
    level: Sequence[Entry] = entries
    for _ in range(_DEEPEST):
        lists += [entry for entry in level if _may_hold_records(entry)]
        level = _inner(plan, level)
    member = wanted.member
    fitting = [entry for entry in lists if entry.key == member] or [
        entry for entry in lists if entry.key.rpartition(".")[2] == member
    ]
    if len(fitting) != 1:
        names = ", ".join(f"'{entry.key}'" for entry in lists) or "none"
        raise DataError(
            f"{plan.name}: {'no list' if not fitting else 'more than one list'} '{member}' in it; its lists: {names}",
            hint=f"For example: {plan.name}#{lists[0].key}" if lists else "Name the file alone.",
        )
    return _record_lists([_list(plan, fitting[0], wanted)], "")


def _record_lists(chosen: Sequence[_List], unused: str) -> RecordLists:
    names = ", ".join(f'"{each.key}"' for each in chosen)
    note = f"JSON list under {names}" if len(chosen) == 1 else f"{len(chosen)} JSON lists under {names}"
    return RecordLists(tuple(each.plan for each in chosen), chosen[0].sample, note + unused)


def _unused(entries: Sequence[Entry], chosen: Sequence[_List]) -> list[Entry]:
    taken = {each.key for each in chosen}
    return [entry for entry in entries if entry.key not in taken]


def _values(plan: ChunkPlan, entries: Sequence[Entry]) -> dict[str, Any]:
    """What keys say; of a long value only how it begins."""
    values: dict[str, Any] = {}
    with plan.path.open("rb") as opened:
        source = JsonBytes(opened, plan.size)
        for entry in entries:
            raw = source.read(entry.start, min(entry.end, entry.start + _LONGEST_VALUE_BYTES))
            try:
                values[entry.key] = json.loads(raw)
            except ValueError:
                values[entry.key] = raw.decode(errors="ignore")
    return values


def _named_keys(entries: Sequence[Entry]) -> str:
    keys = [entry.key for entry in entries]
    shown = ", ".join(keys[:_SHOWN_KEYS]) + (f" and {len(keys) - _SHOWN_KEYS} more" if len(keys) > _SHOWN_KEYS else "")
    return f"; not used: {shown}" if keys else ""


_SHOWN_KEYS = 8
_LONGEST_VALUE_BYTES = 16 << 10
