"""The backends of `lfwrap serve`: the engine itself, vLLM or SGLang, and what each can serve.

Read off the engine's ``chat/vllm_engine.py``, ``chat/sglang_engine.py`` and ``hparams/parser.py``: with vLLM and
SGLang it loads one adapter, the first named, and no bitsandbytes base; to SGLang it names that adapter in a field
of the request (``lora_request``) that SGLang does not read (``lora_path``), so that the base alone would answer.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from lfwrap.engine.compat import NEWEST_VLLM, SUPPORTED_VERSION, VLLM_LORA_RANKS
from lfwrap.engine.keys import DEFAULT_SERVING_CONTEXT
from lfwrap.engine.locate import Engine, package_version
from lfwrap.errors import PreflightError
from lfwrap.inference.target import Target

BACKENDS = ("huggingface", "vllm", "sglang")
_OWN, _VLLM, _SGLANG = BACKENDS
_WHICH = {_VLLM: f" (LLaMA-Factory {SUPPORTED_VERSION} works with vllm up to {NEWEST_VLLM})"}
_MERGE = "`lfwrap export {name} --out DIR` merges it; then serve DIR."


def check_backend(engine: Engine, target: Target, backend: str) -> None:
    """See that a backend is installed and can serve the target. Raises PreflightError."""
    if backend == _OWN:
        return
    found = package_version(engine, backend)
    if found is None:
        raise PreflightError(
            f"{backend} is not installed for {engine.python}",
            hint=f"Install it there{_WHICH.get(backend, '')}, or leave --backend out.",
        )
    if backend == _VLLM and _numbers(found) > _numbers(NEWEST_VLLM):
        raise PreflightError(
            f"vllm {found} is installed for {engine.python}; LLaMA-Factory {SUPPORTED_VERSION} works with"
            f" versions up to {NEWEST_VLLM}",
            hint="Serve a merged model with `vllm serve` itself, or leave --backend out.",
        )
    problems = list(_problems(target, backend))
    if problems:
        hint = _MERGE.format(name=target.name)
        raise PreflightError(f"{target.name}: {backend} can't serve it: {'; '.join(problems)}", hint=hint)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", version)[:3]))


def _problems(target: Target, backend: str) -> Iterator[str]:
    if target.quantization:
        yield "its base is quantised by bitsandbytes"
    if target.prior_adapters and target.adapter is not None:
        yield "it has adapters below its own, and the engine would load the first alone"
    if backend == _SGLANG and (target.adapter is not None or target.prior_adapters):
        yield "the engine does not name the adapter so that SGLang reads it: the base alone would answer"
    if backend == _VLLM and target.options.get("rope_scaling"):
        yield "the engine passes no rope_scaling to it"
    if backend == _VLLM and target.adapter_folder is not None:
        yield from _adapter_problems(target.adapter_folder.config())


def _adapter_problems(config: dict[str, Any]) -> Iterator[str]:
    if config.get("use_dora"):
        yield "its adapter is DoRA"
    if config.get("modules_to_save"):
        yield "its adapter holds whole layers (modules_to_save)"
    if config.get("bias", "none") != "none":
        yield "its adapter holds biases"
    if int(config.get("r") or 0) > VLLM_LORA_RANKS[-1]:
        yield f"its adapter's rank is above {VLLM_LORA_RANKS[-1]}"


def backend_arguments(target: Target, backend: str) -> dict[str, Any]:
    """The engine's keys for a backend: the adapter's rank, and a context no longer than the model's."""
    arguments: dict[str, Any] = {"infer_backend": backend}
    if backend == _OWN:
        return arguments
    longest = (target.base.config() if target.base else {}).get("max_position_embeddings")
    if isinstance(longest, int) and longest < DEFAULT_SERVING_CONTEXT:
        arguments[f"{backend}_maxlen"] = longest
    if backend == _VLLM and target.adapter_folder is not None:
        rank = target.adapter_folder.rank()
        arguments["vllm_max_lora_rank"] = next((size for size in VLLM_LORA_RANKS if size >= rank), rank)
    return arguments
