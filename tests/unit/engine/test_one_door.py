"""The engine's processes are started by `lfwrap.engine` alone; who else starts a program is named here, with what."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import lfwrap

PACKAGE = Path(lfwrap.__file__).parent

OTHER_PROGRAMS = {
    "data/tools/mcp_client.py": "MCP servers, whose tools are listed",
    "data/workers/processes.py": "the data workers: lfwrap's own processes",
    "demo_model.py": "pip, which downloads the demo's model",
    "export/formats/ollama.py": "ollama",
    "hardware/probe.py": "sysctl, which knows the name of a Mac's processor",
    "run/prepare/environment.py": "git, for the commit of the working directory",
    "run/supervise/background.py": "lfwrap itself in the background, and a scheduler's own command: sbatch, sky",
    "run/supervise/stacks.py": "py-spy",
}
"""Module → the program that it starts, which is not the engine."""

MODULES = ("subprocess", "multiprocessing", "pty")
CALLS = ("os.exec", "os.spawn", "os.posix_spawn", "os.fork", "os.system", "os.popen")
NAMES = ("create_subprocess_", "ProcessPoolExecutor", "StdioServerParameters", "stdio_client")


def starts(source: str) -> Iterator[str]:
    """What in a module starts a process, as far as its names tell."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.Attribute):
            names = [ast.unparse(node)]
        else:
            continue
        yield from (name for name in names if name.startswith((*MODULES, *CALLS)) or last(name).startswith(NAMES))


def last(name: str) -> str:
    """The last part of a dotted name."""
    return name.rpartition(".")[2]


def modules() -> Iterator[tuple[str, str]]:
    """Every module that runs in lfwrap's own process: its path in the package, its text."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith(("worker/", "_bundled/", "engine/")):
            yield name, path.read_text(encoding="utf-8")


def test_nobody_else_starts_a_process():
    found = {name: list(starts(text)) for name, text in modules()}
    strangers = {name: what for name, what in found.items() if what and name not in OTHER_PROGRAMS}
    assert not strangers, "start it through lfwrap.engine (run_worker, WorkerProcess, run_logged), or name the program"


def test_every_named_module_starts_a_program_that_is_not_the_engine():
    texts = dict(modules())
    for name in OTHER_PROGRAMS:
        assert list(starts(texts[name])), f"{name} starts nothing any more"
        assert "worker_argv" not in texts[name]


@pytest.mark.parametrize(
    "source",
    [
        "import subprocess",
        "import multiprocessing.pool",
        "from subprocess import Popen",
        "from multiprocessing import get_context as context",
        "def late():\n    import subprocess as sub",
        "import os\nos.execv('x', [])",
        "import os\nos.spawnl(0, 'x')",
        "import os\nos.posix_spawnp('x', [], {})",
        "import os\npid = os.fork()",
        "from os import fork",
        "from os import execvpe as go",
        "import asyncio\nawait_me = asyncio.create_subprocess_exec('x')",
        "from asyncio import create_subprocess_shell",
        "from asyncio.subprocess import create_subprocess_exec",
        "loop.create_subprocess_exec",
        "from concurrent.futures import ProcessPoolExecutor",
        "from mcp import stdio_client",
    ],
)
def test_each_way_to_start_a_process_is_seen(source):
    assert list(starts(source))


@pytest.mark.parametrize("source", ["import os\nos.environ", "from asyncio import run", "import threading"])
def test_what_starts_nothing_passes(source):
    assert not list(starts(source))
