"""Write what an exported model needs beside its weights; run by the engine's Python, not imported.

Reads one JSON object from stdin: ``arguments`` (engine keys that name the model and the template) and ``out``, a
folder. Writes the tokenizer there, as the engine's own export does, and the processor where there is one, with the chat
template that says best what the training's template says. Writes one JSON line: how the chat templates compare, and
what other runtimes ask about the template. No weights are read.
"""

from __future__ import annotations

import sys
import time
from typing import Any

from answer import run_job  # type: ignore[import-not-found]  # beside this script


def write_files(job: dict[str, Any]) -> dict[str, Any]:
    """Do it; returns the event."""
    started_s = time.monotonic()
    import chat_template  # type: ignore[import-not-found]  # beside this script
    import ollama_template  # type: ignore[import-not-found]  # beside this script
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.hparams import get_infer_args
    from llamafactory.model import load_tokenizer

    imported_s = time.monotonic()
    model_args, data_args, _, _ = get_infer_args(job["arguments"])
    module = load_tokenizer(model_args)
    tokenizer, processor = module["tokenizer"], module["processor"]
    base = tokenizer.chat_template
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    verdict = chat_template.choose(template, tokenizer, base)
    tokenizer.chat_template = verdict.text
    tokenizer.padding_side = "left"  # as the engine leaves it: batches are answered so
    tokenizer.init_kwargs["padding_side"] = "left"
    tokenizer.save_pretrained(job["out"])
    if processor is not None:
        processor.chat_template = verdict.text
        processor.save_pretrained(job["out"])
    stop_ids = sorted(template.get_stop_token_ids(tokenizer))
    ollama = ollama_template.build(template, tokenizer)
    return {
        "event": "done",
        "chat_template": verdict.to_json(),
        "stop_ids": stop_ids,
        "stop_words": tokenizer.convert_ids_to_tokens(stop_ids),
        "default_system": template.default_system,
        "timing": {
            "import_s": round(imported_s - started_s, 2),
            "work_s": round(time.monotonic() - imported_s, 2),
        },
        "ollama": {"template": ollama.text, "has_tools": ollama.has_tools},
    }


if __name__ == "__main__":
    sys.exit(run_job(write_files))
