"""A judge behind a real HTTP server: both orders, verdicts, failures, and a key that is never shown."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import pytest

from lfwrap.errors import PreflightError, UsageError
from lfwrap.evaluate.judge import Judge, JudgeAddress, Pair, Winner, combine, read_verdict

_spec = importlib.util.spec_from_file_location("judge_server", Path(__file__).with_name("judge_server.py"))
_module = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(_module)
serve_judge = _module.serve_judge

PAIRS = [Pair(0, "Why?", "short", "a longer answer", "the reference"), Pair(1, "How?", "this one", "that one")]


def verdict(winner: str) -> str:
    return json.dumps({"reason": f"it is {winner}", "winner": winner})


def prefers_longer(first: str, second: str) -> str:
    return verdict("tie" if len(first) == len(second) else "A" if len(first) > len(second) else "B")


def test_every_pair_is_asked_in_both_orders_and_agreement_wins():
    with serve_judge(prefers_longer) as server:
        judge = Judge(JudgeAddress(server.url, "m", "sk-secret"))
        found = {each.id: each for each in judge.judge_all(PAIRS)}
    assert (found[0].winner, found[0].is_consistent) == (Winner.SECOND, True)
    assert (found[1].winner, found[1].is_consistent) == (Winner.TIE, True)
    assert found[0].reasons == ("it is B", "it is A")
    assert len(server.requests) == 4
    path, headers, body = server.requests[0]
    assert path == "/v1/chat/completions"
    assert headers["Authorization"] == "Bearer sk-secret"
    assert (body["model"], body["temperature"]) == ("m", 0)
    assert "[Reference]\nthe reference" in " ".join(request[2]["messages"][1]["content"] for request in server.requests)


def test_a_judge_that_always_takes_the_first_decides_nothing():
    with serve_judge(lambda *_: verdict("A")) as server:
        [found] = Judge(JudgeAddress(server.url, "m")).judge_all(PAIRS[:1])
    assert (found.winner, found.in_order, found.swapped) == (Winner.TIE, Winner.FIRST, Winner.SECOND)
    assert not found.is_consistent
    assert "Authorization" not in server.requests[0][1]


def test_what_fails_for_now_is_asked_again():
    with serve_judge(prefers_longer) as server:
        server.failures = [429, 503]
        [found] = Judge(JudgeAddress(server.url, "m")).judge_all(PAIRS[:1])
    assert found.winner is Winner.SECOND
    assert len(server.requests) == 4


@pytest.mark.parametrize("status", [401, 404, 400])
def test_a_refusal_is_an_error_at_once_that_shows_no_key(status):
    with serve_judge(prefers_longer) as server:
        server.failures = [status] * 20
        judge = Judge(JudgeAddress(server.url, "m", "sk-secret"), parallel=1)
        with pytest.raises(PreflightError, match=str(status)) as caught:
            list(judge.judge_all(PAIRS))
    assert len(server.requests) <= 2
    assert "sk-secret" not in f"{caught.value.message} {caught.value.hint}"


def test_nobody_there_is_an_error():
    with pytest.raises(PreflightError, match="refused"):
        list(Judge(JudgeAddress("http://127.0.0.1:9/v1", "m", attempts=1)).judge_all(PAIRS))


@pytest.mark.parametrize(
    ("reply", "winner"),
    [
        ('{"reason": "A is wrong", "winner": "B"}', Winner.SECOND),
        ('Sure!\n```json\n{"winner": "tie"}\n```', Winner.TIE),
        ("winner: A", Winner.FIRST),
        ('First I thought "winner": "A", but {"reason": "no", "winner": "b"}', Winner.SECOND),
        ("Both are fine.", Winner.UNCLEAR),
        ("", Winner.UNCLEAR),
        ('{"winner": "Answer C"}', Winner.UNCLEAR),
    ],
)
def test_replies_as_models_write_them(reply, winner):
    assert read_verdict(reply)[0] is winner


def test_both_orders_must_agree():
    assert combine(Winner.FIRST, Winner.FIRST) is Winner.FIRST
    assert combine(Winner.FIRST, Winner.SECOND) is Winner.TIE
    assert combine(Winner.FIRST, Winner.TIE) is Winner.TIE
    assert combine(Winner.UNCLEAR, Winner.FIRST) is Winner.UNCLEAR


@pytest.mark.parametrize("url", ["ftp://x/v1", "file:///etc/passwd", "127.0.0.1:8000", "http://user:pass@host/v1"])
def test_addresses_that_are_none_or_hold_a_password(url):
    with pytest.raises(UsageError) as caught:
        JudgeAddress(url, "m")
    assert "user" not in caught.value.message
    assert ":pass" not in caught.value.message


def test_the_key_is_not_in_the_repr_and_the_query_not_in_the_address():
    address = JudgeAddress("https://host:8443/v1?token=abc", "m", "sk-secret")
    assert "sk-secret" not in repr(address)
    assert address.shown_url == "https://host:8443/v1"
