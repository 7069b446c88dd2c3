"""SwanLab since 0.8 raises where transformers' callback expects None."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lfwrap_worker.train import swanlab_start


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
