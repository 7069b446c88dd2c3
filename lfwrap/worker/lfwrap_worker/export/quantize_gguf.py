"""Quantise a GGUF file with llama-cpp-python: a worker.

``quantize_gguf SOURCE OUT TYPE``, the type as llama.cpp spells it in lower case (``q4_k_m``).
"""

from __future__ import annotations

import ctypes
import sys


def quantize(source: str, out: str, kind: str) -> int:
    """Quantise one file; returns llama.cpp's status, 0 when it is done."""
    import llama_cpp  # the package llama-cpp-python

    parameters = llama_cpp.llama_model_quantize_default_params()
    parameters.ftype = getattr(llama_cpp, "LLAMA_FTYPE_MOSTLY_" + kind.upper())
    return int(llama_cpp.llama_model_quantize(source.encode(), out.encode(), ctypes.byref(parameters)))


def main() -> int:
    """Quantise the file that the command line names; returns llama.cpp's status."""
    return quantize(*sys.argv[1:])
