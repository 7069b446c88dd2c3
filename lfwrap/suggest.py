"""The known name that a mistyped one was meant to be."""

from __future__ import annotations

from collections.abc import Iterable

ALIKE = 0.6
"""From which part of letters in common on (of 1) two names are alike."""


def nearest(word: str, known: Iterable[str], *, count: int = 1, alike: float = ALIKE) -> list[str]:
    """The known names that are most like a word, the nearest first; none when none is near.

    Args:
        word: what was written.
        known: the names there are.
        count: how many to name at most.
        alike: the part of letters in common that a name needs, up to 1.

    >>> nearest("lora_rnak", ["lora_rank", "lora_alpha", "stage"])
    ['lora_rank']
    >>> nearest("epochs", ["lora_rank"])
    []
    """
    import difflib

    return difflib.get_close_matches(word, list(known), n=count, cutoff=alike)


def did_you_mean(word: str, known: Iterable[str], *, otherwise: str = "") -> str:
    """The hint for a word that is not one of the known names: a question where one is near.

    Args:
        word: what was written.
        known: the names there are.
        otherwise: the hint where no name is near.

    >>> did_you_mean("qwenn", ["llama3", "qwen"])
    "Did you mean 'qwen'?"
    >>> did_you_mean("zephyr", ["llama3", "qwen"], otherwise="It knows llama3 and qwen.")
    'It knows llama3 and qwen.'
    """
    found = nearest(word, known)
    return f"Did you mean '{found[0]}'?" if found else otherwise
