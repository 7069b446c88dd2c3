"""How long packs may be, and how many of them an update takes to see the rows that it shall see. Pure arithmetic."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lfwrap.plan.inputs.row_lengths import DEFAULT_PACKED_TOGETHER, Packs, pack_rows
from lfwrap.plan.request import CUTOFF_KEY, PlanRequest

# Rows an update sees under packing may differ from what the recipe says by this much.
PACKED_ROWS_TOLERANCE = 0.02
# Below so many updates, the schedule must have exactly as many as without packing.
_FEW_UPDATES = 50
_CAPACITY_STEP = 8
_SHORTEST_PACK = 256
_EXPECTED_FILL = 0.98
_SPARE_TOKENS = 16  # counted without the engine, a row may be a few tokens off


def request_packs(request: PlanRequest, capacity: int) -> Packs | None:
    """Packs as the engine fills them: each of its preprocessing workers from its own rows, so many at a time."""
    together = int(request.values.get("preprocessing_batch_size") or DEFAULT_PACKED_TOGETHER)
    workers = int(request.values.get("preprocessing_num_workers") or 1)
    if request.rows.count:
        together = min(together, -(-request.rows.count // workers))
    return pack_rows(request.rows, capacity, max(1, together))


def pack_capacities(request: PlanRequest) -> list[int]:
    """Lengths of packs to try, in tokens.

    The cutoff; and where the lengths of all rows are known, shorter packs that still hold the longest row: attention
    between the rows of a pack is computed and then masked, and numbers of packs that divide well leave a choice of
    micro-batches.
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
    """Numbers of packs that divide among the processes: all small ones, of larger ones those that divide well."""
    for share in range(1, most // world_size + 1):
        step = 1 << max(0, share.bit_length() - 3)
        if share % step == 0:
            yield share * world_size


def packs_per_update(request: PlanRequest, capacity: int) -> int | None:
    """Packs whose rows come nearest to the effective batch.

    None where none comes within the tolerance, or where a short training would get another number of updates.
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
