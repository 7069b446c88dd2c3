"""What changes for processes that torchrun has started again, perhaps in another number: batch and checkpoint.

A variable holds a `Restart` when that may happen. The batch of an update stays the same rows whatever the number of
processes: its accumulation is recomputed. The engine would go on from the newest checkpoint by itself, but take one
that was only half written.
"""

import json
from collections.abc import Mapping
from pathlib import Path

from lfwrap_worker.contract import RESTART_VARIABLE, Restart


def adapt_arguments(arguments: list[str], environ: Mapping[str, str]) -> None:
    """Add what replaces the YAML's values to a command line, in place; nothing when no restart is foreseen."""
    if RESTART_VARIABLE not in environ:
        return
    wanted = Restart.from_text(environ[RESTART_VARIABLE])
    micro, accumulation = split_batch(wanted.effective, int(environ.get("WORLD_SIZE", "1")), wanted.micro)
    checkpoint = newest_checkpoint(Path(wanted.output))
    arguments[:] = [text for text in arguments if not (checkpoint and text.startswith("resume_from_checkpoint="))]
    arguments += [f"per_device_train_batch_size={micro}", f"gradient_accumulation_steps={accumulation}"]
    if checkpoint is not None:
        arguments.append(f"resume_from_checkpoint={checkpoint}")
    elif not any(text.startswith("resume_from_checkpoint=") for text in arguments):
        arguments.append("resume_from_checkpoint=false")


def split_batch(effective: int, world_size: int, micro_limit: int) -> tuple[int, int]:
    """(micro-batch, accumulation) whose product with the number of processes is the effective batch.

    Raises:
        ValueError: there is none; lfwrap refuses to start such a run.
    """
    share, rest = divmod(effective, world_size)
    if rest or not share:
        raise ValueError(f"an effective batch of {effective} can't be kept on {world_size} processes")
    micro = next(size for size in range(min(micro_limit, share), 0, -1) if share % size == 0)
    return micro, share // micro


def newest_checkpoint(output: Path) -> Path | None:
    """The newest checkpoint whose writing was finished: the trainer's state, written last, is there and of its step."""
    found = [
        (int(folder.name.removeprefix("checkpoint-")), folder)
        for folder in output.glob("checkpoint-*")
        if folder.name.removeprefix("checkpoint-").isdigit()
    ]
    return next((folder for step, folder in sorted(found, reverse=True) if _is_of_step(folder, step)), None)


def _is_of_step(folder: Path, step: int) -> bool:
    try:
        return bool(json.loads((folder / "trainer_state.json").read_bytes())["global_step"] == step)
    except (OSError, ValueError, KeyError, TypeError):
        return False
