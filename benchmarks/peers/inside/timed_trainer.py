"""Run a command that trains with transformers' Trainer, unmodified, and note its updates; run by the peer's Python.

    timed_trainer.py --result OUT.json [--first unsloth] trl.scripts.sft --model_name_or_path …

The callback that every Trainer has is made to tell when an update ends and what is logged, and each micro-batch's
tokens are counted without waiting for the GPU. Nothing is saved: the process ends with the training. The result is
that of `engine_worker.py`.
"""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import runpy
import sys
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[2]))

from engine_worker import Seen, count_batches, gpu_facts

PACKAGES = (
    "trl", "unsloth", "torchtune", "torch", "torchao", "transformers", "peft", "accelerate", "liger_kernel",
)  # fmt: skip


def find_versions() -> dict[str, str]:
    """Versions of what is installed here of the packages that matter."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def finish(result: Path, seen: Seen, **facts: Any) -> None:
    """Write what was seen, and end the process."""
    found = {
        "status": "ok", "train_s": seen.train_s, "updates": seen.updates, "losses": seen.losses,
        **gpu_facts(), **facts,
    }  # fmt: skip
    result.write_text(json.dumps(found), encoding="utf-8")
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def watch(seen: Seen, result: Path) -> None:
    """Have every Trainer's first callback and its step tell."""
    from transformers import Trainer
    from transformers.trainer_callback import DefaultFlowCallback

    plain_end, plain_log = DefaultFlowCallback.on_step_end, DefaultFlowCallback.on_log

    def on_train_begin(*_: Any, **__: Any) -> None:
        # Not before: Unsloth reads the step's source to change it when a model is loaded.
        count_batches(Trainer, seen)
        seen.begin()

    def on_step_end(self: Any, *args: Any, **kwargs: Any) -> Any:
        seen.end_update()
        return plain_end(self, *args, **kwargs)

    def on_log(self: Any, args: Any, state: Any, control: Any, logs: Any = None, **more: Any) -> Any:
        if logs and "loss" in logs:
            seen.losses.append((float(state.epoch), float(logs["loss"])))
        if logs and "train_runtime" in logs:
            seen.train_s = float(logs["train_runtime"])
        return plain_log(self, args, state, control, logs=logs, **more)

    def on_train_end(*_: Any, **__: Any) -> None:
        finish(result, seen)

    DefaultFlowCallback.on_train_begin, DefaultFlowCallback.on_train_end = on_train_begin, on_train_end
    DefaultFlowCallback.on_step_end, DefaultFlowCallback.on_log = on_step_end, on_log


def main() -> None:
    """Import, watch, run."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--result", type=Path, required=True)
    parser.add_argument("--first", help="a module that wants to be imported before transformers")
    parser.add_argument("target", help="a module, or a script's path")
    parser.add_argument("arguments", nargs=argparse.REMAINDER)
    options = parser.parse_args()
    if options.first:
        importlib.import_module(options.first)
    watch(Seen(), options.result)
    sys.argv = [options.target, *options.arguments]
    if options.target.endswith(".py"):
        runpy.run_path(options.target, run_name="__main__")
    else:
        runpy.run_module(options.target, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
