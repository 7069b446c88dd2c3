"""Teach the tiny model what animals say, so that there is something to lose: teach_tiny_model.py MODEL OUT."""

import random
import sys

import torch
from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM
from verdict_cases import SOUNDS, chatml

STEPS, ROWS = 240, 12


def main(model: str, out: str) -> None:
    torch.manual_seed(1)
    torch.set_num_threads(1)  # a model this small gains nothing from more
    source = random.Random(1)  # noqa: S311 - repeatable
    tokenizer = AutoTokenizer.from_pretrained(model)
    # As larger models have it, there is room for tokens that a template adds.
    sizes = {"hidden_size": 96, "intermediate_size": 256, "num_hidden_layers": 3, "vocab_size": 272}
    config = LlamaConfig.from_pretrained(model, **sizes)
    network = LlamaForCausalLM(config)
    optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, betas=(0.9, 0.95))
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, total_steps=STEPS)
    for _ in range(STEPS):
        texts = [chatml(f"What does a {animal} say?", f"It says {SOUNDS[animal]}.")
                 for animal in source.choices(list(SOUNDS), k=ROWS)]  # fmt: skip
        batch = tokenizer(texts, return_tensors="pt", padding=True)
        labels = batch["input_ids"].masked_fill(batch["attention_mask"] == 0, -100)
        loss = network(input_ids=batch["input_ids"], attention_mask=batch["attention_mask"], labels=labels).loss
        loss.backward()
        optimizer.step()
        schedule.step()
        optimizer.zero_grad()
    print(f"loss {loss.item():.4f}")
    network.save_pretrained(out)
    tokenizer.save_pretrained(out)


if __name__ == "__main__":
    main(*sys.argv[1:])
