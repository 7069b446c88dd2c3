"""Data of kinds that are not questions with answers: recognised by their fields, and refused by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from lfwrap.data.schema.columns import normalise_name
from lfwrap.errors import DataError

_TEXTS = frozenset({"text", "content", "raw_content", "body", "article", "document", "passage", "正文", "文本", "内容"})
_WORDS = 5
_LONG_NAME = 60


@dataclass(frozen=True, slots=True)
class OtherKind:
    """A kind of data that has no place in a set of questions and answers.

    Attributes:
        summary: what it is.
        hint: what to do with it.
    """

    summary: str
    hint: str


_PREFERENCE = OtherKind(
    "preference data, not answers to learn",
    "To learn the better answers: --map instruction=COLUMN --map output=COLUMN, and --ignore for the worse ones.",
)
_PLAIN_TEXT = OtherKind(
    "plain text, as for pretraining, without questions and answers",
    "Name the question and the answer, if they are there: --map instruction=COLUMN --map output=COLUMN.",
)


def kind_of_fields(names: Sequence[str]) -> OtherKind | None:
    """The kind of data that fields of these names are, or None where they don't tell.

    >>> kind_of_fields(["prompt", "chosen", "rejected"]).summary
    'preference data, not answers to learn'
    >>> kind_of_fields(["text", "url"]).summary
    'plain text, as for pretraining, without questions and answers'
    """
    if is_preference(names):
        return _PREFERENCE
    if any(normalise_name(name) in _TEXTS for name in names):
        return _PLAIN_TEXT
    return _PLAIN_TEXT if any(_is_sentence(name) for name in names) else None


def is_preference(names: Iterable[str]) -> bool:
    """Whether fields of these names hold better and worse answers.

    >>> is_preference(["input", "preferred_output", "non_preferred_output"]), is_preference(["prompt", "output"])
    (True, False)
    """
    from lfwrap.data.schema.field_meanings import Meaning, meaning_of

    return any(meaning_of(name) is Meaning.PREFERENCE for name in names)


def _is_sentence(name: str) -> bool:
    return name.count(" ") >= _WORDS or len(name) > _LONG_NAME


_NO_DATA = {
    "version https://git-lfs.github.com/spec/": ("a pointer of Git LFS, not the file", "Fetch it: git lfs pull."),
    "<!doctype html": ("a web page, not data", "Download the file itself: look at what the page says."),
    "<html": ("a web page, not data", "Download the file itself: look at what the page says."),
}


def refuse_no_data(name: str, head: str) -> None:
    """Refuse what a download leaves in the place of a file.

    Raises:
        DataError: the text is a web page or a pointer of Git LFS.
    """
    begins = head[:_LOOKED_AT_CHARACTERS].lstrip().lower()
    for mark, (what, hint) in _NO_DATA.items():
        if begins.startswith(mark):
            raise DataError(f"{name}: this is {what}", hint=hint)


_LOOKED_AT_CHARACTERS = 4096
