"""Secrets by their names: which variables and keys hold them, and how they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping

MASK = "***"
_SECRET = re.compile(r"token(?:_|$)|secret|passw|credential|api_?key|access_?key|private_?key", re.IGNORECASE)
_LOGIN = re.compile(r'(?<=://)[^/?#\s"<>]+(?=@)')


def is_secret(name: str) -> bool:
    """Whether a variable or a key is named like something that nobody else should read.

    >>> is_secret("WANDB_API_KEY"), is_secret("max_new_tokens")
    (True, False)
    """
    return _SECRET.search(name) is not None


def mask_secrets(environment: Mapping[str, str]) -> dict[str, str]:
    """The variables with the values of those that are named like secrets replaced by ``***``."""
    return {name: MASK if is_secret(name) else value for name, value in environment.items()}


def mask_override(argument: str) -> str:
    """A ``key=value`` argument with the value masked when its key is named like a secret; anything else as it is.

    >>> mask_override("hf_hub_token=abc"), mask_override("--api-key=abc")
    ('hf_hub_token=***', '--api-key=***')
    """
    key, equals, _ = argument.partition("=")
    return f"{key}={MASK}" if equals and is_secret(key.lstrip("-").replace("-", "_")) else argument


def mask_arguments(arguments: Iterable[str]) -> list[str]:
    """A command line without its secrets: values of ``key=value`` and of ``--option value``, logins in addresses.

    >>> mask_arguments(["--api-key", "abc", "https://me:pw@mirror/x"])
    ['--api-key', '***', 'https://***@mirror/x']
    """
    shown: list[str] = []
    follows_secret = False
    for argument in arguments:
        shown.append(MASK if follows_secret else mask_login(mask_override(argument)))
        is_option = argument.startswith("-") and "=" not in argument
        follows_secret = is_option and is_secret(argument.lstrip("-").replace("-", "_"))
    return shown


def mask_login(text: str) -> str:
    """A text with the name and password in its addresses masked.

    >>> mask_login("http://me:secret@proxy:80"), mask_login("https://me:with@sign@mirror/x@1")
    ('http://***@proxy:80', 'https://***@mirror/x@1')
    """
    return _LOGIN.sub(MASK, text)
