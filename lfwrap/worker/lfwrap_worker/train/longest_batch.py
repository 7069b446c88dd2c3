"""Try the longest batch early, so that a run which does not fit fails in its first minute and not at 11%.

Before the second update (the optimizer's state is there then) the longest rows go forward and backward once; their
gradients are thrown away and the random states put back, so order, masks and losses of the training stay the same.
DeepSpeed reduces and splits gradients while they come, and has nothing to throw them away with: there the loss counts
nothing, so that zeros are added to what the update's own rows give. Used by `train_engine`.
"""

import contextlib
import random
import time
from collections.abc import Callable, Iterator
from typing import Any

from lfwrap_worker.contract import Probe


def install_probe(report: Callable[[Probe], None]) -> None:
    """Wrap the trainer's step; ``report`` is given the result of the probe, or why there was none."""
    from transformers import Trainer

    plain_step = Trainer.training_step
    done = False

    def training_step(self: Any, model: Any, inputs: Any, num_items_in_batch: Any = None) -> Any:
        """The trainer's own step; before it, once after the first update, the longest batch is tried."""
        nonlocal done
        if not done and self.state.global_step >= 1:
            done = True
            reason = reason_against(self, model)
            report({"skipped": reason} if reason else _try_longest(self, model, plain_step, num_items_in_batch))
        return plain_step(self, model, inputs, num_items_in_batch)

    Trainer.training_step = training_step


def reason_against(trainer: Any, model: Any) -> str:
    """Why the probe would leave traces in this training, or can't be made; empty when it can."""
    if trainer.is_fsdp_enabled:
        return "FSDP keeps gradients of its own, which can't be put back"
    if hasattr(trainer, "_stored_metrics"):
        return "this stage's trainer gathers figures in every forward pass"
    if not trainer.is_deepspeed_enabled and any(
        getattr(parameter, "_post_accumulate_grad_hooks", None) for parameter in model.parameters()
    ):
        return "the optimizer updates the weights during the backward pass"
    if longest_rows(trainer.train_dataset, 1) is None:
        return "the lengths of the rows are not known"
    return ""


def longest_rows(dataset: Any, count: int) -> list[int] | None:
    """The numbers of the ``count`` longest rows; None for a stream, or for rows without ``input_ids``."""
    import numpy as np

    lengths = row_lengths(dataset)
    return None if lengths is None else [int(row) for row in np.argsort(-lengths, kind="stable")[:count]]


def row_lengths(dataset: Any) -> Any:
    """The tokens of each row, as an array; None for a stream, or for rows without ``input_ids``.

    They are read from the Arrow table, without decoding a row.
    """
    import pyarrow.compute as pc

    table = getattr(dataset, "data", None)
    if table is None or "input_ids" not in table.column_names:
        return None
    lengths = pc.list_value_length(table.column("input_ids")).to_numpy()
    order = getattr(dataset, "_indices", None)
    return lengths if order is None else lengths[order.column(0).to_numpy()]


def _try_longest(trainer: Any, model: Any, step: Callable[..., Any], num_items_in_batch: Any) -> Probe:
    import torch

    began_s = time.monotonic()
    rows = longest_rows(trainer.train_dataset, trainer.args.per_device_train_batch_size) or []
    states = _random_states(torch)
    batch = trainer.data_collator([trainer.train_dataset[row] for row in rows])
    shape = list(batch["input_ids"].shape)
    if trainer.is_deepspeed_enabled:
        with weightless(trainer.accelerator):
            step(trainer, model, batch, num_items_in_batch)
    else:
        with trainer.accelerator.no_sync(model):
            step(trainer, model, batch, num_items_in_batch)
        model.zero_grad()
    _restore_random_states(torch, states)
    peak_bytes = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else None
    return {"shape": shape, "peak_bytes": peak_bytes, "duration_s": round(time.monotonic() - began_s, 3)}


@contextlib.contextmanager
def weightless(accelerator: Any) -> Iterator[None]:
    """Backward passes of this block add zeros to the gradients and end no update.

    A loss that is not finite on some rank is not propagated at all: nought times that is no zero.
    """
    plain, ends_update = accelerator.backward, accelerator.sync_gradients

    def backward(loss: Any, **options: Any) -> None:
        """A backward pass that takes all its memory and leaves every gradient as it was."""
        if _is_finite_everywhere(loss):
            plain(loss * 0.0, **options)

    accelerator.backward, accelerator.sync_gradients = backward, False
    try:
        yield
    finally:
        del accelerator.backward  # the class's own again
        accelerator.sync_gradients = ends_update


def _is_finite_everywhere(loss: Any) -> bool:
    import torch

    finite = torch.isfinite(loss.detach()).to(torch.int32)
    if torch.distributed.is_initialized():
        torch.distributed.all_reduce(finite, op=torch.distributed.ReduceOp.MIN)
    return bool(finite.item())


def _random_states(torch: Any) -> tuple[Any, ...]:
    import numpy as np

    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return random.getstate(), np.random.get_state(), torch.get_rng_state(), cuda  # noqa: NPY002 - the trainer's own


def _restore_random_states(torch: Any, states: tuple[Any, ...]) -> None:
    import numpy as np

    python, numpy, cpu, cuda = states
    random.setstate(python)
    np.random.set_state(numpy)  # noqa: NPY002
    torch.set_rng_state(cpu)
    if cuda is not None:
        torch.cuda.set_rng_state(cuda)
