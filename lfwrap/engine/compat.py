"""Which LLaMA-Factory lfwrap is tested with, and what was found to work beside that version."""

from __future__ import annotations

from pathlib import Path

SUPPORTED_VERSION = "0.9.5"
"""The version of LLaMA-Factory that lfwrap installs and is tested with; stated nowhere else in the code."""

TABLES = Path(__file__).parent / "tables" / SUPPORTED_VERSION
"""The folder of the tables that `lfwrap.engine.refresh` wrote for that version."""

KNOWN_ARCHITECTURES = frozenset({"llama", "mistral", "qwen2", "qwen3"})
"""Decoders (transformers' ``model_type``) whose layers were read and tried.

Their attention is plain and causal, each tensor has one name in the file and in memory, and none stays in fp32. So
rows can lie one behind the other in a batch, layers can be compiled one by one, Liger's kernels can be compiled before
the model is loaded, and an adapter can be merged tensor by tensor. The workers that need the set hold a copy.
"""

NEWEST_VLLM = "0.11.0"
"""The newest vLLM that the engine starts with."""

VLLM_LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as the largest rank of an adapter."""

GPTQ_PACKAGES = {"gptqmodel": "5.8.0", "optimum": "2.1.0", "torchao": "0.16.0"}
"""The set that was seen to work for GPTQ: others' requirements exclude the engine's transformers, or each other."""

GPTQ_DEPENDENCIES = ("device-smi", "tokenicer", "logbar", "defuser", "threadpoolctl", "random_word", "pypcre")
"""What that set needs besides, of any version."""
