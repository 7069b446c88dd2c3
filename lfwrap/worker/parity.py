"""Compare an exported model with what it was made from; run by the engine's Python, not imported.

Reads one JSON object from stdin: ``reference`` and ``exported`` (each ``{"arguments": {…engine keys…}, "adapter":
folder or null}``), ``questions``, ``max_new_tokens`` and ``dtype``, the exported type. Writes one JSON line: the type
both were computed in, a row of figures for each question, and how the exported chat template renders a question against
the template of the training.

The reference is the base model with the adapter attached, not merged. Both answer greedily, one question at a time;
then the exported model's logits are taken along the reference's answer and compared with the reference's, position by
position. Both are computed in the exported type on a GPU, in fp32 on a CPU: 16-bit types are slow there.
"""

from __future__ import annotations

import gc
import json
import sys
import time
from typing import TYPE_CHECKING, Any

from answer import read_requests, take_stdout  # type: ignore[import-not-found]  # beside this script

if TYPE_CHECKING:
    from lfwrap.worker.engine_model import EngineModel


class Comparison:
    """Answers of the reference, kept until the exported model has answered too."""

    def __init__(self, job: dict[str, Any]) -> None:
        self._job = job
        self._rows: list[dict[str, Any]] = []
        self._kept: list[tuple[list[int], list[int], Any]] = []

    def answer_reference(self, model: EngineModel) -> None:
        """Answer every question with the adapter on its base; keep tokens and logits."""
        with model.using("tuned" if self._job["reference"].get("adapter") else None):
            for question in self._job["questions"]:
                prompt, answer = self._answer(model, question)
                self._kept.append((prompt, answer.token_ids, model.answer_logits(prompt, answer.token_ids)))
                self._rows.append({"question": question, "reference_answer": answer.text})

    def answer_exported(self, model: EngineModel) -> None:
        """Answer every question with the exported model; fill in the rows."""
        for row, (prompt, expected, logits) in zip(self._rows, self._kept, strict=True):
            own_prompt, answer = self._answer(model, row["question"])
            row["exported_answer"] = answer.text
            row["same_prompt"] = own_prompt == prompt
            row["same_answer"] = answer.token_ids == expected
            row["answer_tokens"] = len(expected)
            row["first_difference"] = self._difference(model, expected, answer.token_ids, logits)
            difference = model.answer_logits(prompt, expected) - logits
            row["mean_abs_logit_difference"] = difference.abs().mean().item()
            row["max_abs_logit_difference"] = difference.abs().max().item()

    def _answer(self, model: EngineModel, question: str) -> tuple[list[int], Any]:
        from engine_model import Generation  # type: ignore[import-not-found]  # beside this script

        prompt = model.encode([{"role": "user", "content": question}], None, None)
        [answer] = model.generate([prompt], Generation(max_new_tokens=self._job["max_new_tokens"]))
        return prompt, answer

    def _difference(self, model: EngineModel, expected: list[int], found: list[int], logits: Any) -> Any:
        """Where two answers part: the tokens, and by how much the reference preferred its own (in logits)."""
        if expected == found:
            return None
        shared = min(len(expected), len(found))
        position = next((index for index in range(shared) if expected[index] != found[index]), shared)
        scores = logits[position]
        # An answer that ends where the other goes on chose one of the stop tokens there.
        ours = expected[position] if position < len(expected) else max(model.stop_ids, key=lambda token: scores[token])
        theirs = found[position] if position < len(found) else max(model.stop_ids, key=lambda token: scores[token])
        return {
            "position": position,
            "reference_token": model.tokenizer.decode([ours]),
            "exported_token": model.tokenizer.decode([theirs]),
            "reference_margin": (scores[ours] - scores[theirs]).item(),
        }

    def report(self, exported: EngineModel, seconds: float) -> dict[str, Any]:
        """All figures."""
        return {
            "compute_dtype": exported.dtype,
            "device": exported.device,
            "seconds": round(seconds, 1),
            "chat_template": chat_template_difference(exported, self._job["questions"][0]),
            "rows": self._rows,
        }


def chat_template_difference(model: EngineModel, question: str) -> dict[str, Any] | None:
    """Where the exported chat template, which other runtimes use, parts from the training's; None where it does not."""
    messages = [{"role": "user", "content": question}]
    trained = model.encode(messages, None, None)
    if not model.tokenizer.chat_template:
        return {"position": 0, "trained": model.tokenizer.decode(trained), "exported": ""}
    text = model.tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    rendered = model.tokenizer.encode(text, add_special_tokens=False)
    if rendered == trained:
        return None
    shared = min(len(trained), len(rendered))
    position = next((index for index in range(shared) if trained[index] != rendered[index]), shared)
    return {
        "position": position,
        "trained": model.tokenizer.decode(trained[position : position + 8]),
        "exported": model.tokenizer.decode(rendered[position : position + 8]),
    }


def load(side: dict[str, Any], dtype: str) -> EngineModel:
    """Load one side and cast it to the type to compute in."""
    import engine_model

    adapters = {"tuned": side["adapter"]} if side.get("adapter") else {}
    model: EngineModel = engine_model.EngineModel(side["arguments"], adapters, dtype)
    return model


def main() -> int:
    """Run one comparison."""
    channel = take_stdout()
    try:
        import torch

        job = next(read_requests(sys.stdin))  # and end when lfwrap does
        started_s = time.monotonic()
        dtype = job["dtype"] if torch.cuda.is_available() else "float32"
        comparison = Comparison(job)
        model = load(job["reference"], dtype)
        comparison.answer_reference(model)
        del model
        gc.collect()
        if torch.cuda.is_available():
            torch.cuda.empty_cache()
        model = load(job["exported"], dtype)
        comparison.answer_exported(model)
        event = comparison.report(model, time.monotonic() - started_s)
    except Exception as error:  # noqa: BLE001 - whatever it is, the other side must hear of it
        event = {"event": "error", "message": f"{type(error).__name__}: {error}", "fatal": True}
    with channel:
        channel.write(json.dumps(event, ensure_ascii=False) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
