"""The statistics of a data set as lines of text."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lfwrap.units import plural

_LISTED_CALLS = 20
_BAR_COLUMNS = 40
_ROWS_WITH = {
    "with_system": "a system prompt",
    "with_tools": "tools",
    "with_calls": "calls",
    "with_parallel_calls": "parallel calls",
    "with_thoughts": "thoughts",
    "with_further_questions": "further questions",
}


def stats_lines(found: Mapping[str, Any]) -> Iterator[str]:
    """The lines, a title first; takes what `lfwrap.data.datasets.stats.count_rows` gives."""
    yield from _contents(found)
    if found["calls"] or found["tools"]:
        yield from _calls(found)
    yield from _lengths("characters", found["characters"], "of everything that stands in a row")
    lengths, unit = found["characters"], "characters"
    if "tokens" in found:
        lengths, unit = found["tokens"], "tokens"
        yield from _lengths(unit, lengths, lengths["counted"])
        over = "  ".join(f"{int(cutoff):,}: {_share(count, found)}" for cutoff, count in lengths["over"].items())
        yield f"  {'rows longer than':<18}{over}"
    yield ""
    yield f"rows by {unit}"
    yield from _histogram(lengths["histogram"])


def _contents(found: Mapping[str, Any]) -> Iterator[str]:
    yield f"{'rows':<20}{found['rows']:,}"
    if found["unreadable"]["rows"]:
        first = "; ".join(f"row {row['row']}: {row['reason']}" for row in found["unreadable"]["first"][:3])
        yield f"{'unreadable rows':<20}{found['unreadable']['rows']:,} ({first})"
    for key, what in _ROWS_WITH.items():
        if found[key]:
            yield f"{'  with ' + what:<28}{_share(found[key], found)}"
    yield f"{'turns':<20}{_listed(found['turns'])}"
    yield f"{'turns in a row':<20}" + ", ".join(
        f"{plural(count, 'row')} of {turns}" for turns, count in list(found["turns_per_row"].items())[:8]
    )
    yield f"{'scripts':<20}{_listed(found['scripts'])}  (what most words are written in; not the language)"


def _calls(found: Mapping[str, Any]) -> Iterator[str]:
    offered = found["tools_per_row"]
    yield f"{'tools':<20}{found['tools']:,}, in a row {offered['p50']} (median) to {offered['max']}"
    yield ""
    yield f"calls: {sum(found['calls'].values()):,} of {plural(len(found['calls']), 'tool')}"
    shown = list(found["calls"].items())[:_LISTED_CALLS]
    for name, count in shown:
        yield f"  {count:>8,}  {name}"
    if len(found["calls"]) > len(shown):
        yield f"  {'':>8}  and {len(found['calls']) - len(shown):,} more"
    if found["never_called"]:
        names = found["never_called"]
        more = f" and {len(names) - _LISTED_CALLS:,} more" if len(names) > _LISTED_CALLS else ""
        yield f"  never called: {', '.join(names[:_LISTED_CALLS])}{more}"


def _lengths(unit: str, lengths: Mapping[str, Any], counted: str) -> Iterator[str]:
    yield ""
    yield f"{unit} ({counted})"
    yield f"  {'in a row':<18}" + "".join(f"{name:>9}" for name in lengths["total"]) + f"{'sum':>13}"
    for name, key, total in (("in total", "total", "sum"), ("supervised", "supervised", "supervised_sum")):
        yield f"  {name:<18}" + "".join(f"{value:>9,}" for value in lengths[key].values()) + f"{lengths[total]:>13,}"


def _histogram(bins: list[tuple[int, int, int]]) -> Iterator[str]:
    most = max((count for _, _, count in bins), default=0)
    for number, (start, end, count) in enumerate(bins, 1):
        bar = "█" * -(-count * _BAR_COLUMNS // most)
        until = f"{end - 1:,}" if number < len(bins) else "…"
        yield f"  {start:>9,} – {until:>9}  {bar} {count:,}"


def _listed(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in counts.items())


def _share(count: int, found: Mapping[str, Any]) -> str:
    return f"{count:,} ({count / max(1, found['rows']):.1%})"
