"""Answers outlive interruptions, and never mix with others."""

from __future__ import annotations

import pytest

from lfwrap.errors import UsageError
from lfwrap.inference.result_journal import ResultJournal, read_lines

HEADER = {"questions": "abc", "settings": {"seed": 1}}


def test_results_are_there_again(tmp_path):
    path = tmp_path / "deep" / "a.jsonl"
    with ResultJournal(path, HEADER) as journal:
        journal.add(1, {"text": "一"})
        journal.add(0, {"text": "b"})
    with ResultJournal(path, HEADER) as journal:
        assert journal.results == {1: {"text": "一", "id": 1}, 0: {"text": "b", "id": 0}}
        journal.add(2, {"text": "c"})
    assert [line.get("id") for line in read_lines(path)] == [None, 1, 0, 2]


@pytest.mark.parametrize("torn", [b'{"id": 2, "te', b"\xff\xfe", b"[1]\n"])
def test_a_line_that_a_crash_cut_off_goes_away(tmp_path, torn):
    path = tmp_path / "a.jsonl"
    with ResultJournal(path, HEADER) as journal:
        journal.add(1, {"text": "a"})
    with path.open("ab") as sink:
        sink.write(torn)
    with ResultJournal(path, HEADER) as journal:
        assert set(journal.results) == {1}
        journal.add(2, {"text": "b"})
    with ResultJournal(path, HEADER) as journal:
        assert set(journal.results) == {1, 2}


def test_answers_given_otherwise_are_refused_and_kept(tmp_path):
    path = tmp_path / "a.jsonl"
    with ResultJournal(path, HEADER) as journal:
        journal.add(1, {"text": "a"})
    before = path.read_bytes()
    with pytest.raises(UsageError, match=r"\(settings differ\)"):
        ResultJournal(path, HEADER | {"settings": {"seed": 2}})
    assert path.read_bytes() == before
    with ResultJournal(path, HEADER | {"settings": {"seed": 2}}, force=True) as journal:
        assert journal.results == {}
