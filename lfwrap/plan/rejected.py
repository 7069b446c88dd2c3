"""The ways that a plan did not take, and why, in figures. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lfwrap.plan.candidate import Candidate
from lfwrap.plan.request import (
    COMPILE_KEY,
    CUTOFF_KEY,
    LIGER_KEY,
    NO_CHECKPOINTING_KEY,
    OFFLOADED_CHECKPOINTS_KEY,
    SAMPLING_KEY,
    STAGE_KEY,
)
from lfwrap.units import format_bytes, format_duration


@dataclass(frozen=True, slots=True)
class Rejected:
    """A way that was not taken.

    Attributes:
        settings: what it would have set.
        why: it does not fit, or is slower; in figures.
    """

    settings: str
    why: str


def rejected_ways(ways: Sequence[Candidate], best: Candidate) -> Iterator[Rejected]:
    """The best of each other combination of settings, and why it was not taken."""
    groups: dict[tuple[str, ...], list[Candidate]] = {}
    for candidate in ways:
        groups.setdefault(tuple(sorted(candidate.changes)), []).append(candidate)
    for key, members in groups.items():
        if key != tuple(sorted(best.changes)):
            yield _reject(members, best)
    larger = [candidate for candidate in groups[tuple(sorted(best.changes))] if not candidate.fits]
    if larger:
        first = min(larger, key=lambda candidate: candidate.batch.micro_batch)
        yield Rejected(f"{describe(first.changes)}, micro-batch {first.batch.micro_batch}", _too_large(first))


def _reject(members: Sequence[Candidate], best: Candidate) -> Rejected:
    fitting = [candidate for candidate in members if candidate.fits]
    if not fitting:
        smallest = min(members, key=lambda candidate: candidate.memory.device_bytes)
        return Rejected(f"{describe(smallest.changes)}, micro-batch {smallest.batch.micro_batch}", _too_large(smallest))
    fastest = max(fitting, key=lambda candidate: candidate.speed.tokens_per_s if candidate.speed else 0.0)
    if fastest.speed is None or best.speed is None:
        why = "fits, no faster"
    else:
        why = f"{fastest.speed.tokens_per_s:,.0f} tokens/s against {best.speed.tokens_per_s:,.0f}"
        if fastest.duration_s and best.duration_s and fastest.compile_s > best.compile_s:
            whole, beside = format_duration(fastest.duration_s), format_duration(best.duration_s)
            why += f"; compiling included, {whole} against {beside}"
    return Rejected(f"{describe(fastest.changes)}, micro-batch {fastest.batch.micro_batch}", why)


def _too_large(candidate: Candidate) -> str:
    return f"needs {format_bytes(candidate.memory.device_bytes)} of {format_bytes(candidate.limit_bytes)}"


def describe(changes: Mapping[str, Any]) -> str:
    """The changed settings in words."""
    words: dict[str, str] = {
        LIGER_KEY: "Liger",
        NO_CHECKPOINTING_KEY: "no checkpointing",
        OFFLOADED_CHECKPOINTS_KEY: "checkpoints in main memory",
        STAGE_KEY: "ZeRO",
        "packing": "packing",
        SAMPLING_KEY: "grouped by length",
        COMPILE_KEY: "compiled layers",
    }
    if STAGE_KEY in changes:
        words[STAGE_KEY] = f"ZeRO-{changes[STAGE_KEY][0]}"
    if CUTOFF_KEY in changes:
        words["packing"] = f"packs of {changes[CUTOFF_KEY][0]}"
    named = [word for key, word in words.items() if key in changes]
    return ", ".join(named) or "as it is"
