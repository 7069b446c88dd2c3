"""Values as Python and JavaScript write them in a call: the calls of ToolACE, the Python dicts of Toucan's SFT set."""

from __future__ import annotations

import json
import re
from typing import Any

from second_reader.said import Call, Unclear
from second_reader.values import flaw, spelled

_WORDS = {"true": True, "True": True, "false": False, "False": False, "null": None, "None": None}
_NUMBER = re.compile(r"[-+]?(?:\d[\d_]*\.?\d*|\.\d+)(?:[eE][-+]?\d+)?")
_WORD = re.compile(r"[A-Za-z]+")
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f", "a": "\a", "v": "\v", "0": "\0",
            "\\": "\\", "'": "'", '"': '"', "\n": ""}  # fmt: skip
_HEX = {"x": 2, "u": 4, "U": 8}


def literal(text: str) -> Any:
    """The value that a text is. Raises Unclear."""
    reader = _Reader(text)
    value = reader.value()
    if reader.rest().strip() or flaw(value):
        raise Unclear(f"no literal: {text[:40]!r}")
    return value


def bracket_calls(text: str, names: list[str]) -> list[Call]:
    """``[name(key=value, …), …]``; names may hold spaces, and where they are declared anything else."""
    reader = _Reader(text.strip())
    reader.take("[")
    calls = []
    while not reader.sees("]"):
        known = max((name for name in names if reader.rest().startswith(f"{name}(")), key=len, default="")
        name = reader.skip(known) if known else reader.until("(").strip()
        reader.take("(")
        arguments: dict[str, Any] = {}
        while not reader.sees(")"):
            key = reader.until("=").strip()
            reader.take("=")
            if key in arguments or not key:
                raise Unclear("an argument twice, or without a name")
            arguments[key] = reader.value()
            reader.sees(",", take=True)
        reader.take(")")
        if flaw(arguments) or not name:
            raise Unclear("a call that JSON can't hold")
        calls.append(Call(name, spelled(arguments)))
        reader.sees(",", take=True)
    return calls


class _Reader:
    def __init__(self, text: str) -> None:
        self.text, self.at = text, 0

    def rest(self) -> str:
        return self.text[self.at :]

    def skip(self, known: str) -> str:
        self.at += len(known)
        return known

    def sees(self, mark: str, *, take: bool = False) -> bool:
        """Whether the next character that is no white space is this one."""
        while self.text[self.at : self.at + 1].isspace():
            self.at += 1
        found = self.text.startswith(mark, self.at)
        self.at += len(mark) if found and take else 0
        if not found and self.at >= len(self.text):
            raise Unclear("a literal that ends too early")
        return found

    def take(self, mark: str) -> None:
        if not self.sees(mark, take=True):
            raise Unclear(f"no {mark!r} where one should be")

    def until(self, mark: str) -> str:
        end = self.text.find(mark, self.at)
        if end < 0:
            raise Unclear(f"no {mark!r}")
        found, self.at = self.text[self.at : end], end
        return found

    def value(self) -> Any:
        for opening, closing in (("[", "]"), ("(", ")")):
            if self.sees(opening, take=True):
                held = []
                while not self.sees(closing, take=True):
                    held.append(self.value())
                    self.sees(",", take=True)
                return held
        if self.sees("{", take=True):
            made: dict[str, Any] = {}
            while not self.sees("}", take=True):
                key = self.value()
                self.take(":")
                if not isinstance(key, str) or key in made:
                    raise Unclear("a key that is no text, or stands twice")
                made[key] = self.value()
                self.sees(",", take=True)
            return made
        if self.sees('"') or self.sees("'"):
            return self._text()
        return self._plain()

    def _text(self) -> str:
        quote, said = self.text[self.at], ""
        self.at += 1
        while self.text[self.at : self.at + 1] != quote:
            if self.at >= len(self.text):
                raise Unclear("a quote that stays open")
            if self.text[self.at] == "\\":
                said += self._escape()
            else:
                said += self.text[self.at]
                self.at += 1
        self.at += 1
        return said

    def _escape(self) -> str:
        kind = self.text[self.at + 1 : self.at + 2]
        self.at += 2
        if kind in _HEX:
            digits, self.at = self.text[self.at : self.at + _HEX[kind]], self.at + _HEX[kind]
            return chr(int(digits, 16))
        return _ESCAPES.get(kind, f"\\{kind}")

    def _plain(self) -> Any:
        found = _NUMBER.match(self.text, self.at)
        if found:
            self.at = found.end()
            digits = found[0].replace("_", "").removeprefix("+")
            try:
                return json.loads(digits)
            except ValueError:
                return float(digits)
        word = _WORD.match(self.text, self.at)
        if word is None or word[0] not in _WORDS:
            raise Unclear(f"no value: {self.rest()[:20]!r}")
        self.at = word.end()
        return _WORDS[word[0]]
