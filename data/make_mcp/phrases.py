"""Values for slots, and phrasings with their slots filled."""

from __future__ import annotations

import re
import string
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from draws import Draws
from tables import Arg, Tool, load_yaml

_OPTIONAL = re.compile(r"\[([^\[\]|]*)(?:\|([a-z_]+)=([a-z]+))?\]")
_SLOT = re.compile(r"\{([a-z_0-9]+)\}")
_RANGE = re.compile(r"(-?\d+(?:\.\d+)?)\.\.(-?\d+(?:\.\d+)?)")
_OPTION_SAID = 0.4


class Values:
    """Draws values of a kind, and says how a value reads in a language."""

    def __init__(self, draws: Draws) -> None:
        table = load_yaml("values.yaml")
        self._words: Mapping[str, str] = table.pop("zh_words")
        self._lists: Mapping[str, Any] = table
        self._draws = draws

    def of_kind(self, kind: str, language: str) -> Any:
        """A value: from a list of ``values.yaml``, within a range, or of a shape."""
        if kind in self._lists:
            values = self._lists[kind]
            value = self._draws.pick(values if isinstance(values, list) else values[language])
            return value if isinstance(value, int | float) else str(value)
        bounds = _RANGE.fullmatch(kind)
        if bounds and "." in bounds[1] + bounds[2]:
            low, high = (round(float(bound) * 10) for bound in bounds.groups())
            return (low + self._draws.below(high - low + 1)) / 10
        if bounds:
            return int(bounds[1]) + self._draws.below(int(bounds[2]) - int(bounds[1]) + 1)
        return "".join(self._filled(letter) for letter in kind)

    def knows(self, kind: str) -> bool:
        """Whether there are values of a kind."""
        return kind in self._lists or _RANGE.fullmatch(kind) is not None or "#" in kind

    def has_word(self, option: str) -> bool:
        """Whether it is known how a Chinese question says an option."""
        return option in self._words

    def _filled(self, letter: str) -> str:
        if letter == "#":
            return str(1 + self._draws.below(9))
        return self._draws.pick(string.ascii_uppercase) if letter == "?" else letter

    def of_arg(self, arg: Arg, language: str) -> Any:
        """A value for an argument."""
        if arg.options:
            return self._draws.pick(arg.options)
        if arg.type == "string[]":
            found = [self.of_kind(arg.kind, language) for _ in range(1 + self._draws.below(3))]
            return list(dict.fromkeys(found))
        one = arg.kind.startswith("1..")  # may be given, but the phrasings say "weeks"
        return self.of_kind(arg.kind.replace("1..", "2..", 1) if one else arg.kind, language)

    def spoken(self, arg: Arg, value: Any, language: str) -> str:
        """How a value reads in a question."""
        if arg.options:
            return self._words[value] if language == "zh" else value.replace("_", " ")
        if isinstance(value, list):
            return joined(value, language)
        return str(value)


def joined(values: list[str], language: str) -> str:
    """Values as a list in a sentence.

    >>> joined(["a", "b", "c"], "en")
    'a, b and c'
    """
    comma, last = ("、", "和") if language == "zh" else (", ", " and ")
    return comma.join(values[:-1]) + last + values[-1] if len(values) > 1 else values[0]


@dataclass(frozen=True)
class Said:
    """A phrasing with its slots filled.

    Attributes:
        text: what is said.
        skeleton: the same with ``{arg}`` in place of each value.
        arguments: the values, in the order of the tool's schema.
        is_question: whether it is a sentence of its own, and not an order that goes into a frame.
    """

    text: str
    skeleton: str
    arguments: Mapping[str, Any]
    is_question: bool = False

    def framed(self, frame: str) -> Said:
        """The phrasing inside of a frame with ``{do}``, ``{Do}``, ``{ask}`` or ``{Ask}``."""
        is_name = self.skeleton.startswith(("{", "I ", "I'"))
        return replace(self, text=_put(frame, self.text, is_name), skeleton=_put(frame, self.skeleton, is_name))


def _put(frame: str, core: str, is_name: bool) -> str:
    upper = core if is_name else core[:1].upper() + core[1:]
    lower = core if is_name else core[:1].lower() + core[1:]
    for name, text in (("{do}", core), ("{Do}", upper), ("{ask}", lower), ("{Ask}", upper)):
        frame = frame.replace(name, text)
    return frame


def fill(phrase: str, tool: Tool, values: Values, language: str, draws: Draws, *, given: Mapping[str, Any]) -> Said:
    """Fill a phrasing of a tool.

    Args:
        phrase: the line of the table.
        tool: whose arguments its slots are.
        values: where they come from.
        language: of the row.
        draws: says which optional parts are said.
        given: arguments that already have a value, wherever their slot stands.
    """
    is_question = phrase.startswith("?")
    arguments: dict[str, Any] = {}

    def choose(match: re.Match[str]) -> str:
        if not draws.chance(_OPTION_SAID):
            return ""
        if match[2]:
            arguments[match[2]] = {"true": True, "false": False}.get(match[3], match[3])
        return match[1]

    skeleton = _OPTIONAL.sub(choose, phrase.removeprefix("?").strip())
    for name in _SLOT.findall(skeleton):
        if name not in arguments:
            arguments[name] = given[name] if name in given else values.of_arg(tool.args[name], language)
    text = substitute(skeleton, lambda name: values.spoken(tool.args[name], arguments[name], language))
    ordered = {name: arguments[name] for name in tool.args if name in arguments}
    return Said(text, skeleton, ordered, is_question)


def substitute(text: str, value_of: Callable[[str], str]) -> str:
    """A text with each ``{slot}`` replaced by its value.

    >>> substitute("to {city}", str.upper)
    'to CITY'
    """
    return _SLOT.sub(lambda match: value_of(match[1]), text)
