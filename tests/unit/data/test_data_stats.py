import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.prepare import Request, prepare
from lfwrap.data.stats import count_rows, dataset_file, histogram, language_of, quantiles, read_rows
from lfwrap.errors import DataError


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
    ("text", "language"),
    [("高血压患者能吃党参吗？", "zh"), ("こんにちは世界", "ja"), ("안녕하세요", "ko"), ("Привет", "ru"),
     ("hello", "latin"), ("用 Python 写 hello world", "latin"), ("123", "other"), ("", "other"),
     ("解释一下 LoRA 的原理和作用", "zh")],
)  # fmt: skip
def test_languages(text: str, language: str) -> None:
    assert language_of(text) == language


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
    found = count_rows(read_rows(dataset_file(tmp_path / "o", "x")))
    assert (found["rows"], found["turns"], found["tools"], found["calls"]) == (2, {2: 1, 4: 1}, 2, {"f": 2})
    assert (found["with_system"], found["with_tools"], found["languages"]) == (1, 1, {"latin": 1, "zh": 1})


def test_data_sets_that_cant_be_counted_are_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no data set named x"):
        dataset_file(tmp_path, "x")
    (tmp_path / "dataset_info.json").write_text('{"x": {"file_name": "x.json"}}')
    with pytest.raises(DataError, match="not written by lfwrap"):
        dataset_file(tmp_path, "x")
