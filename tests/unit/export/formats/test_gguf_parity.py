"""A GGUF file held against what was trained, a server of ours standing for llama.cpp's."""

from __future__ import annotations

import contextlib
import json
import math
import threading
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from lfwrap.errors import EngineError
from lfwrap.export.formats import gguf_parity
from lfwrap.export.formats.gguf_parity import GgufReport, measure_gguf, require_gguf
from lfwrap.inference.parity import ReferenceAnswer
from lfwrap.inference.serving.llama_server import LlamaServer

# Answers 10, 11, 12 to the prompt 1, 2; the next best tokens are 20 and 21.
REFERENCE = ReferenceAnswer(
    "How?", "So it is", (1, 2), (10, 11, 12), (2, 5, 8), (-0.5, -0.5, -0.5),
    ({10: 0.0, 20: 3.0}, {11: 0.0, 21: 0.05}, {12: 0.0, 20: 2.0}, {99: 0.0, 20: 2.0}), stopped=True,
)  # fmt: skip


class Model:
    """What the server says: the greedy answer, the prompt's tokens, and log-probabilities by position."""

    def __init__(self, answer=(10, 11, 12, 99), prompt=(1, 2), logprob=-0.5, halves=(), heeds_bias=True):
        """``halves``: tokens that end within a character, of which llama.cpp gives no probabilities."""
        self.answer, self.prompt, self.logprob = list(answer), list(prompt), logprob
        self.halves, self.heeds_bias = set(halves), heeds_bias
        self.asked: list[tuple[str, dict]] = []

    def reply(self, path: str, body: dict) -> dict:
        self.asked.append((path, body))
        if path == "/apply-template":
            return {"prompt": f"<{body['messages'][0]['content']}>"}
        if path == "/tokenize":
            return {"tokens": self.prompt}
        if path == "/detokenize":
            return {"content": " ".join(f"t{token}" for token in body["tokens"])}
        start = len(body["prompt"]) - len(REFERENCE.prompt_ids)
        tokens = self.answer[start : start + body["n_predict"]]
        forced = [token for token, _ in body.get("logit_bias", ()) if self.heeds_bias]
        entries = [
            {"id": (forced or [token])[0], "top_logprobs": self.likeliest(start + index, token)}
            for index, token in enumerate(tokens)
            if forced or token not in self.halves
        ]
        return {"tokens": forced or tokens} | ({"completion_probabilities": entries} if entries else {})

    def likeliest(self, position: int, token: int) -> list[dict]:
        top = [{"id": token, "logprob": self.logprob}]
        expected = REFERENCE.answer_ids[position : position + 1]
        if expected and token != expected[0]:
            top.append({"id": expected[0], "logprob": self.logprob - 0.4})
        return top

    def completions(self) -> int:
        return sum(path == "/completion" for path, _ in self.asked)


@pytest.fixture
def serve(monkeypatch):
    servers = []

    def start(model: Model) -> LlamaServer:
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                content = json.dumps(model.reply(self.path, body)).encode()
                self.send_response(200)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        ours = LlamaServer(f"http://127.0.0.1:{server.server_port}")
        monkeypatch.setattr(gguf_parity, "serve_gguf", lambda *_, **__: contextlib.nullcontext(ours))
        return ours

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def _measure(serve, model: Model, kind: str = "f16", dtype: str = "float16", **options) -> GgufReport:
    serve(model)
    arguments = {"kind": kind, "merged_dtype": dtype, "stop_ids": (99,), "same_chat_template": True, **options}
    return measure_gguf(None, Path("x.gguf"), [REFERENCE], **arguments)


def test_the_same_answer_passes(serve):
    report = _measure(serve, Model())
    require_gguf(report, Path("law-f16.gguf"))
    [row] = report.rows
    assert (row.same_prompt, row.same_answer, row.same_top_tokens, row.answer) == (True, True, 3, "t10 t11 t12")
    agreement = report.agreement
    assert (agreement.perplexity_reference, agreement.perplexity) == pytest.approx((math.exp(0.5), math.exp(0.5)))
    assert "1 of 1 greedy answers the same; 100.0% of tokens agree" in report.summary()
    assert report.to_json()["passed"] is True


@pytest.mark.parametrize(
    ("answer", "completions"), [((10, 11, 12, 99), 1), ((10, 21, 12, 99), 2), ((20, 11, 12, 99), 3)]
)
def test_only_what_comes_after_the_answers_part_is_asked_for_again(serve, answer, completions):
    model = Model(answer)
    report = _measure(serve, model)
    assert model.completions() == completions
    assert report.rows[0].logprob == pytest.approx(-0.5 * 3 - 0.4 * (completions > 1))


@pytest.mark.parametrize("halves", [(10,), (11,), (12,), (11, 12), (10, 11, 12)])
def test_tokens_that_end_within_a_character_are_counted_too(serve, halves):
    """A Chinese character or an emoji of several tokens: llama.cpp tells of the last of them alone."""
    report = _measure(serve, Model(halves=halves))
    [row] = report.rows
    assert (row.same_answer, row.same_top_tokens) == (True, 3)
    assert report.agreement.perplexity == pytest.approx(math.exp(0.5))


def test_a_server_that_gives_no_probabilities_is_told(serve):
    with pytest.raises(EngineError, match="gives no probabilities"):
        _measure(serve, Model(halves=(10, 11, 12), heeds_bias=False))


def test_another_token_is_an_error_that_names_it(serve):
    report = _measure(serve, Model((20, 11, 12, 99)))
    with pytest.raises(
        EngineError, match=r"the answers part at token 1: 't10' before, 't20' .* preferred its own by 3"
    ):
        require_gguf(report, Path("law-f16.gguf"))


def test_a_token_that_the_reference_did_not_think_of_is_far_off(serve):
    assert "by far" in _measure(serve, Model((55, 11, 12, 99))).problems()[0]


def test_a_near_tie_is_rounding(serve):
    report = _measure(serve, Model((10, 21, 12, 99)))
    assert (report.rows[0].position, report.rows[0].margin) == (1, 0.05)
    assert report.problems() == []


@pytest.mark.parametrize(("answer", "words"), [((10, 11, 99, 99), "the end"), ((10, 11, 12, 20), "t20")])
def test_an_answer_that_ends_elsewhere_is_found(serve, answer, words):
    [problem] = _measure(serve, Model(answer)).problems()
    assert words in problem


def test_a_quantised_file_may_answer_otherwise_within_reason(serve):
    report = _measure(serve, Model((10, 20, 12, 99), logprob=-0.6), kind="q4_k_m")
    assert report.problems() == []
    assert report.to_json()["top_token_agreement"] == pytest.approx(2 / 3, abs=1e-3)
    assert report.to_json()["perplexity_change"] > 0


def test_a_broken_quantised_file_does_not_pass(serve):
    [problem] = _measure(serve, Model((50, 51, 52, 53), logprob=-0.1), kind="q4_k_m").problems()
    assert "only 0% of the tokens are the same" in problem


def test_another_prompt_is_an_error_unless_the_template_could_not_be_said(serve):
    model = Model(prompt=(1, 3))
    assert "makes another prompt" in _measure(serve, model).problems()[0]
    assert _measure(serve, model, same_chat_template=False).problems() == []


def test_a_refusal_of_the_server_is_told(serve, monkeypatch):
    server = serve(Model())
    monkeypatch.setattr(Model, "reply", lambda *_: 1 / 0)
    with pytest.raises(EngineError, match=r"llama\.cpp does not answer /tokenize"):
        server.post("/tokenize", {})


def test_more_doubt_is_never_judged_milder(serve):
    report = _measure(serve, Model((20, 11, 12, 99)))
    counts = [
        len(replace(report, rows=(replace(report.rows[0], margin=margin),)).problems()) for margin in (0.01, 1, 9)
    ]
    assert counts == sorted(counts)
