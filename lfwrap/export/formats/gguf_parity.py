"""Does a GGUF file answer as what was trained? Asked in llama.cpp itself, over HTTP.

The prompt is asked for through the file's own tokenizer and chat template; then the file answers greedily, and each
token of the reference's answer is offered to it in turn.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.locate import Engine
from lfwrap.errors import EngineError
from lfwrap.inference.agreement import Agreement
from lfwrap.inference.parity import TOLERANCES, ReferenceAnswer
from lfwrap.inference.serving.llama_server import RUNTIME_HINT, LlamaServer, serve_gguf

_PROBABILITIES = 64
_FORCING = 1000.0  # added to a token's logit: no other has a chance
_SPARE_TOKENS = 64
_MIN_CONTEXT_TOKENS = 512
# A file that is only rounded stays far from these; one with a broken tokenizer or graph does not.
_MIN_AGREEMENT = 0.5
_MAX_PERPLEXITY_FACTOR = 4.0
UNQUANTIZED = {"f32": "float32", "f16": "float16", "bf16": "bfloat16"}


@dataclass(frozen=True, slots=True)
class GgufRow:
    """The figures of one question.

    Attributes:
        question: what was asked.
        reference_answer: of base + adapter.
        answer: of the GGUF file.
        same_prompt: whether its tokenizer and chat template make the same tokens of the question.
        same_answer: whether the greedy answers are the same tokens.
        answer_tokens: of the reference.
        same_top_tokens: positions along the reference's answer at which it holds the same token likeliest.
        reference_logprob: of the reference's answer under the reference.
        logprob: of the reference's answer under the GGUF file; a token outside its 64 likeliest counts as the 64th.
        position: where the answers part, from 0; None where they do not.
        margin: by how many logits the reference preferred its own token there; None when it held many others better.
        tokens: the two tokens there, as text.
    """

    question: str
    reference_answer: str
    answer: str
    same_prompt: bool
    same_answer: bool
    answer_tokens: int
    same_top_tokens: int
    reference_logprob: float
    logprob: float
    position: int | None = None
    margin: float | None = None
    tokens: tuple[str, str] | None = None


@dataclass(frozen=True, slots=True)
class GgufReport:
    """What a comparison of one GGUF file found.

    Attributes:
        kind: its type: ``f16``, ``q4_k_m``, ….
        merged_dtype: the type of the weights that it was made from.
        rows: one for each question.
        same_chat_template: whether the shipped chat template was to give the training's prompt; else it is not judged.
    """

    kind: str
    merged_dtype: str
    rows: tuple[GgufRow, ...]
    same_chat_template: bool = True

    @property
    def tie(self) -> float:
        """Logits by which the reference may prefer its own token where the answers part."""
        return max(TOLERANCES[self.merged_dtype].tie, TOLERANCES[UNQUANTIZED.get(self.kind, "float16")].tie)

    @property
    def agreement(self) -> Agreement:
        """How nearly the file says what the reference said."""
        return Agreement.of(self.rows)

    def problems(self) -> list[str]:
        """Every way in which the file is not what was trained. A quantised one may answer otherwise, within reason."""
        found = []
        for row in self.rows:
            if self.same_chat_template and not row.same_prompt:
                found.append(f"'{row.question}': its tokenizer or chat template makes another prompt")
            is_near_tie = row.margin is not None and row.margin <= self.tie
            if self.kind in UNQUANTIZED and not row.same_answer and row.tokens and not is_near_tie:
                margin = "by far" if row.margin is None else f"by {row.margin:.3g} logits, {self.tie:g} tolerated"
                found.append(
                    f"'{row.question}': the answers part at token {(row.position or 0) + 1}: {row.tokens[0]!r} before, "
                    f"{row.tokens[1]!r} from the GGUF file (the trained model preferred its own {margin})"
                )
        agreement = self.agreement
        before, after = agreement.perplexity_reference, agreement.perplexity
        if agreement.tokens < _MIN_AGREEMENT or not after <= before * _MAX_PERPLEXITY_FACTOR:  # also true of NaN
            found.append(
                f"only {agreement.tokens:.0%} of the tokens are the same, perplexity {before:.3g} became {after:.3g}: "
                "more than rounding explains"
            )
        return found

    def summary(self) -> str:
        """The report on one line."""
        return f"{self.kind} in llama.cpp: {self.agreement.summary()}"

    def to_json(self) -> dict[str, Any]:
        """The report as it stands in ``export.json``."""
        return {
            "passed": not self.problems(),
            **self.agreement.to_json(),
            "rows": [asdict(row) for row in self.rows],
        }


def measure_gguf(
    engine: Engine,
    path: Path,
    reference: Sequence[ReferenceAnswer],
    *,
    kind: str,
    merged_dtype: str,
    stop_ids: Collection[int],
    same_chat_template: bool,
) -> GgufReport:
    """Ask a GGUF file what the reference was asked.

    Raises:
        EngineError: llama.cpp can't load the file or can't answer.
    """
    longest = max(len(answer.prompt_ids) + len(answer.answer_ids) for answer in reference)
    context_tokens = max(_MIN_CONTEXT_TOKENS, longest + _SPARE_TOKENS)
    with serve_gguf(engine, path, context_tokens=context_tokens) as server:
        rows = tuple(_row(server, answer, set(stop_ids)) for answer in reference)
    return GgufReport(kind, merged_dtype, rows, same_chat_template)


def require_gguf(report: GgufReport, path: Path) -> None:
    """Raise EngineError with every problem when a GGUF file is not what was trained."""
    problems = report.problems()
    if problems:
        raise EngineError(
            f"{path.name} does not answer as the adapter on its base: " + "; ".join(problems),
            hint="Nothing was left under the final name. --no-parity exports it unchecked; please report this.",
        )


def _row(server: LlamaServer, reference: ReferenceAnswer, stop_ids: set[int]) -> GgufRow:
    expected = list(reference.answer_ids)
    found, likeliest = _greedy(server, reference, stop_ids)
    shared = min(len(expected), len(found))
    position = next((index for index in range(shared) if expected[index] != found[index]), shared)
    # Up to where the answers part, and there, it has been asked what would be asked again.
    tops, logprob = _offer(server, reference, likeliest[: position + 1])
    same = found == expected
    return GgufRow(
        reference.question,
        reference.answer,
        _text(server, found),
        _prompt_ids(server, reference.question) == list(reference.prompt_ids),
        same,
        len(expected),
        sum(top == token for top, token in zip(tops, expected, strict=True)),
        sum(reference.logprobs),
        logprob,
        *(() if same else (position, *_parting(server, reference, found, position, stop_ids))),
    )


def _parting(
    server: LlamaServer, reference: ReferenceAnswer, found: Sequence[int], position: int, stop_ids: set[int]
) -> tuple[float | None, tuple[str, str]]:
    """By how much the reference preferred its own token where the answers part, and both tokens."""
    gaps = reference.gaps[position]
    candidates = [found[position]] if position < len(found) else sorted(stop_ids)
    margins = [gaps[token] for token in candidates if token in gaps]
    words = [
        _text(server, [ids[position]]) if position < len(ids) else "the end" for ids in (reference.answer_ids, found)
    ]
    return min(margins, default=None), (words[0], words[1])


def _prompt_ids(server: LlamaServer, question: str) -> list[int]:
    prompt = server.post("/apply-template", {"messages": [{"role": "user", "content": question}]})["prompt"]
    body = {"content": prompt, "add_special": False, "parse_special": True}
    return list(server.post("/tokenize", body)["tokens"])


def _text(server: LlamaServer, tokens: Sequence[int]) -> str:
    return str(server.post("/detokenize", {"tokens": list(tokens)})["content"]) if tokens else ""


def _complete(server: LlamaServer, prompt: list[int], tokens: int, **more: Any) -> dict[str, Any]:
    body = {"prompt": prompt, "n_predict": tokens, "temperature": 0, "return_tokens": True, "cache_prompt": True}
    return server.post("/completion", body | more)


def _greedy(
    server: LlamaServer, reference: ReferenceAnswer, stop_ids: set[int]
) -> tuple[list[int], list[Mapping[int, float]]]:
    """As many tokens as the reference gave, one more where that one ended by itself; without stop tokens.

    Beside them the likeliest tokens of each position with their log-probabilities, as far as both lists go together.
    """
    wanted = len(reference.answer_ids) + reference.stopped
    answer = _complete(server, list(reference.prompt_ids), wanted, n_probs=_PROBABILITIES)
    tokens = answer["tokens"]
    end = next((index for index, token in enumerate(tokens) if token in stop_ids), len(tokens))
    entries = zip(tokens, _probabilities(answer), strict=False)
    aligned = itertools.takewhile(lambda pair: pair[1].get("id", pair[0]) == pair[0], entries)
    return list(tokens[:end]), [_likeliest(entry) for _, entry in aligned]


def _offer(
    server: LlamaServer, reference: ReferenceAnswer, known: Sequence[Mapping[int, float]]
) -> tuple[list[int], float]:
    """The likeliest token at each position of the reference's answer, and the log-probability of that answer.

    Args:
        server: runs the file.
        reference: whose answer is offered.
        known: the likeliest tokens of the first positions, which need not be asked for.
    """
    tops, total = [], 0.0
    for position, token in enumerate(reference.answer_ids):
        likeliest = known[position] if position < len(known) else _likeliest_after(server, reference, position)
        tops.append(max(likeliest, key=lambda name: likeliest[name]))
        total += likeliest.get(token, min(likeliest.values()))
    return tops, total


def _likeliest_after(server: LlamaServer, reference: ReferenceAnswer, position: int) -> Mapping[int, float]:
    prompt = [*reference.prompt_ids, *reference.answer_ids[:position]]
    entries = _probabilities(_complete(server, prompt, 1, n_probs=_PROBABILITIES))
    if not entries:
        # llama.cpp says nothing of a token that ends within a character. The figures are of the model's own logits, so
        # that they are the same beside a letter that is forced to come.
        letter = server.post("/tokenize", {"content": "a", "add_special": False})["tokens"][0]
        forced = _complete(server, prompt, 1, n_probs=_PROBABILITIES, logit_bias=[[letter, _FORCING]])
        entries = _probabilities(forced)
    if not entries:
        raise EngineError("llama.cpp gives no probabilities", hint=RUNTIME_HINT)
    return _likeliest(entries[0])


def _probabilities(answer: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return list(answer.get("completion_probabilities", ()))


def _likeliest(entry: Mapping[str, Any]) -> Mapping[int, float]:
    return {item["id"]: item["logprob"] for item in entry["top_logprobs"]}
