"""Rendering of the Jinja2 templates in ``templates/``."""

from __future__ import annotations

import functools
from typing import TYPE_CHECKING, Any

from lfwrap.bundled import bundled_path

if TYPE_CHECKING:
    from jinja2 import Environment


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
