"""Everything that a report says of one run, as plain values: the page and ``--json`` show the same."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import LfwrapError
from lfwrap.report.data_counts import describe_data
from lfwrap.report.measured import Measured, load_entries, measure, read_curves, read_health_curves
from lfwrap.report.secrets import named_secrets, scrub
from lfwrap.run.folder.health import Sample, load_samples, make_sample
from lfwrap.run.folder.paths import AttemptPaths
from lfwrap.run.folder.record import Run
from lfwrap.run.launch.trackers import find_trackers
from lfwrap.yaml_files import load_yaml


def describe_run(run: Run) -> dict[str, Any]:
    """One run for a report; whatever its folder lacks is left out, and no secret is in it.

    Returns:
        ``run`` (as ``runs show --json``), ``curves``, ``plan`` (rows of planned against measured), ``measured``,
        ``environment``, ``data``, ``attempts``, ``events``, ``command``, ``files`` (recipe, engine YAML, DeepSpeed
        JSON), ``trackers``.
    """
    entries = load_entries(run.paths.trainer_log)
    measured = measure(entries)
    values = read_yaml(run.paths.engine_yaml)
    environment, events = _read_json(run.paths.environment), _read_events(run)
    described = {
        "run": _live(run, entries),
        "curves": read_curves(entries) | read_health_curves(_samples(run)),
        "plan": list(_plan_rows(_read_json(run.paths.plan), measured, run)),
        "measured": _measured_json(measured),
        "environment": environment,
        "data": describe_data(run, _read_json(run.paths.inputs)),
        "attempts": [_attempt(run.paths.attempt(number), run, events) for number in run.paths.attempt_numbers()],
        "events": events,
        "command": _read_json(run.paths.attempt(max(run.record.attempt, 0)).command),
        "settings": {key: value for key, value in values.items() if value is not None},
        "files": dict(_files(run)),
        "trackers": find_trackers(values, run.paths),
    }
    secrets = frozenset(named_secrets([values, read_yaml(run.paths.recipe), environment]))
    scrubbed: dict[str, Any] = scrub(described, secrets)
    return scrubbed


def read_yaml(path: Path) -> dict[str, Any]:
    """The values of a YAML file of the run; none where it can't be read."""
    try:
        return dict(load_yaml(path).values)
    except (LfwrapError, OSError):
        return {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        value = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return value if isinstance(value, dict) else {}


def _samples(run: Run) -> list[Sample]:
    """How the training fared; of a run of an earlier lfwrap what the trainer's own state holds."""
    found = load_samples(run.paths.health)
    if not found:
        history = _read_json(run.paths.trainer_state).get("log_history")
        entries = history if isinstance(history, list) else []
        found = [one for one in (make_sample(each) for each in entries if isinstance(each, dict)) if one is not None]
    return found


def _live(run: Run, entries: list[dict[str, Any]]) -> dict[str, Any]:
    """The record; steps and losses as the log has them, which is ahead of it while the run goes on."""
    value = run.to_json()
    losses = [entry["loss"] for entry in entries if entry.get("loss") is not None]
    if losses:
        value |= {"first_loss": losses[0], "last_loss": losses[-1]}
    if entries:
        value["global_step"] = max(value["global_step"], entries[-1]["current_steps"])
        value["max_steps"] = value["max_steps"] or entries[-1].get("total_steps", 0)
    return value


def _measured_json(measured: Measured) -> dict[str, Any]:
    return {
        "steps_timed": measured.steps_timed,
        "step_s": measured.step_s,
        "tokens_per_s": measured.tokens_per_s,
        "training_s": measured.training_s,
        "peak_allocated_bytes": measured.peak_allocated_bytes,
        "peak_reserved_bytes": measured.peak_reserved_bytes,
    }


def _plan_rows(plan: Mapping[str, Any], measured: Measured, run: Run) -> Iterator[dict[str, Any]]:
    """What was planned beside what was measured, each a row with its unit."""
    memory, speed = plan.get("memory") or {}, plan.get("speed") or {}
    rows = (
        ("peak allocated memory", "bytes", memory.get("peak_allocated_bytes"), measured.peak_allocated_bytes),
        ("memory of the device", "bytes", memory.get("device_bytes"), measured.peak_reserved_bytes),
        ("an update", "seconds", speed.get("step_s"), measured.step_s),
        (
            "tokens a second, padding included",
            "tokens",
            speed.get("padded_tokens_per_s"),
            measured.tokens_per_s,
        ),
        ("updates", "count", speed.get("steps"), run.record.max_steps or None),
        ("all updates", "seconds", speed.get("duration_s"), measured.training_s or None),
    )
    for what, unit, planned, found in rows:
        if planned is not None or found is not None:
            ratio = found / planned if planned and found else None
            yield {"what": what, "unit": unit, "planned": planned, "measured": found, "ratio": ratio}


def _attempt(paths: AttemptPaths, run: Run, events: list[dict[str, Any]]) -> dict[str, Any]:
    """One start of the engine: when, how it ended and why."""
    ended = _read_json(paths.exit)
    return {
        "number": paths.number,
        "started_at": _started_at(events, paths.number),
        "state": ended.get("state") or ("running" if paths.number == run.record.attempt else "lost"),
        "reason": ended.get("reason", ""),
        "exit_code": ended.get("exit_code"),
        "duration_s": ended.get("duration_s"),
        "global_step": ended.get("global_step"),
        "max_steps": ended.get("max_steps"),
        "diagnosis": ended.get("diagnosis"),
        "command": _read_json(paths.command).get("quoted", ""),
    }


def _started_at(events: list[dict[str, Any]], number: int) -> str | None:
    started = (event for event in events if event.get("event") == "started" and event.get("attempt") == number)
    return next((str(event.get("time")) for event in started), None)


def _read_events(run: Run) -> list[dict[str, Any]]:
    """What happened to the run, oldest first; lines that are not objects are passed over."""
    try:
        lines = run.paths.events.read_bytes().splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        try:
            event = orjson.loads(line)
        except ValueError:
            continue
        if isinstance(event, dict):
            found.append(event)
    return found


def _files(run: Run) -> Iterator[tuple[str, str]]:
    """The rendered files as they lie in the folder."""
    for path in (run.paths.recipe, run.paths.engine_yaml, run.paths.deepspeed):
        try:
            yield path.name, path.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError):
            continue
