"""The three products of a LoRA branch that see dropped elements, each in one pass over the wide tensor.

T tokens, K input features, R the rank (16 at least for the tensor cores: smaller ones are filled up). The mask is made
where the tile is, by the hash of ``dropout.py``. Triton; where it is missing, and on a CPU, plain torch does the same.
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

_TILES_WANTED = 264  # two for each multiprocessor of an H100
_SMALLEST_RANK = 16


def _by_triton(x: torch.Tensor) -> bool:
    return triton is not None and x.device.type == "cuda" and x.dtype in {torch.bfloat16, torch.float16}


def _padded(rank: int) -> int:
    return max(_SMALLEST_RANK, 1 << (rank - 1).bit_length())


def project_down(x: torch.Tensor, a: torch.Tensor, seed: torch.Tensor | None, p: float) -> torch.Tensor:
    """D(x) Aᵀ: (T, K), (R, K) → (T, R)."""
    if seed is None:
        return x @ a.T
    if not _by_triton(x):
        return dropout.drop(x, seed, p) @ a.T
    (tokens, width), rank = x.shape, a.shape[0]
    out = torch.empty(tokens, rank, dtype=x.dtype, device=x.device)
    rows = 64 if tokens >= 64 * _TILES_WANTED // 2 else 32
    _down_kernel[(triton.cdiv(tokens, rows),)](
        x, a, out, seed, tokens, width, rank, dropout.threshold(p), R=_padded(rank), BT=rows, BK=64,
        num_warps=4, num_stages=3,
    )  # fmt: skip
    return out


def grad_of_down(dh: torch.Tensor, x: torch.Tensor, seed: torch.Tensor | None, p: float) -> torch.Tensor:
    """Dhᵀ D(x): (T, R), (T, K) → (R, K), in fp32 where a kernel does it."""
    if seed is None:
        return dh.T @ x
    if not _by_triton(x):
        return dh.T @ dropout.drop(x, seed, p)
    (tokens, width), rank = x.shape, dh.shape[1]
    columns = 64
    strips = triton.cdiv(width, columns)
    parts = max(1, min(triton.cdiv(tokens, 256), _TILES_WANTED // strips))
    out = torch.empty(parts, rank, width, dtype=torch.float32, device=x.device)
    share = triton.cdiv(triton.cdiv(tokens, parts), 64) * 64
    _grad_kernel[(strips, parts)](
        dh, x, out, seed, tokens, width, rank, share, dropout.threshold(p), R=_padded(rank), BT=64, BK=columns,
        num_warps=4, num_stages=4,
    )  # fmt: skip
    return out[0] if parts == 1 else out.sum(0)


def add_dropped(dx: torch.Tensor, dh: torch.Tensor, a: torch.Tensor, seed: torch.Tensor | None, p: float) -> None:
    """Dx += D(dh A) in place: (T, K), (T, R), (R, K)."""
    if seed is None:
        dx.addmm_(dh, a)
        return
    if not _by_triton(dx):
        dx.add_(dropout.drop(dh @ a, seed, p))
        return
    (tokens, width), rank = dx.shape, dh.shape[1]
    _add_kernel[(triton.cdiv(tokens, 64), triton.cdiv(width, 128))](
        dx, dh, a, seed, tokens, width, rank, dropout.threshold(p), R=_padded(rank), BT=64, BK=128, num_warps=4
    )


if triton is not None:
    # Triton reads a kernel's own source: types other than its own can't stand there, nor can names of other modules.
    _SPREAD: Any = tl.constexpr(dropout.SPREAD)
    _FIRST: Any = tl.constexpr(dropout.FIRST)
    _SECOND: Any = tl.constexpr(dropout.SECOND)

    @triton.jit
    def _kept(row, column, width, seed_ptr, limit):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
        word = (row[:, None] * width + column[None, :]).to(tl.uint32)
        word = word * _SPREAD + tl.load(seed_ptr).to(tl.uint32)
        word = (word ^ (word >> 16)) * _FIRST
        word = word ^ tl.load(seed_ptr + 1).to(tl.uint32)
        word = (word ^ (word >> 13)) * _SECOND
        return (word ^ (word >> 16)) >= limit.to(tl.uint32)

    @triton.jit  # type: ignore[untyped-decorator]
    def _down_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0917
        x_ptr, a_ptr, out_ptr, seed_ptr, tokens, width, rank, limit,  # noqa: ANN001
        R: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
        r = tl.arange(0, R)
        total = tl.zeros((BT, R), dtype=tl.float32)
        for start in range(0, width, BK):
            column = start + tl.arange(0, BK)
            inside = (row < tokens)[:, None] & (column < width)[None, :]
            x = tl.load(x_ptr + row[:, None] * width + column[None, :], mask=inside, other=0.0)
            x = tl.where(_kept(row, column, width, seed_ptr, limit), x, 0.0)
            known = (r < rank)[None, :] & (column < width)[:, None]
            a = tl.load(a_ptr + r[None, :] * width + column[:, None], mask=known, other=0.0)
            total = tl.dot(x, a, total)
        place = out_ptr + row[:, None] * rank + r[None, :]
        tl.store(place, total.to(out_ptr.dtype.element_ty), mask=(row < tokens)[:, None] & (r < rank)[None, :])

    @triton.jit  # type: ignore[untyped-decorator]
    def _grad_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0917
        dh_ptr, x_ptr, out_ptr, seed_ptr, tokens, width, rank, share, limit,  # noqa: ANN001
        R: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        column = tl.program_id(0) * BK + tl.arange(0, BK)
        part = tl.program_id(1).to(tl.int64)
        r = tl.arange(0, R)
        total = tl.zeros((R, BK), dtype=tl.float32)
        for start in range(0, share, BT):
            row = part * share + start + tl.arange(0, BT)
            inside = (row < tokens)[:, None] & (column < width)[None, :]
            x = tl.load(x_ptr + row[:, None] * width + column[None, :], mask=inside, other=0.0)
            x = tl.where(_kept(row, column, width, seed_ptr, limit), x, 0.0)
            known = (row < tokens)[None, :] & (r < rank)[:, None]
            dh = tl.load(dh_ptr + row[None, :] * rank + r[:, None], mask=known, other=0.0)
            total = tl.dot(dh, x, total)
        place = out_ptr + (part * rank + r[:, None]) * width + column[None, :]
        tl.store(place, total, mask=(r < rank)[:, None] & (column < width)[None, :])

    @triton.jit  # type: ignore[untyped-decorator]
    def _add_kernel(  # type: ignore[no-untyped-def]  # noqa: ANN202, PLR0917
        dx_ptr, dh_ptr, a_ptr, seed_ptr, tokens, width, rank, limit,  # noqa: ANN001
        R: tl.constexpr, BT: tl.constexpr, BK: tl.constexpr,  # noqa: N803
    ):  # fmt: skip
        row = tl.program_id(0).to(tl.int64) * BT + tl.arange(0, BT)
        column = tl.program_id(1) * BK + tl.arange(0, BK)
        r = tl.arange(0, R)
        dh = tl.load(
            dh_ptr + row[:, None] * rank + r[None, :], mask=(row < tokens)[:, None] & (r < rank)[None, :], other=0.0
        )
        a = tl.load(
            a_ptr + r[:, None] * width + column[None, :],
            mask=(r < rank)[:, None] & (column < width)[None, :],
            other=0.0,
        )
        added = tl.where(_kept(row, column, width, seed_ptr, limit), tl.dot(dh, a), 0.0)
        place = dx_ptr + row[:, None] * width + column[None, :]
        inside = (row < tokens)[:, None] & (column < width)[None, :]
        dx = tl.load(place, mask=inside, other=0.0)
        tl.store(place, (dx.to(tl.float32) + added).to(dx_ptr.dtype.element_ty), mask=inside)
