"""The effective batch as an exact product: micro-batch × accumulation × processes."""

from __future__ import annotations

from dataclasses import dataclass

from lfwrap.errors import PlanError

DEFAULT_MAX_MICRO_BATCH = 16


@dataclass(frozen=True, slots=True)
class BatchPlan:
    """How one optimizer update is made up.

    Attributes:
        micro_batch: rows that one process computes at a time (`per_device_train_batch_size`).
        accumulation: micro-batches of one update in each process (`gradient_accumulation_steps`).
        world_size: training processes, one for each GPU.
    """

    micro_batch: int
    accumulation: int
    world_size: int

    @property
    def effective(self) -> int:
        """Rows of one update: micro-batch × accumulation × processes."""
        return self.micro_batch * self.accumulation * self.world_size

    def __str__(self) -> str:
        """The product as text, such as ``16 × 8 × 1 = 128``."""
        return f"{self.micro_batch} × {self.accumulation} × {self.world_size} = {self.effective}"


def solve_batch(
    effective: int,
    world_size: int,
    micro_batch: int | None = None,
    accumulation: int | None = None,
    max_micro_batch: int = DEFAULT_MAX_MICRO_BATCH,
) -> BatchPlan:
    """Split an effective batch into an exact product.

    A factor that is None is chosen: the largest micro-batch up to ``max_micro_batch`` that divides the share of a
    process, and the accumulation that remains.

    Args:
        effective: rows of one update.
        world_size: training processes.
        micro_batch: rows that one process computes at a time; None leaves it open.
        accumulation: micro-batches of one update; None leaves it open.
        max_micro_batch: the largest micro-batch to choose.

    Raises:
        PlanError: no exact product exists; the hint names the nearest effective batches that have one.

    Example:
        >>> print(solve_batch(128, 2))
        16 × 4 × 2 = 128
        >>> print(solve_batch(96, 1, micro_batch=12))
        12 × 8 × 1 = 96
    """
    if min(effective, world_size, micro_batch or 1, accumulation or 1, max_micro_batch) < 1:
        raise PlanError("Batch sizes and process counts are at least 1.", hint="Correct the number.")
    share, rest = divmod(effective, world_size)
    if not rest and share % (micro_batch or 1) == 0 and share % (accumulation or 1) == 0:
        micro = micro_batch or (share // accumulation if accumulation else largest_divisor(share, max_micro_batch))
        plan = BatchPlan(micro, accumulation or share // micro, world_size)
        if plan.effective == effective and (micro_batch or micro <= max_micro_batch):
            return plan
    raise _no_product(effective, world_size, micro_batch, accumulation, max_micro_batch)


def largest_divisor(number: int, limit: int) -> int:
    """The largest divisor of ``number`` that is at most ``limit`` (both at least 1).

    Example:
        >>> largest_divisor(96, 20)
        16
    """
    return next(divisor for divisor in range(min(number, limit), 0, -1) if number % divisor == 0)


def nearest_batches(
    effective: int,
    world_size: int,
    micro_batch: int | None = None,
    accumulation: int | None = None,
    max_micro_batch: int = DEFAULT_MAX_MICRO_BATCH,
) -> tuple[BatchPlan, ...]:
    """The exact products nearest to ``effective``: the one below and the one above, or one where only one exists.

    Args:
        effective: rows of one update.
        world_size: training processes.
        micro_batch: the micro-batch, where it is fixed.
        accumulation: the accumulation, where it is fixed.
        max_micro_batch: the largest micro-batch to choose.

    Example:
        >>> [batch.effective for batch in nearest_batches(10, 4)]
        [8, 12]
    """
    if micro_batch and accumulation:
        return (BatchPlan(micro_batch, accumulation, world_size),)
    unit = world_size * (micro_batch or 1) * (accumulation or 1)
    most = max_micro_batch if accumulation else effective // unit + 1
    factors = sorted({min(most, max(1, effective // unit)), min(most, effective // unit + 1)})
    if micro_batch:
        return tuple(BatchPlan(micro_batch, factor, world_size) for factor in factors)
    if accumulation:
        return tuple(BatchPlan(factor, accumulation, world_size) for factor in factors)
    micros = [largest_divisor(factor, max_micro_batch) for factor in factors]
    return tuple(BatchPlan(micro, factor // micro, world_size) for micro, factor in zip(micros, factors, strict=True))


def nearest_batch(
    effective: int,
    world_size: int,
    micro_batch: int | None = None,
    accumulation: int | None = None,
    max_micro_batch: int = DEFAULT_MAX_MICRO_BATCH,
) -> int:
    """Rows of an update that can be made, nearest to ``effective``; of two that are as near, the larger.

    Its arguments are those of `nearest_batches`.

    Example:
        >>> nearest_batch(4, 8), nearest_batch(16, 3), nearest_batch(16, 4)
        (8, 15, 16)
    """
    made = [
        plan.effective for plan in nearest_batches(effective, world_size, micro_batch, accumulation, max_micro_batch)
    ]
    return min(made, key=lambda rows: (abs(rows - effective), -rows))


def _no_product(
    effective: int, world_size: int, micro_batch: int | None, accumulation: int | None, max_micro_batch: int
) -> PlanError:
    factors = " × ".join(
        text
        for text in (
            f"micro-batch {micro_batch}" if micro_batch else "",
            f"accumulation {accumulation}" if accumulation else "",
            f"{world_size} process{'' if world_size == 1 else 'es'}",
        )
        if text
    )
    near = nearest_batches(effective, world_size, micro_batch, accumulation, max_micro_batch)
    products = ", ".join(
        f"{plan.effective} ({plan.micro_batch} × {plan.accumulation} × {plan.world_size})" for plan in near
    )
    limit = f" with a micro-batch of at most {max_micro_batch}" if accumulation and not micro_batch else ""
    return PlanError(
        f"An effective batch of {effective} can't be made exactly of {factors}{limit}.",
        hint=f"Nearest (micro-batch × accumulation × processes): {products}."
        " Set lfwrap.effective_batch_size to one of them, or use another number of GPUs.",
    )
