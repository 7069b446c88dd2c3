"""Workers are started by name, and stand alone: the engine's Python may know nothing of lfwrap."""

from __future__ import annotations

import ast
import multiprocessing
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from lfwrap.engine import arguments
from lfwrap.engine.arguments import LOG_FILTER, worker_argv
from lfwrap_worker import start

PACKAGE = arguments.FOLDER / "lfwrap_worker"
# What the engine's Python has: the engine, what it stands on, and the extras that lfwrap installs there.
ENGINES = {
    "bitsandbytes",
    "conversion", "convert_hf_to_gguf", "deepspeed", "fastapi", "huggingface_hub", "liger_kernel", "llama_cpp",
    "llamafactory", "numpy", "peft", "pyarrow", "pydantic", "ray", "sse_starlette", "torch", "transformers", "triton",
    "uvicorn", "xllamacpp", "yaml",
}  # fmt: skip


def imported(path: Path) -> Iterator[str]:
    """The top-level names that a module imports, wherever in it."""
    for node in ast.walk(ast.parse(path.read_bytes())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield str(node.module).partition(".")[0]


def test_workers_import_the_engine_the_standard_library_and_each_other():
    modules = [arguments.FOLDER / "__main__.py", *PACKAGE.rglob("*.py")]
    assert len(modules) > 40
    found = {name: path for path in modules for name in imported(path)}
    assert found.keys() - sys.stdlib_module_names - ENGINES == {"lfwrap_worker"}, found


def test_the_log_filter_imports_the_standard_library_alone():
    """It runs with ``-I -S``, where this folder is not on the path."""
    assert set(imported(LOG_FILTER)) <= sys.stdlib_module_names


def test_the_folder_on_the_path_holds_one_package():
    """Whatever else lay there could stand in for a module of the engine's."""
    names = {path.relative_to(arguments.FOLDER).parts[0] for path in arguments.FOLDER.rglob("*.py")}
    assert names == {"__main__.py", "lfwrap_worker"}


def test_every_module_with_a_main_is_a_worker_and_no_other():
    listed = {f"{folder}/{name}.py" for folder, names in start.WORKERS.items() for name in names}
    alone = {LOG_FILTER.relative_to(PACKAGE).as_posix(), "start.py"}
    found = set()
    for path in PACKAGE.rglob("*.py"):
        functions = {node.name for node in ast.parse(path.read_bytes()).body if isinstance(node, ast.FunctionDef)}
        if "main" in functions:
            found.add(path.relative_to(PACKAGE).as_posix())
    assert found - alone == listed


def test_no_name_and_a_wrong_one_are_answered_with_those_that_there_are():
    for name in ("", "answers"):
        done = subprocess.run(
            [sys.executable, *worker_argv(name)], capture_output=True, text=True, check=False, timeout=60
        )
        assert (done.returncode, done.stdout) == (2, "")
        assert "NAME is one of answer, checkpoint, " in done.stderr


def test_a_worker_sees_a_command_line_of_its_own(monkeypatch):
    """The engine takes the YAML for its arguments from the first place; Ray makes a path of the file's folder."""
    module = type(sys)("lfwrap_worker.train.train_engine")
    seen = []
    module.main = lambda: seen.append(list(sys.argv))
    monkeypatch.setitem(sys.modules, module.__name__, module)
    monkeypatch.setattr(sys, "argv", [str(arguments.FOLDER), "train_engine", "engine.yaml", "a=b"])
    assert start.main() is None
    assert seen == [[str(arguments.FOLDER / "__main__.py"), "engine.yaml", "a=b"]]
    assert start.worker_command("encode")[1:] == [*worker_argv("encode")]


SPAWNS = """
import multiprocessing, sys
from lfwrap_worker.train import restart
def main():
    with multiprocessing.get_context(sys.argv[1]).Pool(1) as pool:
        print(pool.apply(restart.split_batch, (8, 2, 4)))
"""


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_processes_of_a_worker_find_the_package_and_start_no_second_worker(tmp_path, method):
    """Loaders of data are such processes: however they are started, they don't run ``__main__.py`` again."""
    for path in PACKAGE.rglob("*.py"):
        copy = tmp_path / path.relative_to(arguments.FOLDER)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())
    (tmp_path / "__main__.py").write_bytes((arguments.FOLDER / "__main__.py").read_bytes())
    (tmp_path / "lfwrap_worker" / "data" / "encode.py").write_text(SPAWNS)
    command = [sys.executable, str(tmp_path), "encode", method]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert (done.stdout, done.stderr) == ("(4, 1)\n", "")
