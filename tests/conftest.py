"""What tests share: a tiny model that the real engine trains in seconds, and its data."""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

from lfwrap.engine import arguments, facts, locate
from lfwrap.engine.locate import Engine

# Stands for lfwrap/worker: runs the file of a worker's name.
START = """\
import runpy, sys
sys.argv[:] = [f"{sys.argv[0]}/{sys.argv[1]}.py", *sys.argv[2:]]
runpy.run_path(sys.argv[0], run_name="__main__")
"""
MAKE_TINY_MODEL = Path(__file__).parent / "engine" / "make_tiny_model.py"


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random Llama of about a million parameters with a byte-level tokenizer, made by the engine's own Python."""
    pytest.importorskip("transformers", reason="the engine is not installed")
    out = tmp_path_factory.mktemp("tiny") / "model"
    subprocess.run([sys.executable, str(MAKE_TINY_MODEL), str(out)], check=True, capture_output=True, timeout=120)
    return out


@pytest.fixture(scope="session")
def tiny_rows() -> str:
    """16 Alpaca rows as JSON lines."""
    rows = [
        {"instruction": f"What is {number} plus 1?", "input": "", "output": f"It is {number + 1}. " * (1 + number % 3)}
        for number in range(16)
    ]
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture
def tiny_data(tmp_path: Path, tiny_rows: str) -> Path:
    """A folder with `dataset_info.json` and 16 Alpaca rows named ``tiny``."""
    folder = tmp_path / "data"
    folder.mkdir()
    (folder / "tiny.jsonl").write_text(tiny_rows, encoding="utf-8")
    entry = {"file_name": "tiny.jsonl", "columns": {"prompt": "instruction", "query": "input", "response": "output"}}
    (folder / "dataset_info.json").write_text(json.dumps({"tiny": entry}), encoding="utf-8")
    return folder


@pytest.fixture
def use_engine(monkeypatch: pytest.MonkeyPatch) -> Callable[[Engine | None], None]:
    """use_engine(engine): lfwrap finds this engine (or none), and takes what it knows of it from the shipped table."""

    def use(engine: Engine | None) -> None:
        monkeypatch.setattr(locate, "find_engine", lambda *_: engine)
        # The table is taken where the version of transformers is the table's, too.
        monkeypatch.setattr(facts, "package_version", lambda *_: transformers)

    transformers = facts.load_engine_facts().transformers
    return use


@pytest.fixture
def fake_worker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], Path]:
    """fake_worker(name, script): a worker of this name runs this script, which lies in ``tmp_path``; gives its file."""

    def write(name: str, script: str) -> Path:
        (tmp_path / "__main__.py").write_text(START, encoding="utf-8")
        monkeypatch.setattr(arguments, "FOLDER", tmp_path)
        path = tmp_path / f"{name}.py"
        path.write_text(script, encoding="utf-8")
        return path

    return write


@pytest.fixture(scope="session")
def marked_in_proc() -> Callable[[Path], list[str]]:
    """marked_in_proc(run folder): the command lines of its processes, by the kernel's own list, not by our code."""
    return _load("proc_marks").marked_in_proc


@pytest.fixture(scope="session")
def merge_bound() -> ModuleType:
    """`tests/merge_bound.py`: how far a merged weight may lie from the exact one."""
    pytest.importorskip("numpy")
    return _load("merge_bound")


@pytest.fixture(scope="session")
def old_runs() -> Callable[[Path], Path]:
    """old_runs(place): run folders, model and data as lfwrap 0.1.0 left them, unpacked there."""
    return _load("old_runs").unpack


def _load(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name(f"{name}.py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module
