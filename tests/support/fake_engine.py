"""An engine for tests that never start LLaMA-Factory: paths below a folder, and a version."""

from __future__ import annotations

import sys
from pathlib import Path

from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.engine.locate import Engine


def fake_engine(
    root: Path = Path("/e"),
    *,
    python: Path | None = None,
    package: Path | None = None,
    version: str = SUPPORTED_VERSION,
) -> Engine:
    """An engine installed below ``root``, of which nothing needs to exist.

    Args:
        root: the folder of its environment.
        python: its interpreter, instead of the one below ``root``.
        package: the folder of its package, instead of the one below ``root``.
        version: its version.
    """
    return Engine(
        python or root / "bin/python", root / "bin/llamafactory-cli", package or root / "llamafactory", version
    )


def runnable_engine(package: Path | None = None) -> Engine:
    """An engine whose Python is the one of the tests, for workers that are replaced by short scripts."""
    return fake_engine(python=Path(sys.executable), package=package)
