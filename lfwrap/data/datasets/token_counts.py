"""Tokens of rows' texts, counted with a model's own tokenizer.json, without the engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lfwrap.errors import DataError, PreflightError

TRAINED = ("gpt", "function_call")
_KNOWN_TEXTS = 4096
_TOKENIZER = "tokenizer.json"


class TextTokens:
    """Counts the tokens of rows: their system prompt, tools and turns as texts, without what a template adds."""

    def __init__(self, place: Path) -> None:
        """Load a tokenizer: a tokenizer.json, or a model's folder that holds one.

        Raises:
            PreflightError: the package ``tokenizers`` is missing.
            DataError: there is no tokenizer, or it can't be read.
        """
        try:
            from tokenizers import Tokenizer
        except ImportError as error:
            raise PreflightError(
                "counting tokens needs the package tokenizers, which comes with the engine",
                hint="pip install 'lfwrap[train]', or pip install tokenizers",
            ) from error
        path = place / _TOKENIZER if place.is_dir() else place
        if not path.is_file():
            raise DataError(
                f"{path}: there is no such tokenizer",
                hint="Name a model's folder or its tokenizer.json; --rendered counts with any tokenizer of the engine.",
            )
        try:
            self._tokenizer: Any = Tokenizer.from_file(str(path))
        except Exception as error:  # the package raises plain exceptions
            raise DataError(f"{path}: not a tokenizer: {error}", hint="Name a model's tokenizer.json.") from error
        self._tokenizer.no_truncation()
        self._tokenizer.no_padding()
        self._known: dict[str, int] = {}

    def count(self, rows: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
        """Tokens of each row, in total and trained."""
        if len(self._known) > _KNOWN_TEXTS:
            self._known.clear()  # tools and system prompts come again and again, turns don't
        texts = {text: None for row in rows for text in _texts(row) if text not in self._known}
        encoded = self._tokenizer.encode_batch_fast(list(texts), add_special_tokens=False)
        self._known |= {text: len(tokens) for text, tokens in zip(texts, encoded, strict=True)}
        return [self._row(row) for row in rows]

    def _row(self, row: dict[str, Any]) -> tuple[int, int]:
        trained = sum(self._known[turn["value"]] for turn in row["conversations"] if turn["from"] in TRAINED)
        return sum(self._known[text] for text in _texts(row)), trained


def _texts(row: dict[str, Any]) -> list[str]:
    return [row["system"], row["tools"], *(turn["value"] for turn in row["conversations"])]
