"""Fields that no format reads but that change what should be trained: honoured, or the row is refused by name.

Whatever else is not read is only named in the report. These are not: to leave a label, a mask or a second answer out
would train something else than the source says.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from lfwrap.data.convert.labels import LABELS, as_number, is_cut_off, is_good, says_yes, way_out
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.roles import Speaker, is_role, speaker_of
from lfwrap.data.schema.columns import normalise_name
from lfwrap.data.schema.conversation import Conversation, Role
from lfwrap.data.schema.field_meanings import Meaning, meaning_in_turn, meaning_of
from lfwrap.data.schema.fields import Fields, is_ignored, is_nothing
from lfwrap.data.schema.held_out import is_held_out

_WITHOUT_ANSWER = frozenset({"no-answer", "empty-output", "order", "structure", "not-text", "columns"})
# Objects beside a record's own fields that may hold more of them.
_MORE = frozenset({
    "metadata", "meta", "meta_data", "info", "extra", "extras", "extra_info", "additional_info", "annotation",
    "annotations", "tags", "attributes", "properties", "custom", "元数据",
})  # fmt: skip
_NO_NAME = frozenset({"none", "null", "nan", "n/a", "na", "-"})
_FILES = frozenset({
    "file", "files", "figure", "figures", "frame", "frames", "clip", "clips", "pdf", "document", "documents", "visual",
    "visuals", "path", "paths",
})  # fmt: skip
_MEDIA_FILE = re.compile(
    r"^data:(?:image|audio|video)/|\.(?:png|jpe?g|gif|webp|bmp|tiff?|svg|mp4|mov|avi|mkv|webm|wav|mp3|flac|ogg|m4a|pdf)$",
    re.IGNORECASE,
)
# Where a row's own fields stand: the record itself, or the line of an instructions file that asks for it.
_ROWS = ("", "instruction")
_USES = (Meaning.IN_USE, Meaning.OUT_OF_USE)
_IS_SPLIT = re.compile(r"split|partition|划分", re.IGNORECASE)
_HELD_OUT = frozenset({"test", "val", "validation", "valid", "dev", "eval", "evaluation", "holdout", "held_out"})
_OF_ALL_ROWS = (*LABELS, *_USES, Meaning.SPLIT, Meaning.HELD_OUT)
_MASKS = (Meaning.TRAINED, Meaning.MASKED, Meaning.UNCLEAR)


def check(notes: RowNotes, conversation: Conversation, ignore: frozenset[str], *, mapped: bool) -> None:
    """Look at the fields of a row that nobody read; what is honoured does not count as unused any more.

    Args:
        notes: the row's notes; fields that are honoured are marked as read.
        conversation: what was made of the row.
        ignore: fields that may be left out.
        mapped: the user named the answer's column: another one was left out on purpose.

    Raises:
        Reject: a field changes what should be trained, and that can't be done.
    """
    for name, value in list(notes.unused.items()):
        if "[]" in name or is_ignored(name, ignore):
            continue
        if _judge(name, value, None, conversation, ignore, mapped=mapped):
            del notes.unused[name]
    for fields in notes.opened:
        if not fields.left or not _may_be_masked(fields):
            continue
        for name in [name for name in fields.content if name in fields.left]:
            if is_ignored(fields.place_of(name), ignore):
                continue
            turn = None if fields.path in _ROWS else fields
            if _judge(name, fields.content[name], turn, conversation, ignore, mapped=mapped):
                fields.left.discard(name)


def check_file(values: Mapping[str, Any], ignore: frozenset[str]) -> None:
    """Look at what a file says of all of its rows: that they are bad, held out or out of use. Raises Reject then.

    Args:
        values: what stands beside the list of rows, by name. Numbers are counts of something, but for a weight of 0.
        ignore: fields that may be left out.
    """
    nobody = Conversation(messages=())
    for name, value in values.items():
        if is_ignored(name, ignore) or is_nothing(value):
            continue
        if isinstance(value, Mapping) and normalise_name(name) in _MORE:
            check_file({f"{name}.{inner}": said for inner, said in value.items()}, ignore)
        meaning = meaning_of(name.rpartition(".")[2])
        is_weight = meaning is Meaning.TRAINED and "weight" in name.lower() and value == 0
        if is_weight or (isinstance(value, bool | str) and meaning in _OF_ALL_ROWS):
            _judge(name.rpartition(".")[2], value, None, nobody, ignore, mapped=True)


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
        f"{name} holds a better or a worse answer: preference data is not trained as plain answers; " + way_out(name),
    )


def _may_be_masked(fields: Fields) -> bool:
    """Whether an object is the record itself, a turn, a part of one, or a call."""
    path = fields.path
    return (
        path in _ROWS
        or _is_turn(fields)
        or path.endswith("content[]")
        or "tool_calls" in path
        or "function_call" in path
    )


def _is_turn(fields: Fields) -> bool:
    return is_role(fields.content.get("role", fields.content.get("from")))


def _judge(
    name: str, value: Any, turn: Fields | None, conversation: Conversation, ignore: frozenset[str], *, mapped: bool
) -> bool:
    """Whether a field is honoured; False for one that is merely unused. Raises Reject."""
    if is_nothing(value):
        return False
    _refuse_cut_off(name, value, turn)
    meaning = meaning_of(name) if turn is None else meaning_in_turn(name)
    if meaning in LABELS or (meaning is Meaning.PREFERENCE and isinstance(value, bool)):
        good = is_good(name, value, meaning, _answers(conversation))
        if good is False:
            raise _labelled_bad(name, value)
        return good is True
    if meaning in _MASKS or meaning in _USES:
        return (_use if meaning in _USES else _mask)(name, value, turn, meaning)
    if meaning in (Meaning.SPLIT, Meaning.HELD_OUT) and turn is None:
        return _split(name, value, meaning)
    if meaning is Meaning.PREFERENCE:
        raise _preference(name)
    if (meaning is Meaning.MEDIA and _names_something(value)) or _is_media_file(name, value):
        said = f"{name} names an image, sound or video: only text can be trained here; "
        raise Reject("media", said + way_out(name))
    if isinstance(value, Mapping) and normalise_name(name) in _MORE:
        _look_into({f"{name}.{inner}": said for inner, said in value.items()}, turn, conversation, ignore)
    if turn is None and not mapped:
        _second(name, value, meaning, conversation)
    return False


def _split(name: str, value: Any, meaning: Meaning) -> bool:
    """Whether a field says that the row is for training. Raises Reject where it says that it is not."""
    if meaning is Meaning.HELD_OUT:
        held_out, trained = says_yes(value) is True, says_yes(value) is False
    elif isinstance(value, str):
        plain = value.strip().lower()
        # The names of subsets and types hold such words by chance, too.
        held_out = is_held_out(value) if _IS_SPLIT.search(name) else plain in _HELD_OUT
        trained = plain in ("train", "training", "训练", "训练集")
    else:
        return False
    if held_out:
        said = f"{name} is {_shown(value)}: the row is kept for validation or tests; "
        raise Reject("held-out", said + way_out(name))
    return trained


def _use(name: str, value: Any, turn: Fields | None, meaning: Meaning) -> bool:
    """Whether a field says that something is in use. Raises Reject where it says that it is not."""
    says = says_yes(value) if isinstance(value, bool | int | float | str) else None
    if says is None:
        return False
    if says is (meaning is Meaning.IN_USE):
        return True
    said = f"{name} is {_shown(value)}: {'the row' if turn is None else _part_of_row(turn)[0]} is not in use; "
    raise Reject("weighted-row" if turn is None else "masked-turn", said + way_out(name))


def _answers(conversation: Conversation) -> list[str]:
    return [message.text for message in conversation.messages if message.role is Role.ASSISTANT]


def _labelled_bad(name: str, value: Any) -> Reject:
    said = f"{name} is {_shown(value)}: the answer is an example of a bad one; "
    return Reject("labelled-bad", said + way_out(name))


def _refuse_cut_off(place: str, value: Any, turn: Fields | None) -> None:
    if is_cut_off(place.rpartition(".")[2], value) and _part_of_row(turn)[1]:
        said = f"{place} is {_shown(value)}: the answer was cut off, and learnt as it is it would teach to stop there; "
        raise Reject("cut-answer", said + way_out(place))


def _look_into(
    metadata: Mapping[str, Any], turn: Fields | None, conversation: Conversation, ignore: frozenset[str]
) -> None:
    """Refuse a row whose metadata, place → value, say that its answer is bad, or that it is not trained."""
    trained = _part_of_row(turn)[1]
    for place, said in metadata.items():
        inner = place.partition(".")[2]
        if is_ignored(place, ignore):
            continue
        _refuse_cut_off(place, said, turn)
        meaning = meaning_of(inner)
        if meaning in LABELS and is_good(inner, said, meaning, _answers(conversation)) is False:
            raise _labelled_bad(place, said)
        if meaning in _USES:
            _use(place, said, turn, meaning)
        if meaning in (Meaning.SPLIT, Meaning.HELD_OUT) and turn is None:
            _split(place, said, meaning)
        if meaning in (Meaning.TRAINED, Meaning.MASKED) and trained and _is_trained(said, meaning) is False:
            _mask(place, said, turn, meaning)


def _names_something(value: Any) -> bool:
    if isinstance(value, Mapping):
        value = list(value.values())
    if isinstance(value, list):
        return any(_names_something(each) for each in value)
    return not (isinstance(value, bool | int | float) or is_nothing(value) or str(value).strip().lower() in _NO_NAME)


def _is_media_file(name: str, value: Any) -> bool:
    """Whether a field for files of any kind names an image, a sound, a video or a PDF."""
    if normalise_name(name) not in _FILES:
        return False
    values = value if isinstance(value, list) else [value]
    return any(isinstance(each, str) and _MEDIA_FILE.search(each) is not None for each in values)


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
        + way_out(name),
    )


def _is_trained(value: Any, meaning: Meaning) -> bool | None:
    """What a mask or weight says; None for a share, a list of places, and a mask, of which 1 may mean either."""
    says = says_yes(value) if isinstance(value, bool | int | float | str) else None
    if meaning is Meaning.UNCLEAR or says is None:
        return None
    return says if meaning is Meaning.TRAINED else not says


def _is_about_loss(name: str, values: list[Any]) -> bool:
    """Whether a field beside the turns can be meant for the loss: a weight in kg, a logged loss and a split are not."""
    if name.lower() == "loss":
        return all(isinstance(each, bool) or (len(values) > 1 and each in (0, 1)) for each in values)
    return all(
        isinstance(each, Mapping) or says_yes(each) is not None or as_number(each) is not None for each in values
    )


def _part_of_row(turn: Fields | None) -> tuple[str, bool]:
    """What a field is about, in words, and whether that is trained."""
    if turn is None:
        return "the row", True
    if not _is_turn(turn):
        return "a part of a turn", True
    role = turn.content.get("role", turn.content.get("from"))
    return f"a turn of the {role}", speaker_of(role) in (Speaker.ASSISTANT, Speaker.CALL)


def _shown(value: Any) -> str:
    """A value as JSON spells it: ``false``, not Python's ``False``."""
    return "a list" if isinstance(value, list) else json.dumps(value) if isinstance(value, bool) else repr(value)


def _second(name: str, value: Any, meaning: Meaning | None, conversation: Conversation) -> None:
    """Refuse a second conversation, or an answer that none of the turns says."""
    if _is_turns(value) or (meaning is Meaning.HISTORY and isinstance(value, list)):
        said = {message.text.strip() for message in conversation.messages} | {conversation.system.strip()}
        if not all(text.strip() in said for text in _texts_of(value)):
            raise Reject(
                "second-conversation",
                f"{name} holds turns, too, beside those that were read; " + way_out(name),
            )
    elif meaning is Meaning.ANSWER and isinstance(value, str | list | Mapping):
        if isinstance(value, str) and any(value.strip() in answer for answer in _answers(conversation)):
            return
        raise Reject(
            "second-answer",
            f"{name} holds an answer that is not the one that was read; it is not clear which one to learn; "
            + way_out(name),
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
