"""Short real trainings, one after another, each timed: for `lfwrap tune`. Reads requests as JSON lines on stdin.

Imports the engine, says that it is ready, and trains whatever it is asked for. Where the import has not touched a
GPU each trial runs in a fork, so that the next one starts from the same clean state without importing anything; else
this process makes one trial and ends, and lfwrap starts the next ones ahead. Running out of
memory is a result. A trial accumulates less than the run, whose accumulation its request holds.
"""

import json
import os
import sys
import time
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lfwrap_worker.channel import take_stdout, write_event
from lfwrap_worker.contract import EVENT_DONE, EVENT_READY, TrialRequest
from lfwrap_worker.train import compiled_layers, longest_batch

WARM_UPS = 2
# A trial that is so many times as slow as the best one after so many timed updates is given up.
SLOWER = {1: 2.0, 2: 1.3}
_MULTIPLE = 8  # the engine pads to it


def choose_slots(costs: Sequence[float], count: int) -> list[int]:
    """Numbers of ``count`` typical micro-batches: one from the middle of each of so many equal shares, ordered by cost.

    They come from the middle outwards, a cheap one beside a dear one: wherever one stops, their mean is near to that of
    all. Where there are fewer micro-batches than asked for, some come twice.
    """
    order = sorted(range(len(costs)), key=lambda number: costs[number])
    shares = [int((number + 0.5) * len(order) / count) for number in range(count)]
    outwards = sorted(range(count), key=lambda number: (abs(number - (count - 1) / 2), number))
    return [order[shares[number]] for number in outwards]


def batch_cost(lengths: Sequence[int], *, padded: bool) -> int:
    """Tokens that a micro-batch of rows of these lengths takes through the model."""
    if not padded:
        return sum(lengths)
    return len(lengths) * -(-max(lengths) // _MULTIPLE) * _MULTIPLE


class TrialRows:
    """What a trial trains on: the longest micro-batch and typical ones of the run's own order."""

    def __init__(self, request: TrialRequest) -> None:
        """Nothing is chosen yet; the trainer has to be there."""
        self._request = request
        self.facts: dict[str, Any] = {}
        self.costs: list[float] = []  # of the timed micro-batches, in their order
        self.mean_cost = 1.0

    def order_rows(self, trainer: Any, make_sampler: Any, dataset: Any) -> list[int]:
        """The rows in the order in which the trial takes them: two updates to warm up, the longest first; typical ones.

        Args:
            trainer: the trainer, set to the trial's accumulation.
            make_sampler: its own way to a sampler.
            dataset: what it trains on.
        """
        args = trainer.args
        steps, args.gradient_accumulation_steps = args.gradient_accumulation_steps, self._request["accumulation"]
        order = list(make_sampler(dataset))
        args.gradient_accumulation_steps = steps
        found = longest_batch.row_lengths(dataset)
        lengths = [1] * len(dataset) if found is None else [int(length) for length in found]
        rows = args.train_batch_size
        width = rows * args.world_size  # a slot: one micro-batch for each process
        slots = [order[start : start + width] for start in range(0, len(order), width)]
        whole = [slot for slot in slots if len(slot) == width] or [(slots[0] * width)[:width]]
        padded = not self._request["extended"]
        costs = [float(batch_cost([lengths[row] for row in slot], padded=padded)) for slot in whole]
        timed = choose_slots(costs, self._request["slots"])
        longest = (longest_batch.longest_rows(dataset, rows) or order[:rows]) * args.world_size
        typical = whole[timed[0]]
        warm_up = [*(longest * width)[:width], *(typical * (steps - 1))] * WARM_UPS
        self.costs, self.mean_cost = [costs[number] for number in timed], sum(costs) / len(costs)
        self.facts = {
            "micro_batches": len(order) / width,
            "updates": len(order) / width / self._request["accumulation"],
            "longest_row_tokens": max(lengths),
            **count_tokens(dataset, lengths),
        }
        return [*warm_up, *(row for number in timed for row in whole[number])]


def count_tokens(dataset: Any, lengths: Sequence[int]) -> dict[str, int]:
    """Tokens of an epoch, the padding at the end of packs left out, and how many of them are supervised."""
    import pyarrow.compute as pc

    table = getattr(dataset, "data", None)
    if table is None or "labels" not in table.column_names:
        return {"tokens": sum(lengths)}
    share = len(lengths) / max(1, table.num_rows)  # of a set that was split, all rows are still in the table
    labels = pc.list_flatten(table.column("labels"))
    supervised = pc.sum(pc.not_equal(labels, -100)).as_py() or 0
    tokens = sum(lengths)
    if "attention_mask" in table.column_names:
        padding = pc.sum(pc.equal(pc.list_flatten(table.column("attention_mask")), 0)).as_py() or 0
        tokens -= round(share * padding)
    return {"tokens": tokens, "supervised_tokens": round(share * supervised)}


class UpdateTimes:
    """The times of a trial's updates, and what they say of the whole epoch.

    From the end of one update to the gradients of the next: micro-batches; from there to its end: the update.
    """

    def __init__(self, rows: TrialRows, best_epoch_s: float) -> None:
        """Nothing is timed yet.

        Args:
            rows: what is trained on.
            best_epoch_s: of the best way so far; 0 for none.
        """
        self._rows, self._best_epoch_s = rows, best_epoch_s
        self._graded_s = self._ended_s = 0.0
        self._micro_s = self._update_s = 0.0
        self.timed_updates = 0

    def grade(self, now_s: float) -> None:
        """An update's gradients are there."""
        self._graded_s = now_s

    def end(self, now_s: float, *, is_timed: bool) -> None:
        """An update is done."""
        if is_timed:
            self._micro_s += self._graded_s - self._ended_s
            self._update_s += now_s - self._graded_s
            self.timed_updates += 1
        self._ended_s = now_s

    def estimate(self, accumulation: int) -> dict[str, float]:
        """Seconds of a typical micro-batch, of an update's last part, and of an epoch of both.

        Args:
            accumulation: micro-batches of the trial's updates.
        """
        slots, facts = self.timed_updates * accumulation, self._rows.facts
        typical = self._rows.mean_cost * slots / sum(self._rows.costs[:slots])
        micro_s, update_s = typical * self._micro_s / slots, self._update_s / self.timed_updates
        epoch_s = facts["micro_batches"] * micro_s + facts["updates"] * update_s
        return {"micro_s": micro_s, "update_s": update_s, "epoch_s": epoch_s, "timed_updates": self.timed_updates}

    def judge(self, accumulation: int, *, is_alone: bool) -> tuple[str | None, dict[str, float]]:
        """``ok`` once all is timed, ``slower`` when it is no use to go on, None to go on; and the estimate.

        Args:
            accumulation: micro-batches of the trial's updates.
            is_alone: whether no other process would wait for this one's next update.
        """
        estimate = self.estimate(accumulation)
        if self.timed_updates * accumulation >= len(self._rows.costs):
            return "ok", estimate
        factor = SLOWER.get(self.timed_updates, SLOWER[max(SLOWER)])
        if self._best_epoch_s and is_alone and estimate["epoch_s"] > factor * self._best_epoch_s:
            return "slower", estimate
        return None, estimate


def make_stopwatch(times: UpdateTimes, finish: Any) -> Any:
    """A trainer callback that times updates, waiting for the GPU twice in each, and ends the trial in time.

    Args:
        times: takes the times.
        finish: receives the status and the estimate; does not return.
    """
    from transformers import TrainerCallback

    class Stopwatch(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Reads the clock when the gradients are there, and at the end of an update."""

        def on_pre_optimizer_step(self, *_: Any, **__: Any) -> None:
            """Note how long the GPU stood idle before the optimizer."""
            times.grade(gpu_idle_s())

        def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:  # noqa: ARG002
            """Note an update's time, and stop after the last one."""
            is_timed = state.global_step > WARM_UPS
            times.end(gpu_idle_s(), is_timed=is_timed)
            if is_timed:
                status, estimate = times.judge(args.gradient_accumulation_steps, is_alone=args.world_size == 1)
                if status is not None:
                    finish(status, estimate)

    return Stopwatch()


def gpu_idle_s() -> float:
    """The time when the GPU has done what it was given."""
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.monotonic()


def install_rows(trial_rows: TrialRows) -> None:
    """Let the engine's trainers train on the trial's rows."""
    from transformers import Trainer

    plain = Trainer.get_train_dataloader

    def get_train_dataloader(self: Any) -> Any:
        """A loader of the rows that this trial trains on."""
        from torch.utils.data import Sampler

        make_sampler = self._get_train_sampler

        class Rows(Sampler):  # type: ignore[misc]
            """The trial's rows, in order."""

            def __init__(self, rows: list[int]) -> None:
                self._rows = rows

            def __iter__(self) -> Any:
                return iter(self._rows)

            def __len__(self) -> int:
                return len(self._rows)

        self._get_train_sampler = lambda dataset: Rows(trial_rows.order_rows(self, make_sampler, dataset))
        try:
            return plain(self)
        finally:
            del self._get_train_sampler

    Trainer.get_train_dataloader = get_train_dataloader


def run_trial(request: TrialRequest, began_s: float) -> None:
    """One trial; the result is written whatever happens, and the process ends."""
    os.environ.update(request["environment"])
    log = os.open(request["log"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    os.dup2(log, 1)
    os.dup2(log, 2)
    trial_rows = TrialRows(request)

    def finish(status: str, found: dict[str, Any]) -> None:
        """Write the trial's result down and end it."""
        result = {"status": status, **trial_rows.facts, **found, **peaks(), "wall_s": time.monotonic() - began_s}
        Path(request["result"]).write_text(json.dumps(result), encoding="utf-8")
        leave()

    try:
        import torch

        if torch.cuda.is_available():
            torch.cuda.set_device(int(os.environ.get("LOCAL_RANK", "0")))
        if request["extended"]:
            from lfwrap_worker import speed

            speed.apply()
        install_rows(trial_rows)
        from llamafactory.train.tuner import run_exp

        values, callbacks = (
            dict(request["values"]),
            [make_stopwatch(UpdateTimes(trial_rows, request["best_epoch_s"]), finish)],
        )
        if request["compiled"]:
            values.pop(compiled_layers.ENGINE_KEY, None)
            callbacks.append(compiled_layers.install())
        run_exp(values, callbacks=callbacks)
        finish("failed", {"error": "the training ended before the trial did"})
    except BaseException as error:  # noqa: BLE001 - whatever the engine raises is this trial's result
        traceback.print_exc()
        text = f"{type(error).__name__}: {error}"
        is_memory = isinstance(error, MemoryError) or "out of memory" in text.lower()
        finish("oom" if is_memory else "failed", {"error": text[:2000]})


def peaks() -> dict[str, int | None]:
    """The most memory of this process's GPU; None where nobody counts it."""
    import torch

    if not torch.cuda.is_available():
        return {"peak_allocated_bytes": None, "peak_reserved_bytes": None}
    return {
        "peak_allocated_bytes": torch.cuda.max_memory_allocated(),
        "peak_reserved_bytes": torch.cuda.max_memory_reserved(),
    }


def leave() -> None:
    """End at once: an orderly end would save the model first."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(0)


def can_fork() -> bool:
    """Whether a fork of this process can train: not once a GPU was touched, nor with some systems' threads."""
    import torch

    return sys.platform.startswith("linux") and not torch.cuda.is_available()


def main() -> None:
    """Import, then make trials until nobody asks for more."""
    channel = take_stdout()
    from llamafactory.train import tuner  # noqa: F401

    forks = can_fork()

    write_event(channel, {"event": EVENT_READY, "forks": forks})
    for line in sys.stdin:
        began_s = time.monotonic()
        child = os.fork() if forks else 0
        if child == 0:
            run_trial(json.loads(line), began_s)
        _, status = os.waitpid(child, 0)
        write_event(channel, {"event": EVENT_DONE, "code": os.waitstatus_to_exitcode(status)})
