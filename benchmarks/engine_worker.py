"""One training process of `ahead.py`: imports the engine, takes one case as a JSON line on stdin, trains it.

Runs under the engine's Python. What is measured is the engine's own entry point, `llamafactory.train.tuner.run_exp`,
with the values that `lfwrap train` renders and, for ``speed: max``, lfwrap's extension. A case holds ``values``,
``environment``, ``speed``, ``result`` and ``log`` (files), and may hold

- ``limit_bytes``: what torch's allocator may take of the GPU, as if the GPU were smaller;
- ``longest``: train on the longest micro-batch and ordinary ones in turn, to see whether the worst fits.

The process ends with the last update: nothing is saved.
"""

from __future__ import annotations

import contextlib
import importlib
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

_WORKER = Path(__file__).resolve().parent.parent / "lfwrap" / "worker"


class LongestInTurn:
    """The rows of a trial: ordinary micro-batches in the run's own order, every second one the longest.

    With accumulation the longest comes last, when gradients are there, too.
    """

    def __init__(self, import_longest: Any) -> None:
        self._longest_rows = import_longest
        self.facts: dict[str, Any] = {}

    def order_rows(self, trainer: Any, make_sampler: Any, dataset: Any) -> list[int]:
        """As many rows as the trial's updates take.

        Args:
            trainer: the trainer.
            make_sampler: its own way to a sampler.
            dataset: what it trains on.
        """
        rows, count = trainer.args.train_batch_size, trainer.args.gradient_accumulation_steps * trainer.args.max_steps
        own = list(make_sampler(dataset)) or [0]
        longest = (self._longest_rows(dataset, rows) or own) * rows
        order: list[int] = []
        for number in range(count):
            start = number * rows
            order += longest[:rows] if number % 2 else [own[(start + each) % len(own)] for each in range(rows)]
        return order


class Seen:
    """What the training shows of itself: tokens of each micro-batch, time and loss of each update."""

    def __init__(self) -> None:
        self._batches: list[tuple[Any, Any, int]] = []
        self.updates: list[dict[str, Any]] = []
        self.losses: list[tuple[float, float]] = []  # (epochs, loss)
        self.train_s: float | None = None
        self.begun_s: float | None = None
        self._ended_s = 0.0

    def count(self, inputs: dict[str, Any]) -> None:
        """Note a micro-batch's tokens, without waiting for the GPU."""
        labels, mask = inputs["labels"], inputs.get("attention_mask")
        if mask is None:
            real: Any = inputs["input_ids"].numel()
        elif mask.dim() == 4:  # packed rows: 0 where a token may look; padding may not even look at itself
            real = (mask[:, 0].diagonal(dim1=-2, dim2=-1) == 0).sum()
        else:
            real = (mask != 0).sum()
        self._batches.append(((labels[:, 1:] != -100).sum(), real, inputs["input_ids"].numel()))

    def end_update(self) -> None:
        """Wait for the GPU and note the update."""
        now = now_s()
        columns = list(zip(*self._batches, strict=True)) or [(), (), ()]
        learned, real, through = (sum(int(each) for each in column) for column in columns)
        self.updates.append(
            {"s": now - self._ended_s, "tokens": real, "supervised_tokens": learned, "tokens_through": through}
        )
        self._batches.clear()
        self._ended_s = now

    def begin(self) -> None:
        """The training proper begins."""
        self._ended_s = self.begun_s = now_s()


def now_s() -> float:
    """Seconds, after the GPU has done its work."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def count_batches(trainer_class: Any, seen: Seen) -> None:
    """Have a Trainer's step count what it is given."""
    plain_step = trainer_class.training_step

    def training_step(self: Any, model: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        seen.count(inputs)
        return plain_step(self, model, inputs, *args, **kwargs)

    trainer_class.training_step = training_step


def watch(seen: Seen, finish: Any) -> Any:
    """The callback that fills ``seen`` and ends the process after the last update; batches are counted beside it."""
    from transformers import Trainer, TrainerCallback

    count_batches(Trainer, seen)

    class Watch(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Times and losses."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            seen.begin()

        def on_step_end(self, *_: Any, **__: Any) -> None:
            seen.end_update()

        def on_log(self, args: Any, state: Any, control: Any, logs: Any = None, **_: Any) -> None:  # noqa: ARG002
            if logs and "loss" in logs:
                seen.losses.append((float(state.epoch), float(logs["loss"])))
            if logs and "train_runtime" in logs:
                seen.train_s = float(logs["train_runtime"])

        def on_train_end(self, *_: Any, **__: Any) -> None:
            finish("ok")

    return Watch()


def gpu_facts() -> dict[str, Any]:
    """The GPU, and the most memory that was taken of it."""
    import torch

    if not torch.cuda.is_available():
        return {"device": "cpu", "peak_allocated_bytes": None, "peak_reserved_bytes": None}
    return {
        "device": torch.cuda.get_device_name(),
        "device_bytes": torch.cuda.get_device_properties(0).total_memory,
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
        "allocator_retries": torch.cuda.memory_stats().get("num_alloc_retries", 0),
    }


def limit_memory(limit_bytes: int | None) -> None:
    """Let torch's allocator take no more than this of the GPU."""
    import torch

    if limit_bytes and torch.cuda.is_available():
        total = torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(1.0, limit_bytes / total))


def run_case(case: dict[str, Any], modules: dict[str, Any]) -> None:
    """Train it; the result is written whatever happens, and the process ends."""
    os.environ.update(case["environment"])
    log = os.open(case["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    seen, began_s = Seen(), time.monotonic()

    def finish(status: str, error: str = "") -> None:
        result = {
            "name": case["name"], "status": status, "error": error[:2000], "train_s": seen.train_s,
            "updates": seen.updates, "losses": seen.losses, "loading_s": (seen.begun_s or time.monotonic()) - began_s,
            "wall_s": time.monotonic() - began_s, **gpu_facts(),
        }  # fmt: skip
        Path(case["result"]).write_text(json.dumps(result), encoding="utf-8")
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)

    try:
        limit_memory(case.get("limit_bytes"))
        if case.get("speed") == "max":
            contract = importlib.import_module("lfwrap_worker.contract")
            os.environ[contract.SPEED_VARIABLE] = contract.SPEED_MAX
            importlib.import_module("lfwrap_worker.speed").apply()
        if case.get("longest"):
            modules["tune_engine"].install_rows(LongestInTurn(modules["longest_batch"].longest_rows))
        from llamafactory.train.tuner import run_exp

        values, callbacks = dict(case["values"]), [watch(seen, finish)]
        if modules["compiled_layers"].is_wanted():
            values.pop(modules["compiled_layers"].ENGINE_KEY, None)
            callbacks.append(modules["compiled_layers"].install())
        callbacks += modules["train_engine"].warm_up(values)
        run_exp(values, callbacks=callbacks)
        finish("failed", "the engine ended without training")
    except BaseException as error:  # noqa: BLE001 - whatever the engine raises is this case's result
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        is_memory = isinstance(error, MemoryError) or "out of memory" in text.lower()
        finish("oom" if is_memory else "failed", text)


def main() -> None:
    """Import, then take one case."""
    sys.path.insert(0, str(_WORKER))
    from llamafactory.train import tuner  # noqa: F401

    for name in ("trl", "liger_kernel.transformers", "bitsandbytes", "deepspeed"):  # the engine imports them late
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    line = sys.stdin.readline()
    if line:
        names = ("compiled_layers", "longest_batch", "train_engine", "tune_engine")
        run_case(json.loads(line), {name: importlib.import_module(f"lfwrap_worker.train.{name}") for name in names})


if __name__ == "__main__":
    main()
