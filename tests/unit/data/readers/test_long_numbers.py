"""A whole number of thousands of digits, which Python does not read, costs its row and no other."""

import json

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request

_LONG = "9" * 10_000
_GOOD = '{"instruction": "Good?", "output": "yes"}'
_BAD = f'{{"instruction": "Long?", "output": {_LONG}}}'


def _run(folder, name, text):
    (folder / name).write_text(text, encoding="utf-8")
    report = prepare(Request((str(folder / name),), folder / "out", "x", force=True))
    assert report.balanced
    return report, [json.loads(line) for line in (folder / "out" / "x.jsonl").read_text("utf-8").splitlines()]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("first.jsonl", f"{_BAD}\n{_GOOD}\n"),
        ("last.jsonl", f"{_GOOD}\n{_BAD}\n"),
        ("list.json", f"[{_GOOD}, {_BAD}]"),
        ("first.json", f"[{_BAD}, {_GOOD}]"),
        ("wrapped.json", f'{{"data": [{_GOOD}, {_BAD}]}}'),
        ("unused.jsonl", f'{_GOOD}\n{{"instruction": "Long?", "output": "x", "id": {_LONG}}}\n'),
    ],
)
def test_such_a_number_costs_its_row_alone(tmp_path, name, text):
    report, rows = _run(tmp_path, name, text)
    assert report.rejects == {"not-json": 1}
    assert [row["conversations"][1]["value"] for row in rows] == ["yes"]


def test_the_reason_says_what_is_wrong(tmp_path):
    _run(tmp_path, "a.jsonl", "\n".join([_GOOD] * 300 + [_BAD]))
    (entry,) = (tmp_path / "out" / "x.rejects.jsonl").read_text("utf-8").splitlines()
    assert "digits" in json.loads(entry)["reason"]
    assert "sys.set_int_max_str_digits" not in json.loads(entry)["reason"]
