"""What the tests of `lfwrap train` and `lfwrap runs resume` share: a folder to train in, without an engine in it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.engine.locate import Engine

# Variables of a job's environment that `lfwrap train` reads.
_READ = (
    "MODEL_PATH", "NNODES", "NODE_RANK", "MASTER_ADDR", "MASTER_PORT", "RDZV_ID", "MIN_NNODES", "MAX_NNODES",
    "MAX_RESTARTS",
)  # fmt: skip


@pytest.fixture
def train_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, use_engine: Callable[[Engine | None], None]
) -> Callable[[str, str], Path]:
    """train_folder(name, recipe): the working folder, with this recipe, its data set, and an engine never started."""

    def make(name: str, recipe: str) -> Path:
        (tmp_path / name).write_text(recipe, encoding="utf-8")
        return tmp_path

    monkeypatch.chdir(tmp_path)
    for variable in _READ:
        monkeypatch.delenv(variable, raising=False)
    (tmp_path / "data").mkdir()
    (tmp_path / "data/d.jsonl").write_text('{"instruction": "q", "input": "", "output": "a"}\n', encoding="utf-8")
    (tmp_path / "data/dataset_info.json").write_text('{"d": {"file_name": "d.jsonl"}}', encoding="utf-8")
    use_engine(fake_engine(tmp_path))
    return make
