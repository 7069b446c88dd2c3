"""The account of an engine check: how many rows are concerned, and which lines of the file they are."""

import json
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_engine

from lfwrap.data.datasets import engine_check
from lfwrap.data.datasets.engine_check import EngineCheck, OwnFaultError, check_staged, summarise
from lfwrap.errors import DataError


def counted(tokens: int, *, cut: bool = False, bare: bool = False) -> dict:
    return {"tokens": tokens, "supervised": 1, "question_cut": cut, "unsupervised_after_cut": bare}


def check(tmp_path: Path) -> EngineCheck:
    return EngineCheck(fake_engine(tmp_path), "qwen", "model", cutoff_len=10)


def test_rows_concerned_are_counted_and_listed(tmp_path: Path) -> None:
    train, val = [counted(10), counted(11), counted(99, cut=True)], [counted(1), counted(50, bare=True)]
    sets = [
        {"name": "x", "rows_loaded": 3, "calls_unread": [2], "counts": train},
        {"name": "x_val", "rows_loaded": 2, "calls_unread": [], "counts": val},
    ]
    account = summarise(check(tmp_path), sets, {"x": 1, "x_val": 4})
    assert {key: account[key] for key in ("rows_checked", "calls_unread", "over_cutoff", "question_cut")} == {
        "rows_checked": 5,
        "calls_unread": 1,
        "over_cutoff": 3,
        "question_cut": 1,
    }
    assert account["rows"] == {
        "x": {"calls_unread": [2], "over_cutoff": [2, 3], "question_cut": [3]},
        "x_val": {"over_cutoff": [5], "without_supervised_token": [5]},  # one row in four was looked at
    }


def test_without_a_tokenizer_nothing_is_said_of_tokens(tmp_path: Path) -> None:
    account = summarise(check(tmp_path), [{"name": "x", "rows_loaded": 1, "calls_unread": []}], {"x": 1})
    assert account["calls_unread"] == 0
    assert "over_cutoff" not in account
    assert account["rows"] == {"x": {}}


def test_exceptions_are_said_once_each_with_a_row(tmp_path: Path) -> None:
    train = {"name": "x", "rows_loaded": 9, "calls_unread": [2, 3], "parser_errors": [[2, "E: a"], [3, "E: b"]]}
    val = {"name": "x_val", "rows_loaded": 9, "calls_unread": [], "parser_errors": [[5, "E: a"]],
           "own_faults": [[1, "KeyError: 'x'"]]}  # fmt: skip
    account = summarise(check(tmp_path), [train, val], {"x": 3, "x_val": 2})
    assert account["parser_errors"] == [
        {"error": "E: a", "rows": 2, "example": {"set": "x", "line": 4}},
        {"error": "E: b", "rows": 1, "example": {"set": "x", "line": 7}},
    ]
    assert account["own_faults"] == [{"error": "KeyError: 'x'", "rows": 1, "example": {"set": "x_val", "line": 1}}]


def test_a_row_that_was_not_counted_is_left_out_of_the_figures(tmp_path: Path) -> None:
    sets = [{"name": "x", "rows_loaded": 3, "calls_unread": [], "counts": [counted(5), None, counted(99)]}]
    account = summarise(check(tmp_path), sets, {"x": 1})
    assert account["over_cutoff"] == 1
    assert account["rows"] == {"x": {"over_cutoff": [3]}}


def staged(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any) -> dict[str, Any]:
    """The check of two staged rows, of which the worker says this."""
    (tmp_path / "x.jsonl").write_text("{}\n{}\n")

    def run_worker(*_: Any, **__: Any) -> Any:
        if isinstance(answer, Exception):
            raise answer
        return answer

    monkeypatch.setattr(engine_check, "run_worker", run_worker)
    account = check_staged(check(tmp_path), tmp_path, {"x": 2})
    assert not (tmp_path / "check").exists()
    return json.loads(json.dumps(account))


GOOD = {"name": "x", "rows_written": 2, "rows_loaded": 2, "dropped": [], "different": [], "calls_unread": []}


@pytest.mark.parametrize(
    "answer",
    [
        {"own_fault": "KeyError: 'x'", "sets": []},
        OwnFaultError("KeyError: 'x'"),
        {"sets": [{}]},  # an answer that makes no sense
        RuntimeError("token ghp_" + "a1" * 18),
    ],
)
def test_a_fault_of_the_check_is_said_and_keeps_nothing_from_being_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    account = staged(tmp_path, monkeypatch, answer)
    assert account["rows_checked"] == 0
    [fault] = account["own_faults"]
    assert "Error" in fault["error"]
    assert "ghp_" not in fault["error"]


@pytest.mark.parametrize(
    ("found", "said"),
    [
        ({"dropped": [2]}, "x: rows 2 would be dropped"),
        ({"different": [1, 2]}, "x: rows 1, 2 would be read as something else"),
        ({"rows_loaded": 1}, "2 rows were written, 1 loaded"),
        ({"refused": [[1, "RuntimeError: no"], [2, "RuntimeError: no"]]}, "fails on rows 1, 2 (RuntimeError: no)"),
    ],
)
def test_rows_that_the_engine_loses_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], said: str
) -> None:
    with pytest.raises(DataError) as raised:
        staged(tmp_path, monkeypatch, {"sets": [{**GOOD, **found}]})
    assert said in raised.value.message
