"""Files, modules and tests that a page or a comment names are there."""

from __future__ import annotations

import re
from dataclasses import fields
from functools import cache
from pathlib import Path

import pytest

from lfwrap.recipe.intent import Intent

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - {ROOT / "CHANGELOG.md"})
SOURCES = sorted(
    path
    for folder in ("lfwrap", "tests", "benchmarks", "docs")
    for path in (ROOT / folder).rglob("*.py")
    if path != Path(__file__)
)
ENDING = r"(?:\.(?:py|md|sh|json|yaml|yml|j2|toml)\b|/)"
FILE = re.compile(rf"(?<![\w./-])((?:lfwrap|tests|benchmarks|docs|templates)/[\w./@-]*{ENDING})")
NAME = re.compile(r"(?<![\w./-])(lfwrap(?:_worker)?(?:\.[a-z]\w*)+)(?![\w/-])")  # not the schema lfwrap.report/1
TEST = re.compile(r"`(test_\w+)(?:\[[^`]*)?`")
NO_MODULES = {f"lfwrap.{field.name}" for field in fields(Intent)} | {"lfwrap.schema.json"}
"""Keys of a recipe's `lfwrap:` block, and a file."""
STANDS_FOR = {"NAME", "ROOM", "CASE", "VERSION", "OLD", "NEW"}


def test_there_are_many():
    texts = [path.read_text(encoding="utf-8") for path in PAGES]
    assert sum(len(FILE.findall(text)) for text in texts) > 80
    assert sum(len(NAME.findall(text)) for text in texts) > 10


@cache
def is_a_name(dotted: str) -> bool:
    """Whether it is a module, or a name that its module defines."""
    parts = dotted.split(".")
    if parts[0] == "lfwrap_worker":
        parts = ["lfwrap", "worker", *parts]
    for length in range(len(parts), 0, -1):
        place = ROOT.joinpath(*parts[:length])
        file = place.with_suffix(".py") if length > 1 and place.with_suffix(".py").is_file() else place / "__init__.py"
        if file.is_file():
            return (
                length == len(parts) or re.search(rf"\b{parts[length]}\b", file.read_text(encoding="utf-8")) is not None
            )
    return False


def missing_files(text: str) -> list[str]:
    found = (name for name in FILE.findall(text) if not STANDS_FOR & set(re.split(r"[/.@-]", name)))
    return [name for name in found if not (ROOT / name).exists()]


@pytest.mark.parametrize("page", PAGES, ids=[str(page.relative_to(ROOT)) for page in PAGES])
def test_what_a_page_names_is_there(page):
    text = page.read_text(encoding="utf-8")
    assert missing_files(text) == []
    assert [name for name in NAME.findall(text) if name not in NO_MODULES and not is_a_name(name)] == []


def test_the_tests_that_a_page_names_are_there():
    tests = "\n".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").rglob("*.py"))
    found = {name for page in PAGES for name in TEST.findall(page.read_text(encoding="utf-8"))}
    assert len(found) > 30
    assert [name for name in sorted(found) if f"def {name}(" not in tests] == []


def test_files_that_the_code_names_are_there():
    assert len(SOURCES) > 500
    missing = {str(path.relative_to(ROOT)): missing_files(path.read_text(encoding="utf-8")) for path in SOURCES}
    assert {path: names for path, names in missing.items() if names} == {}
