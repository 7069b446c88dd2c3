"""Fields that no format reads but that change what should be trained: honoured, or the row is refused by name.

Whatever else is not read is only named in the report. These are not: to leave a label, a mask or a second answer out
would train something else than the source says.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.roles import Speaker, is_role, speaker_of
from lfwrap.data.schema.conversation import Conversation, Role
from lfwrap.data.schema.fields import Fields, is_ignored, is_nothing
from lfwrap.data.schema.held_out import is_held_out
from lfwrap.data.schema.meanings import Meaning, meaning_of

_GOOD = frozenset({"true", "1", "1.0", "+1", "yes", "y", "good", "positive", "desirable", "chosen", "up", "like", "👍"})
_BAD = frozenset({
    "false", "0", "0.0", "-1", "no", "n", "bad", "negative", "undesirable", "rejected", "down", "dislike", "👎",
})  # fmt: skip
_WITHOUT_ANSWER = frozenset({"no-answer", "empty-output", "order", "structure", "not-text", "columns"})
_WAY_OUT = "to train the row all the same: --ignore {name}"


def check(notes: RowNotes, conversation: Conversation, ignore: frozenset[str], *, mapped: bool) -> None:
    """Look at the fields of a row that nobody read; what is honoured does not count as unused any more.

    Args:
        notes: the row's notes; fields that are honoured are marked as read.
        conversation: what was made of the row.
        ignore: fields that may be left out.
        mapped: the row is one of named columns: another answer column was left out on purpose.

    Raises:
        Reject: a field changes what should be trained, and that can't be done.
    """
    for name, value in list(notes.unused.items()):
        if "[]" not in name and not is_ignored(name, ignore) and _judge(name, value, None, conversation, mapped=mapped):
            del notes.unused[name]
    for fields in notes.opened:
        if not fields.left or not (fields.path == "" or _is_turn(fields) or fields.path.endswith("content[]")):
            continue
        for name in [name for name in fields.content if name in fields.left]:
            if is_ignored(fields.place_of(name), ignore):
                continue
            if _judge(name, fields.content[name], fields if fields.path else None, conversation, mapped=mapped):
                fields.left.discard(name)


def explain(record: Mapping[str, Any], reject: Reject, ignore: frozenset[str]) -> Reject:
    """Why a row has no answer: one of preference data has it elsewhere, and then its kind is named."""
    if reject.rule in _WITHOUT_ANSWER:
        for name, value in record.items():
            if meaning_of(name) is Meaning.PREFERENCE and not is_nothing(value) and not is_ignored(name, ignore):
                return _preference(name)
    return reject


def _preference(name: str) -> Reject:
    return Reject(
        "preference",
        f"{name} holds a better or a worse answer: preference data is not trained as plain answers; "
        + _WAY_OUT.format(name=name),
    )


def _is_turn(fields: Fields) -> bool:
    return is_role(fields.content.get("role", fields.content.get("from")))


def _judge(name: str, value: Any, turn: Fields | None, conversation: Conversation, *, mapped: bool) -> bool:
    """Whether a field is honoured; False for one that is merely unused. Raises Reject."""
    if is_nothing(value):
        return False
    meaning = meaning_of(name)
    if meaning is Meaning.LABEL or (meaning is Meaning.PREFERENCE and isinstance(value, bool)):
        return _label(name, value)
    if meaning in (Meaning.TRAINED, Meaning.MASKED, Meaning.UNCLEAR):
        return _mask(name, value, turn, meaning)
    if meaning is Meaning.SPLIT and turn is None and isinstance(value, str):
        return _split(name, value)
    if meaning is Meaning.PREFERENCE:
        raise _preference(name)
    if meaning is Meaning.MEDIA and not isinstance(value, bool | int | float):
        raise Reject("media", f"{name} names an image, sound or video: only text can be trained here")
    if turn is None and not mapped:
        _second(name, value, meaning, conversation)
    return False


def _split(name: str, value: str) -> bool:
    if is_held_out(value):
        raise Reject("held-out", f"{name} is {value!r}: the row is kept for validation or tests")
    return value.strip().lower() in ("train", "training")


def _label(name: str, value: Any) -> bool:
    says = _says(value)
    if name.lower().startswith("rejected") and says is not None:
        says = not says
    if says is False:
        raise Reject("labelled-bad", f"{name} is {value!r}: the answer is an example of a bad one")
    return says is True


def _says(value: Any) -> bool | None:
    """A yes or no, however it is written."""
    word = str(value).strip().lower()
    return True if word in _GOOD else False if word in _BAD else None


def _mask(name: str, value: Any, turn: Fields | None, meaning: Meaning) -> bool:
    values = value if isinstance(value, list) else [value]
    if turn is None and not _is_about_loss(name, values):
        return False
    says = {_is_trained(each, meaning) for each in values}
    where, trained = _part_of_row(turn)
    if says == {trained}:
        return True
    raise Reject(
        "weighted-row" if turn is None and not isinstance(value, list) else "masked-turn",
        f"{name} is {_shown(value)} for {where}, which is {'' if trained else 'not '}trained as a whole; "
        + _WAY_OUT.format(name=name),
    )


def _is_trained(value: Any, meaning: Meaning) -> bool | None:
    """What a mask or weight says; None for a share, a list of places, and a mask, of which 1 may mean either."""
    says = _says(value) if isinstance(value, bool | int | float | str) else None
    if meaning is Meaning.UNCLEAR or says is None:
        return None
    return says if meaning is Meaning.TRAINED else not says


def _is_about_loss(name: str, values: list[Any]) -> bool:
    """Whether a field beside the turns can be meant for the loss: a weight in kg, a logged loss and a split are not."""
    if name.lower() == "loss":
        return all(isinstance(each, bool) for each in values)
    return all(isinstance(each, Mapping) or _says(each) is not None or _is_number(each) for each in values)


def _is_number(value: Any) -> bool:
    try:
        float(value)
    except (TypeError, ValueError):
        return False
    return True


def _part_of_row(turn: Fields | None) -> tuple[str, bool]:
    """What a field is about, in words, and whether that is trained."""
    if turn is None:
        return "the row", True
    if not _is_turn(turn):
        return "a part of a turn", True
    role = turn.content.get("role", turn.content.get("from"))
    return f"a turn of {role}", speaker_of(role) in (Speaker.ASSISTANT, Speaker.CALL)


def _shown(value: Any) -> str:
    return "a list" if isinstance(value, list) else repr(value)


def _second(name: str, value: Any, meaning: Meaning | None, conversation: Conversation) -> None:
    """Refuse a second conversation, or an answer that none of the turns says."""
    if _is_turns(value) or (meaning is Meaning.HISTORY and isinstance(value, list)):
        said = {message.text.strip() for message in conversation.messages} | {conversation.system.strip()}
        if not all(text.strip() in said for text in _texts_of(value)):
            raise Reject(
                "second-conversation",
                f"{name} holds turns, too, beside those that were read; " + _WAY_OUT.format(name=name),
            )
    elif meaning is Meaning.ANSWER and isinstance(value, str | list | Mapping):
        answers = [message.text for message in conversation.messages if message.role is Role.ASSISTANT]
        if not any(isinstance(value, str) and value.strip() in answer for answer in answers):
            raise Reject(
                "second-answer",
                f"{name} holds an answer that no turn says; it is not clear which one to learn; "
                + _WAY_OUT.format(name=name),
            )


def _is_turns(value: Any) -> bool:
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(turn, Mapping) and is_role(turn.get("role", turn.get("from"))) for turn in value)
    )


def _texts_of(turns: list[Any]) -> Iterator[str]:
    for turn in turns:
        values = list(turn.values()) if isinstance(turn, Mapping) else turn if isinstance(turn, list) else [turn]
        said = turn.get("content", turn.get("value")) if isinstance(turn, Mapping) else None
        if isinstance(said, str):
            yield said
        elif not isinstance(turn, Mapping):
            yield from (str(each) for each in values)
        else:
            yield ""  # parts or nothing: not a copy that can be told
