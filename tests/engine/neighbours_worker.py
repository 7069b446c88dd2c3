"""Which adapters answer to the last bit as alone, whatever stands beside them: neighbours_worker.py WORKERS MODEL OUT.

Makes adapters of several kinds for the model, the base in bf16 as a GPU has it, loads them together in two orders, and
prints one JSON object: ``distinct``, how many answer unlike each other and the base; ``changed``, who answered
otherwise than alone, with the order of the load. Logits are compared, and the tokens of a batch padded on the left.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM

WORKERS, MODEL, OUT = sys.argv[1:]
sys.path.insert(0, WORKERS)
from lfwrap_worker.contract import GenerationSettings  # noqa: E402
from lfwrap_worker.inference.engine_model import EngineModel  # noqa: E402

LAYERS = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
KINDS = {
    "plain": {},
    "again": {},
    "wider": {"r": 16, "lora_alpha": 64, "use_rslora": True},
    "fewer": {"target_modules": ["q_proj", "down_proj"], "rank_pattern": {"q_proj": 4}, "alpha_pattern": {"q_proj": 3}},
    "dora": {"use_dora": True},
    "dropout": {"lora_dropout": 0.5},
    "whole": {"modules_to_save": ["lm_head", "embed_tokens"]},  # as the engine's additional_target saves layers
    "norm": {"modules_to_save": ["norm"]},
}


def make(kind: str, seed: int) -> str:
    """A random adapter as a training saves it."""
    torch.manual_seed(seed)
    base = AutoModelForCausalLM.from_pretrained(MODEL, dtype=torch.bfloat16)
    values = {"r": 8, "lora_alpha": 16, "target_modules": LAYERS, "init_lora_weights": False} | KINDS[kind]
    tuned = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **values))
    with torch.no_grad():
        for name, weight in tuned.named_parameters():
            if "modules_to_save" in name:
                weight.mul_(1.5).add_(torch.randn_like(weight) * 0.05)
    folder = str(Path(OUT) / kind)
    tuned.save_pretrained(folder)
    return folder


def answers(engine: EngineModel, name: str | None) -> list:
    """Logits of two prompts with an answer, and the tokens of both in one batch."""
    texts = ("Hi", "What is a lien, and why?")
    prompts = [engine.encode([{"role": "user", "content": text}], None, None) for text in texts]
    with engine.using(name):
        logits = [engine.answer_logits(prompt, [10, 20, 30]) for prompt in prompts]
        return [
            *logits,
            torch.tensor([answer.token_ids for answer in engine.generate_many(prompts, GenerationSettings(8))]),
        ]


def same(one: list, other: list) -> bool:
    return all(torch.equal(mine, theirs) for mine, theirs in zip(one, other, strict=True))


def main() -> None:
    arguments = {"model_name_or_path": MODEL, "template": "qwen"}
    folders = {kind: make(kind, seed) for seed, kind in enumerate(KINDS)}
    alone = {None: answers(EngineModel(arguments, {}, "bfloat16"), None)}
    alone |= {
        kind: answers(EngineModel(arguments, {kind: folder}, "bfloat16"), kind) for kind, folder in folders.items()
    }
    found = {"changed": [], "distinct": sum(not same(one, alone[None]) for one in alone.values())}
    for order in (list(folders), list(reversed(folders))):
        engine = EngineModel(arguments, {kind: folders[kind] for kind in order}, "bfloat16")
        asked = [None, *order, None, *reversed(order)]
        found["changed"] += [[kind, order] for kind in asked if not same(answers(engine, kind), alone[kind])]
    found["dtype"] = engine.dtype
    print("\n" + json.dumps(found))


if __name__ == "__main__":
    main()
