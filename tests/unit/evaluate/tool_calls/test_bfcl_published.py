"""BFCL's published cases, where they lie beside the checkout: its own answers score 100 %."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lfwrap.data.formats.bfcl import answers_file
from lfwrap.evaluate.evaluate import Material, score_answers
from lfwrap.evaluate.tool_calls.bfcl import load_bfcl

SAMPLES = Path(__file__).resolve().parents[5] / "shared" / "samples" / "bfcl"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples are not beside the checkout")


def plain(values):
    """One of the accepted values, the fields of objects in it chosen likewise; ValueError where there is none."""
    chosen = next((value for value in values if value != ""), None)
    if chosen is None:
        raise ValueError
    return settled(chosen)


def settled(value):
    if isinstance(value, dict):
        return {key: plain(values) for key, values in value.items() if values[0] != ""}
    return [settled(item) for item in value] if isinstance(value, list) else value


def published_answers() -> dict[str, dict]:
    suite = load_bfcl(SAMPLES, "")
    answers = {}
    for line in answers_file(suite.path).read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        [(name, accepted)] = row["ground_truth"][0].items()
        chosen = {key: plain(values) for key, values in accepted.items() if any(value != "" for value in values)}
        answers[row["id"]] = {"name": name, "arguments": chosen}
    return answers


def test_the_published_answers_score_all_of_the_cases():
    suite = load_bfcl(SAMPLES, "")
    answers = published_answers()
    figures = score_answers({key: json.dumps(call) for key, call in answers.items()}, Material("", "", (), suite.cases))
    assert (figures["cases"], suite.left_out) == (400, {})
    assert (figures["tool_accuracy"], figures["ast_accuracy"]) == (1.0, 1.0)


def test_the_published_answers_with_one_more_argument_score_nothing():
    suite = load_bfcl(SAMPLES, "")
    spoilt = {key: call | {"arguments": call["arguments"] | {"bogus": 1}} for key, call in published_answers().items()}
    figures = score_answers({key: json.dumps(call) for key, call in spoilt.items()}, Material("", "", (), suite.cases))
    assert (figures["tool_accuracy"], figures["param_accuracy"], figures["ast_accuracy"]) == (1.0, 0.0, 0.0)
