"""Modules that are left out import as hollow ones; all others as ever."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap_worker.start import FOLDER


def _run(folder: Path, code: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: what is left out stays so."""
    (folder / "heavy").mkdir()
    (folder / "heavy" / "__init__.py").write_text("raise SystemExit('heavy was imported')")
    (folder / "light").mkdir()
    (folder / "light" / "__init__.py").write_text("VALUE = 7")
    (folder / "light" / "models.py").write_text("raise SystemExit('light.models was imported')")
    (folder / "heavyweight.py").write_text("VALUE = 8")
    start = f"import sys; sys.path[:0] = [{str(FOLDER)!r}, {str(folder)!r}]\n"
    start += "from lfwrap_worker.export.hollow_imports import leave_out\n"
    start += "leave_out(('heavy', 'light.models'))\n"
    return subprocess.run([sys.executable, "-c", start + code], capture_output=True, text=True, timeout=30, check=False)


@pytest.mark.parametrize(
    "code",
    [
        "import heavy; import heavy.deep.deeper",
        "from heavy import Model\nclass Mine(Model): pass\nMine()",
        "from heavy.nn import Module, functional\ndef f(x: Module | functional.Kind | None) -> Module.Part: ...",
        "from light.models import load, Kind",
        "import light, heavyweight\nassert (light.VALUE, heavyweight.VALUE) == (7, 8)",
        "import importlib.util as u\nassert u.find_spec('heavy') is u.find_spec('light.models') is None",
        "import importlib.util as u\nassert u.find_spec('light') and u.find_spec('heavyweight')",
        "import heavy\nassert not hasattr(heavy, '__version__') and not hasattr(heavy.Model, '__torch_function__')",
    ],
)
def test_what_imports_asks_for_is_there(tmp_path, code):
    done = _run(tmp_path, code)
    assert (done.returncode, done.stderr) == (0, "")


def test_a_hollow_thing_does_no_work(tmp_path):
    """Its use is a failure that can be seen, not a result."""
    assert "TypeError" in _run(tmp_path, "import heavy\nheavy.zeros(3)").stderr
