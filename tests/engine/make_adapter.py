"""Save a random, strong LoRA adapter for a model, as a training would leave it: make_adapter.py MODEL OUT SEED."""

import sys

import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM


def main(model: str, out: str, seed: str) -> None:
    torch.manual_seed(int(seed))
    base = AutoModelForCausalLM.from_pretrained(model)
    targets = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
    config = LoraConfig(r=8, lora_alpha=16, target_modules=targets, init_lora_weights=False, task_type="CAUSAL_LM")
    get_peft_model(base, config).save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
