"""Start the engine, and again with less memory in use after an out-of-memory error, until it fits."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson

from lfwrap.engine.keys import ACCUMULATION_KEY, MICRO_KEY, NO_CHECKPOINTING_KEY
from lfwrap.files import locked, write_json, write_text
from lfwrap.invocation import Invocation
from lfwrap.model.fingerprint import describe_file
from lfwrap.run.again.resume import ResumeRequest, plan_resume
from lfwrap.run.folder.monitor import TRAINING
from lfwrap.run.folder.record import Run, RunState, append_event, save_record
from lfwrap.run.supervise.attempt import Attempt, Listener, run_attempt
from lfwrap.yaml_files import load_yaml

_GPU_RULE = "gpu-out-of-memory"
_CPU_RULE = "cpu-out-of-memory"


@dataclass(frozen=True, slots=True)
class OomFallback:
    """What to change after an out-of-memory error.

    Attributes:
        changes: engine key → new value.
        reason: what is changed, a sentence.
    """

    changes: Mapping[str, Any]
    reason: str


def run_until_it_fits(
    run: Run,
    attempt: Attempt,
    listener: Listener,
    invocation: Invocation,
    *,
    before_start: Callable[[], None] | None = None,
    on_lower: Callable[[str], None] = lambda _: None,
) -> Run:
    """As `run_attempt`; after an out-of-memory error during training, go on with a smaller micro-batch.

    Each further attempt goes on from the newest whole checkpoint. The batch that was found is written into the run's
    engine YAML and record, so that a resume keeps it.

    Args:
        run: a run that may be started.
        attempt: the first command and its settings.
        listener: receives every step of all attempts.
        invocation: where lfwrap was called.
        before_start: called under the run's lock before the first start.
        on_lower: called with what is changed, before each further attempt.

    Raises:
        RunStateError, PreflightError: as `run_attempt` and `plan_resume`.
    """
    run = run_attempt(run, attempt, listener, before_start=before_start)
    while attempt.lowers_memory and (fallback := _fallback_of(run)) is not None:
        on_lower(fallback.reason)
        run = _lower(run, fallback)
        plan = plan_resume(run, invocation, ResumeRequest(show_example=attempt.show_example))
        kept = {key: getattr(attempt, key) for key in ("patience", "stall", "on_divergence", "probe")}
        again = dataclasses.replace(plan.attempt, **kept)
        run = run_attempt(run, again, listener, before_start=plan.clear)
    return run


def _fallback_of(run: Run) -> OomFallback | None:
    if run.record.state is not RunState.FAILED:
        return None
    ended = _read_exit(run)
    wanted = _CPU_RULE if run.record.device == "cpu" else _GPU_RULE
    if (ended.get("diagnosis") or {}).get("rule") != wanted or ended.get("phase") != TRAINING:
        return None
    return find_fallback(load_yaml(run.paths.engine_yaml).values)


def _read_exit(run: Run) -> dict[str, Any]:
    try:
        value: dict[str, Any] = orjson.loads(run.paths.attempt(run.record.attempt).exit.read_bytes())
    except (OSError, ValueError):
        return {}
    return value


def _lower(run: Run, fallback: OomFallback) -> Run:
    """Write the change down: the attempt keeps the YAML that it failed with, the run gets the new one."""
    with locked(run.paths.lock, timeout_s=0):
        before = run.paths.engine_yaml.read_text(encoding="utf-8")
        write_text(run.paths.attempt(run.record.attempt).engine_yaml, before)
        write_text(run.paths.engine_yaml, with_changes(before, fallback.changes))
        inputs = orjson.loads(run.paths.inputs.read_bytes())
        inputs["files"]["engine_yaml"] = describe_file(run.paths.engine_yaml)
        write_json(run.paths.inputs, inputs)
        append_event(run.paths, "memory-lowered", changes=dict(fallback.changes), reason=fallback.reason)
        record = dataclasses.replace(
            run.record,
            micro_batch_size=int(fallback.changes.get(MICRO_KEY, run.record.micro_batch_size)),
            gradient_accumulation_steps=int(
                fallback.changes.get(ACCUMULATION_KEY, run.record.gradient_accumulation_steps)
            ),
        )
        return save_record(run.paths, record)


def find_fallback(values: Mapping[str, Any]) -> OomFallback | None:
    """A smaller micro-batch, then gradient checkpointing; None when nothing is left to try.

    The effective batch stays what the recipe says, so that the loss curve means the same.

    >>> find_fallback({"per_device_train_batch_size": 6, "gradient_accumulation_steps": 2}).changes
    {'per_device_train_batch_size': 3, 'gradient_accumulation_steps': 4}
    """
    micro, accumulation = int(values.get(MICRO_KEY) or 1), int(values.get(ACCUMULATION_KEY) or 1)
    if micro > 1:
        product = micro * accumulation
        smaller = max(size for size in range(1, micro // 2 + 1) if product % size == 0)
        changes = {MICRO_KEY: smaller, ACCUMULATION_KEY: product // smaller}
        return OomFallback(
            changes,
            f"micro-batch {micro} → {smaller}, accumulation {accumulation} → {product // smaller}; "
            f"still {product} sequences a process and update",
        )
    if values.get(NO_CHECKPOINTING_KEY):
        return OomFallback(
            {NO_CHECKPOINTING_KEY: False}, "gradient checkpointing switched on: slower, far smaller activations"
        )
    return None


def with_changes(engine_yaml: str, changes: Mapping[str, Any]) -> str:
    r"""The YAML's text with top-level values replaced, comments and order kept; keys that are not there come last.

    >>> with_changes("bf16: true\nseed: 1\n", {"seed": 2})
    'bf16: true\nseed: 2\n'
    """
    text = engine_yaml
    for key, value in changes.items():
        line = f"{key}: {str(value).lower() if isinstance(value, bool) else value}"
        text, count = re.subn(rf"^{key}:.*$", line, text, flags=re.MULTILINE)
        if not count:
            text = f"{text.rstrip()}\n{line}\n"
    return re.sub(r"^# micro-batch × accumulation × processes: .*\n", "", text, flags=re.MULTILINE)
