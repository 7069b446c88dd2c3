"""The three products of LoRA branches that see dropped elements, each in one pass over the wide tensor.

T tokens, K input features, R the rank (16 at least for the tensor cores: smaller ones are filled up), N siblings:
layers that read the same input (q, k and v; gate and up), each with a mask of its own. The masks are made where the
tile is, by the hash of ``dropout.py``, whose lanes serve the siblings. Triton; where it is missing, and on a CPU, plain
torch does the same.
"""

from __future__ import annotations

from typing import Any

import torch

from . import dropout

try:
    import triton
    import triton.language as tl
except ImportError:  # torch without CUDA brings none
    triton = None

MOST_SIBLINGS = 3
_TILES_WANTED = 264  # two for each multiprocessor of an H100
_SMALLEST_RANK = 16
_WIDEST_ROW = 256  # N · R: what a tile of 64 sums may hold in registers


def can_join(siblings: int, rank: int) -> bool:
    """Whether one pass may serve so many siblings of this rank."""
    return siblings <= MOST_SIBLINGS and siblings * _padded(rank) <= _WIDEST_ROW


def _by_triton(x: torch.Tensor) -> bool:
    return triton is not None and x.device.type == "cuda" and x.dtype in {torch.bfloat16, torch.float16}


def _padded(rank: int) -> int:
    return max(_SMALLEST_RANK, 1 << (rank - 1).bit_length())


def project_down(x: torch.Tensor, a: torch.Tensor, seed: torch.Tensor | None, p: float) -> torch.Tensor:
    """Dₙ(x) Aₙᵀ: (T, K), (N, R, K) → (N, T, R)."""
    if seed is None:
        return x @ a.mT
    if not _by_triton(x):
        return torch.stack([dropout.drop(x, seed, p, lane) @ one.T for lane, one in enumerate(a)])
    (tokens, width), (siblings, rank, _) = x.shape, a.shape
    out = torch.empty(siblings, tokens, rank, dtype=x.dtype, device=x.device)
    rows = 64 if tokens >= 64 * _TILES_WANTED // 2 and siblings == 1 else 32
    _down_kernel[(triton.cdiv(tokens, rows),)](
        x, a, out, seed, tokens, width, rank, dropout.threshold(p), N=siblings, R=_padded(rank), BT=rows, BK=64,
        num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def grad_of_down(dh: torch.Tensor, x: torch.Tensor, seed: torch.Tensor | None, p: float) -> torch.Tensor:
    """Dhₙᵀ Dₙ(x): (N, T, R), (T, K) → (N, R, K), in fp32 where a kernel does it."""
    if seed is None:
        return dh.mT @ x
    if not _by_triton(x):
        return torch.stack([one.T @ dropout.drop(x, seed, p, lane) for lane, one in enumerate(dh)])
    (tokens, width), (siblings, _, rank) = x.shape, dh.shape
    columns = 64
    strips = triton.cdiv(width, columns)
    parts = max(1, min(triton.cdiv(tokens, 256), _TILES_WANTED // strips))
    out = torch.empty(parts, siblings, rank, width, dtype=torch.float32, device=x.device)
    share = triton.cdiv(triton.cdiv(tokens, parts), 64) * 64
    _grad_kernel[(strips, parts)](
        dh, x, out, seed, tokens, width, rank, share, dropout.threshold(p), N=siblings, R=_padded(rank), BT=64,
        BK=columns, num_warps=8 if siblings == MOST_SIBLINGS else 4, num_stages=4 if siblings == 1 else 3,
    )  # fmt: skip
    return out[0] if parts == 1 else out.sum(0)


def spread_dropped(dh: torch.Tensor, a: torch.Tensor, seed: torch.Tensor | None, p: float) -> torch.Tensor:
    """The sum of Dₙ(dhₙ Aₙ) over the siblings: (N, T, R), (N, R, K) → (T, K)."""
    if seed is None:
        out = dh[0] @ a[0]
        for one, other in zip(dh[1:], a[1:], strict=True):
            out.addmm_(one, other)
        return out
    if not _by_triton(dh):
        parts = [dropout.drop(one @ other, seed, p, lane) for lane, (one, other) in enumerate(zip(dh, a, strict=True))]
        return torch.stack(parts).sum(0)
    (siblings, tokens, rank), width = dh.shape, a.shape[-1]
    out = torch.empty(tokens, width, dtype=dh.dtype, device=dh.device)
    _spread_kernel[(triton.cdiv(tokens, 64), triton.cdiv(width, 128))](
        out, dh, a, seed, tokens, width, rank, dropout.threshold(p), N=siblings, R=_padded(rank), BT=64, BK=128,
        num_warps=4 if siblings == 1 else 8,
    )  # fmt: skip
    return out


if triton is not None:
    # Triton reads a kernel's own source: types other than its own can't stand there, nor can names of other modules.
    _SPREAD: Any = tl.constexpr(dropout.SPREAD)
    _FIRST: Any = tl.constexpr(dropout.FIRST)
    _SECOND: Any = tl.constexpr(dropout.SECOND)
    _AGAIN: Any = tl.constexpr(dropout.AGAIN)

    @triton.jit
    def _word(row, column, width, seed_ptr):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        word = (row[:, None] * width + column[None, :]).to(tl.uint32)
        word = word * _SPREAD + tl.load(seed_ptr).to(tl.uint32)
        word = (word ^ (word >> 16)) * _FIRST
        word = word ^ tl.load(seed_ptr + 1).to(tl.uint32)
        word = (word ^ (word >> 13)) * _SECOND
        return word ^ (word >> 16)

    @triton.jit  # type: ignore[untyped-decorator]
    def _kept(word, limit, LANE: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, N803
        if LANE == 1:
            half = word >> 16
        elif LANE == 0:
            half = word & 0xFFFF
        else:
            word = word * _AGAIN
            half = (word ^ (word >> 15)) & 0xFFFF
        return half >= limit.to(tl.uint32)

    @triton.jit  # type: ignore[untyped-decorator]
    def _down_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0917
        x_ptr, a_ptr, out_ptr, seed_ptr, tokens, width, rank, limit,  # noqa: ANN001
        N: tl.constexpr, R: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
        r = tl.arange(0, R)
        first = tl.zeros((BT, R), dtype=tl.float32)
        second = tl.zeros((BT, R), dtype=tl.float32)
        third = tl.zeros((BT, R), dtype=tl.float32)
        for start in range(0, width, BK):
            column = start + tl.arange(0, BK)
            inside = (row < tokens)[:, None] & (column < width)[None, :]
            x = tl.load(x_ptr + row[:, None] * width + column[None, :], mask=inside, other=0.0)
            word = _word(row, column, width, seed_ptr)
            place = a_ptr + r[None, :] * width + column[:, None]
            known = (r < rank)[None, :] & (column < width)[:, None]
            first = tl.dot(tl.where(_kept(word, limit, 0), x, 0.0), tl.load(place, mask=known, other=0.0), first)
            if N > 1:
                a = tl.load(place + rank * width, mask=known, other=0.0)
                second = tl.dot(tl.where(_kept(word, limit, 1), x, 0.0), a, second)
            if N > 2:  # noqa: PLR2004
                a = tl.load(place + 2 * rank * width, mask=known, other=0.0)
                third = tl.dot(tl.where(_kept(word, limit, 2), x, 0.0), a, third)
        place = out_ptr + row[:, None] * rank + r[None, :]
        known = (row < tokens)[:, None] & (r < rank)[None, :]
        tl.store(place, first.to(out_ptr.dtype.element_ty), mask=known)
        sibling = tokens.to(tl.int64) * rank
        if N > 1:
            tl.store(place + sibling, second.to(out_ptr.dtype.element_ty), mask=known)
        if N > 2:  # noqa: PLR2004
            tl.store(place + 2 * sibling, third.to(out_ptr.dtype.element_ty), mask=known)

    @triton.jit  # type: ignore[untyped-decorator]
    def _grad_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0917
        dh_ptr, x_ptr, out_ptr, seed_ptr, tokens, width, rank, share, limit,  # noqa: ANN001
        N: tl.constexpr, R: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        column = tl.program_id(0) * BK + tl.arange(0, BK)
        part = tl.program_id(1).to(tl.int64)
        r = tl.arange(0, R)
        sibling = tokens.to(tl.int64) * rank
        first = tl.zeros((R, BK), dtype=tl.float32)
        second = tl.zeros((R, BK), dtype=tl.float32)
        third = tl.zeros((R, BK), dtype=tl.float32)
        for start in range(0, share, BT):
            row = part * share + start + tl.arange(0, BT)
            inside = (row < tokens)[:, None] & (column < width)[None, :]
            x = tl.load(x_ptr + row[:, None] * width + column[None, :], mask=inside, other=0.0)
            word = _word(row, column, width, seed_ptr)
            place = dh_ptr + row[None, :] * rank + r[:, None]
            known = (row < tokens)[None, :] & (r < rank)[:, None]
            first = tl.dot(tl.load(place, mask=known, other=0.0), tl.where(_kept(word, limit, 0), x, 0.0), first)
            if N > 1:
                dh = tl.load(place + sibling, mask=known, other=0.0)
                second = tl.dot(dh, tl.where(_kept(word, limit, 1), x, 0.0), second)
            if N > 2:  # noqa: PLR2004
                dh = tl.load(place + 2 * sibling, mask=known, other=0.0)
                third = tl.dot(dh, tl.where(_kept(word, limit, 2), x, 0.0), third)
        place = out_ptr + (part * N * rank + r[:, None]) * width + column[None, :]
        known = (r < rank)[:, None] & (column < width)[None, :]
        tl.store(place, first, mask=known)
        if N > 1:
            tl.store(place + rank * width, second, mask=known)
        if N > 2:  # noqa: PLR2004
            tl.store(place + 2 * rank * width, third, mask=known)

    @triton.jit  # type: ignore[untyped-decorator]
    def _spread_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0917
        out_ptr, dh_ptr, a_ptr, seed_ptr, tokens, width, rank, limit,  # noqa: ANN001
        N: tl.constexpr, R: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
        column = tl.program_id(1) * BK + tl.arange(0, BK)
        r = tl.arange(0, R)
        word = _word(row, column, width, seed_ptr)
        left = dh_ptr + row[:, None] * rank + r[None, :]
        right = a_ptr + r[:, None] * width + column[None, :]
        tall = (row < tokens)[:, None] & (r < rank)[None, :]
        wide = (r < rank)[:, None] & (column < width)[None, :]
        product = tl.dot(tl.load(left, mask=tall, other=0.0), tl.load(right, mask=wide, other=0.0))
        total = tl.where(_kept(word, limit, 0), product, 0.0)
        sibling = tokens.to(tl.int64) * rank
        if N > 1:
            dh = tl.load(left + sibling, mask=tall, other=0.0)
            product = tl.dot(dh, tl.load(right + rank * width, mask=wide, other=0.0))
            total += tl.where(_kept(word, limit, 1), product, 0.0)
        if N > 2:  # noqa: PLR2004
            dh = tl.load(left + 2 * sibling, mask=tall, other=0.0)
            product = tl.dot(dh, tl.load(right + 2 * rank * width, mask=wide, other=0.0))
            total += tl.where(_kept(word, limit, 2), product, 0.0)
        inside = (row < tokens)[:, None] & (column < width)[None, :]
        place = out_ptr + row[:, None] * width + column[None, :]
        tl.store(place, total.to(out_ptr.dtype.element_ty), mask=inside)
