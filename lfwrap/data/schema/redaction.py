"""Values that look like secrets: found by their shape, and masked in everything that is shown or recorded."""

from __future__ import annotations

import functools
import re
from dataclasses import dataclass

_MASK = "…redacted…"

# kind → (literals of which one stands in every such secret, pattern; a group named `secret` is what gets masked)
_KINDS: dict[str, tuple[tuple[str, ...], str]] = {
    "private key": (("-----BEGIN",), r"-----BEGIN [A-Z ]*PRIVATE KEY-----[^-]*(?:-----END [A-Z ]*PRIVATE KEY-----)?"),
    "AWS access key": (("AKIA", "ASIA"), r"\b(?:AKIA|ASIA)[0-9A-Z]{16}\b"),
    "GitHub token": (
        ("ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_"),
        r"\b(?:gh[pousr]_[A-Za-z0-9]{30,}|github_pat_[A-Za-z0-9_]{30,})\b",
    ),
    "GitLab token": (("glpat-",), r"\bglpat-[A-Za-z0-9_-]{16,}"),
    "Slack token": (("xoxb-", "xoxp-", "xoxa-", "xoxs-", "xoxr-"), r"\bxox[abprs]-[A-Za-z0-9-]{10,}"),
    "Hugging Face token": (("hf_",), r"\bhf_[A-Za-z0-9]{30,}\b"),
    "Google API key": (("AIza",), r"\bAIza[0-9A-Za-z_-]{35}"),
    "API key": (
        ("sk-", "sk_live_", "sk_test_", "rk_live_"),
        r"\b(?:sk-[A-Za-z0-9_-]{20,}|[sr]k_(?:live|test)_[A-Za-z0-9]{16,})",
    ),
    "JSON web token": (("eyJ",), r"(?<![A-Za-z0-9_-])eyJ[A-Za-z0-9_-]{8,}\.eyJ[A-Za-z0-9_-]{8,}\.[A-Za-z0-9_-]{8,}"),
    "bearer token": (("earer ",), r"\b[Bb]earer (?P<secret_1>[A-Za-z0-9._~+/-]{24,}=*)"),
    "password in an address": (
        ("gres://", "gresql://", "mysql://", "mongodb://", "mongodb+srv://", "redis://", "amqp://", "ftp://"),
        r"\b(?:postgres(?:ql)?|mysql|mongodb(?:\+srv)?|redis|amqp|ftp)://[^\s:/@]+:(?P<secret_2>[^\s@/…]{3,})@",
    ),
    "environment secret": (
        ("_KEY", "_TOKEN", "_SECRET", "PASSWORD", "_key", "_token", "_secret", "apiKey", "accessToken"),
        (r"""(?:(?:API_KEY|ACCESS_KEY|SECRET_KEY|AUTH_TOKEN|ACCESS_TOKEN|_SECRET|PASSWORD)"""
        r"""|api_key|access_token|auth_token|client_secret|apiKey|accessToken)\\?["']?\s*[:=]\s*\\?["']?"""
        r"""(?P<secret_3>(?=[A-Za-z0-9_/+.-]*[0-9])(?=[A-Za-z0-9_/+.-]*[A-Za-z])[A-Za-z0-9_/+.-]{16,})"""),
    ),
}  # fmt: skip

LITERALS: tuple[str, ...] = tuple(literal for literals, _ in _KINDS.values() for literal in literals)


@functools.cache
def _any_literal() -> re.Pattern[str]:
    return re.compile("|".join(re.escape(literal) for literal in LITERALS))


@functools.cache
def _pattern(kind: str) -> re.Pattern[str]:
    return re.compile(_KINDS[kind][1])


@dataclass(frozen=True, slots=True)
class Secret:
    """Where a text holds something that looks like a secret.

    Attributes:
        kind: what it looks like (``GitHub token``).
        start: its first character.
        end: the character after its last.
    """

    kind: str
    start: int
    end: int


def find_secrets(text: str) -> list[Secret]:
    """Everything in a text that looks like a secret, in its order; overlapping ones count once.

    >>> find_secrets("key AKIAIOSFODNN7EXAMPLE")
    [Secret(kind='AWS access key', start=4, end=24)]
    """
    if _any_literal().search(text) is None:
        return []
    found: list[Secret] = []
    for kind, (literals, _) in _KINDS.items():
        if any(literal in text for literal in literals):
            found += [Secret(kind, *_span(match)) for match in _pattern(kind).finditer(text)]
    found.sort(key=lambda secret: (secret.start, -secret.end))
    kept: list[Secret] = []
    for secret in found:
        if not kept or secret.start >= kept[-1].end:
            kept.append(secret)
    return kept


def _span(match: re.Match[str]) -> tuple[int, int]:
    return match.span(match.lastgroup) if match.lastgroup else match.span()


def redact(text: str) -> str:
    """A text without what looks like a secret: for messages, logs and records.

    >>> redact("key AKIAIOSFODNN7EXAMPLE, region eu-west-1")
    'key …redacted…, region eu-west-1'
    """
    pieces, position = [], 0
    for secret in find_secrets(text):
        pieces += [text[position : secret.start], _MASK]
        position = secret.end
    return "".join([*pieces, text[position:]]) if pieces else text
