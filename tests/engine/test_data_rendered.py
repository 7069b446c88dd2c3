"""`lfwrap data show --rendered` and `stats --rendered` with the real engine: text, trained parts, tokens."""

from __future__ import annotations

import importlib.util
import json
import re
import subprocess
import sys

import pytest

from lfwrap.bundled import bundled_path

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("llamafactory") is None, reason="the engine is not installed"),
]

MCP = bundled_path("data/mcp")
SPECIAL = re.compile(r"<\|endoftext\|>|<\|im_start\|>|<\|im_end\|>")


def lfwrap(*arguments, code=0):
    done = subprocess.run(
        [sys.executable, "-m", "lfwrap", *map(str, arguments)], capture_output=True, text=True, check=False
    )
    assert done.returncode == code, done.stderr[-2000:]
    return done


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("prepared")
    options = ["--instructions", MCP / "session_instructions.jsonl", "--template", "qwen", "--no-engine-check"]
    lfwrap("prepare-data", MCP / "session.log", *options, "--out", out, "--name", "log")
    return out


def token_count(text):
    """Tokens of the tiny model: one for each byte, one for each special token."""
    return len(SPECIAL.sub("", text).encode()) + len(SPECIAL.findall(text))


def test_rows_as_the_model_sees_them(folder, tiny_model):
    command = ["data", "show", "log", "-n", "20", "--dataset-dir", folder, "--rendered", "--model", tiny_model]
    done = lfwrap(*command, "--json")
    rows = json.loads(done.stdout)["rows"]
    assert "template qwen" in done.stderr  # the one that the set was prepared for
    assert len(rows) == 13
    for row in rows:
        trained = [piece["text"] for piece in row["rendered"] if piece["trained"]]
        read = [piece["text"] for piece in row["rendered"] if not piece["trained"]]
        answers = [turn for turn in row["conversations"] if turn["from"] in ("function_call", "gpt")]
        assert len(trained) == len(answers) == len(read)
        for text, turn in zip(trained, answers, strict=True):
            if turn["from"] == "gpt":
                assert text == turn["value"] + "<|im_end|>\n"
            else:
                calls = re.findall(r"<tool_call>\n(.*)\n</tool_call>", text)
                written = json.loads(turn["value"])
                assert [json.loads(call) for call in calls] == (written if isinstance(written, list) else [written])
        assert read[0].startswith("<|im_start|>system\n")
        assert row["conversations"][0]["value"] in read[0]
        assert "tidewatch.get_tides" in read[0] or "parcel-track" in read[0]
    shown = lfwrap(*command).stdout
    assert shown.count("⟦") == shown.count("⟧") == sum(len(row["rendered"]) for row in rows) // 2

    stats = ["data", "stats", "log", "--dataset-dir", folder, "--rendered", "--model", tiny_model, "--json"]
    tokens = json.loads(lfwrap(*stats).stdout)["tokens"]
    assert tokens["counted"] == "rendered by the engine with the template qwen"
    totals = [sum(token_count(piece["text"]) for piece in row["rendered"]) for row in rows]
    trained = [sum(token_count(piece["text"]) for piece in row["rendered"] if piece["trained"]) for row in rows]
    assert (tokens["sum"], tokens["supervised_sum"]) == (sum(totals), sum(trained))
    assert (tokens["total"]["max"], tokens["supervised"]["max"]) == (max(totals), max(trained))
    assert tokens["over"]["2048"] == sum(total > 2048 for total in totals)


def test_alpaca_rows_and_another_template(tiny_data, tiny_model):
    command = ["data", "show", "tiny", "-n", "1", "--dataset-dir", tiny_data, "--rendered", "--model", tiny_model]
    assert "its template isn't known" in lfwrap(*command, code=2).stderr
    rendered = json.loads(lfwrap(*command, "--template", "llama3", "--json").stdout)["rows"][0]["rendered"]
    assert [piece["trained"] for piece in rendered] == [False, True]
    assert "What is 0 plus 1?" in rendered[0]["text"]
    assert rendered[1]["text"].startswith("It is 1. ")


def test_rows_that_the_engine_drops_are_named(tmp_path, tiny_model):
    row = {"conversations": [{"from": "human", "value": "a"}, {"from": "human", "value": "b"}]}
    good = {"conversations": [{"from": "human", "value": "a"}, {"from": "gpt", "value": "b"}]}
    (tmp_path / "x.jsonl").write_text(json.dumps(good) + "\n" + json.dumps(row) + "\n", encoding="utf-8")
    command = ["data", "stats", tmp_path / "x.jsonl", "--rendered", "--model", tiny_model, "--template", "qwen"]
    assert "the engine drops 1 of 2 rows, such as 2" in lfwrap(*command, code=4).stderr
