"""The main job as the README shows it: its blocks, and the commands in them."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
HEADS = {"README.md": "## The main job", "README.zh.md": "## 主要流程"}
BLOCK = re.compile(r"```(bash|text)\n(.*?)```", re.DOTALL)


def main_job(page: str) -> list[tuple[str, str]]:
    """The blocks of the section: (kind, text)."""
    text = (ROOT / page).read_text(encoding="utf-8")
    return BLOCK.findall(text.split(HEADS[page])[1].split("\n## ")[0])


def commands(page: str) -> list[list[str]]:
    """The words after `lfwrap` of each command line of the section."""
    lines = "".join(text for kind, text in main_job(page) if kind == "bash").splitlines()
    return [shlex.split(line, comments=True)[1:] for line in lines if line.startswith("lfwrap ")]
