"""Every public module, class, function and method says in a docstring what it is, in at least four words."""

import ast
import re
from pathlib import Path

import pytest

import lfwrap

PACKAGE = Path(lfwrap.__file__).parent
FEWEST_WORDS = 4
MODULES = [path.relative_to(PACKAGE) for path in sorted(PACKAGE.rglob("*.py"))]


def words(node):
    """Words of the docstring's first paragraph."""
    return re.findall(r"\w[\w'’.-]*", (ast.get_docstring(node) or "").split("\n\n")[0])


def public(node, prefix=""):
    """Name → node of all that is public in a module or a class."""
    for child in node.body:
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and child.name[0] != "_":
            yield prefix + child.name, child
            if isinstance(child, ast.ClassDef):
                yield from public(child, f"{prefix}{child.name}.")


@pytest.mark.parametrize("path", MODULES, ids=str)
def test_what_is_public_says_what_it_is(path):
    module = ast.parse((PACKAGE / path).read_text(encoding="utf-8"))
    named = {"module": module, **dict(public(module))}
    assert [name for name, node in named.items() if len(words(node)) < FEWEST_WORDS] == []


def test_the_rule_counts_the_first_paragraph():
    tree = ast.parse('def times():\n    """So many.\n\n    Args: a long explanation below does not count.\n    """')
    assert [len(words(node)) for _, node in public(tree)] == [2]
