"""How lfwrap is started in the background."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from lfwrap import debug
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.supervise.background import start_detached


class StartedError(Exception):
    """Instead of a process."""


@pytest.mark.parametrize(("shown", "options"), [(False, []), (True, ["--debug"])])
def test_debugging_goes_on_in_the_background(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, shown: bool, options: list[str]
) -> None:
    def start(argv: list[str], **_: Any) -> None:
        raise StartedError(argv)

    monkeypatch.setattr(subprocess, "Popen", start)
    run: Any = SimpleNamespace(paths=RunPaths(tmp_path))
    try:
        if shown:
            debug.show()
        with pytest.raises(StartedError) as caught:
            start_detached(run, ["--quiet"], cwd=tmp_path, environ={})
    finally:
        debug.hide()
    command = [sys.executable, "-m", "lfwrap", *options, "runs", "resume", str(tmp_path), "--quiet"]
    assert caught.value.args == (command,)
