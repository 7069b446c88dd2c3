"""The account of an engine check: how many rows are concerned, and which lines of the file they are."""

from pathlib import Path

from fake_engine import fake_engine

from lfwrap.data.datasets.engine_check import EngineCheck, summarise


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
