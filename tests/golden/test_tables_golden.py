"""Golden tables: CSV files as people have them, and the rows, rejects and account that come of each."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request

FOLDER = Path(__file__).parent / "tables"
TABLES = sorted(path for path in FOLDER.iterdir() if path.suffix in {".csv", ".tsv"})


@pytest.mark.parametrize("path", TABLES, ids=lambda path: path.name)
def test_golden_tables(tmp_path: Path, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(FOLDER)
    report = prepare(Request((path.name,), tmp_path, "x"))
    found = {
        "file": report.to_json()["files"][0],
        "rows": [json.loads(line) for line in (tmp_path / "x.jsonl").read_text(encoding="utf-8").splitlines()],
        "rejects": [json.loads(line) for line in (tmp_path / "x.rejects.jsonl").read_text("utf-8").splitlines()],
    }
    expected = path.with_suffix(".expected.json")
    if os.environ.get("LFWRAP_UPDATE_GOLDEN"):
        expected.write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n", encoding="utf-8")
    assert found == json.loads(expected.read_text(encoding="utf-8"))
    assert report.balanced


def test_there_are_golden_tables() -> None:
    assert len(TABLES) >= 4
