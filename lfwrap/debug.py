"""What `lfwrap --debug` shows: decisions and child processes, by the standard `logging` below the logger ``lfwrap``.

`logging` takes 10 ms to import: it is left alone until somebody else has imported it, or `show` is called. A program
that uses lfwrap as a library sets the level of the logger ``lfwrap`` itself.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping

from lfwrap.masking import mask_login, mask_secrets

_ROOT = "lfwrap"


def show() -> None:
    """Write all that is noted from here on to stderr, a line each: ``lfwrap.engine: …``."""
    import logging

    logger = logging.getLogger(_ROOT)
    logger.setLevel(logging.DEBUG)
    logger.propagate = False
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(name)s: %(message)s"))
    for old in list(logger.handlers):
        logger.removeHandler(old)
    logger.addHandler(handler)


def hide() -> None:
    """Show no debugging notes any more."""
    if "logging" in sys.modules:
        import logging

        logger = logging.getLogger(_ROOT)
        for old in list(logger.handlers):
            logger.removeHandler(old)
        logger.setLevel(logging.NOTSET)
        logger.propagate = True


def is_shown(area: str) -> bool:
    """Whether anybody sees what is noted for an area; spares work that only a note needs."""
    if "logging" not in sys.modules:
        return False
    import logging

    return logging.getLogger(f"{_ROOT}.{area}").isEnabledFor(logging.DEBUG)


def note(area: str, message: str, *values: object) -> None:
    """Note something for whoever debugs a run.

    Args:
        area: the logger's name below ``lfwrap``: ``engine``, ``strategy``.
        message: the message, with ``%s`` for each value.
        values: what stands in it; no secrets.
    """
    if is_shown(area):
        import logging

        logging.getLogger(f"{_ROOT}.{area}").debug(message, *values)


def environment_difference(environment: Mapping[str, str], base: Mapping[str, str] = os.environ) -> list[str]:
    """How an environment differs from another: ``NAME=value`` for what is added or changed, ``-NAME`` for what is gone.

    Values of secrets and logins in addresses are masked.

    >>> environment_difference({"A": "1", "HF_TOKEN": "abc"}, {"A": "0", "B": "2"})
    ['A=1', 'HF_TOKEN=***', '-B']
    """
    changed = {name: value for name, value in environment.items() if base.get(name) != value}
    gone = sorted(base.keys() - environment.keys())
    return [
        *(f"{name}={mask_login(value)}" for name, value in sorted(mask_secrets(changed).items())),
        *(f"-{name}" for name in gone),
    ]
