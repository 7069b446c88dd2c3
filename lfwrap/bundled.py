"""The place of the files that ship with lfwrap: the top of a checkout, or the package when it is installed."""

from __future__ import annotations

from pathlib import Path

_PACKAGE = Path(__file__).resolve().parent


def bundled_root() -> Path:
    """The folder that holds ``templates/``, ``recipes/`` and ``data/``."""
    installed = _PACKAGE / "_bundled"
    return installed if installed.is_dir() else _PACKAGE.parent


def bundled_path(relative: str) -> Path:
    """The path of a bundled file or folder, such as ``recipes/paper.yaml``; it need not exist."""
    return bundled_root() / relative


def find_file(path: str | Path) -> Path:
    """The user's file if it exists, else the bundled file of that name, so that ``recipes/paper.yaml`` works anywhere.

    When neither exists, it is the user's path, so that an error names what was typed.
    """
    own = Path(path)
    if own.exists() or own.is_absolute():
        return own
    shipped = bundled_path(str(path))
    return shipped if shipped.exists() else own
