"""Dropout whose mask is a function of a seed and a place: nothing is kept for the backward pass but the seed.

The element at place ``i`` of a tensor is dropped when a hash of ``i`` and the seed is below ``p · 2³²``: products and
shifts of 32-bit words, after the finalizer of MurmurHash3, with the seed's second word mixed in half-way. The same
arithmetic stands in ``kernels.py``, so that every device draws the same mask. Nothing here scales: the caller folds
``1 / keep`` into a product that it takes anyway.
"""

from __future__ import annotations

import torch

SPREAD, FIRST, SECOND = 0x9E3779B1, 0x85EBCA6B, 0xC2B2AE35
_WORD = 0xFFFFFFFF


def threshold(p: float) -> int:
    """Hashes below it are dropped."""
    return round(p * (_WORD + 1))


def new_seed(device: torch.device) -> torch.Tensor:
    """Two words from the device's generator: recomputing a checkpointed layer restores that and so draws the same."""
    return torch.randint(0, 2**31 - 1, (2,), dtype=torch.int64, device=device)


def drop(x: torch.Tensor, seed: torch.Tensor, p: float) -> torch.Tensor:
    """A copy of a tensor with elements zeroed at probability p, unscaled; see the module."""
    place = torch.arange(x.numel(), dtype=torch.int64, device=x.device)
    word = (place * SPREAD + seed[0]) & _WORD
    word = ((word ^ (word >> 16)) * FIRST) & _WORD
    word = word ^ seed[1]
    word = ((word ^ (word >> 13)) * SECOND) & _WORD
    word = word ^ (word >> 16)
    return x.masked_fill((word < threshold(p)).view_as(x), 0)
