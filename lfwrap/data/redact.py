"""Secrets in data: found by the forms that issuers give them, and never shown in full."""

from __future__ import annotations

import re

# kind → (bytes that every such secret holds, its form). The first part lets whole blocks be searched quickly.
_FORMS: dict[str, tuple[tuple[bytes, ...], str]] = {
    "API key (sk-…)": ((b"sk-",), r"\bsk-(?:ant-|proj-|or-)?[A-Za-z0-9_-]{20,}"),
    "GitHub token": ((b"ghp_", b"gho_", b"ghs_", b"github_pat_"), r"\b(?:gh[pos]_[A-Za-z0-9]{30,}|github_pat_\w{22,})"),
    "AWS key id": ((b"AKIA",), r"\bAKIA[0-9A-Z]{16}\b"),
    "Google API key": ((b"AIza",), r"\bAIza[0-9A-Za-z_-]{35}"),
    "Slack token": ((b"xox",), r"\bxox[abposr]-[A-Za-z0-9-]{10,}"),
    "Hugging Face token": ((b"hf_",), r"\bhf_[A-Za-z0-9]{30,}"),
    "GitLab token": ((b"glpat-",), r"\bglpat-[A-Za-z0-9_-]{20,}"),
    "private key": ((b"PRIVATE KEY",), r"-----BEGIN (?:[A-Z]+ )*PRIVATE KEY-----"),
}
SECRET_NEEDLES: tuple[bytes, ...] = tuple(needle for needles, _ in _FORMS.values() for needle in needles)
_PATTERNS = {kind: re.compile(form) for kind, (_, form) in _FORMS.items()}
_NAMED = re.compile(
    r"""((?:api[_-]?key|access[_-]?key|auth[_-]?token|token|secret|passw(?:or)?d)["']?\s*[:=]\s*["']?|bearer\s+)"""
    r"""([^\s"',;}]{8,})""",
    re.IGNORECASE,
)
_KEPT_CHARACTERS = 4


def find_secrets(text: str) -> list[str]:
    """The kinds of secret that a text seems to hold, each once."""
    return [kind for kind, pattern in _PATTERNS.items() if pattern.search(text)]


def redact(text: str) -> str:
    """A text for people: secrets, and what is assigned to names like ``API_KEY``, cut down to their first letters."""
    for pattern in _PATTERNS.values():
        text = pattern.sub(lambda match: match.group()[:_KEPT_CHARACTERS] + "***", text)
    return _NAMED.sub(lambda match: match.group(1) + "***", text)
