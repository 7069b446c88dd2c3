"""What a record says about its training, whatever its layout: bad answers, preferences, masks, media, cut texts."""

from __future__ import annotations

import re
from typing import Any

_LABELS = ("label", "kto_tag", "desirable", "is_good")
_REJECTED = ("rejected", "rejected_response", "rejected_messages", "rejected_conversations")
_CHOSEN = ("chosen", "chosen_response", "chosen_messages", "chosen_conversations")
_MEDIA = re.compile(r"^(?:image|video|audio|img|picture|photo|frame)s?(?:_?(?:path|url|file)s?)?$", re.IGNORECASE)
_PLACES = re.compile(r"<(?:image|video|audio)>")
_CUT = re.compile(r"\[\d[\d,]* (?:chars|characters|bytes|tokens) truncated\]")
_ASSISTANTS = {"assistant", "gpt", "model", "ai", "bot", "chatgpt", "function_call", "tool_call"}
_ANSWERS = ("output", "response", "completion", "answer", "reply", "回答", "输出", "答案", "回复")
_TURNS = ("messages", "conversations", "conversation")


def banned(record: Any) -> list[tuple[str, str]]:
    """Texts that must not be trained as answers, with the reason."""
    if not isinstance(record, dict):
        return []
    found: list[tuple[str, str]] = []
    if any(is_bad(record[key]) for key in _LABELS if key in record):
        found += [(text, "the row is labelled bad") for text in _answers(record)]
    for key in _REJECTED:
        found += [(text, "the answer was rejected") for text in _texts(record.get(key))]
    for turn in _turns(record):
        if is_masked(turn) and _is_assistant(turn):
            found += [(text, "the turn is masked") for text in _texts(turn)]
        if turn.get("channel") == "analysis":
            found += [(text, "a thought, no answer") for text in _texts(turn)]
    return [(text, reason) for text, reason in found if text.strip()]


def reasons(record: Any) -> list[str]:
    """Why a record may be refused whatever it says, because plain training would not be what it means."""
    if not isinstance(record, dict):
        return []
    found = [f"labelled bad by {key}" for key in _LABELS if key in record and is_bad(record[key])]
    found += [f"a preference: {key}" for key in (*_CHOSEN, *_REJECTED) if record.get(key)]
    found += [f"media: {key}" for key, value in record.items() if _MEDIA.match(key) and value]
    turns = _turns(record)
    if turns and not _is_assistant(turns[-1]) and any(record.get(key) for key in _ANSWERS):
        found.append("an answer beside the conversation")
    for turn in turns:
        found += ["a masked turn"] if _is_assistant(turn) and is_masked(turn) else []
        found += ["a channel"] if turn.get("channel") not in (None, "final") else []
    return found


def forbids(record: Any) -> str:
    """Why a record must not be written as the plain conversation that it holds, or nothing."""
    for reason in reasons(record):
        if reason.startswith(("labelled bad", "media", "a masked turn")):
            return reason
    has_answer = any(_is_assistant(turn) for turn in _turns(record)[-1:]) or any(record.get(key) for key in _ANSWERS)
    if any(record.get(key) for key in _REJECTED) and not has_answer and not any(record.get(key) for key in _CHOSEN):
        return "only a rejected answer"
    return ""


def chosen(record: dict[str, Any]) -> str | None:
    """The one text that is preferred, where a conversation stops before its answer."""
    texts = [text for key in (*_CHOSEN, "response", "answer", "completion") for text in _texts(record.get(key))]
    return texts[0] if texts else None


def is_bad(value: Any) -> bool:
    """Whether a label says that an answer is bad."""
    return (
        value is False
        or value == 0
        or (isinstance(value, str) and value.strip().lower() in {"false", "0", "bad", "no"})
    )


def is_masked(turn: dict[str, Any]) -> bool:
    """Whether a turn says that it is not to be trained."""
    off = any(
        turn.get(key) is False or turn.get(key) == 0
        for key in ("weight", "loss_weight", "loss", "train", "trainable", "training")
        if key in turn
    )
    return off or turn.get("mask") is True or turn.get("masked") is True


def holds_media(texts: list[str]) -> bool:
    """Whether a text has a place for an image, a video or sound."""
    return any(_PLACES.search(text) for text in texts)


def is_cut(text: str) -> bool:
    """Whether a client has cut a text and said so."""
    return _CUT.search(text) is not None


def _turns(record: dict[str, Any]) -> list[dict[str, Any]]:
    turns = next((record[key] for key in _TURNS if isinstance(record.get(key), list)), [])
    return [turn for turn in turns if isinstance(turn, dict)]


def _is_assistant(turn: dict[str, Any]) -> bool:
    return str(turn.get("role", turn.get("from", ""))).lower() in _ASSISTANTS


def _answers(record: dict[str, Any]) -> list[str]:
    said = [text for turn in _turns(record) if _is_assistant(turn) for text in _texts(turn)]
    return said + [record[key] for key in _ANSWERS if isinstance(record.get(key), str)]


def _texts(value: Any) -> list[str]:
    """The texts of a turn, of a list of turns, or a text."""
    if isinstance(value, str):
        return [value]
    if isinstance(value, list):
        assistants = [one for one in value if isinstance(one, dict) and ("role" in one or "from" in one)]
        value = [one for one in assistants if _is_assistant(one)] if assistants else value
        return [text for one in value for text in _texts(one)]
    if isinstance(value, dict):
        return [text for key in ("content", "value", "text") if key in value for text in _texts(value[key])]
    return []
