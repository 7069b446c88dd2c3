"""The arithmetic of a merge with numpy, in tiles that stay in a core's cache; used by workers.

numpy is there in a tenth of a second, torch in two to four, in which a fast disk writes several gigabytes. Types are
rounded as torch does, to the nearest, ties to even: those bits are the same everywhere. The products are summed in
fp32 in whatever order the processor's BLAS has; any order is within ``γ(rank + 2) · |B| · |A| · scale`` of the exact
sum, ``γ(n) = n · u / (1 - n · u)``, ``u = 2**-24`` (Higham, Accuracy and Stability of Numerical Algorithms, eq. 3.5).
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np

_BF16_NAN = 0x7FC0
_HALF_ULP = 0x7FFF
# A tile's four arrays, 1.8 MB, stay in a core's second cache: of four times the size, a tile takes a half longer.
_TILE_ROWS = 256
TILE_ELEMENTS = 1 << 17
_VIEWS = {"F64": np.float64, "F32": np.float32, "F16": np.float16, "BF16": np.uint16}
Array = np.ndarray[Any, Any]


class Scratch:
    """A process's own memory for tiles: allocated once, since fresh pages cost more than the arithmetic."""

    def __init__(self) -> None:
        self.values = np.empty(TILE_ELEMENTS, np.float32)
        self.delta = np.empty(TILE_ELEMENTS, np.float32)
        self.bits = np.empty(TILE_ELEMENTS, np.uint32)


def as_array(content: Array, code: str) -> Array:
    """Bytes as numbers of a safetensors type; bf16, which numpy does not know, as its 16 bits."""
    return content.view(_VIEWS[code])


def to_float32(source: Array, code: str, out: Array) -> Array:
    """Widen numbers of a safetensors type into ``out`` of the same shape; returns it."""
    if code == "BF16":
        bits = out.view(np.uint32)
        np.copyto(bits, source)
        np.left_shift(bits, 16, out=bits)
    else:
        np.copyto(out, source, casting="same_kind")
    return out


def from_float32(values: Array, code: str, out: Array, spare: Array) -> None:
    """Round fp32 numbers to a safetensors type; ``values`` may be overwritten, ``spare`` is uint32 of their shape."""
    if code != "BF16":
        with np.errstate(over="ignore"):
            np.copyto(out, values, casting="same_kind")
        return
    with np.errstate(invalid="ignore", over="ignore"):
        broken = None if np.isfinite(values.sum()) else np.isnan(values)
    bits = values.view(np.uint32)
    np.right_shift(bits, 16, out=spare)
    np.bitwise_and(spare, 1, out=spare)
    np.add(spare, _HALF_ULP, out=spare)
    np.add(bits, spare, out=bits)
    np.right_shift(bits, 16, out=bits)
    np.copyto(out, bits, casting="unsafe")
    if broken is not None:
        out[broken] = _BF16_NAN


class Share(NamedTuple):
    """What an adapter adds to some rows of a matrix.

    Attributes:
        down: A, (rank, columns), in fp32.
        up: the rows' part of B, (rows, rank), in fp32.
        scale: alpha / rank.
    """

    down: Array
    up: Array
    scale: float


def merge_rows(weight: Array, out: Array, codes: tuple[str, str], share: Share | None, scratch: Scratch) -> None:
    """``W + (B · A) · scale`` in fp32, rounded once; without a share only another type.

    Args:
        weight: rows of W, (rows, columns), as `as_array` gives them.
        out: as ``weight``, in the type to round to.
        codes: the type of ``weight``, and that of ``out``.
        share: what is added.
        scratch: of this process.
    """
    for rows, columns in _tiles(*weight.shape):
        tile = weight[rows, columns]
        values, delta, bits = (
            buffer[: tile.size].reshape(tile.shape) for buffer in (scratch.values, scratch.delta, scratch.bits)
        )
        to_float32(tile, codes[0], values)
        if share is not None:
            np.matmul(share.up[rows], share.down[:, columns], out=delta)
            np.multiply(delta, np.float32(share.scale), out=delta)
            np.add(values, delta, out=values)
        from_float32(values, codes[1], out[rows, columns], bits)


def _tiles(rows: int, columns: int) -> Iterator[tuple[slice, slice]]:
    height = min(rows, _TILE_ROWS)
    width = max(1, TILE_ELEMENTS // height) if height else 1
    for top in range(0, rows, height or 1):
        for left in range(0, columns, width):
            yield slice(top, min(top + height, rows)), slice(left, min(left + width, columns))
