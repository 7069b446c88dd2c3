"""Every sample file, whole and broken in several ways: rows in = rows out + rejects + duplicates, and none is lost."""

import json
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.errors import DataError

SAMPLES = Path(__file__).parents[3].parent / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples folder ../shared/samples is absent")

# What holds rows; the rest of the folder is tools, schemas and answers to other files.
FILES = sorted(
    str(path.relative_to(SAMPLES))
    for folder in ("alpaca", "bfcl", "csv", "formats", "openai", "tool_calling")
    for path in (SAMPLES / folder).glob("*")
    if "possible_answer" not in path.name
)
# Of these no row can be used: logs don't say what the user asked, and the two others show a mistake of their kind.
UNUSABLE = {
    "formats/claude_desktop_mcp.log",
    "formats/mcp_session_2024-11-05.jsonl",
    "formats/anthropic.jsonl",
    "formats/glaive_v2_raw.jsonl",
}
# Without BFCL, whose answers lie in a file beside it, and logs, whose lines are no rows.
LINES = [name for name in FILES if name.endswith(".jsonl") and not name.startswith(("bfcl", "formats/mcp_session"))]
ARRAYS = [name for name in FILES if name.endswith(".json")]


def account(source: Path, out: Path) -> tuple[int, int]:
    """Rows in and rows out of a file, of which none is lost; where no row can be used, all of them are listed."""
    request = Request((str(source),), out, "x", max_rejects=1.0)
    try:
        report = prepare(request)
    except DataError:
        with pytest.raises(DataError, match="none of"):
            prepare(request)
        assert not (out / "x.jsonl").exists()
        return len(rejects_of(out)), 0
    assert report.rows_in == report.rows_out + report.rejected + report.duplicates > 0
    assert len((out / "x.jsonl").read_bytes().splitlines()) == report.rows_out
    assert len(rejects_of(out)) == report.rejected
    return report.rows_in, report.rows_out


def rejects_of(out: Path) -> list[dict[str, Any]]:
    rejects = [json.loads(line) for line in (out / "x.rejects.jsonl").read_text(encoding="utf-8").splitlines()]
    assert all(reject["rule"] and reject["reason"] for reject in rejects)
    return rejects


@pytest.mark.parametrize("name", FILES)
def test_every_row_of_a_sample_is_accounted_for(tmp_path: Path, name: str) -> None:
    rows_in, rows_out = account(SAMPLES / name, tmp_path)
    assert rows_in > 0
    assert (rows_out == 0) == (name in UNUSABLE)


@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("kind", ["a broken line", "a cut end", "a byte order mark", "blank lines", "every line twice"])
def test_a_broken_variant_loses_no_row(tmp_path: Path, name: str, kind: str) -> None:
    rows_in, rows_out = account(SAMPLES / name, tmp_path / "whole")
    lines = [line for line in (SAMPLES / name).read_text(encoding="utf-8").split("\n") if line.strip()]
    text = "\n".join(lines)
    if kind == "a broken line":
        text, rows_in = "\n".join([lines[0], '{"no": json', *lines[1:]]), rows_in + 1
    elif kind == "a cut end":
        text, rows_in = text + "\n" + lines[0][: len(lines[0]) // 2], rows_in + 1
    elif kind == "a byte order mark":
        text = "\ufeff" + text
    elif kind == "blank lines":
        text = "\n\n".join(["", *lines, " ", ""])
    else:
        text, rows_in = "\n".join([*lines, *lines]), 2 * rows_in
    source = tmp_path / "broken.jsonl"
    source.write_text(text, encoding="utf-8")
    assert account(source, tmp_path / "broken") == (rows_in, rows_out)


@pytest.mark.parametrize("name", ARRAYS)
@pytest.mark.parametrize("kind", ["a broken item", "a cut end", "in one line", "in a wrapper"])
def test_a_broken_list_loses_no_row(tmp_path: Path, name: str, kind: str) -> None:
    values = json.loads((SAMPLES / name).read_text(encoding="utf-8"))[:60]
    texts = [json.dumps(value, ensure_ascii=False, indent=1) for value in values]
    rows = len(values)
    if kind == "a broken item":
        text = f"[{texts[0]}, {texts[1][:-5]}, {', '.join(texts[2:])}]"
    elif kind == "a cut end":
        text = f"[{', '.join(texts)}"[:-30]
    elif kind == "in one line":
        text = json.dumps(values, ensure_ascii=False)
    else:
        text = f'{{"data": [{", ".join(texts)}]}}'
    (tmp_path / "a.json").write_text(text, encoding="utf-8")
    rows_in, rows_out = account(tmp_path / "a.json", tmp_path / "o")
    assert rows_in == rows
    assert rows_out < rows if kind in {"a broken item", "a cut end"} else rows_out > 0
