"""Dropout whose mask is a function of a seed: nothing is kept for the backward pass but eight bytes.

``drop(x, seed, p)`` zeroes each element with probability p and does **not** scale; the caller folds ``1 / keep`` into a
product that it takes anyway. The same seed gives the same mask, whatever the shape's layout.
"""

from __future__ import annotations

import torch

try:
    import triton
    import triton.language as tl
except ImportError:  # no CUDA: the slow way below
    triton = None

_LEVELS = 65536  # a decision takes 16 random bits
_LANES = 8  # decisions of one call of the generator: 4 words of 32 bits
_GROUPS = 1024  # with four warps each thread reads and writes 16 bytes at once


def threshold(p: float) -> int:
    """The 16-bit numbers below it are dropped."""
    return round(p * _LEVELS)


def keep_probability(p: float) -> float:
    """The share that is kept really: p to the next 65536th, so that the scaled mean is exact."""
    return 1.0 - threshold(p) / _LEVELS


def new_seed(device: torch.device) -> torch.Tensor:
    """A seed from the device's generator: recomputing a checkpointed layer restores that and so draws the same."""
    return torch.randint(0, 2**31 - 1, (1,), dtype=torch.int64, device=device)


def drop(x: torch.Tensor, seed: torch.Tensor, p: float, *, inplace: bool = False) -> torch.Tensor:
    """Zero elements of a contiguous tensor with probability p, unscaled; see the module."""
    if triton is None or x.device.type != "cuda":
        generator = torch.Generator().manual_seed(int(seed.item()))
        numbers = torch.randint(0, _LEVELS, x.shape, generator=generator, dtype=torch.int32)
        dropped = (numbers < threshold(p)).to(x.device)
        return x.masked_fill_(dropped, 0) if inplace else x.masked_fill(dropped, 0)
    out = x if inplace else torch.empty_like(x)
    count = x.numel()
    _drop_kernel[(triton.cdiv(count, _GROUPS * _LANES),)](x, out, seed, count, threshold(p), GROUPS=_GROUPS)
    return out


if triton is not None:

    @triton.jit  # type: ignore[untyped-decorator]
    def _drop_kernel(x_ptr, out_ptr, seed_ptr, count, limit, GROUPS: tl.constexpr):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202, N803, PLR0917
        """Each program decides on 8 × GROUPS elements, 8 for each call of Philox; Triton reads no other types."""
        program = tl.program_id(0)
        lane = tl.arange(0, GROUPS)
        seed = tl.load(seed_ptr)
        word0, word1, word2, word3 = tl.randint4x(seed, program * GROUPS + lane, 7)
        first = program.to(tl.int64) * GROUPS * 8 + lane
        for number in tl.static_range(8):
            word = word0 if number < 2 else word1 if number < 4 else word2 if number < 6 else word3  # noqa: PLR2004
            bits = (word >> (16 * (number % 2))) & 0xFFFF
            where = first + number * GROUPS
            x = tl.load(x_ptr + where, mask=where < count, other=0.0)
            tl.store(out_ptr + where, tl.where(bits >= limit, x, 0.0), mask=where < count)
