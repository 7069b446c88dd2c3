"""The shapes and parameter counts of a model, known without loading it."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

_CATALOG = Path(__file__).with_name("catalog.yaml")
# What publishers append to a model's name without changing its shapes.
_VARIANT = re.compile(
    r"-(?:instruct|base|chat|it|pt|hf|unsloth-bnb-4bit|bnb-4bit|bf16|thinking)(?=-|$)|-(?:\d{4}|v0\.[12])$"
)


@dataclass(frozen=True, slots=True)
class LinearShape:
    """One kind of linear layer of a decoder layer.

    Attributes:
        name: the module's last name (``q_proj``), as ``lora_target`` spells it.
        in_features: width of its input.
        out_features: width of its output.
        bias: whether it has a bias vector.

    Example:
        >>> LinearShape("k_proj", 3584, 512, bias=True).parameters == 3584 * 512 + 512
        True
    """

    name: str
    in_features: int
    out_features: int
    bias: bool = False

    @property
    def weights(self) -> int:
        """Numbers in the weight matrix: inputs × outputs."""
        return self.in_features * self.out_features

    @property
    def parameters(self) -> int:
        """Numbers in the weight matrix and the bias."""
        return self.weights + (self.out_features if self.bias else 0)


@dataclass(frozen=True, slots=True)
class ModelFacts:
    """The shapes of a decoder-only language model.

    Attributes:
        name: catalogue name, hub id or folder, as it was looked up.
        architecture: transformers' ``model_type`` (``qwen2``, ``llama``, ``gemma2``, ``qwen3_moe``, …).
        hidden_size: width of the residual stream.
        num_layers: decoder layers.
        num_heads: query heads.
        num_kv_heads: key and value heads.
        head_dim: width of one head.
        intermediate_size: width of the MLP (of one expert in a mixture of experts).
        vocab_size: rows of the embedding.
        tied_embeddings: whether the output layer is the embedding.
        num_experts: experts in a layer; 0 for a dense model.
        experts_per_token: experts that each token passes.
        shared_experts_size: width of the shared expert's MLP; 0 when there is none.
        attention_bias: whether q, k and v have biases.
        output_bias: whether the attention's output has one.
        qk_norm: whether queries and keys are normalised per head.
        norms_per_layer: RMS norms of the hidden size in a layer.
        fused_projections: whether q, k, v and gate, up are one matrix each (Phi).
        sliding_window: tokens that windowed layers look back; 0 when all look everywhere.
        logit_softcap: whether logits pass through a soft cap (Gemma 2), which costs one more copy of them.
        attention_softcap: whether attention weights do, which fused attention kernels can't (Gemma 2).
        extra_parameters: parameters outside the language model (a vision tower).
        max_positions: longest sequence the model was made for; 0 when unknown.
        dtype: the checkpoint's type.
        template: LLaMA-Factory's template, where known.
        is_quantized: whether the checkpoint itself is quantised (GPTQ, AWQ, MXFP4, bnb).
    """

    name: str
    architecture: str
    hidden_size: int
    num_layers: int
    num_heads: int
    num_kv_heads: int
    head_dim: int
    intermediate_size: int
    vocab_size: int
    tied_embeddings: bool
    num_experts: int = 0
    experts_per_token: int = 0
    shared_experts_size: int = 0
    attention_bias: bool = False
    output_bias: bool = False
    qk_norm: bool = False
    norms_per_layer: int = 2
    fused_projections: bool = False
    sliding_window: int = 0
    logit_softcap: bool = False
    attention_softcap: bool = False
    extra_parameters: int = 0
    max_positions: int = 0
    dtype: str = "bfloat16"
    template: str | None = None
    is_quantized: bool = False

    @property
    def q_size(self) -> int:
        """Width of all query heads together."""
        return self.num_heads * self.head_dim

    @property
    def kv_size(self) -> int:
        """Width of all key heads (or all value heads) together."""
        return self.num_kv_heads * self.head_dim

    @property
    def is_moe(self) -> bool:
        """Whether the model is a mixture of experts."""
        return self.num_experts > 0

    @property
    def linears(self) -> tuple[LinearShape, ...]:
        """The linear layers of one decoder layer that can have an adapter.

        Experts are not among them: transformers 5 holds each layer's experts as one three-dimensional parameter,
        which neither PEFT's LoRA by module name nor bitsandbytes touches.
        """
        return _linears(self)

    def attention_linears(self) -> tuple[LinearShape, ...]:
        """The linear layers of the attention block: queries, keys, values and output."""
        hidden, out = self.hidden_size, LinearShape("o_proj", self.q_size, self.hidden_size, self.output_bias)
        if self.fused_projections:
            return (LinearShape("qkv_proj", hidden, self.q_size + 2 * self.kv_size, self.attention_bias), out)
        return (
            LinearShape("q_proj", hidden, self.q_size, self.attention_bias),
            LinearShape("k_proj", hidden, self.kv_size, self.attention_bias),
            LinearShape("v_proj", hidden, self.kv_size, self.attention_bias),
            out,
        )

    def mlp_linears(self, width: int) -> tuple[LinearShape, ...]:
        """The linear layers of an MLP of the given width: the layer's own, an expert's or the shared expert's."""
        hidden = self.hidden_size
        if self.fused_projections:
            return (LinearShape("gate_up_proj", hidden, 2 * width), LinearShape("down_proj", width, hidden))
        return (
            LinearShape("gate_proj", hidden, width),
            LinearShape("up_proj", hidden, width),
            LinearShape("down_proj", width, hidden),
        )

    @property
    def linear_weights(self) -> int:
        """Numbers in all weight matrices that quantisation reaches (`linears` in every layer)."""
        return self.num_layers * sum(linear.weights for linear in self.linears)

    @property
    def embedding_parameters(self) -> int:
        """Numbers in the embedding: vocabulary × hidden size. An untied output layer has as many."""
        return self.vocab_size * self.hidden_size

    @property
    def expert_parameters(self) -> int:
        """Numbers in all experts of all layers."""
        mlp = self.mlp_linears(self.intermediate_size)
        one = sum(linear.weights + (linear.out_features if self._expert_bias else 0) for linear in mlp)
        return self.num_layers * self.num_experts * one

    @property
    def _expert_bias(self) -> bool:
        return self.architecture == "gpt_oss"

    @property
    def layer_parameters(self) -> int:
        """Numbers in one decoder layer, its experts included."""
        total = sum(linear.parameters for linear in self.linears) + self.norms_per_layer * self.hidden_size
        total += 2 * self.head_dim if self.qk_norm else 0
        if self.is_moe:
            router = self.num_experts * (self.hidden_size + self._expert_bias)
            total += router + self.expert_parameters // self.num_layers
            total += self.num_heads if self._expert_bias else 0  # gpt-oss's attention sinks
        if self.shared_experts_size:
            total += sum(linear.weights for linear in self.mlp_linears(self.shared_experts_size)) + self.hidden_size
        return total

    @property
    def text_parameters(self) -> int:
        """Numbers in the language model: embedding, layers, last norm, output layer."""
        embeddings = self.embedding_parameters * (1 if self.tied_embeddings else 2)
        return embeddings + self.num_layers * self.layer_parameters + self.hidden_size

    @property
    def parameters(self) -> int:
        """All numbers of the model, as the publisher counts them."""
        return self.text_parameters + self.extra_parameters

    @property
    def active_parameters(self) -> int:
        """Numbers that one token is computed with: all of a dense model, and of a mixture only the experts in use."""
        if not self.is_moe:
            return self.text_parameters
        idle = self.expert_parameters * (self.num_experts - self.experts_per_token) // self.num_experts
        return self.text_parameters - idle

    def to_json(self) -> dict[str, Any]:
        """The values that ``--json`` prints."""
        return {**asdict(self), "parameters": self.parameters, "active_parameters": self.active_parameters}


@functools.lru_cache(maxsize=64)
def _linears(model: ModelFacts) -> tuple[LinearShape, ...]:
    """`ModelFacts.linears`, cached: a plan asks for it thousands of times."""
    return (*model.attention_linears(), *(() if model.is_moe else model.mlp_linears(model.intermediate_size)))


@functools.cache
def _catalog() -> Mapping[str, Mapping[str, Any]]:
    from lfwrap.yaml_files import load_yaml  # what asks only for a folder's content needs no YAML

    return load_yaml(_CATALOG).values["models"]  # type: ignore[no-any-return]


def catalog_models() -> tuple[str, ...]:
    """The names of the models in the catalogue that ships with lfwrap."""
    return tuple(_catalog())


def published_parameters(name: str) -> int:
    """The number of parameters that the publisher states for a model of the catalogue, from its safetensors index.

    Example:
        >>> published_parameters("qwen2.5-7b")
        7615616512
    """
    return int(_catalog()[name]["published_parameters"])


def catalog_model(name: str) -> ModelFacts | None:
    """The catalogue's facts for a hub id, a folder name or a catalogue name; None when it has no such model.

    Suffixes that change no shape are ignored (``-Instruct``, ``-it``, ``-bnb-4bit``, a date).

    Example:
        >>> catalog_model("Qwen/Qwen2.5-7B-Instruct").hidden_size
        3584
    """
    stem = re.sub(r"[\s_]+", "-", name.rstrip("/").rsplit("/", 1)[-1].lower())
    stem = stem.removeprefix("meta-")
    while stem not in _catalog():
        shorter = _VARIANT.sub("", stem, count=1)
        if shorter == stem:
            return None
        stem = shorter
    entry = {key: value for key, value in _catalog()[stem].items() if key != "published_parameters"}
    return ModelFacts(name=name, **entry)
