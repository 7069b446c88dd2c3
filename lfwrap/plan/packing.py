"""The length of packs, and the number of packs whose rows come nearest to the effective batch."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lfwrap.engine.keys import CUTOFF_KEY
from lfwrap.plan.inputs.row_lengths import DEFAULT_PACKED_TOGETHER, Packs, pack_rows
from lfwrap.plan.request import PlanRequest

# The rows of an update of packs may differ from the effective batch by this part of it.
PACKED_ROWS_TOLERANCE = 0.02
# A training of fewer updates must have exactly as many of them as without packing.
_FEW_UPDATES = 50
_CAPACITY_STEP = 8
_SHORTEST_PACK = 256
_EXPECTED_FILL = 0.98
_SPARE_TOKENS = 16  # counted without the engine, a row may be a few tokens off


def request_packs(request: PlanRequest, capacity: int) -> Packs | None:
    """The packs that the engine makes of the request's rows; None where the rows' length is unknown.

    Each of its preprocessing workers fills packs from its own rows, `preprocessing_batch_size` rows at a time.

    Args:
        request: what is planned.
        capacity: tokens of a pack.

    Example:
        >>> from lfwrap.plan.inputs.row_lengths import RowLengths
        >>> from lfwrap.plan.sample import sample_request
        >>> request_packs(sample_request(rows=RowLengths(200, 200.0, 1000, (200,) * 1000)), 1024).rows_per_pack
        5.0
    """
    together = int(request.values.get("preprocessing_batch_size") or DEFAULT_PACKED_TOGETHER)
    workers = int(request.values.get("preprocessing_num_workers") or 1)
    if request.rows.count:
        together = min(together, -(-request.rows.count // workers))
    return pack_rows(request.rows, capacity, max(1, together))


def pack_capacities(request: PlanRequest) -> list[int]:
    """The lengths of packs to try, in tokens, shortest first.

    They are the cutoff and, where the lengths of all rows are known, shorter packs that still hold the longest row.
    Shorter packs save time, because attention between the rows of a pack is computed and then masked. Their numbers
    divide well, which leaves a choice of micro-batches.

    Example:
        >>> from lfwrap.plan.sample import sample_request
        >>> pack_capacities(sample_request())  # only the mean length is known
        [1024]
    """
    rows, effective = request.rows, request.effective_batch
    is_free = rows.lengths and effective and "eval_dataset" not in request.pinned and CUTOFF_KEY not in request.locked
    if not is_free or effective is None or rows.mean_tokens is None:
        return [request.cutoff]
    shortest = max(rows.longest_tokens + _SPARE_TOKENS, _SHORTEST_PACK)
    tokens = effective * rows.mean_tokens / _EXPECTED_FILL
    found = {request.cutoff}
    for count in _handy_counts(request.world_size, math.ceil(tokens / shortest)):
        capacity = _CAPACITY_STEP * math.ceil(tokens / count / _CAPACITY_STEP)
        if shortest <= capacity < request.cutoff:
            found.add(capacity)
    return sorted(found)


def _handy_counts(world_size: int, most: int) -> Iterator[int]:
    """Numbers of packs up to ``most`` that divide among the processes; of large ones those with many factors."""
    for share in range(1, most // world_size + 1):
        step = 1 << max(0, share.bit_length() - 3)
        if share % step == 0:
            yield share * world_size


def packs_per_update(request: PlanRequest, capacity: int) -> int | None:
    """The number of packs in an update whose rows come nearest to the effective batch.

    None where the nearest number differs by more than the tolerance, or changes the number of updates of a short
    training.

    Args:
        request: what is planned.
        capacity: tokens of a pack.

    Example:
        Five rows of 200 tokens fit a pack of 1,024: 25 packs have 125 rows.

        >>> from lfwrap.plan.inputs.row_lengths import RowLengths
        >>> from lfwrap.plan.sample import sample_request
        >>> rows = RowLengths(200, 200.0, 10_000, (200,) * 1000)
        >>> packs_per_update(sample_request(rows=rows, effective_batch=125), 1024)
        25
    """
    packs = request_packs(request, capacity)
    if packs is None or request.effective_batch is None:
        return None
    unit = request.world_size * packs.rows_per_pack
    count = max(1, round(request.effective_batch / unit))
    if abs(count * unit / request.effective_batch - 1) > PACKED_ROWS_TOLERANCE:
        return None
    if request.rows.count:
        updates = math.ceil(request.rows.count / request.effective_batch)
        if updates < _FEW_UPDATES and math.ceil(request.rows.count / (count * unit)) != updates:
            return None
    return count * request.world_size
