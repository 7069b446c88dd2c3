"""Compare exported models with what they were made from: a worker.

Reads two JSON objects from stdin. The first has the ``reference`` (``{"arguments": {…engine keys…}, "adapter": folder
or null}``), ``questions``, ``max_new_tokens`` and ``dtype``, the exported type: the reference is loaded and asked at
once, while what it is compared with may still be in the making. The second has ``sides``: any number of others by name.
Writes one JSON line: what the reference answered, for each side a row of figures for each question and the type it was
computed in, and where the time went.

The reference is the base model with the adapter attached, not merged. All answer greedily, one question at a time;
then a side's logits are taken along the reference's answer and compared with the reference's, position by position.
All are computed in the exported type on a GPU, in fp32 on a CPU: 16-bit types are slow there. A side that is quantised
keeps its own types.
"""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from lfwrap_worker.channel import run_job
from lfwrap_worker.contract import (
    EVENT_PARITY,
    GenerationSettings,
    ParityFigures,
    ParityJob,
    ReferenceAnswer,
    Side,
    TokenDifference,
)

if TYPE_CHECKING:
    from lfwrap_worker.inference.engine_model import EngineModel

_KEPT_TOKENS = 5


class Comparison:
    """Answers of the reference, kept until the others have answered too."""

    def __init__(self, job: ParityJob) -> None:
        self._job = job
        self._kept: list[tuple[list[int], list[int], Any]] = []
        self.reference: list[ReferenceAnswer] = []

    def answer_reference(self, model: EngineModel) -> None:
        """Answer every question with the adapter on its base; keep tokens and logits."""
        with model.using("tuned" if self._job["reference"].get("adapter") else None):
            for question in self._job["questions"]:
                prompt, answer = self._answer(model, question)
                logits = model.answer_logits(prompt, answer.token_ids)
                self._kept.append((prompt, answer.token_ids, logits))
                self.reference.append(
                    {
                        "question": question,
                        "answer": answer.text,
                        "prompt_ids": prompt,
                        "answer_ids": answer.token_ids,
                        "text_ends": _text_ends(model, answer.token_ids),
                        "logprobs": _logprobs(logits, answer.token_ids),
                        "gaps": _gaps(logits),
                        "stopped": answer.stopped,
                    }
                )

    def answer_side(self, model: EngineModel, adapter: str | None) -> list[ParityFigures]:
        """Answer every question with another model; returns its rows."""
        with model.using(adapter):
            return [
                self._row(model, question, *kept)
                for question, kept in zip(self._job["questions"], self._kept, strict=True)
            ]

    def _row(
        self, model: EngineModel, question: str, prompt: list[int], expected: list[int], logits: Any
    ) -> ParityFigures:
        own_prompt, answer = self._answer(model, question)
        own_logits = model.answer_logits(prompt, expected)
        difference = (own_logits - logits).abs()
        return {
            "question": question,
            "reference_answer": model.tokenizer.decode(expected, skip_special_tokens=True),
            "exported_answer": answer.text,
            "same_prompt": own_prompt == prompt,
            "same_answer": answer.token_ids == expected,
            "answer_tokens": len(expected),
            "mean_abs_logit_difference": difference.mean().item(),
            "max_abs_logit_difference": difference.max().item(),
            "first_difference": self._difference(model, expected, answer.token_ids, logits),
            "same_top_tokens": int((own_logits.argmax(-1) == logits.argmax(-1))[: len(expected)].sum().item()),
            "reference_logprob": sum(_logprobs(logits, expected)),
            "logprob": sum(_logprobs(own_logits, expected)),
        }

    def _answer(self, model: EngineModel, question: str) -> tuple[list[int], Any]:
        prompt = model.encode([{"role": "user", "content": question}], None, None)
        [answer] = model.generate([prompt], GenerationSettings(max_new_tokens=self._job["max_new_tokens"]))
        return prompt, answer

    def _difference(
        self, model: EngineModel, expected: list[int], found: list[int], logits: Any
    ) -> TokenDifference | None:
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


def _text_ends(model: EngineModel, tokens: list[int]) -> list[int]:
    """How many characters of the answer each token completes."""
    ends = range(1, len(tokens) + 1)
    return [len(model.tokenizer.decode(tokens[:end], skip_special_tokens=True)) for end in ends]


def _logprobs(logits: Any, tokens: list[int]) -> list[float]:
    """The log-probability of each token of an answer."""
    scores = logits[: len(tokens)].log_softmax(-1)
    return [scores[position, token].item() for position, token in enumerate(tokens)]


def _gaps(logits: Any) -> list[list[list[float]]]:
    """The likeliest tokens of each position, each with how many logits it is behind the first."""
    best = logits.topk(min(_KEPT_TOKENS, logits.shape[-1]), dim=-1)
    gaps = best.values[:, :1] - best.values
    return [
        [[token, round(gap, 4)] for token, gap in zip(*row, strict=True)]
        for row in zip(best.indices.tolist(), gaps.tolist(), strict=True)
    ]


class Bench:
    """The models, one after the other, each loaded once; and the seconds of each step."""

    def __init__(self, job: ParityJob) -> None:
        started_s = time.monotonic()
        import torch

        from lfwrap_worker.inference.engine_model import EngineModel

        self._torch, self._kind = torch, EngineModel
        self._comparison = Comparison(job)
        self._dtype = job["dtype"] if torch.cuda.is_available() else "float32"
        self._model: Any = None  # let go before the next one is loaded
        self._timing: dict[str, dict[str, float]] = {"reference": {"import_s": _since(started_s)}}
        self._load("reference", job["reference"])
        self._found = self._computed()
        self._answer("reference", lambda: self._comparison.answer_reference(self._model))

    def compare(self, sides: Mapping[str, Side]) -> dict[str, Any]:
        """Ask the others; returns the event."""
        found = {}
        for name, side in sides.items():
            self._load(name, side)
            adapter = "tuned" if side.get("adapter") else None
            rows = self._answer(name, lambda: self._comparison.answer_side(self._model, adapter))  # noqa: B023 - at once
            seconds = round(sum(self._timing[name].values()), 1)
            found[name] = {"rows": rows, "seconds": seconds, **self._computed()}
        return {
            "event": EVENT_PARITY,
            "reference": self._comparison.reference,
            "sides": found,
            "timing": self._timing,
            **self._found,
        }

    def _computed(self) -> dict[str, str]:
        return {"compute_dtype": self._model.dtype, "device": self._model.device}

    def _load(self, name: str, side: Side) -> None:
        """Load one side and cast it to the type to compute in; a quantised one stays as it is."""
        started_s = time.monotonic()
        self._model = None
        gc.collect()
        if self._torch.cuda.is_available():
            self._torch.cuda.empty_cache()
        adapters = {"tuned": side["adapter"]} if side["adapter"] else {}
        self._model = self._kind(side["arguments"], adapters, None if side.get("quantized") else self._dtype)
        self._timing.setdefault(name, {})["load_s"] = _since(started_s)

    def _answer(self, name: str, work: Callable[[], Any]) -> Any:
        started_s = time.monotonic()
        result = work()
        self._timing[name]["answer_s"] = _since(started_s)
        return result


def _since(started_s: float) -> float:
    return round(time.monotonic() - started_s, 2)


def compare(requests: Iterator[Any]) -> dict[str, Any]:
    """Both requests, in their order; returns the event."""
    started_s = time.monotonic()
    bench = Bench(next(requests))
    answered_s = time.monotonic()
    sides = next(requests)["sides"]
    waited_s = time.monotonic() - answered_s
    event = bench.compare(sides)
    # Waiting for what is to be compared is no part of comparing.
    return event | {"seconds": round(time.monotonic() - started_s - waited_s, 1)}


def main() -> int:
    """Answer with the event, or with what went wrong; returns the exit code."""
    return run_job(compare)
