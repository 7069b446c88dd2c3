"""Whether a row's answer is a good one, as its labels say it: truth values, words, thumbs and ratings."""

from __future__ import annotations

import math
import re
import shlex
from collections.abc import Iterator, Mapping
from typing import Any

from lfwrap.data.schema.columns import normalise_name
from lfwrap.data.schema.field_meanings import Meaning, meaning_of

_YES = frozenset({"true", "1", "1.0", "+1", "yes", "y", "是"})
_NO = frozenset({"false", "0", "0.0", "-1", "-1.0", "no", "n", "否"})
_GOOD = frozenset({
    "good", "positive", "desirable", "chosen", "up", "like", "liked", "👍", "thumbs_up", "thumb_up", "upvote",
    "upvoted", "acceptable", "accepted", "accept", "approved", "right", "correct", "win", "winner", "best", "better",
    "helpful", "pass", "passed", "好", "正确", "好评",
})  # fmt: skip
_BAD = frozenset({
    "bad", "negative", "undesirable", "rejected", "reject", "down", "dislike", "disliked", "👎", "thumbs_down",
    "thumb_down", "downvote", "downvoted", "unacceptable", "not_acceptable", "disapproved", "wrong", "incorrect",
    "lose", "loser", "poor", "worse", "worst", "unhelpful", "unsafe", "harmful", "fail", "failed", "failure",
    "差", "坏", "不好",
    "错误", "差评",
})  # fmt: skip
_SKIN = re.compile("[\U0001f3fb-\U0001f3ff\ufe0f]")
_CUT = frozenset({
    "length", "max_length", "max_tokens", "max_output_tokens", "max_new_tokens", "model_length", "token_limit",
    "model_context_window_exceeded", "content_filter", "safety", "recitation", "incomplete", "in_progress",
    "cancelled", "canceled", "abort", "aborted", "interrupted", "timeout", "pause_turn",
})  # fmt: skip
_CUT_STATUS = frozenset({"incomplete", "in_progress", "cancelled", "canceled", "aborted", "interrupted"})
LABELS = (Meaning.LABEL, Meaning.BAD, Meaning.VERDICT)


def way_out(name: str) -> str:
    """How to train a row although one of its fields speaks against it, to be typed as it stands.

    >>> way_out("label"), way_out("my label")
    ('to train the row all the same: --ignore label', "to train the row all the same: --ignore 'my label'")
    """
    return f"to train the row all the same: --ignore {shlex.quote(name)}"


def as_number(value: Any) -> float | None:
    """A number, or a text that holds one; None for anything else.

    >>> as_number("0.5"), as_number("often"), as_number(None)
    (0.5, None, None)
    """
    try:
        return float(value)
    except OverflowError:  # a whole number of hundreds of digits
        return math.inf if value > 0 else -math.inf
    except (TypeError, ValueError):
        return None


def says_yes(value: Any) -> bool | None:
    """A yes or no, however it is written; None for anything else.

    >>> says_yes("FALSE"), says_yes(1), says_yes("thumbs down"), says_yes("tax law")
    (False, True, False, None)
    """
    plain = _SKIN.sub("", str(value).strip().lower())
    word = re.sub(r"(?<=\w)[\s-]+(?=\w)", "_", plain)
    return True if word in _YES or word in _GOOD else False if word in _NO or word in _BAD else None


def is_good(name: str, value: Any, meaning: Meaning | None, answers: list[str]) -> bool | None:
    """Whether the answer is a good one, as a label says it; None where the label says nothing of that kind.

    Args:
        name: of the label.
        value: of the label.
        meaning: what the name says.
        answers: the row's answers: the text of a `label` that repeats one is a category.

    >>> is_good("label", "negative", Meaning.LABEL, ["negative"]), is_good("label", "negative", Meaning.LABEL, ["Yes."])
    (None, False)
    >>> is_good("is_bad", True, Meaning.BAD, ["Yes."]), is_good("rating", 3, Meaning.VERDICT, ["Yes."])
    (False, None)
    """
    is_category = isinstance(value, str) and normalise_name(name) == "label"
    if is_category and any(value.strip().lower() == answer.strip().lower() for answer in answers):
        return None
    said = {_one_says(each, meaning) for each in _leaves(value)}
    if False in said:
        good: bool | None = False
    else:
        good = True if said == {True} else None
    if good is not None and name.lower().startswith("rejected"):
        return not good
    return good


def is_cut_off(name: str, value: Any) -> bool:
    """Whether a field says that the answer does not end where its writer would have ended it.

    >>> is_cut_off("finish_reason", "length"), is_cut_off("stopReason", "end_turn"), is_cut_off("status", "incomplete")
    (True, False, True)
    """
    words = _CUT if meaning_of(name) is Meaning.ENDED else _CUT_STATUS if name.strip().lower() == "status" else None
    if words is None:
        return False
    return any(isinstance(each, str) and each.strip().lower() in words for each in _leaves(value))


def _one_says(value: Any, meaning: Meaning | None) -> bool | None:
    says = says_yes(value)
    if meaning is Meaning.BAD:
        word = str(value).strip().lower()
        return None if word not in _YES | _NO else not says
    number = None if meaning is not Meaning.VERDICT or isinstance(value, bool) else as_number(value)
    if number is not None:
        return False if number < 0 else None  # 1 may be one of one, or one of five
    return says


def _leaves(value: Any) -> Iterator[Any]:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        for each in value:
            yield from _leaves(each)
    else:
        yield value
