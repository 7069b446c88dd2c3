"""Keeps secrets out of reports: every text passes through here, whatever section it belongs to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lfwrap.data.schema.redaction import redact
from lfwrap.masking import MASK, is_secret, mask_login

_SHORTEST = 4


def named_secrets(values: Any) -> Iterator[str]:
    """The values of keys that are named like secrets, however deep; texts shorter than four characters hide nothing."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            if is_secret(str(key)) and isinstance(value, str) and len(value) >= _SHORTEST and value != MASK:
                yield value
            else:
                yield from named_secrets(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from named_secrets(value)


def scrub(value: Any, secrets: frozenset[str]) -> Any:
    """A copy of plain values in which no text holds one of the secrets, or anything that looks like one.

    Args:
        value: dictionaries, lists, texts, numbers.
        secrets: texts that must not stand anywhere.
    """
    if isinstance(value, str):
        return _scrub_text(value, secrets)
    if isinstance(value, Mapping):
        return {_scrub_text(str(key), secrets): _scrub_item(str(key), item, secrets) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [scrub(item, secrets) for item in value]
    return value


def _scrub_item(key: str, item: Any, secrets: frozenset[str]) -> Any:
    return MASK if is_secret(key) and isinstance(item, str) and item else scrub(item, secrets)


def _scrub_text(text: str, secrets: frozenset[str]) -> str:
    for secret in secrets:
        text = text.replace(secret, MASK)
    return redact(mask_login(text))
