"""Every kind of repair that the code counts is explained by the page on the report, and none besides."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import lfwrap.data

_REPO = Path(__file__).parents[4]
_PAGE = _REPO / "docs" / "reference" / "data-report.md"
_COUNTING = (".repair", "repairs.add", "changes.append", "_text_of")  # calls whose first argument is a kind
_KIND = re.compile(r"[a-z]+(?:-[a-z]+)*")


def _kinds_in(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and ast.unparse(node.func).endswith(_COUNTING):
            yield from _texts(*node.args[:1])
        elif isinstance(node, ast.Assign) and "repairs" in ast.unparse(node.targets[0]):
            yield from _texts(node.value)
        elif isinstance(node, ast.AugAssign) and "repairs" in ast.unparse(node.target):
            yield from _texts(node.target)
        elif isinstance(node, ast.Tuple) and any("repairs" in ast.unparse(item) for item in node.elts):
            yield from (item.value for item in node.elts if isinstance(item, ast.Constant) and item.value != "")


def _texts(*nodes: ast.AST) -> Iterator[str]:
    for node in nodes:
        for inner in ast.walk(node):
            if isinstance(inner, ast.Constant) and isinstance(inner.value, str) and inner.value:
                yield inner.value


def _counted() -> set[str]:
    modules = Path(lfwrap.data.__file__).parent.rglob("*.py")
    found = {kind for module in modules for kind in _kinds_in(ast.parse(module.read_text(encoding="utf-8")))}
    return {kind for kind in found if isinstance(kind, str) and _KIND.fullmatch(kind)}


def _explained() -> set[str]:
    part = _PAGE.read_text(encoding="utf-8").split("\n## Repairs\n")[1].split("\n## ")[0]
    first_cells = re.findall(r"^\| (`.*?) \|", part, re.MULTILINE)
    return {kind for cell in first_cells for kind in re.findall(r"`([a-z-]+)`", cell)}


def test_each_kind_of_repair_is_explained() -> None:
    counted = _counted()
    assert {"bom", "encoding", "empty-cells", "trailing-comma", "enum-to-text", "time-to-text"} <= counted
    assert _explained() == counted
