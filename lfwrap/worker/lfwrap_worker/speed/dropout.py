"""Dropout whose mask is a function of a seed and a place: nothing is kept for the backward pass but the seed.

A hash of the place ``i`` and the seed gives a word of 32 bits: products and shifts after the finalizer of MurmurHash3,
with the seed's second word mixed in half-way. Each half of it decides for one of two layers that read the same tensor
(lanes 0 and 1); two more lanes come out of mixing the word once more. An element is dropped when its half is below
``p · 2¹⁶``, so that p is rounded to the next 1/65,536; ``kept_share`` is the exact rest. The same arithmetic stands in
``kernels.py``: every device draws the same mask. Nothing here scales: the caller folds the factor into a product.
"""

from __future__ import annotations

import torch

SPREAD, FIRST, SECOND = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35
AGAIN = 0x7FEB352D
LANES = 4
_WORD = 0xFFFFFFFF
_HALF_BITS = 16
_HALF = (1 << _HALF_BITS) - 1


def threshold(p: float) -> int:
    """Halves below it are dropped."""
    return round(p * (_HALF + 1))


def kept_share(p: float) -> float:
    """The probability with which an element is kept."""
    return 1 - threshold(p) / (_HALF + 1)


def new_seed(device: torch.device) -> torch.Tensor:
    """Two words from the device's generator: recomputing a checkpointed layer restores that and so draws the same."""
    return torch.randint(0, 2**31 - 1, (2,), dtype=torch.int64, device=device)


def drop(x: torch.Tensor, seed: torch.Tensor, p: float, lane: int = 0) -> torch.Tensor:
    """A copy of a tensor with elements zeroed at probability p, unscaled; see the module."""
    place = torch.arange(x.numel(), dtype=torch.int64, device=x.device)
    word = (place * SPREAD + seed[0]) & _WORD
    word = ((word ^ (word >> 16)) * FIRST) & _WORD
    word = word ^ seed[1]
    word = ((word ^ (word >> 13)) * SECOND) & _WORD
    word = word ^ (word >> 16)
    if lane > 1:
        word = (word * AGAIN) & _WORD
        word = word ^ (word >> 15)
    half = word >> _HALF_BITS if lane % 2 else word & _HALF
    return x.masked_fill((half < threshold(p)).view_as(x), 0)
