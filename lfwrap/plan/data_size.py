"""Batch, epochs and learning rate for the size of a data set: what ``effective_batch_size: auto`` takes."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from lfwrap.units import plural

_BATCHES = (4, 8, 16, 32, 64, 128)
# SmolLM2-135M on the 2,640 bundled tool calls, two epochs, three seeds: 79% of unseen calls exact with 165 updates an
# epoch, 83% with 330; one epoch: 75% with 330, 77% with 660.
_UPDATES_PER_EPOCH = 200
# (rows up to here, epochs): small sets are seen more often. LIMA saw 1,000 rows 15 times, QLoRA 9,000 rows 3 times,
# Alpaca 52,000 rows 3 times. SmolLM2-135M on 68 to 105 bundled rows at 4 an update: the eval loss is lowest after
# 2 to 3 epochs on all three sets, and 0.0 to 0.1 higher after 5.
_EPOCHS = ((50, 5.0), (2_500, 3.0), (10_000, 2.0))
# Largest batch → learning rate of a model of _USUAL_WIDTH. QLoRA trained 7B to 13B with 2e-4 at 16 rows, Alpaca-LoRA
# 7B with 3e-4 at 128.
_LEARNING_RATES = ((4, 1e-4), (64, 2e-4), (128, 3e-4))
# Narrow models bear, and need, higher rates: width to the power of minus these, as Thinking Machines fitted them over
# 14 models ("LoRA Without Regret", 2025; tinker-cookbook, `get_lr`). Its rate at a width of 4096 is 2.9e-4 as well. Of
# other families the flatter of the two is assumed. SmolLM2-135M on the three small sets: at 1e-4 five epochs do not
# reach the eval loss that 4.6e-4 has after two; 2e-3 has the same lowest loss, and overfits sooner.
_USUAL_WIDTH = 4096
_WIDTH_POWERS = {"llama": 0.781}
_OTHER_POWER = 0.0775
_MORE_EPOCHS = (2.0, 3.0, 5.0, 10.0)
# Training all weights wants a tenth of LoRA's rate ("LoRA Without Regret", Thinking Machines, 2025).
_FULL_SHARE = 0.1


@dataclass(frozen=True, slots=True)
class SizeChoice:
    """What suits a number of rows.

    Attributes:
        rows: the rows.
        batch: rows of an update.
        epochs: how often a row is seen.
        learning_rate: the highest learning rate.
    """

    rows: int
    batch: int
    epochs: float
    learning_rate: float

    @property
    def updates(self) -> int:
        """Updates of the whole training."""
        return math.ceil(self.epochs * math.ceil(self.rows / self.batch))

    def __str__(self) -> str:
        """The choice in words."""
        epochs = "1 epoch" if self.epochs == 1 else f"{self.epochs:g} epochs"
        return f"{plural(self.rows, 'row')}: {self.batch} an update, {epochs}, {plural(self.updates, 'update')}"


def choose_for_rows(
    rows: int,
    method: str = "lora",
    *,
    width: int = 0,
    architecture: str = "",
    nearest: Callable[[int], int] = lambda batch: batch,
) -> SizeChoice:
    """Batch, epochs and learning rate for a number of rows.

    The batch is the largest power of two from 4 to 128 with which an epoch still has 200 updates: few enough rows an
    update that the optimizer gets many steps, enough that its gradient is not one row's. (LoRA bears large batches less
    well than full training does: "LoRA Without Regret".) 1,000 rows: 4 an update in 3 epochs, 750 updates.

    Args:
        rows: rows of an epoch.
        method: the engine's ``finetuning_type``.
        width: the model's hidden size; 0 where it is not known: the rate is that of a 7B then.
        architecture: its ``model_type``.
        nearest: a batch → the nearest one that the machine can make, as its GPUs share the rows evenly.

    >>> print(choose_for_rows(1000))
    1,000 rows: 4 an update, 3 epochs, 750 updates
    >>> choose_for_rows(100_000).batch, choose_for_rows(1000, "full").learning_rate
    (128, 1e-05)
    >>> choose_for_rows(100, width=576, architecture="llama").learning_rate
    0.00046
    """
    batch = max((batch for batch in _BATCHES if rows >= _UPDATES_PER_EPOCH * batch), default=_BATCHES[0])
    batch = nearest(batch)
    epochs = next((epochs for limit, epochs in _EPOCHS if rows <= limit), 1.0)
    rate = next((rate for limit, rate in _LEARNING_RATES if batch <= limit), _LEARNING_RATES[-1][1])
    share = _FULL_SHARE if method == "full" else 1.0
    return SizeChoice(rows, batch, epochs, float(f"{rate * share * _for_width(width, architecture):.2g}"))


def _for_width(width: int, architecture: str) -> float:
    return (_USUAL_WIDTH / width) ** _WIDTH_POWERS.get(architecture, _OTHER_POWER) if width else 1.0


def enough_updates(rows: int, wanted: int, batch: int, epochs: float, *, lost: int = 0) -> SizeChoice:
    """The nearest way to give a number of rows enough updates: a smaller batch, in up to 3 epochs, then more epochs.

    Args:
        rows: rows of an epoch.
        wanted: updates that it should make.
        batch: rows of an update now.
        epochs: epochs now.
        lost: updates at a learning rate of 0, as the first of a warm-up is.

    >>> print(enough_updates(109, 20, 128, 1.0, lost=1))
    109 rows: 16 an update, 3 epochs, 21 updates
    """
    sizes = [size for size in reversed(_BATCHES) if size <= batch] or [batch]
    passes = [epochs, *(more for more in _MORE_EPOCHS if more > epochs)]
    ways = [(size, more) for size in sizes if size > _BATCHES[1] for more in passes if more <= max(3.0, epochs)]
    ways += [(size, more) for more in passes for size in sizes]
    for size, more in ways:
        choice = SizeChoice(rows, size, more, 0.0)
        if choice.updates - lost >= wanted:
            return choice
    return SizeChoice(rows, sizes[-1], passes[-1], 0.0)
