"""How far a merged weight may lie from the exact W + (B · A) · scale, whatever library, processor or threads made it.

The sum of ``rank`` products in fp32 is within ``γ(rank) · |B| · |A|`` of the exact one in any order of summing, with
``γ(n) = n · u / (1 - n · u)`` and ``u = 2**-24`` (Higham, Accuracy and Stability of Numerical Algorithms, 2nd ed., eq.
3.5). Scale and its product round once each, the sum with W once, and the exported type once more. Shares no code with
lfwrap or the engine.
"""

from __future__ import annotations

import numpy as np

UNIT = 2.0**-24
# Bits of the significand after the first, and the exponent of the smallest normal number.
TYPES = {"F32": (23, -126), "F16": (10, -14), "BF16": (7, -126)}


def widen(values: np.ndarray, code: str) -> np.ndarray:
    """Stored numbers of a safetensors type in fp64, exactly."""
    if code == "BF16":
        values = (values.astype(np.uint32) << 16).view(np.float32)
    return values.astype(np.float64)


def merged(weight: np.ndarray, down: np.ndarray, up: np.ndarray, scale: float) -> tuple[np.ndarray, np.ndarray]:
    """The exact sum but for fp64's rounding, and how far fp32 arithmetic may be from it before the last rounding."""
    wide_up, wide_down = up.astype(np.float64), down.astype(np.float64)
    exact = weight + (wide_up @ wide_down) * scale
    products = (np.abs(wide_up) @ np.abs(wide_down)) * abs(scale)
    rank = down.shape[0]
    gamma = (rank + 2) * UNIT / (1 - (rank + 2) * UNIT)
    return exact, gamma * products + UNIT * (np.abs(weight) + products * (1 + gamma))


def unit_in_the_last_place(values: np.ndarray, code: str) -> np.ndarray:
    """The distance between neighbouring numbers of a type around these values."""
    bits, smallest = TYPES[code]
    with np.errstate(divide="ignore"):
        exponents = np.maximum(np.floor(np.log2(np.abs(values))), smallest)
    return 2.0 ** (exponents - bits)


def is_within(found: np.ndarray, exact: np.ndarray, error: np.ndarray, code: str) -> np.ndarray:
    """Whether each number is one that the exact value, off by no more than ``error``, rounds to.

    Args:
        found: what was written, in fp64.
        exact: the exact values, as `merged` gives them.
        error: how far fp32 arithmetic may be off.
        code: the type that was written.
    """
    return np.abs(found - exact) <= error + unit_in_the_last_place(np.abs(exact) + error, code) / 2
