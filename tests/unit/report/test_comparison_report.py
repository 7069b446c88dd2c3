"""The report's forms: everything escaped, tables that line up, cells that run nothing."""

from __future__ import annotations

import copy
import csv
import io
import re

import pytest

from lfwrap.report.comparison import fenced, render_csv, render_html, render_markdown, summary_table

NASTY = '<script>alert("1")</script>\n```\n| =1+1'


def answer(text: str, chrf: float | None = None, **fields):
    scores = {"chrf": chrf, "rouge1": 1.0, "rouge2": 0.5, "rougeL": 1.0} if chrf is not None else None
    return {
        "text": text, "calls": [], "finish": "stop", "prompt_tokens": 3, "answer_tokens": 5, "seconds": 0.25,
        "characters": len(text), "scores": scores, "missing_keywords": None, "verdict": None, **fields,
    }  # fmt: skip


def summary(**fields):
    return {
        "mean_answer_tokens": 5.0, "median_answer_tokens": 5, "cut_at_limit": 0, "seconds": 0.5, "tokens_per_s": 20.0,
        "same_as_baseline": 1, "scores": None, "keywords": {"passed": 0, "checked": 0}, "verdicts": None, **fields,
    }  # fmt: skip


def target(name: str, **fields):
    return {
        "name": name, "kind": "adapter", "base_model": "m", "adapter": f"/{name}", "template": "qwen", "run": None,
        "quantization": None, "path": name, "device": "cpu", "dtype": "float32", "summary": summary(**fields),
    }  # fmt: skip


VERDICT = {"id": 0, "winner": "second", "in_order": "second", "swapped": "second", "reasons": ["ok", ""],
           "is_consistent": True}  # fmt: skip
REPORT = {
    "created_at": "2026-01-01T00:00:00.000Z",
    "source": "q.jsonl",
    "questions": 2,
    "settings": {"max_new_tokens": 64, "temperature": 0.0, "top_p": 1.0, "top_k": 0, "seed": 42},
    "must_contain": [],
    "judge": None,
    "baseline": "base",
    "targets": [
        target("base", scores={"chrf": 10.0, "rouge1": 1.0, "rouge2": 1.0, "rougeL": 30.0}),
        target("<b>tuned</b>", scores={"chrf": 50.0, "rouge1": 1.0, "rouge2": 1.0, "rougeL": 20.0}),
    ],
    "rows": [
        {
            "id": 0, "question": NASTY, "history": [{"role": "user", "content": "before"}], "system": "be brief",
            "reference": "the reference", "must_contain": ["x"], "all_same": False,
            "answers": {
                "base": answer(NASTY, 5.0, missing_keywords=["x"], finish="length"),
                "<b>tuned</b>": answer("=cmd()", 20.0, missing_keywords=[], verdict=VERDICT,
                                       calls=[{"name": "f", "arguments": {"a": "ü"}}]),
            },
        },
        {
            "id": 1, "question": "second", "history": [], "system": None, "reference": None, "must_contain": [],
            "all_same": True, "answers": {"base": answer("same"), "<b>tuned</b>": answer("same")},
        },
    ],
}  # fmt: skip


def test_the_page_escapes_everything_and_loads_nothing():
    page = render_html(REPORT)
    assert page.count("<script>") == 1
    assert "&lt;script&gt;alert(" in page
    assert "<b>tuned</b>" not in page
    assert not re.findall(r'(?:src|href)="(?!data:,)', page)
    assert 'http-equiv="Content-Security-Policy" content="default-src \'none\'' in page
    assert "http" not in re.sub(r"http-equiv", "", page)


def test_the_page_tells_what_stands_out():
    page = render_html(REPORT)
    told = ("cut at the limit", "lacks “x”", "all keywords", "<b>f</b>", "better than base", "be brief", "before")
    for words in told:
        assert words in page
    assert re.search(r'class="number best"[^>]*><span>50.0', page)
    assert 'data-spread="15.0"' in page
    assert page.count('data-same="1"') == 1


@pytest.mark.parametrize(
    ("winner", "consistent", "words"),
    [("first", True, "worse than base"), ("tie", True, "no better"), ("tie", False, "depends on the order"),
     ("unclear", True, "no verdict")],
)  # fmt: skip
def test_verdicts_in_words(winner, consistent, words):
    report = copy.deepcopy(REPORT)
    report["rows"][0]["answers"]["<b>tuned</b>"]["verdict"] |= {"winner": winner, "is_consistent": consistent}
    assert words in render_html(report)
    assert words in render_markdown(report)


def test_markdown_blocks_can_not_be_broken_out_of():
    text = render_markdown(REPORT)
    assert "````text\n" + NASTY in text
    assert fenced("a ````` b").startswith("``````text\n")
    header, rule, *lines = [line for line in text.splitlines() if line.startswith("| ")][:4]
    assert {line.count("|") for line in (header, rule, *lines)} == {header.count("|")}


def test_csv_has_a_line_a_question_and_runs_no_formula():
    rows = list(csv.DictReader(io.StringIO(render_csv(REPORT))))
    assert [row["id"] for row in rows] == ["1", "2"]
    assert rows[0]["question"] == NASTY
    assert rows[0]["<b>tuned</b>: answer"] == "'=cmd()"
    assert (rows[0]["base: missing"], rows[0]["<b>tuned</b>: verdict"]) == ("x", "second")
    assert rows[1]["base: chrf"] == ""


def test_columns_without_a_value_are_left_out():
    report = copy.deepcopy(REPORT)
    for each in report["targets"]:
        each["summary"]["scores"] = None
    assert summary_table(report)[0] == ["who", "tokens, mean", "cut at limit", "tokens/s", "time", "same as base"]
    report["targets"][1]["summary"] |= {"keywords": {"passed": 1, "checked": 2}}
    report["targets"][1]["summary"]["verdicts"] = {"wins": 3, "ties": 1, "losses": 2}
    assert summary_table(report)[2][-2:] == ["1/2", "3/1/2"]


def test_sampled_settings_are_said():
    settings = {"max_new_tokens": 9, "temperature": 0.7, "top_p": 0.9, "top_k": 5, "seed": 1}
    assert "temperature 0.7, top-p 0.9, top-k 5, seed 1, up to 9 tokens" in render_html(REPORT | {"settings": settings})
