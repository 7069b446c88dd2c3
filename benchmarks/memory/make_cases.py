"""Write cases.yaml: what is measured, in which order, and which half calibrates the planner. Seeded, so repeatable.

    python benchmarks/memory/make_cases.py

Cases are hand-picked to cover methods, ranks, lengths, micro-batches, kernels and data shapes. The halves are drawn
per group (model, method, quantisation, GPUs) with the seed below, before anything was measured. SECOND_ROUND was
written after the first 38 had been measured, with what the planner predicted for it (`expect`), a seed of its own, and
halves drawn per kind: near the limit of 80 GB and predicted to fit, predicted not to, and what the first round left.
Of these two rounds, cases.yaml keeps what was measured. The third round, on H200s, was not picked by anyone: every
setting of it is drawn (THIRD_SEED), and what was predicted of it stood in predicted.jsonl before it was run: `blind`.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import yaml

from lfwrap.model.shapes import ModelFacts, catalog_model

SEED = 20261122
SECOND_SEED = 20261123
THIRD_SEED = 20261124
_OUT = Path(__file__).with_name("cases.yaml")
_MANY_TOKENS = 16_000
# name → (catalogue model, layers kept; None keeps all). Fewer layers of a mixture of experts fit a small disk.
MODELS = {
    "qwen2.5-0.5b": ("qwen2.5-0.5b", None),
    "qwen2.5-7b": ("qwen2.5-7b", None),
    "llama-3.2-3b": ("llama-3.2-3b", None),
    "qwen3-30b-a3b-4-layers": ("qwen3-30b-a3b", 4),
    "llama-3.1-8b": ("llama-3.1-8b", None),
    "qwen3-1.7b": ("qwen3-1.7b", None),
    "gemma-2-2b": ("gemma-2-2b", None),
}
_SECOND_BATCH = ("qwen3-1.7b", "gemma-2-2b")  # after the first models are deleted: disk
DEFAULTS = {
    "method": "lora", "quantization": 0, "rank": 64, "target": "all", "dropout": 0.0, "liger": False,
    "checkpointing": True, "data": "full", "accumulation": 2, "updates": 3, "world_size": 1, "zero": None,
    "timeout_s": 75,
}  # fmt: skip

# A case: model, then words: lora|full|q4|q8, rN, LENGTHxMICRO, dN (dropout), liger, nockpt, padded|packed, qv|attn, …
SINGLE_GPU = """
qwen2.5-7b   lora r64 4096x1 d0.1 liger nockpt packed
qwen2.5-7b   lora r64 4096x1 d0.1
qwen2.5-7b   lora r64 4096x4 d0.1 liger
qwen2.5-7b   lora r64 4096x1 liger nockpt
qwen2.5-7b   lora r8 4096x1 liger nockpt qv
qwen2.5-7b   lora r16 512x8
qwen2.5-7b   lora r128 1024x16 liger
qwen2.5-7b   lora r32 2048x2 d0.1 nockpt
qwen2.5-7b   lora r8 8192x1 liger nockpt
qwen2.5-7b   lora r64 16384x1 d0.1 liger
qwen2.5-7b   lora r16 16384x2 liger
qwen2.5-7b   lora r64 512x32 d0.1 liger
qwen2.5-7b   lora r64 1024x4 d0.1 liger nockpt padded
qwen2.5-7b   lora r64 2048x8 d0.1 padded
qwen2.5-7b   lora r64 4096x6 d0.1
qwen2.5-7b   lora r64 4096x8 d0.1
qwen2.5-7b   lora r64 4096x2 d0.1 liger nockpt
qwen2.5-7b   lora r64 4096x2 d0.1 liger packed
qwen2.5-7b   lora r64 4096x1 liger nockpt pure_bf16
qwen2.5-7b   lora r64 2048x4 liger nockpt attn
qwen2.5-7b   lora r64 2048x4 ga1
qwen2.5-7b   lora r16 2048x2 liger dora
qwen2.5-7b   lora r16 2048x2 fp16
qwen2.5-7b   lora r64 4096x4 d0.1 liger expandable
qwen2.5-7b   q4 r64 2048x4 d0.1
qwen2.5-7b   q4 r8 1024x8 liger
qwen2.5-7b   q4 r16 4096x1 liger nockpt
qwen2.5-7b   q4 r64 512x16 qv
qwen2.5-7b   q4 r32 8192x2 liger
qwen2.5-7b   q4 r128 512x1
qwen2.5-7b   q4 r16 1024x1 liger
qwen2.5-7b   q4 r64 4096x1 d0.1 liger packed
qwen2.5-7b   q4 r16 1024x2 single_quant
qwen2.5-7b   q8 r64 2048x2 d0.1
qwen2.5-7b   q8 r16 1024x8 liger
qwen2.5-7b   q8 r8 512x4 liger nockpt
qwen2.5-0.5b lora r8 512x32
qwen2.5-0.5b lora r64 1024x16 d0.1 nockpt
qwen2.5-0.5b lora r16 4096x4 liger nockpt
qwen2.5-0.5b lora r32 16384x1
qwen2.5-0.5b lora r64 2048x8 liger
qwen2.5-0.5b lora r64 1024x32
qwen2.5-0.5b lora r64 4096x2 d0.1 packed
qwen2.5-0.5b q4 r64 1024x8 nockpt
qwen2.5-0.5b q8 r16 512x16
qwen2.5-0.5b q4 r16 2048x8 liger d0.1
qwen2.5-0.5b full 1024x8
qwen2.5-0.5b full 2048x4 liger nockpt
qwen2.5-0.5b full 4096x4 liger padded
qwen2.5-0.5b full 2048x2 packed nockpt
llama-3.2-3b full 1024x2 liger
llama-3.2-3b full 512x4
llama-3.2-3b full 2048x1 liger nockpt
llama-3.2-3b full 2048x4 liger pure_bf16
llama-3.2-3b lora r64 2048x4 d0.1
llama-3.2-3b lora r16 4096x2 liger nockpt
llama-3.2-3b lora r8 8192x2 liger qv
llama-3.2-3b lora r128 1024x8 nockpt
llama-3.2-3b q4 r16 2048x4
llama-3.2-3b q4 r64 4096x1 packed nockpt
llama-3.2-3b q8 r32 1024x4 d0.1
llama-3.2-3b q8 r16 2048x1 nockpt
qwen3-30b-a3b-4-layers lora r64 2048x2
qwen3-30b-a3b-4-layers lora r16 4096x1 liger nockpt
qwen3-30b-a3b-4-layers lora r16 1024x4 d0.1 nockpt
llama-3.1-8b lora r64 2048x4
llama-3.1-8b lora r64 4096x2 d0.1 liger
llama-3.1-8b lora r16 1024x8 liger nockpt
llama-3.1-8b lora r128 512x16
llama-3.1-8b lora r32 8192x1 d0.1 liger packed
llama-3.1-8b q4 r16 2048x2
llama-3.1-8b q4 r64 4096x4 d0.1 liger
llama-3.1-8b q4 r32 8192x1
llama-3.1-8b q4 r8 1024x4 liger nockpt
llama-3.1-8b q8 r16 1024x4
llama-3.1-8b q8 r64 512x8 liger d0.1
qwen3-1.7b   lora r16 2048x4
qwen3-1.7b   lora r64 4096x2 d0.1 liger nockpt
qwen3-1.7b   q4 r32 1024x8 nockpt
qwen3-1.7b   full 1024x8 liger
gemma-2-2b   lora r16 1024x2
gemma-2-2b   lora r64 2048x2 d0.1 liger
gemma-2-2b   q4 r16 512x4 nockpt
gemma-2-2b   lora r16 1024x4 liger nockpt
"""
TWO_GPUS = """
qwen2.5-7b   lora r64 2048x4 d0.1 ddp
qwen2.5-7b   lora r64 2048x4 d0.1 z0
qwen2.5-7b   lora r64 2048x4 d0.1 z2
qwen2.5-7b   lora r64 2048x4 d0.1 z3
qwen2.5-7b   lora r64 4096x2 d0.1 liger nockpt z0
qwen2.5-7b   lora r16 4096x4 liger nockpt z2
qwen2.5-7b   q4 r64 2048x4 d0.1 ddp
qwen2.5-7b   q4 r16 4096x2 liger z2
qwen2.5-7b   lora r128 1024x8 liger z3
qwen2.5-0.5b full 1024x8 liger ddp
qwen2.5-0.5b full 1024x8 liger z2
llama-3.2-3b full 1024x4 liger z2
llama-3.2-3b full 1024x4 liger z3
qwen2.5-7b   full 1024x2 liger z3
"""
# `fits`: predicted to take 90-97% of the GPU; `too large`: 103-110%.
SECOND_ROUND = {
    "fits": """
qwen2.5-7b   lora r64 2048x4 d0.1 liger nockpt
qwen2.5-0.5b lora r64 8192x4
llama-3.1-8b lora r16 512x16 d0.1 liger nockpt
gemma-2-2b   lora r16 1024x16
qwen2.5-7b   q4 r64 1024x10 d0.1 liger nockpt
llama-3.2-3b full 1024x28 liger
qwen3-1.7b   lora r16 2048x6 d0.1 nockpt
llama-3.1-8b q4 r64 4096x2 nockpt
qwen2.5-7b   lora r16 512x48
llama-3.2-3b lora r16 16384x1 d0.1 liger nockpt
qwen2.5-0.5b full 512x34 nockpt
qwen2.5-7b   q4 r16 8192x1 packed nockpt
""",
    "too large": """
qwen2.5-7b   lora r64 2048x6 liger nockpt
qwen2.5-0.5b full 1024x20 nockpt
llama-3.1-8b lora r64 512x14 nockpt
gemma-2-2b   q4 r16 1024x32 liger nockpt
qwen2.5-7b   q4 r64 16384x1 liger nockpt
qwen3-1.7b   q8 r16 512x32 nockpt
""",
    "further": """
qwen2.5-7b   lora r64 2048x10 d0.1 mixed
qwen2.5-0.5b full 2048x8 liger nockpt mixed
llama-3.2-3b lora r16 4096x8 liger mixed
qwen2.5-7b   lora r64 1024x8 d0.1 liger nockpt mixed
qwen2.5-7b   q8 r64 1024x2 d0.1 liger
qwen2.5-7b   q8 r16 4096x2 liger
qwen2.5-0.5b q8 r16 4096x4 liger
llama-3.1-8b q8 r32 2048x4 d0.1
qwen2.5-0.5b full 512x32 liger
qwen2.5-0.5b full 16384x1 liger
qwen3-30b-a3b-4-layers lora r16 8192x2 liger
qwen3-30b-a3b-4-layers lora r64 2048x8 d0.1 nockpt
gemma-2-2b   lora r64 4096x4 liger
gemma-2-2b   q8 r16 2048x2 d0.1
qwen3-1.7b   lora r64 16384x1 d0.1 liger
qwen3-1.7b   q4 r16 1024x16 liger nockpt
""",
}
# The third round: how it is trained (the first word; `max` with lfwrap's extension), on how many GPUs, and what else is
# drawn. A q8 7B takes half a minute to load, and a 7B trained whole does not fit one GPU: neither is drawn.
THIRD_ROUND = {
    1: ("lora", "lora", "lora", "lora", "q4", "q4", "q8", "full", "full", "full", "max", "max", "max", "max q4"),
    2: ("lora ddp", "lora z3", "full z2", "lora z2"),
}
_THIRD_TOKENS = {
    "qwen2.5-0.5b": (4096, 8192, 16384),
    "qwen3-1.7b": (2048, 4096, 8192),
    "llama-3.2-3b": (2048, 4096, 8192),
    "qwen2.5-7b": (2048, 4096, 8192),
}
_THIRD_WARM_UP, _THIRD_UPDATES = 2, 10
_WORDS: dict[str, dict[str, Any]] = {
    "lora": {"method": "lora"}, "full": {"method": "full", "rank": 0},
    "q4": {"quantization": 4}, "q8": {"quantization": 8},
    "liger": {"liger": True}, "nockpt": {"checkpointing": False}, "padded": {"data": "padded"},
    "mixed": {"data": "mixed", "accumulation": 6, "updates": 2},
    "packed": {"data": "packed"}, "qv": {"target": "q_proj,v_proj"},
    "attn": {"target": "q_proj,k_proj,v_proj,o_proj"},
    "ga1": {"accumulation": 1, "updates": 4}, "expandable": {"expandable_segments": True},
    "pure_bf16": {"args": {"pure_bf16": True, "bf16": False}}, "dora": {"args": {"use_dora": True}},
    "fp16": {"args": {"bf16": False, "fp16": True}}, "single_quant": {"args": {"double_quantization": False}},
    "ddp": {"world_size": 2},
    "z0": {"world_size": 2, "zero": 0, "timeout_s": 150}, "z2": {"world_size": 2, "zero": 2, "timeout_s": 150},
    "z3": {"world_size": 2, "zero": 3, "timeout_s": 150},
    "max": {"extended": True, "liger": True},
}  # fmt: skip


def parse_case(line: str) -> dict[str, Any]:
    """A case from its line; only what differs from DEFAULTS."""
    model, *words = line.split()
    case: dict[str, Any] = {"id": " ".join([model, *words]).replace(" ", "_"), "model": model}
    for word in words:
        if word in _WORDS:
            case |= _WORDS[word]
        elif word[0] == "r":
            case["rank"] = int(word[1:])
        elif word[0] == "d":
            case["dropout"] = float(word[1:])
        else:
            case["length"], case["micro_batch"] = map(int, word.split("x"))
    if case["length"] * case["micro_batch"] > _MANY_TOKENS and "updates" not in case:
        case["updates"] = 2
    return case


def group(case: dict[str, Any]) -> tuple[Any, ...]:
    """Cases of one group are split evenly."""
    return (case["model"], case.get("method", "lora"), case.get("quantization", 0), case.get("world_size", 1))


def split(groups: Iterable[list[dict[str, Any]]], seed: int) -> None:
    """Mark half of every group for calibration, by the seed."""
    chance = random.Random(seed)  # noqa: S311 - no secret
    held_out_next = False
    for members in groups:
        for case in chance.sample(members, len(members)):
            case["split"] = "held-out" if held_out_next else "calibration"
            held_out_next = not held_out_next


def first_round() -> list[dict[str, Any]]:
    """The cases that were written before anything was measured, split per group."""
    cases = [parse_case(line) for line in (SINGLE_GPU + TWO_GPUS).splitlines() if line.strip()]
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for case in cases:
        groups.setdefault(group(case), []).append(case)
    split(groups.values(), SEED)
    return order(cases)


def second_round() -> list[dict[str, Any]]:
    """The cases of the second round, each with what was predicted of it, split per kind."""
    kinds = [
        [parse_case(line) | {"expect": kind} for line in text.splitlines() if line.strip()]
        for kind, text in SECOND_ROUND.items()
    ]
    split(kinds, SECOND_SEED)
    cases = [case for row in itertools.zip_longest(*kinds) for case in row if case is not None]
    return sorted(cases, key=lambda case: case["model"] in _SECOND_BATCH)


def third_round() -> list[dict[str, Any]]:
    """Cases whose every setting is drawn (models in turns), ten updates each of which the first two do not count."""
    chance = random.Random(THIRD_SEED)  # noqa: S311 - no secret
    cases: list[dict[str, Any]] = []
    deck: list[str] = []
    for kind in [kind for kinds in THIRD_ROUND.values() for kind in kinds]:
        fit = [name for name in _THIRD_TOKENS if name != "qwen2.5-7b" or not {"q8", "full"} & set(kind.split())]
        if not set(fit) & set(deck):
            deck += chance.sample(list(_THIRD_TOKENS), len(_THIRD_TOKENS))
        model = next(name for name in deck if name in fit)
        deck.remove(model)
        cases.append(_draw(chance, kind, model))
    assert len({case["id"] for case in cases}) == len(cases)
    timed = {"updates": _THIRD_UPDATES, "warm_up": _THIRD_WARM_UP, "split": "blind"}
    return [case | timed for case in sorted(cases, key=lambda case: case["model"] == "qwen2.5-7b")]


def _draw(chance: random.Random, kind: str, model: str) -> dict[str, Any]:
    """One case of the third round."""
    words = kind.split()
    length = chance.choice([512, 1024, 2048, 4096])
    tokens = chance.choice([tokens for tokens in _THIRD_TOKENS[model] if tokens >= length])
    words.insert(1, f"{length}x{tokens // length}")
    if "full" not in words:
        words.insert(1, f"r{chance.choice([8, 16, 32, 64, 128])}")
        words += chance.choice([[], ["d0.1"]]) + chance.choice([[], [], ["qv"]])
    words += [] if "max" in words else chance.choice([[], ["liger"]])
    words += chance.choice([[], ["nockpt"]]) + chance.choice([[], ["padded"], ["packed"]])
    return parse_case(" ".join([model, *words]))


def order(cases: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The first of every group, then the second of every group, …; models of the second batch last."""
    rank: dict[tuple[Any, ...], int] = {}
    keyed = []
    for case in cases:
        position = rank[group(case)] = rank.get(group(case), -1) + 1
        keyed.append(((case["model"] in _SECOND_BATCH, position), case))
    return [case for _, case in sorted(keyed, key=lambda pair: pair[0])]


def hf_config(name: str) -> dict[str, Any]:
    """What transformers' AutoConfig.for_model takes, from the catalogue's shapes."""
    source, layers = MODELS[name]
    facts = catalog_model(source)
    assert facts is not None
    config = {
        "model_type": facts.architecture, "hidden_size": facts.hidden_size,
        "intermediate_size": facts.intermediate_size, "num_hidden_layers": layers or facts.num_layers,
        "num_attention_heads": facts.num_heads, "num_key_value_heads": facts.num_kv_heads, "head_dim": facts.head_dim,
        "vocab_size": facts.vocab_size, "tie_word_embeddings": facts.tied_embeddings,
        "max_position_embeddings": facts.max_positions,
    }  # fmt: skip
    return config | _extra_config(facts)


def _extra_config(facts: ModelFacts) -> dict[str, Any]:
    if facts.is_moe:
        return {
            "moe_intermediate_size": facts.intermediate_size,
            "num_experts": facts.num_experts,
            "num_experts_per_tok": facts.experts_per_token,
        }
    if facts.architecture == "gemma2":
        return {"query_pre_attn_scalar": facts.head_dim}
    return {}


def main() -> None:
    """Write cases.yaml, one case a line."""
    drawn = first_round() + second_round()
    assert len({case["id"] for case in drawn}) == len(drawn)
    measured = measured_ids()
    cases = [case for case in drawn if case["id"] in measured] + third_round()
    text = [
        f"# Written by make_cases.py (seeds {SEED}, {SECOND_SEED}, {THIRD_SEED}).",
        "# Shapes: the catalogue's; cases add to `defaults`.",
        _line("defaults", DEFAULTS),
        "models:",
        *(f"  {_line(name, hf_config(name))}" for name in MODELS),
        "cases:",
        *(f"- {_flow(case)}" for case in cases),
    ]
    _OUT.write_text("\n".join(text) + "\n", encoding="utf-8")
    halves = [case["split"] for case in cases]
    print(f"{len(cases)} cases: {halves.count('calibration')} calibrate, {halves.count('held-out')} held out")


def measured_ids() -> set[str]:
    """The cases of the first two rounds that were run."""
    files = [_OUT.with_name(name) for name in ("h100.jsonl", "h100-second.jsonl", "h200x2.jsonl")]
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return {json.loads(line)["id"] for line in lines}


def _flow(value: dict[str, Any]) -> str:
    return yaml.safe_dump(value, default_flow_style=True, sort_keys=False, width=10_000).strip()


def _line(key: str, value: dict[str, Any]) -> str:
    return f"{key}: {_flow(value)}"


if __name__ == "__main__":
    main()
