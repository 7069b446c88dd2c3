"""Where everything of a run lies: each path is one property, written down nowhere else."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from lfwrap.engine.contract import (
    RANK_ERROR,
    RANK_HEALTH,
    RANK_HEARTBEAT,
    RANK_MEMORY,
    RANK_PROBE,
    RANK_STACKS,
    RANK_STDERR,
    RANK_STDOUT,
    RANKS_FOLDER,
)
from lfwrap.errors import RunStateError
from lfwrap.files import sha256_bytes

_UNSAFE = re.compile(r"[^A-Za-z0-9._-]+")
_DIGEST_DIGITS = 8
TRAINER_STATE = "trainer_state.json"
"""What the trainer calls its state, in its output folder and in each checkpoint."""


@dataclass(frozen=True, slots=True)
class RankPaths:
    """The files of one training process: ``attempts/N/ranks/R``; logs only where there are several processes."""

    root: Path

    @property
    def number(self) -> int:
        """The rank as the file names have it."""
        return int(self.root.name)

    @property
    def stdout(self) -> Path:
        """What this rank wrote to stdout."""
        return self.root / RANK_STDOUT

    @property
    def stderr(self) -> Path:
        """What this rank wrote to stderr."""
        return self.root / RANK_STDERR

    @property
    def heartbeat(self) -> Path:
        """Touched whenever the rank gets anywhere."""
        return self.root / RANK_HEARTBEAT

    @property
    def stacks(self) -> Path:
        """The stacks that the rank writes on SIGUSR2."""
        return self.root / RANK_STACKS

    @property
    def error(self) -> Path:
        """Why it failed, and when; blank while it runs, gone when it ended well."""
        return self.root / RANK_ERROR

    @property
    def probe(self) -> Path:
        """What became of the try with the longest batch."""
        return self.root / RANK_PROBE

    @property
    def memory(self) -> Path:
        """What the training took of its GPU's memory, as far as it came."""
        return self.root / RANK_MEMORY

    @property
    def health(self) -> Path:
        """What each entry of the trainer's log said; read as it grows, and begun anew when it has become long."""
        return self.root / RANK_HEALTH


@dataclass(frozen=True, slots=True)
class AttemptPaths:
    """The files of one start of the engine: ``attempts/N``."""

    root: Path

    @property
    def number(self) -> int:
        """N, counted from 0."""
        return int(self.root.name)

    @property
    def command(self) -> Path:
        """The exact command, its folder and the environment added to it."""
        return self.root / "command.json"

    @property
    def stdout(self) -> Path:
        """What the engine wrote to stdout."""
        return self.root / "stdout.log"

    @property
    def stderr(self) -> Path:
        """What the engine wrote to stderr."""
        return self.root / "stderr.log"

    @property
    def exit(self) -> Path:
        """How it ended: code, signal, reason, seconds."""
        return self.root / "exit.json"

    @property
    def engine_yaml(self) -> Path:
        """The engine YAML of this attempt, kept when the run's own was changed after it."""
        return self.root / "engine.yaml"

    def node(self, rank: int) -> AttemptPaths:
        """The files of a further node: its own command, output and ending; node 0 has those of the attempt."""
        return AttemptPaths(self.root / "nodes" / str(rank))

    def stall(self, number: int) -> Path:
        """The stacks of all ranks at the stall with this number, counted from 0."""
        return self.root / f"stall-{number}.txt"

    def rank(self, number: int) -> RankPaths:
        """The files of the training process with this rank."""
        return RankPaths(self.root / RANKS_FOLDER / str(number))

    def ranks(self) -> list[RankPaths]:
        """The training processes that have left something, by rank."""
        folder = self.root / RANKS_FOLDER
        names = [entry.name for entry in folder.iterdir()] if folder.is_dir() else []
        return [self.rank(number) for number in sorted(int(name) for name in names if name.isdigit())]


@dataclass(frozen=True, slots=True)
class RunPaths:
    """The files of one run."""

    root: Path

    @property
    def name(self) -> str:
        """The run's name: that of its folder."""
        return self.root.name

    @property
    def record(self) -> Path:
        """The run's state and what identifies it; replaced as a whole."""
        return self.root / "record.json"

    @property
    def recipe(self) -> Path:
        """The recipe as it was resolved, overrides included."""
        return self.root / "recipe.yaml"

    @property
    def engine_yaml(self) -> Path:
        """The plain LLaMA-Factory YAML that the engine is given."""
        return self.root / "engine.yaml"

    @property
    def deepspeed(self) -> Path:
        """The DeepSpeed configuration, when the run uses it."""
        return self.root / "deepspeed.json"

    @property
    def environment(self) -> Path:
        """Versions, machine, git commit."""
        return self.root / "environment.json"

    @property
    def inputs(self) -> Path:
        """SHA-256 and size of every input file."""
        return self.root / "inputs.json"

    @property
    def plan(self) -> Path:
        """What was predicted of the run, memory and speed, when it was prepared."""
        return self.root / "plan.json"

    @property
    def launch(self) -> Path:
        """How it was started, beside the launcher's name, for its resumes."""
        return self.root / "launch.json"

    @property
    def hostfile(self) -> Path:
        """The hosts and their slots, when DeepSpeed's launcher starts several nodes."""
        return self.root / "hostfile"

    @property
    def slurm_script(self) -> Path:
        """The job's script, when Slurm starts the run."""
        return self.root / "job.slurm"

    @property
    def slurm_log(self) -> Path:
        """What the job itself writes; Slurm puts its number in place of ``%j``."""
        return self.root / "slurm-%j.log"

    @property
    def skypilot_task(self) -> Path:
        """The task, when SkyPilot starts the run."""
        return self.root / "skypilot.yaml"

    def set_aside(self, attempt: int) -> Path:
        """Where broken checkpoints, or a result without one, go before the start with this number."""
        return self.root / "broken" / f"before-attempt-{attempt}"

    @property
    def report(self) -> Path:
        """The page that `lfwrap runs report` writes; made anew each time."""
        return self.root / "report.html"

    @property
    def verdict(self) -> Path:
        """Whether the model has learned, and by what that is known; absent where it was left out."""
        return self.root / "verdict.json"

    @property
    def trackers(self) -> Path:
        """What experiment trackers write: one folder for each."""
        return self.root / "trackers"

    @property
    def events(self) -> Path:
        """Every change of state, one JSON object a line, oldest first."""
        return self.root / "events.jsonl"

    @property
    def health(self) -> Path:
        """How the training fared: loss, gradients, learning rate, memory and load over the updates, one line each."""
        return self.root / "health.jsonl"

    @property
    def supervisor_log(self) -> Path:
        """What lfwrap itself says when it looks after the run in the background."""
        return self.root / "supervisor.log"

    @property
    def lock(self) -> Path:
        """Held by the process that changes the run."""
        return self.root / ".lock"

    @property
    def output(self) -> Path:
        """What the engine writes: the adapter, its log, its checkpoints."""
        return self.root / "output"

    @property
    def trainer_log(self) -> Path:
        """The engine's progress, one JSON object a line."""
        return self.output / "trainer_log.jsonl"

    @property
    def trainer_state(self) -> Path:
        """The trainer's last state: steps done, steps wanted, loss history."""
        return self.output / TRAINER_STATE

    @property
    def attempts(self) -> Path:
        """One numbered folder for each start of the engine."""
        return self.root / "attempts"

    def attempt(self, number: int) -> AttemptPaths:
        """The files of the start with this number, counted from 0."""
        return AttemptPaths(self.attempts / str(number))

    def attempt_numbers(self) -> list[int]:
        """The numbers of the starts there have been, ascending."""
        if not self.attempts.is_dir():
            return []
        return sorted(int(entry.name) for entry in self.attempts.iterdir() if entry.name.isdigit())

    def checkpoints(self) -> list[Path]:
        """The engine's ``checkpoint-<step>`` folders, newest step first, whole or not."""
        if not self.output.is_dir():
            return []
        found = [
            (int(entry.name.removeprefix("checkpoint-")), entry)
            for entry in self.output.glob("checkpoint-*")
            if entry.name.removeprefix("checkpoint-").isdigit() and entry.is_dir()
        ]
        return [entry for _, entry in sorted(found, reverse=True)]


def run_name(recipe_name: str, canonical_recipe: bytes, now: datetime) -> str:
    """``<UTC>-<recipe>-<8 hex of the canonical recipe>``, free of white space: torchrun's arguments are split at it.

    >>> run_name("my recipe", b"{}", datetime(2026, 3, 1, 12, tzinfo=UTC))
    '20260301T120000Z-my-recipe-44136fa3'
    """
    stem = _UNSAFE.sub("-", recipe_name).strip("-.") or "recipe"
    return f"{now.astimezone(UTC):%Y%m%dT%H%M%SZ}-{stem}-{sha256_bytes(canonical_recipe)[:_DIGEST_DIGITS]}"


def create_run_folder(runs_dir: Path, name: str) -> RunPaths:
    """Make the folder of a new run; a name that is taken gets ``-2``, ``-3``, ….

    Raises:
        RunStateError: the folder can't be made.
    """
    try:
        runs_dir.mkdir(parents=True, exist_ok=True)
        for number in range(1, 1000):
            root = runs_dir / (name if number == 1 else f"{name}-{number}")
            try:
                root.mkdir()
            except FileExistsError:
                continue
            return RunPaths(root.resolve())
    except OSError as error:
        raise RunStateError(
            f"{runs_dir}: can't hold runs: {error.strerror}", hint="Name another folder: --runs-dir DIR."
        ) from error
    raise RunStateError(f"{runs_dir / name}: there are 999 runs of this name", hint="Give another --name.")
