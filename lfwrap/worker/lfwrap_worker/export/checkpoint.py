"""Turn a GGUF file into a checkpoint folder that the engine can train: a worker.

``checkpoint GGUF OUT EOS PAD`` writes an fp32 safetensors checkpoint with tokenizer and chat template
into the folder OUT and prints one JSON line (``parameters``, ``eos_token_id``, ``pad_token_id``, ``seconds``).

fp32, because a CPU trains bf16 weights four to five times slower. The end and padding tokens are given by name: a GGUF
file's own tokenizer may say something else than the model was trained with.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

from lfwrap_worker.channel import take_stdout, write_event
from lfwrap_worker.contract import EVENT_DONE

_ARGUMENT_COUNT = 4


def write_checkpoint(gguf: Path, out: Path, eos_token: str, pad_token: str) -> dict[str, int | float]:
    """Load the GGUF with transformers and save it; returns what the last line reports.

    Raises:
        ValueError: a token is not in the vocabulary, or the file carries no chat template.
    """
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

    started_s = time.monotonic()
    place = {"pretrained_model_name_or_path": str(gguf.parent), "gguf_file": gguf.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    vocabulary = tokenizer.get_vocab()
    missing = [token for token in (eos_token, pad_token) if token not in vocabulary]
    if missing:
        raise ValueError(f"{gguf}: the vocabulary has no {', '.join(missing)}")
    if not tokenizer.chat_template:
        raise ValueError(f"{gguf}: carries no chat template")
    tokenizer.eos_token, tokenizer.pad_token = eos_token, pad_token
    tokenizer.clean_up_tokenization_spaces = False  # answers keep their spaces before punctuation, as in code
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32)
    ids = {"eos_token_id": tokenizer.eos_token_id, "pad_token_id": tokenizer.pad_token_id}
    for name, value in ids.items():
        setattr(model.config, name, value)
    model.generation_config = GenerationConfig(**ids)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    return {"parameters": parameters, **ids, "seconds": round(time.monotonic() - started_s, 1)}


def main() -> int:
    """Write the checkpoint; libraries that print do so on stderr, so that stdout holds the one JSON line."""
    if len(sys.argv) - 1 != _ARGUMENT_COUNT:
        print(__doc__, file=sys.stderr)
        return 2
    gguf, out, eos_token, pad_token = sys.argv[1:]
    with take_stdout() as channel:
        report = write_checkpoint(Path(gguf), Path(out), eos_token, pad_token)
        write_event(channel, {"event": EVENT_DONE, **report})
    return 0
