"""The second reader shares no code with lfwrap: it imports itself and a few modules of the standard library."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest
from second_reader.reading import LAYOUTS
from second_reader.traces import Source

from lfwrap.data.formats import FORMATS

FOLDER = Path(__file__).parent / "second_reader"
ALLOWED = {
    "__future__", "collections.abc", "csv", "dataclasses", "gzip", "io", "itertools", "json", "math", "pathlib", "re",
    "sys", "typing", "unicodedata",
}  # fmt: skip
MODULES = sorted(FOLDER.rglob("*.py"))


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(FOLDER)))
def test_a_reader_imports_nothing_of_lfwrap(path: Path) -> None:
    imported = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0
            imported.add(node.module or "")
    assert {name for name in imported if name.partition(".")[0] != "second_reader"} <= ALLOWED


def test_nothing_is_imported_by_a_text() -> None:
    for path in MODULES:
        text = path.read_text(encoding="utf-8")
        assert "__import__" not in text
        assert "importlib" not in text


def test_a_reader_is_about_a_page_long() -> None:
    for path in (FOLDER / "layouts").glob("*.py"):
        assert len(path.read_text(encoding="utf-8").splitlines()) <= 180, path


def test_a_text_that_stands_in_no_source_is_found() -> None:
    source = Source([{"messages": [{"content": "one\ntwo"}], "tools": '[{"name": "find"}]'}])
    row = {"conversations": [{"from": "gpt", "value": "<think>\none\n</think>\n\ntwo"}], "system": ""}
    assert source.lacks(row) == ""
    called = {"from": "function_call", "value": '{"name": "find", "arguments": {"content": "two", "q": "three"}}'}
    assert source.lacks({**row, "conversations": [called]}) == "q"
    assert source.lacks({**row, "system": "two\nthree"}) == "three"


def test_every_format_has_a_reader() -> None:
    assert set(FORMATS) == set(LAYOUTS) | {"mcp-wire"}  # logs have a reader of their own
