"""What lfwrap holds of the engine's version and of models stands in one place, or in copies that are equal."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

from lfwrap.engine.compat import GPTQ_PACKAGES, KNOWN_ARCHITECTURES, NEWEST_VLLM, SUPPORTED_VERSION, TABLES

ROOT = Path(__file__).parents[3]
PACKAGE = ROOT / "lfwrap"


@pytest.mark.parametrize("literal", [SUPPORTED_VERSION, NEWEST_VLLM, *GPTQ_PACKAGES.values()])
def test_a_version_stands_in_one_module(literal):
    holders = [path for path in PACKAGE.rglob("*.py") if literal in path.read_text(encoding="utf-8")]
    assert [path.relative_to(PACKAGE).as_posix() for path in holders] == ["engine/compat.py"]


@pytest.mark.parametrize("name", ["pyproject.toml", "constraints.txt"])
def test_that_version_is_what_is_installed(name):
    pinned = re.findall(r"\bllamafactory==([\w.]+)", (ROOT / name).read_text(encoding="utf-8"))
    assert pinned == [SUPPORTED_VERSION]


def pinned(name):
    """The versions at which a package is pinned, by file."""
    found = {
        file: set(re.findall(rf"(?<![\w-]){re.escape(name)}==([\w.]+)", (ROOT / file).read_text(encoding="utf-8")))
        for file in ("pyproject.toml", "constraints.txt")
    }
    return {file: versions for file, versions in found.items() if versions}


def told_to_install():
    """Every ``name==version`` in the code: hints, most of them."""
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, version in re.findall(r"(?<![\w-])([a-z][\w-]*)==(\d[\w.]*\w)", path.read_text(encoding="utf-8")):
            yield path.relative_to(PACKAGE).as_posix(), name, version


def test_what_a_hint_says_to_install_is_what_is_pinned():
    hints = list(told_to_install())
    assert {"torch", "deepspeed", "gguf"} <= {name for _, name, _ in hints}
    unequal = [
        (place, name, version, file, versions)
        for place, name, version in hints
        for file, versions in pinned(name).items()
        if versions != {version}
    ]
    assert unequal == []


def test_that_version_has_its_tables():
    assert sorted(path.name for path in TABLES.iterdir()) == [
        "facts.json",
        "template_tokens.json",
        "tool_templates.json",
    ]
    assert [folder.name for folder in TABLES.parent.iterdir()] == [SUPPORTED_VERSION], "nobody reads the others"


PAGES = sorted([*ROOT.glob("README*.md"), *ROOT.glob("docs/how-to/*.md"), *ROOT.glob("docs/reference/*.md")])


def test_pages_speak_of_that_version():
    """What was measured (docs/explanation) keeps the version that it was measured with."""
    found = [
        (path.name, version)
        for path in PAGES
        for version in re.findall(r"LLaMA-Factory +(\d+\.\d+\.\d+)", path.read_text(encoding="utf-8"))
    ]
    assert len(found) > 5
    assert [(name, version) for name, version in found if version != SUPPORTED_VERSION] == []


def sets_of_architectures():
    """Every set of ``model_type`` names in the code, by the file and name it stands under."""
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Assign) and ast.unparse(node.value).startswith("frozenset({"):
                names = frozenset(re.findall(r"'([^']+)'", ast.unparse(node.value)))
                if "llama" in names:
                    yield f"{path.relative_to(PACKAGE).as_posix()}:{ast.unparse(node.targets[0])}", names


def test_the_workers_know_the_same_architectures():
    """They can't import lfwrap: each holds a copy."""
    found = dict(sets_of_architectures())
    assert found.keys() >= {"engine/compat.py:KNOWN_ARCHITECTURES", "worker/lfwrap_worker/speed/attention.py:_KNOWN"}
    assert {name: values for name, values in found.items() if values != KNOWN_ARCHITECTURES} == {}
    assert all(name.startswith(("engine/compat.py", "worker/")) for name in found)
