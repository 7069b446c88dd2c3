"""Train with Unsloth's model in TRL's trainer, as Unsloth's own examples combine them: unsloth_sft.py SETTING.json.

Run by the peer's Python. The setting has ``model``, ``rows`` (a JSONL file), ``max_length``, ``dtype``, ``adapter``
(arguments of `get_peft_model`) and ``training`` (of `SFTConfig`). Checkpointing is Unsloth's; whether rows are padded
is left to it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path


def main() -> None:
    """Train."""
    from unsloth import FastLanguageModel  # type: ignore[import-not-found]  # isort: skip  # before transformers

    import torch
    from datasets import load_dataset
    from trl import SFTConfig, SFTTrainer  # type: ignore[import-not-found]

    setting = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    model, tokenizer = FastLanguageModel.from_pretrained(
        setting["model"],
        max_seq_length=setting["max_length"],
        dtype=getattr(torch, setting["dtype"]),
        load_in_4bit=False,
    )
    model = FastLanguageModel.get_peft_model(model, use_gradient_checkpointing="unsloth", **setting["adapter"])
    rows = load_dataset("json", data_files=setting["rows"], split="train")
    arguments = SFTConfig(max_length=setting["max_length"], completion_only_loss=True, **setting["training"])
    SFTTrainer(model=model, processing_class=tokenizer, train_dataset=rows, args=arguments).train()


if __name__ == "__main__":
    main()
