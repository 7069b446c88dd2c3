"""The table of throughput.py: each way's medians beside each other."""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from loss_curves import compare_curves

_HEAD = (
    "way", "train s", "times as fast", "tokens/s", "supervised/s", "rows/s", "updates", "peak GiB (reserved)", "MFU",
    "last loss", "tokens/s after update 1 (supervised)", "s an update after 1", "rows/s after update 1", "curves",
)  # fmt: skip
_SHOWN_VERSIONS = ("torch", "transformers", "trl")


@dataclass(frozen=True, slots=True)
class Measured:
    """One run.

    Attributes:
        way: its name.
        seed: of the run.
        path: its folder.
        train_s: seconds of training, as the engine counts them.
        updates: optimizer updates.
        rows: rows seen.
        tokens: real tokens seen.
        supervised_tokens: those that are learned.
        peak_allocated_bytes: of the fullest GPU; None on a CPU.
        peak_reserved_bytes: likewise.
        mfu: share of the GPUs' bf16 peak; None where that is unknown.
        curve: (rows seen, loss) at each update.
        steady_tokens_per_s: real tokens a second after the first update, which warms kernels up; None where unknown.
        steady_supervised_tokens_per_s: likewise.
        steady_rows_per_s: likewise.
        steady_updates_s: seconds of each update after the first; empty where unknown.
        versions: of a peer and of what it stands on; empty for lfwrap's ways.
    """

    way: str
    seed: int | None
    path: str
    train_s: float
    updates: int
    rows: float
    tokens: float
    supervised_tokens: float
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    mfu: float | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)
    steady_tokens_per_s: float | None = None
    steady_supervised_tokens_per_s: float | None = None
    steady_rows_per_s: float | None = None
    steady_updates_s: list[float] = field(default_factory=list)
    versions: Mapping[str, str] = field(default_factory=dict)


def summarise(runs: Sequence[Measured]) -> dict[str, Any]:
    """Each way's medians, their ratio to the first way's, and whether its loss curves agree with the first's."""
    names = list(dict.fromkeys(run.way for run in runs))
    groups = {name: [run for run in runs if run.way == name] for name in names}
    base = groups[names[0]]
    ways = [_summary(group, base) for group in groups.values()]
    return {"ways": ways, "runs": [asdict(run) for run in runs]}


def _summary(group: Sequence[Measured], base: Sequence[Measured]) -> dict[str, Any]:
    """One way's line. A peer trains a few updates of its own size: neither its time nor its losses are compared."""
    median_s, is_peer = statistics.median(run.train_s for run in group), bool(group[0].versions)
    is_compared = group is not base and not is_peer
    return {
        "way": group[0].way,
        "versions": dict(group[0].versions),
        "runs": len(group),
        "train_s": median_s,
        "train_s_range": [min(run.train_s for run in group), max(run.train_s for run in group)],
        "times_as_fast": None if is_peer else statistics.median(run.train_s for run in base) / median_s,
        "tokens_per_s": statistics.median(run.tokens / run.train_s for run in group),
        "supervised_tokens_per_s": statistics.median(run.supervised_tokens / run.train_s for run in group),
        "rows_per_s": statistics.median(run.rows / run.train_s for run in group),
        "updates": group[0].updates,
        "peak_allocated_bytes": max((run.peak_allocated_bytes or 0 for run in group), default=0) or None,
        "peak_reserved_bytes": max((run.peak_reserved_bytes or 0 for run in group), default=0) or None,
        "steady_tokens_per_s": _median([run.steady_tokens_per_s for run in group]),
        "steady_supervised_tokens_per_s": _median([run.steady_supervised_tokens_per_s for run in group]),
        "steady_rows_per_s": _median([run.steady_rows_per_s for run in group]),
        "steady_updates_s": [each for run in group for each in run.steady_updates_s],
        "mfu": None if group[0].mfu is None else statistics.median(run.mfu or 0.0 for run in group),
        "last_loss": statistics.fmean([run.curve[-1][1] for run in group if run.curve] or [float("nan")]),
        "loss": compare_curves(_curves(base), _curves(group)).to_json() if is_compared else None,
    }


def _curves(group: Sequence[Measured]) -> list[list[tuple[float, float]]]:
    """One curve for each seed: doing a run again shows nothing of the noise between runs."""
    return list({run.seed: run.curve for run in reversed(group)}.values())


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def markdown(summary: dict[str, Any]) -> str:
    """The table that the documentation shows; its last lines are the ways that failed."""
    lines = ["| " + " | ".join(_HEAD) + " |", "|" + "---|" * len(_HEAD)]
    rows = [_cells(way, is_base=way is summary["ways"][0]) for way in summary["ways"]]
    rows += [[each["way"], each["why"], *["-"] * (len(_HEAD) - 2)] for each in summary.get("absent", [])]
    lines += ["| " + " | ".join(row) + " |" for row in rows]
    lines += [f"\n{each['way']} failed: {each['why']}" for each in summary.get("failed", [])]
    return "\n".join(lines)


def _cells(way: dict[str, Any], *, is_base: bool) -> list[str]:
    peak, reserved, steady = way["peak_allocated_bytes"], way["peak_reserved_bytes"], way["steady_tokens_per_s"]
    return [
        _name(way),
        f"{way['train_s']:.1f} ({way['train_s_range'][0]:.1f}-{way['train_s_range'][1]:.1f})",
        f"{way['times_as_fast']:.2f}" if way["times_as_fast"] else "-",
        f"{way['tokens_per_s']:,.0f}",
        f"{way['supervised_tokens_per_s']:,.0f}",
        f"{way['rows_per_s']:.1f}",
        str(way["updates"]),
        f"{peak / 2**30:.1f} ({reserved / 2**30:.1f})" if peak and reserved else "-",
        f"{way['mfu']:.1%}" if way["mfu"] is not None else "-",
        f"{way['last_loss']:.4f}",
        f"{steady:,.0f} ({way['steady_supervised_tokens_per_s']:,.0f})" if steady else "-",
        _spread(way["steady_updates_s"]),
        f"{way['steady_rows_per_s']:.1f}" if way["steady_rows_per_s"] else "-",
        "(compared with this)" if is_base else _agreement(way["loss"]),
    ]


def _name(way: dict[str, Any]) -> str:
    """A peer with its version, and those of what it stands on."""
    versions = dict(way["versions"])
    if not versions:
        return str(way["way"])
    own = versions.pop(way["way"], "")
    others = ", ".join(f"{name} {version}" for name, version in versions.items() if name in _SHOWN_VERSIONS)
    return f"{way['way']} {own} ({others})"


def _spread(seconds: Sequence[float]) -> str:
    return f"{statistics.median(seconds):.2f} ({min(seconds):.2f}-{max(seconds):.2f})" if seconds else "-"


def _agreement(loss: dict[str, Any] | None) -> str:
    if loss is None:
        return "not compared"
    if loss["agree"] is None:
        return "not tested: fewer than two seeds"
    return f"{'agree' if loss['agree'] else 'DIFFER'} (least p {loss['least_p']:.2g})"
