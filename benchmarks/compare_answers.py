"""Answer with adapters and keep every logit: compare_answers.py JOB.json; run by the engine's Python.

The job: ``workers`` (the folder of lfwrap_worker), ``model``, ``template``, ``tokens``, ``questions``, and ``loads``:
each loads the base anew, attaches its ``adapters`` (folders) in that order, and makes its ``asks``: ``name``,
``adapter``, ``batch``, ``out``. Each ask leaves ``OUT.npy``, the logits (steps, questions, vocabulary) in fp32, and
then ``OUT.json``: tokens, texts, digests of the weights, and what it took. What is done so far goes to stderr.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from pathlib import Path
from typing import Any

BEGAN_S = time.monotonic()
JOB: dict[str, Any] = json.loads(Path(sys.argv[1]).read_bytes())
sys.path.insert(0, JOB["workers"])


def say(text: str) -> None:
    """A line with the seconds since this process began."""
    print(f"{time.monotonic() - BEGAN_S:6.1f} s {text}", file=sys.stderr, flush=True)


import numpy as np  # noqa: E402
import torch  # noqa: E402
from transformers import LogitsProcessor, LogitsProcessorList  # noqa: E402

from lfwrap_worker.contract import GenerationSettings  # noqa: E402
from lfwrap_worker.inference.engine_model import EngineModel  # noqa: E402

say("imported")


class Recorder(LogitsProcessor):  # type: ignore[misc]
    """Keeps what it is shown, and changes nothing."""

    def __init__(self) -> None:
        self.steps: list[Any] = []

    def __call__(self, input_ids: Any, scores: Any) -> Any:  # noqa: ARG002 - transformers' signature
        """Scores of the next token, (rows, vocabulary)."""
        self.steps.append(scores.detach().to("cpu", torch.float32).clone())
        return scores


class Recorded(EngineModel):  # type: ignore[misc]
    """The product's own model, with a recorder where sampling would be."""

    recorder: Recorder

    def _processors(self, settings: Any, numbers: Any) -> Any:  # noqa: ARG002 - greedy: neither matters
        return LogitsProcessorList([self.recorder])

    def digest(self, internal: str | None) -> int:
        """The sum of the weights' bits: of an adapter's, or of the base's."""
        bits = {1: torch.uint8, 2: torch.int16, 4: torch.int32}
        total = 0
        for name, value in self.model.named_parameters():
            if (f".{internal}." in name) if internal else ("lora_" not in name):
                total += int(value.detach().view(bits[value.element_size()]).sum(dtype=torch.int64))
        return total


def ask(engine: Recorded, prompts: list[list[int]], wish: dict[str, Any]) -> None:
    """One asking of all questions, longest first, as `lfwrap compare` puts them."""
    began_s = time.monotonic()
    answers, parts = [], []
    with engine.using(wish["adapter"]):
        for start in range(0, len(prompts), wish["batch"]):
            engine.recorder = Recorder()
            answers += engine.generate(prompts[start : start + wish["batch"]], GenerationSettings(JOB["tokens"]))
            parts.append(torch.stack(engine.recorder.steps))
    seconds = time.monotonic() - began_s
    steps = max(len(part) for part in parts)  # a part that ended early gets zeros that nobody looks at
    parts = [torch.cat([part, part.new_zeros(steps - len(part), *part.shape[1:])]) for part in parts]
    np.save(f"{wish['out']}.npy", torch.cat(parts, 1).numpy())
    found = {
        "tokens": [answer.token_ids for answer in answers], "texts": [answer.text for answer in answers],
        "pieces": [[engine.tokenizer.decode(answer.token_ids[:end], skip_special_tokens=True)
                    for end in range(1, len(answer.token_ids) + 1)] for answer in answers],
        "weights": engine.digest(engine._internal[wish["adapter"]]),  # noqa: SLF001
        "base": engine.digest(None), "seconds": round(seconds, 2),
    }  # fmt: skip
    unfinished = Path(f"{wish['out']}.part")
    unfinished.write_text(json.dumps(found), encoding="utf-8")
    unfinished.replace(f"{wish['out']}.json")
    say(f"{wish['name']}: answered in {seconds:.1f} s")


def main() -> None:
    """Load and ask, in the job's order."""
    arguments = {"model_name_or_path": JOB["model"], "template": JOB["template"], "finetuning_type": "lora"}
    for load in JOB["loads"]:
        engine = Recorded(arguments, {folder: folder for folder in load["adapters"]})
        say(f"loaded: base {engine.base_s} s, adapters {list(engine.adapter_s.values())} s, {engine.dtype}")
        prompts = [engine.encode([{"role": "user", "content": text}], None, None) for text in JOB["questions"]]
        prompts.sort(key=len, reverse=True)
        for wish in load["asks"]:
            ask(engine, prompts, wish)
        del engine
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
            say(f"peak of GPU memory {torch.cuda.max_memory_reserved() / 2**30:.1f} GiB")


if __name__ == "__main__":
    main()
