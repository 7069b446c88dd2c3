"""The HTML page of one run or several: one file, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import functools
import hashlib
import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from lfwrap import __version__
from lfwrap.bundled import bundled_path
from lfwrap.report.curves import HEIGHT, WIDTH, Series, draw, format_value
from lfwrap.run.folder.record import utc_now
from lfwrap.units import format_bytes, format_count, format_duration

if TYPE_CHECKING:
    from jinja2 import Environment

_PLOTS = (
    ("Loss", ("loss", "eval_loss")),
    ("Noise of the loss", ("loss_spread",)),
    ("Norm of the gradients", ("grad_norm",)),
    ("Learning rate", ("learning_rate",)),
    ("GPU memory, GiB", ("gpu_memory", "gpu_reserved")),
    ("GPU utilisation, %", ("gpu_busy",)),
    ("Main memory, GiB", ("main_memory",)),
    ("CPU cores in use", ("cpu_cores",)),
)
_CURVE_NAMES = {
    "loss": "training",
    "eval_loss": "evaluation",
    "loss_spread": "spread around the trend",
    "grad_norm": "before clipping",
    "learning_rate": "learning rate",
    "gpu_memory": "in use",
    "gpu_reserved": "reserved",
    "gpu_busy": "utilisation",
    "main_memory": "in use",
    "cpu_cores": "cores",
}
_SECOND = frozenset({"eval_loss", "gpu_reserved"})
_COLOURS = 8
_HASH_DIGITS = 12


def render_page(described: Sequence[Mapping[str, Any]]) -> str:
    """The page of what `describe_run` returned; everything in it is escaped, no script or style comes from elsewhere.

    Args:
        described: one run, or several to be compared: their curves then share their plots.
    """
    style, script = (bundled_path(f"templates/report.{kind}").read_text(encoding="utf-8") for kind in ("css", "js"))
    names = short_names([run["run"]["name"] for run in described])
    return (
        _environment()
        .get_template("report.html.j2")
        .render(
            runs=[
                {**run, "short": name, "facts": list(_facts(run)), "history": history_lines(run["events"])}
                for run, name in zip(described, names, strict=True)
            ],
            plots=list(_plots(described, names)),
            changed=changed_settings(described),
            style=style,
            script=script,
            script_hash=_csp_hash(script),
            written_at=utc_now(),
            version=__version__,
            width=WIDTH,
            height=HEIGHT,
        )
    )


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(bundled_path("templates")),
        undefined=StrictUndefined,
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "size": format_bytes,
        "duration": format_duration,
        "count": format_count,
        "value": format_value,
        "amount": format_amount,
        "quote": shlex.quote,
        "hash": lambda text: str(text)[:_HASH_DIGITS],
    }
    return environment


def _csp_hash(text: str) -> str:
    """How a content security policy names an inline script or style."""
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def short_names(names: Sequence[str]) -> list[str]:
    """Run names without what all of them begin with, cut at a dash; a single run keeps its own."""
    if len(set(names)) < len(names) or len(names) == 1:
        return [f"{name} ({number})" for number, name in enumerate(names, 1)] if len(names) > 1 else list(names)
    parts = [name.split("-") for name in names]
    for tries in ([each[1:-1] for each in parts], [each[1:] for each in parts]):
        shorter = ["-".join(each) for each in tries]
        if all(shorter) and len(set(shorter)) == len(names):
            return shorter
    return list(names)


def format_amount(value: float | None, unit: str) -> str:
    """A number with the unit of a row of planned against measured; a dash where there is none."""
    if value is None:
        return "–"
    if unit == "bytes":
        return format_bytes(value)
    if unit == "seconds":
        return format_duration(value) if value >= 1 else f"{value:.3g} s"
    return f"{value:,.0f}"


def _plots(described: Sequence[Mapping[str, Any]], names: Sequence[str]) -> Iterator[dict[str, Any]]:
    alone = len(described) == 1
    for title, curves in _PLOTS:
        series = [
            Series(
                _series_name(name, curve, alone=alone),
                run["curves"].get(curve, ()),
                colour=(curves.index(curve) if alone else number) % _COLOURS,
                is_noisy=curve in {"loss", "grad_norm"},
                is_sparse=curve == "eval_loss",
            )
            for number, (run, name) in enumerate(zip(described, names, strict=True))
            for curve in curves
        ]
        plot = draw(title, series)
        if plot is not None:
            yield plot


def _series_name(run: str, curve: str, *, alone: bool) -> str:
    """A run's own curves are called by their kind, those of several by their run."""
    if alone:
        return _CURVE_NAMES[curve]
    return f"{run}, {_CURVE_NAMES[curve]}" if curve in _SECOND else run


def _facts(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """The figures at the top, name and value."""
    record, measured = run["run"], run["measured"]
    if record.get("verdict"):
        yield "verdict", record["verdict"]["kind"]
    steps = f"{record['global_step']:,}" + (f" of {record['max_steps']:,}" if record["max_steps"] else "")
    yield "updates", steps
    if record["first_loss"] is not None and record["last_loss"] is not None:
        yield "loss", f"{record['first_loss']:.4f} → {record['last_loss']:.4f}"
    evaluated = [value for _, value in run["curves"]["eval_loss"]]
    if evaluated:
        yield "evaluation loss", f"{evaluated[-1]:.4f}, best {min(evaluated):.4f}"
    if record.get("warnings"):
        yield "warnings", ", ".join(f"{each['rule']} at update {each.get('step')}" for each in record["warnings"])
    yield "time", format_duration(record["duration_s"])
    if measured["tokens_per_s"]:
        yield "tokens a second", f"{measured['tokens_per_s']:,.0f}"
    if measured["peak_allocated_bytes"]:
        yield "peak GPU memory", format_bytes(measured["peak_allocated_bytes"])
    parts = (record["micro_batch_size"], record["gradient_accumulation_steps"], record["world_size"])
    yield "batch", f"{' × '.join(map(str, parts))} = {record['effective_batch_size']}"


def changed_settings(described: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[str]]]:
    """The engine's keys in which several runs differ, each with the value of every run; paths of their own left out."""
    unlike_by_nature = {"output_dir", "deepspeed", "run_name"}
    keys = sorted({key for run in described for key in run["settings"]} - unlike_by_nature)
    rows = [
        (key, ["–" if key not in run["settings"] else str(run["settings"][key]) for run in described]) for key in keys
    ]
    return [(key, values) for key, values in rows if len(set(values)) > 1]


def history_lines(events: Sequence[Mapping[str, Any]]) -> list[tuple[str, str]]:
    """Time and text of what happened to a run besides its plain starts: stops, resumes, stalls, memory lowered."""
    found = []
    for event in events:
        kind = str(event.get("event", ""))
        if kind in {"prepared", "started"} or (kind == "state" and event.get("state") == "running"):
            continue
        if kind == "warning" and event.get("message"):
            text = f"warning: {event['message']} {event.get('remedy', '')}".strip()
            found.append((str(event.get("time", ""))[:19].replace("T", " "), text))
            continue
        details = [f"{key} {_plain(value)}" for key, value in event.items() if key not in {"time", "event"} and value]
        text = f"{event.get('before')} → {event.get('state')}" if kind == "state" else kind.replace("-", " ")
        reason = str(event.get("reason", "")) if kind == "state" else ", ".join(details)
        found.append((str(event.get("time", ""))[:19].replace("T", " "), f"{text}: {reason}" if reason else text))
    return found


def _plain(value: Any) -> str:
    """A detail of an event as text."""
    if isinstance(value, Mapping):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    return " ".join(map(str, value)) if isinstance(value, list) else str(value)
