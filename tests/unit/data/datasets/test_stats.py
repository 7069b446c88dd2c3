import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.datasets.dataset import find_dataset
from lfwrap.data.datasets.stats import count_rows, histogram, quantiles, script_of
from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request


@given(st.lists(st.integers(0, 10_000), min_size=1, max_size=200))
def test_quantiles_are_members_and_rise(values: list[int]) -> None:
    found = list(quantiles(values).values())
    assert found == sorted(found)
    assert set(found) <= set(values)
    assert found[-1] == max(values)


@given(st.lists(st.integers(0, 10_000), max_size=200))
def test_a_histogram_counts_every_value_once(values: list[int]) -> None:
    assert sum(count for _, _, count in histogram(values)) == len(values)


def test_quantiles_by_nearest_rank() -> None:
    expected = {"p50": 500, "p90": 900, "p95": 950, "p99": 990, "p99.9": 999, "max": 1000}
    assert quantiles(range(1, 1001)) == expected
    assert set(quantiles([]).values()) == {0}


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("高血压患者能吃党参吗？", "Han"),
        ("こんにちは世界", "Kana"),
        ("東京の天気を教えて", "Kana"),
        ("안녕하세요", "Hangul"),
        ("Привет, мир", "Cyrillic"),
        ("Γειά σου", "Greek"),
        ("مرحبا", "Arabic"),
        ("नमस्ते", "Devanagari"),
        ("สวัสดี", "Thai"),
        ("hello", "Latin"),
        ("Où est la gare à Köln?", "Latin"),
        ("用 Python 写 hello world", "Latin"),
        ("解释一下 LoRA 的原理和作用", "Han"),
        ("123 😀", "other"),
        ("", "other"),
    ],
)
def test_scripts(text: str, script: str) -> None:
    assert script_of(text) == script


def test_counts_of_a_prepared_set(tmp_path: Path) -> None:
    messages = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "q"},
        {"role": "assistant", "tool_calls": [{"function": {"name": "f", "arguments": "{}"}}] * 2},
        {"role": "tool", "content": "1"},
        {"role": "tool", "content": "2"},
        {"role": "assistant", "content": "done"},
    ]
    tools = [{"type": "function", "function": {"name": name}} for name in ("f", "g")]
    (tmp_path / "a.jsonl").write_text(json.dumps({"messages": messages, "tools": tools}))
    (tmp_path / "b.csv").write_text("ask,answer\n你好吗,好\n", encoding="utf-8")
    prepare(Request((str(tmp_path / "a.jsonl"), str(tmp_path / "b.csv")), tmp_path / "o", "x"))
    found = count_rows(find_dataset("x", tmp_path / "o").rows())
    assert (found["rows"], found["turns_per_row"], found["tools"], found["calls"]) == (2, {2: 1, 4: 1}, 2, {"f": 2})
    assert found["turns"] == {"human": 2, "gpt": 2, "function_call": 1, "observation": 1}
    assert (found["with_system"], found["with_tools"], found["with_calls"]) == (1, 1, 1)
    assert (found["with_parallel_calls"], found["with_further_questions"]) == (1, 0)
    assert (found["scripts"], found["never_called"]) == ({"Latin": 1, "Han": 1}, ["g"])
