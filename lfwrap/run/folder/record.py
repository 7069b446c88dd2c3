"""What a run is and how far it came: a frozen record, replaced as a whole, each change of state logged first.

States::

    prepared ──► running ──► succeeded | failed | interrupted | lost
                    ▲                      │          │         │
                    └──────── resume ──────┴──────────┴─────────┘

``lost`` means that the record says running, but the process that looked after it is gone.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Any

import orjson

from lfwrap.errors import RunStateError
from lfwrap.files import write_json
from lfwrap.model.folder import AdapterFolder
from lfwrap.run.folder.health import load_warnings
from lfwrap.run.folder.identity import ProcessIdentity
from lfwrap.run.folder.paths import RunPaths

SCHEMA = "lfwrap.record/1"
DEFAULT_RUNS_DIR = Path("runs")


class RunState(StrEnum):
    """Where a run stands."""

    PREPARED = "prepared"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    INTERRUPTED = "interrupted"
    LOST = "lost"


_NEXT: Mapping[RunState, frozenset[RunState]] = {
    RunState.PREPARED: frozenset({RunState.RUNNING, RunState.FAILED}),
    RunState.RUNNING: frozenset({RunState.SUCCEEDED, RunState.FAILED, RunState.INTERRUPTED, RunState.LOST}),
    RunState.SUCCEEDED: frozenset(),
    RunState.FAILED: frozenset({RunState.RUNNING}),
    RunState.INTERRUPTED: frozenset({RunState.RUNNING}),
    RunState.LOST: frozenset({RunState.RUNNING}),
}


@dataclass(frozen=True, slots=True)
class RunRecord:
    """Everything that other commands need to know of a run.

    Attributes:
        name: the run's name, that of its folder.
        state: where it stands.
        recipe: the recipe's name.
        created_at: when it was prepared, ISO 8601 in UTC.
        updated_at: when the record was last replaced.
        base_model: hub id or absolute folder of the base model.
        finetuning_type: ``lora``, ``full``, ``freeze`` or ``oft``.
        stage: ``sft``, ``pt``, ``dpo``, ….
        template: the engine's template name.
        datasets: the names of the training data sets.
        dataset_dir: the folder of ``dataset_info.json``.
        quantization_bit: 4 or 8 for QLoRA, else None.
        quantization_method: ``bnb``, …; None when the base is not quantised.
        trust_remote_code: whether the base model's own code may run.
        device: what it trains on: ``cuda``, ``rocm``, ``mps`` or ``cpu``.
        launcher: ``process``, ``torchrun`` or ``deepspeed``.
        zero_stage: DeepSpeed's stage, None without DeepSpeed.
        world_size: processes that train together, on all nodes.
        nodes: machines; of an elastic run the most.
        micro_batch_size: sequences a device takes at once.
        gradient_accumulation_steps: micro-batches before an update.
        global_step: updates done.
        max_steps: updates wanted; 0 until the engine has said it.
        first_loss: the first training loss that was logged.
        last_loss: the last one.
        attempt: the number of the last start, -1 before the first.
        reason: why it failed or stopped; empty otherwise.
        exit_code: the engine's exit code in the last attempt; negative for a signal.
        duration_s: seconds that the engine ran, all attempts together.
        versions: package → version, as used.
        supervisor: the process that looks after the run while it is running.
        replay_of: the folder of the run that this one repeats.
    """

    name: str
    state: RunState
    recipe: str
    created_at: str
    updated_at: str
    base_model: str
    finetuning_type: str
    stage: str
    template: str | None
    datasets: tuple[str, ...] = ()
    dataset_dir: str | None = None
    quantization_bit: int | None = None
    quantization_method: str | None = None
    trust_remote_code: bool = False
    device: str = "cpu"
    launcher: str = "process"
    zero_stage: int | None = None
    world_size: int = 1
    nodes: int = 1
    micro_batch_size: int = 1
    gradient_accumulation_steps: int = 1
    global_step: int = 0
    max_steps: int = 0
    first_loss: float | None = None
    last_loss: float | None = None
    attempt: int = -1
    reason: str = ""
    exit_code: int | None = None
    duration_s: float = 0.0
    versions: Mapping[str, str] = field(default_factory=dict)
    supervisor: ProcessIdentity | None = None
    replay_of: str | None = None

    @property
    def effective_batch_size(self) -> int:
        """Sequences in an update: micro-batch × accumulation × processes."""
        return self.micro_batch_size * self.gradient_accumulation_steps * self.world_size

    @property
    def is_finished(self) -> bool:
        """Whether every update that was wanted has been done."""
        return self.max_steps > 0 and self.global_step >= self.max_steps

    def to_json(self) -> dict[str, Any]:
        """The record as it stands in ``record.json``."""
        body = dataclasses.asdict(self)
        return {"schema": SCHEMA, **body, "effective_batch_size": self.effective_batch_size}

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> RunRecord:
        """The record of a ``record.json``; keys of later versions are passed over.

        Raises:
            KeyError, TypeError, ValueError: it is not such a record.
        """
        known = {entry.name for entry in dataclasses.fields(cls)}
        values = {key: item for key, item in value.items() if key in known}
        supervisor = values.get("supervisor")
        values |= {
            "state": RunState(values["state"]),
            "datasets": tuple(values.get("datasets", ())),
            "supervisor": ProcessIdentity.from_json(supervisor) if supervisor else None,
        }
        return cls(**values)

    def observed(self) -> RunRecord:
        """The record with ``running`` made ``lost`` when nobody looks after the run any more."""
        if self.state is not RunState.RUNNING or (self.supervisor is not None and self.supervisor.is_alive()):
            return self
        return dataclasses.replace(
            self, state=RunState.LOST, reason="The process that looked after the run is gone.", supervisor=None
        )


@dataclass(frozen=True, slots=True)
class Run:
    """A run as it lies on disk."""

    paths: RunPaths
    record: RunRecord

    @property
    def adapter_dir(self) -> Path | None:
        """The folder of the finished adapter; None for another kind of tuning, or before the adapter is there."""
        return self.paths.output if AdapterFolder(self.paths.output).weight_files() else None

    @property
    def verdict(self) -> dict[str, Any] | None:
        """What became of the training, by ``verdict.json``; None without one, or with that of an earlier start."""
        try:
            value = orjson.loads(self.paths.verdict.read_bytes())
        except (OSError, ValueError):
            return None
        if not isinstance(value, dict) or value.get("attempt") != self.record.attempt or "kind" not in value:
            return None
        return {key: item for key, item in value.items() if key != "schema"}

    def to_json(self) -> dict[str, Any]:
        """The run as ``--json`` prints it."""
        adapter = self.adapter_dir
        return {
            **{key: item for key, item in self.record.to_json().items() if key != "schema"},
            "path": str(self.paths.root),
            "output_dir": str(self.paths.output),
            "adapter_dir": str(adapter) if adapter else None,
            "verdict": self.verdict,
            "warnings": load_warnings(self.paths),
        }


def utc_now() -> str:
    """The time as records hold it: ISO 8601, UTC, to the millisecond."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def append_event(paths: RunPaths, event: str, **details: Any) -> None:
    """Add a line to ``events.jsonl`` and see it onto the disk."""
    line = orjson.dumps({"time": utc_now(), "event": event, **details}, option=orjson.OPT_APPEND_NEWLINE)
    paths.root.mkdir(parents=True, exist_ok=True)
    with paths.events.open("ab") as sink:
        sink.write(line)
        sink.flush()
        os.fsync(sink.fileno())


def save_record(paths: RunPaths, record: RunRecord) -> Run:
    """Replace ``record.json`` as a whole; the state must not have changed (`change_state` does that)."""
    fresh = dataclasses.replace(record, updated_at=utc_now())
    write_json(paths.record, fresh.to_json())
    return Run(paths, fresh)


def prepare_record(paths: RunPaths, record: RunRecord) -> Run:
    """Write the first record of a run."""
    append_event(paths, "prepared", state=record.state)
    return save_record(paths, record)


def change_state(run: Run, state: RunState, **changes: Any) -> Run:
    """Move a run to another state: the event first, then the record.

    Raises:
        RunStateError: the present state does not lead there.
    """
    before = run.record.state
    if state not in _NEXT[before]:
        raise RunStateError(
            f"{run.paths.name}: a {before} run can't become {state}", hint="See `lfwrap runs show` for its state."
        )
    reason = changes.get("reason", "")
    append_event(run.paths, "state", before=before, state=state, **({"reason": reason} if reason else {}))
    return save_record(run.paths, dataclasses.replace(run.record, state=state, **changes))


def load_run(path_or_name: str | Path, runs_dir: Path = DEFAULT_RUNS_DIR) -> Run:
    """The run of a folder, of a name under ``runs_dir``, of an unambiguous part of one, or ``latest``.

    Raises:
        RunStateError: there is no such run, several match, or its record can't be read.
    """
    text = str(path_or_name)
    if text == "latest":
        return latest_run(runs_dir)
    for root in (Path(text), runs_dir / text):
        if is_run_folder(root):
            return _read_run(RunPaths(root.resolve()))
    return _read_run(RunPaths(_unambiguous(text, runs_dir).resolve()))


def is_run_folder(folder: Path) -> bool:
    """Whether a run was prepared in a folder."""
    return RunPaths(folder).record.is_file()


def _unambiguous(text: str, runs_dir: Path) -> Path:
    matches = [root for root in _run_folders(runs_dir) if text and text in root.name]
    if len(matches) == 1:
        return matches[0]
    if matches:
        names = ", ".join(root.name for root in matches[:5])
        raise RunStateError(f"{text}: several runs match this name: {names}", hint="Give more of the name.")
    raise RunStateError(
        f"{text}: no run folder, and no run of that name in {runs_dir}",
        hint="`lfwrap runs list` names the runs; --runs-dir says where they are.",
    )


def _read_run(paths: RunPaths) -> Run:
    try:
        return Run(paths, RunRecord.from_json(orjson.loads(paths.record.read_bytes())).observed())
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise RunStateError(
            f"{paths.record}: no readable record: {error}", hint="Is this a folder that `lfwrap train` made?"
        ) from error


def _run_folders(runs_dir: Path) -> list[Path]:
    if not runs_dir.is_dir():
        return []
    return sorted(entry for entry in runs_dir.iterdir() if is_run_folder(entry))


def list_runs(runs_dir: Path = DEFAULT_RUNS_DIR) -> list[Run]:
    """The runs of a folder, oldest first; folders with an unreadable record are passed over."""
    return scan_runs(runs_dir)[0]


def scan_runs(runs_dir: Path = DEFAULT_RUNS_DIR) -> tuple[list[Run], list[RunStateError]]:
    """The runs of a folder, oldest first, and an error for each folder whose record can't be read."""
    found: list[Run] = []
    unreadable: list[RunStateError] = []
    for root in _run_folders(runs_dir):
        try:
            found.append(_read_run(RunPaths(root.resolve())))
        except RunStateError as error:
            unreadable.append(error)
    return sorted(found, key=lambda run: run.record.created_at), unreadable


def latest_run(runs_dir: Path = DEFAULT_RUNS_DIR) -> Run:
    """The run that was prepared last.

    Raises:
        RunStateError: there is none.
    """
    runs = list_runs(runs_dir)
    if not runs:
        raise RunStateError(f"{runs_dir}: no runs here", hint="Start one with `lfwrap train RECIPE`.")
    return runs[-1]
