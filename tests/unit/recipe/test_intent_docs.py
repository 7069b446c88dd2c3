"""The reference page names every rule, every key of the block and every machine type as they are."""

from __future__ import annotations

import re
from pathlib import Path

from lfwrap import recipe
from lfwrap.recipe.intent import FIELDS

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "reference" / "recipe.md").read_text(encoding="utf-8")
RULE = re.compile(r'(?:Finding|IntentProblem|view\.(?:error|warning|info))\(\s*"([a-z0-9-]+)"')


def test_every_rule_is_on_the_page():
    sources = [*Path(recipe.__file__).parent.rglob("*.py"), ROOT / "lfwrap" / "yaml_files.py"]
    used = {name for path in sources for name in RULE.findall(path.read_text(encoding="utf-8"))}
    listed = set(re.findall(r"`([a-z0-9]+(?:-[a-z0-9]+)+)`", PAGE.split("## What is checked")[1]))
    assert used == listed


def test_every_key_of_the_block_is_on_the_page():
    table = PAGE.split("## The `lfwrap:` block")[1].split("## ")[0]
    assert re.findall(r"^\| `(\w+)` ", table, re.MULTILINE) == [
        field.name for field in sorted(FIELDS, key=lambda field: table.find(f"`{field.name}`"))
    ]
    assert all(f"| `{field.name}` |" in table for field in FIELDS)
