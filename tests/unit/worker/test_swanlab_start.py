"""SwanLab since 0.8 raises where transformers' callback expects None."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

SCRIPT = Path(__file__).parents[3] / "lfwrap" / "worker" / "swanlab_start.py"
SPEC = importlib.util.spec_from_file_location("swanlab_start", SCRIPT)
assert SPEC is not None
assert SPEC.loader is not None
swanlab_start: Any = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(swanlab_start)


class SwanLab(SimpleNamespace):
    """As much of the package as the callback asks for."""

    def __init__(self, *, raises: bool) -> None:
        super().__init__()
        self.run: str | None = None
        self.raises = raises
        self.get_run = self._get_run

    def _get_run(self) -> str | None:
        if self.run is None and self.raises:
            raise RuntimeError("No active Run. Call swanlab.init() first.")
        return self.run


@pytest.mark.parametrize("raises", [True, False], ids=["0.8 and later", "before"])
def test_no_run_is_none_and_a_run_is_itself(raises: bool) -> None:
    swanlab = SwanLab(raises=raises)
    swanlab_start.allow_no_run(swanlab)
    assert swanlab.get_run() is None
    swanlab.run = "a run"
    assert swanlab.get_run() == "a run"
