"""A lock names the extension by what its files say, wherever they lie."""

from __future__ import annotations

import hashlib
import shutil

from lfwrap.engine.arguments import EXTENSION_FOLDER
from lfwrap.strategy import lock


def test_a_lock_stays_valid_when_the_extension_moves_and_not_when_it_changes(tmp_path, monkeypatch):
    names = sorted(path.name for path in EXTENSION_FOLDER.glob("*.py"))
    assert {"__init__.py", "adapters.py", "kernels.py"} < set(names)
    here = lock._extension_digest()
    assert here == hashlib.sha256(b"".join((EXTENSION_FOLDER / name).read_bytes() for name in names)).hexdigest()[:8]
    moved = shutil.copytree(EXTENSION_FOLDER, tmp_path / "elsewhere", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(lock, "EXTENSION_FOLDER", moved)
    assert lock._extension_digest() == here
    (moved / "loss.py").write_bytes((moved / "loss.py").read_bytes() + b"#\n")
    assert lock._extension_digest() != here
