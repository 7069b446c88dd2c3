"""Train with and without the longest batch tried early, plainly and by DeepSpeed: train_with_probe.py FOLDER YAML.

One process for all, world size 1: a start of the engine costs more than six such trainings. FOLDER holds ``ds_z0.json``
and so on; prints one JSON object: ``ds_z0x2`` for two micro-batches an update → the losses of both, the probe's report.
"""

import json
import os
import sys
from itertools import product
from pathlib import Path
from typing import Any

import yaml
from accelerate.state import AcceleratorState, PartialState
from llamafactory.train.tuner import run_exp
from transformers import Trainer, TrainerCallback

from lfwrap_worker.contract import DEEPSPEED_ON_CPU_VARIABLE
from lfwrap_worker.train import longest_batch, train_engine

os.environ |= {"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "127.0.0.1"}
os.environ[DEEPSPEED_ON_CPU_VARIABLE] = "1"


class Losses(TrainerCallback):  # type: ignore[misc]  # the engine has no types
    """Keeps what is logged."""

    def __init__(self) -> None:
        self.seen: list[float] = []

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """One loss an update."""
        self.seen += [logs["loss"]] if logs and "loss" in logs else []


def train(values: dict[str, Any], *, probe: bool) -> tuple[list[float], list[dict[str, Any]]]:
    """The losses, and what the probe reports."""
    plain, reports, losses = Trainer.training_step, [], Losses()
    if probe:
        longest_batch.install_probe(reports.append)
    run_exp({**values, "output_dir": f"{values['output_dir']}-{probe}"}, callbacks=[losses])
    Trainer.training_step = plain
    AcceleratorState._reset_state()
    PartialState._reset_state()
    return losses.seen, reports


def main(folder: str, recipe: str) -> None:
    """Both trainings of each way."""
    import torch

    torch.distributed.destroy_process_group = lambda: None  # the engine does so at its end; DeepSpeed keeps its groups
    train_engine.meet_by_deepspeed()
    values = yaml.safe_load(Path(recipe).read_text(encoding="utf-8"))
    found = {}
    for config, accumulation in product([None, *sorted(Path(folder).glob("ds_z*.json"))], (1, 2)):
        name = f"{config.stem if config else 'plain'}x{accumulation}"
        own = {"output_dir": str(Path(folder) / name), "gradient_accumulation_steps": accumulation}
        chosen = {**values, **own, **({"deepspeed": str(config)} if config else {})}
        with_probe, reports = train(chosen, probe=True)
        without, _ = train(chosen, probe=False)
        found[name] = {"with": with_probe, "without": without, "reports": reports}
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
