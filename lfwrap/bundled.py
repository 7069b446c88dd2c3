"""The files that ship with lfwrap: where they are, in a checkout or in the package, and the templates, rendered."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment

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


@functools.cache
def _environment() -> Environment:
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(bundled_path("templates")),
        undefined=StrictUndefined,
        autoescape=False,  # noqa: S701 - YAML and JSON, not HTML
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )


def render_template(name: str, **values: Any) -> str:
    """Render one of the bundled templates.

    Raises:
        UndefinedError: the template uses a name that is not among ``values``, which is a bug.
    """
    return _environment().get_template(name).render(**values)
