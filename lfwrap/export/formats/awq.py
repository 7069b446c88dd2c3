"""AWQ, which can't be made: a name whose error says what to use instead."""

from __future__ import annotations

from typing import NoReturn

from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.errors import PreflightError
from lfwrap.export.job import ExportFormat


def refuse_awq(*_: object) -> NoReturn:
    """Raise PreflightError: the engine loads AWQ files, but makes none."""
    raise PreflightError(
        f"LLaMA-Factory {SUPPORTED_VERSION} makes no AWQ files (its export_quantization_bit is GPTQ; AWQ models can"
        " only be loaded)",
        hint="--format gptq, or quantise the merged model with vLLM's llm-compressor.",
    )


FORMAT = ExportFormat("awq", refuse_awq, check=refuse_awq)
