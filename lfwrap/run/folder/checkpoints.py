"""The engine's checkpoints: which of them are whole, and which one a run goes on from."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import orjson

from lfwrap.engine.faults import NOT_FINITE
from lfwrap.model.folder import trained_folder
from lfwrap.model.weight_files import check_torch_file
from lfwrap.run.folder.paths import TRAINER_STATE, RunPaths

# The engine's trainer leaves this file in a folder while it writes a checkpoint on SIGTERM.
_SENTINEL = "checkpoint-is-incomplete.txt"


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """One ``checkpoint-<step>`` folder.

    Attributes:
        path: the folder.
        step: updates done when it was written.
        problems: what is missing or broken; empty when it is whole.
    """

    path: Path
    step: int
    problems: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        """Whether a run can go on from it."""
        return not self.problems


def step_of(path: Path) -> int | None:
    """The step of a ``checkpoint-<step>`` folder; None for another folder.

    >>> step_of(Path("output/checkpoint-120")), step_of(Path("output"))
    (120, None)
    """
    text = path.name.removeprefix("checkpoint-")
    return int(text) if text != path.name and text.isdigit() else None


def check_checkpoint(path: Path, *, world_size: int, finetuning_type: str) -> Checkpoint:
    """Look at a checkpoint folder: weights, optimizer, scheduler, random states, the trainer's own state.

    Args:
        path: the ``checkpoint-<step>`` folder.
        world_size: processes that trained; each has a random state of its own.
        finetuning_type: ``lora`` and ``oft`` leave an adapter, the others a model.
    """
    step = int(path.name.removeprefix("checkpoint-"))
    problems = ["was being written when the run ended"] if (path / _SENTINEL).exists() else []
    problems += trained_folder(path, finetuning_type).weight_problems() + _check_state(path, step)
    problems += _check_torch_files(path, world_size)
    return Checkpoint(path, step, tuple(problems))


def _check_state(path: Path, step: int) -> list[str]:
    try:
        state = orjson.loads((path / TRAINER_STATE).read_bytes())
        found = int(state["global_step"])
    except FileNotFoundError:
        return [f"{TRAINER_STATE} is missing"]
    except (OSError, ValueError, KeyError, TypeError):
        return [f"{TRAINER_STATE} can't be read"]
    return [] if found == step else [f"{TRAINER_STATE} is of step {found}"]


def _check_torch_files(path: Path, world_size: int) -> list[str]:
    sharded = path / f"global_step{path.name.removeprefix('checkpoint-')}"
    states = ["rng_state.pth"] if world_size == 1 else [f"rng_state_{rank}.pth" for rank in range(world_size)]
    files = [path / name for name in states]
    if sharded.is_dir():  # DeepSpeed keeps optimizer and scheduler in files of its own, one a process
        shards = sorted(sharded.glob("*.pt"))
        optimizers = [shard for shard in shards if shard.name.endswith("_optim_states.pt")]
        files += shards if optimizers else [sharded / "*_optim_states.pt"]
    else:
        files += [path / "optimizer.pt", path / "scheduler.pt"]
    problems = []
    for file in files:
        problem = check_torch_file(file) if file.is_file() else "is missing"
        if problem:
            problems.append(f"{file.relative_to(path)} {problem}")
    return problems


def find_checkpoints(paths: RunPaths, *, world_size: int, finetuning_type: str) -> list[Checkpoint]:
    """All checkpoints of a run, newest first, each with what is wrong with it."""
    return [
        check_checkpoint(path, world_size=world_size, finetuning_type=finetuning_type) for path in paths.checkpoints()
    ]


def spoilt_from(paths: RunPaths, attempt: int) -> int | None:
    """The update from which on the weights of an attempt were no finite numbers; None where they were."""
    try:
        warnings = orjson.loads(paths.attempt(attempt).exit.read_bytes())["warnings"]
        return next((int(each["step"]) for each in warnings if each["rule"] == NOT_FINITE), None)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def set_aside(paths: RunPaths, checkpoint: Checkpoint, attempt: int) -> Path:
    """Move a broken checkpoint out of the way (the engine's rotation would delete whole ones first)."""
    folder = paths.set_aside(attempt)
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / checkpoint.path.name
    checkpoint.path.rename(target)
    return target
