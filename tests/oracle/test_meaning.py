"""What a source says about its training is heeded: bad answers, preferences, masks, media, channels, odd values."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from meaning_cases import CASES, Case
from oracle_run import run
from second_reader.judge import complaints
from second_reader.layouts import mcp_log
from second_reader.reading import rows_of

_KNOWN = {"utf-8", "gb18030"}  # what is neither is read right, or refused with a word on encodings


def judged_case(case: Case, folder: Path, *options: str) -> list[str]:
    """What is wrong with a run over a case."""
    path = folder / case.name
    path.write_bytes(case.content())
    if case.layout == "mcp-log":
        asked = "".join(json.dumps(one) + "\n" for one in case.asked)
        (folder / "asked.jsonl").write_text(asked, encoding="utf-8")
        rows = mcp_log.rows(case.records, asked)
        options = (*options, "--instructions", str(folder / "asked.jsonl"))
    else:
        rows = rows_of(path, case.layout, case.encoding)
    if case.encoding not in _KNOWN:
        for row in rows:
            row.doubts.append("an encoding that has to be guessed")
    outcome = run([path], folder / "out", *options)
    if case.encoding not in _KNOWN and outcome.refused and not outcome.rejects:
        return [] if "encoding" in outcome.refused else [f"refused without a word of encodings: {outcome.refused}"]
    wrong = complaints({str(path): rows}, outcome)
    if len(outcome.train) < case.good:
        wrong.append(f"{len(outcome.train)} rows written of {case.good} that are plain: {outcome.refused}")
    return wrong


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_a_source_says(case: Case, tmp_path: Path) -> None:
    assert judged_case(case, tmp_path) == []
