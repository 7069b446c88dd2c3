"""Texts from whatever is found where a text is expected: content parts, MCP results, thoughts in tags."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.arguments import exact_or_none, json_or_none, json_text
from lfwrap.data.schema.fields import is_missing

_THOUGHT = re.compile(r"\s*<(think|thinking)>(.*?)</\1>\s*", re.DOTALL)
_OPEN_THOUGHT = re.compile(r"\s*<think(?:ing)?>(?!.*</think(?:ing)?>)", re.DOTALL)
# A whole run at once: the two halves of a surrogate pair may stand anywhere in it.
_ESCAPE = re.compile(r"(?<!\\)((?:\\\\)*)((?:\\u[0-9a-fA-F]{4})+)")
# A tuple: what stands under "type" in a broken row may be unhashable.
_TEXT_PARTS = ("text", "input_text", "output_text")
_MCP_FIELDS = frozenset({"content", "structuredContent", "isError", "is_error", "_meta"})
_MCP_NOTES = frozenset({"type", "annotations", "_meta"})
_MCP_PARTS = {
    "text": _MCP_NOTES | {"text"},
    "image": _MCP_NOTES | {"data", "mimeType"},
    "audio": _MCP_NOTES | {"data", "mimeType"},
    "resource": _MCP_NOTES | {"resource"},
    "resource_link": _MCP_NOTES | {"uri", "name", "title", "description", "mimeType", "size", "icons"},
}
_FIRST_PRINTABLE = 0x20
_QUOTE, _BACKSLASH = 0x22, 0x5C


def plain_text(value: Any, what: str, notes: RowNotes, path: str = "") -> str:
    r"""Text, or what stands for it: null and NaN are empty, a number its digits, a list of parts their text.

    Typed parts are put together as the APIs do it, with nothing between; bare texts in a list each take a line.

    Args:
        value: the text, or what stands for it.
        what: what to call it (``message 3``).
        notes: counts repairs, and remembers which fields of a part were read.
        path: where it stands in the record.

    Raises:
        Reject: ``media`` for images and sound, ``not-json`` for infinity, ``not-text`` for anything else.

    >>> plain_text([{"type": "text", "text": "a"}, {"type": "text", "text": "b"}], "message 1", RowNotes())
    'ab'
    >>> plain_text(["a", "b"], "message 1", RowNotes())
    'a\nb'
    """
    text = scalar_text(value, what, notes)
    if text is not None:
        return text
    if isinstance(value, Mapping):
        value = [value]
    if isinstance(value, list):
        notes.repair("parts-to-text")
        between = "" if all(isinstance(part, Mapping) for part in value) else "\n"
        return between.join(_part_text(part, what, notes, path) for part in value)
    raise Reject("not-text", f"{what} is not text")


def scalar_text(value: Any, what: str, notes: RowNotes) -> str | None:
    """Text as it is, nothing (null, NaN) as empty text, a number or truth value as JSON spells it; None for the rest.

    Raises:
        Reject: ``not-json`` for infinity.

    >>> scalar_text(True, "output", RowNotes()), scalar_text(float("nan"), "output", RowNotes())
    ('true', '')
    """
    if isinstance(value, str):
        return value
    if is_missing(value):
        notes.repair("null-to-empty")
        return ""
    if isinstance(value, float) and math.isinf(value):
        raise Reject("not-json", f"{what} is a number beyond all bounds, which JSON has not")
    if isinstance(value, bool | int | float):
        notes.repair("number-to-text")
        return json.dumps(value)
    return None


def _part_text(part: Any, what: str, notes: RowNotes, path: str) -> str:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        raise Reject("not-text", f"{what} holds a part that is neither text nor an object")
    fields = notes.fields(part, f"{path}[]")
    kind = fields.get("type")
    if kind in _TEXT_PARTS:
        text = fields.get("text" if "text" in fields else "value")
        if isinstance(text, str):
            return text
    if kind == "refusal" and isinstance(fields.get("refusal"), str):
        return str(fields["refusal"])
    raise Reject("media", f"{what} holds a part of type {kind!r}: only text can be trained here")


def split_thought(text: str, notes: RowNotes) -> tuple[str, str]:
    """``<think>…</think>`` at the start of a text, apart from what follows: (thought, text).

    >>> split_thought("<think>2 + 3</think>It is 5.", RowNotes())
    ('2 + 3', 'It is 5.')
    """
    if "<think" not in text:
        return "", text
    found = _THOUGHT.match(text)
    if found is None:
        if _OPEN_THOUGHT.match(text):
            notes.warn("open-thought", "a thought that begins the answer never ends: all is trained as the answer")
        return "", text
    thought, rest = found.group(2).strip(), text[found.end() :]
    if not thought:
        notes.repair("empty-thought-dropped")
        return "", rest
    if text != f"<think>\n{thought}\n</think>\n\n{rest}":
        notes.repair("think-newlines")
    return thought, rest


def mcp_result(result: Mapping[str, Any], notes: RowNotes, path: str = "result") -> tuple[str, bool]:
    """The text of an MCP ``tools/call`` result, and whether it reports a failure.

    Text parts are joined by line breaks; without any, ``structuredContent`` is written as JSON. Images, sound and
    binary resources become a placeholder and a warning.

    >>> mcp_result({"content": [{"type": "text", "text": "no such city"}], "isError": True}, RowNotes())
    ('no such city', True)
    """
    fields = notes.fields(result, path)
    content = fields.get("content")
    parts = content if isinstance(content, list) else [] if content is None else [content]
    at = f"{fields.place_of('content')}[]"
    texts = [text for part in parts if (text := _mcp_part(part, notes, at)) is not None]
    if not texts and "structuredContent" in fields and fields["structuredContent"] is not None:
        notes.repair("structured-content-to-text")
        texts = [json_text(fields["structuredContent"], notes)]
    return readable_json("\n".join(texts), notes), bool(fields.get("isError", fields.get("is_error", False)))


def _mcp_part(part: Any, notes: RowNotes, path: str) -> str | None:
    if isinstance(part, str):
        return part
    if not isinstance(part, Mapping):
        return json_text(part, notes)
    fields = notes.fields(part, path)
    kind = fields.get("type")
    if kind in _TEXT_PARTS or (kind is None and "text" in fields):
        text = fields.get("text" if "text" in fields else "value")
        return text if isinstance(text, str) else "" if text is None else json_text(text, notes)
    if kind == "resource_link":
        return str(fields.get("uri") or "")
    if kind == "resource" and isinstance(fields.get("resource"), Mapping):
        resource = notes.fields(fields["resource"], fields.place_of("resource"))
        if isinstance(resource.get("text"), str):
            return str(resource["text"])
        fields = resource
    source = fields.content.get("source")
    if kind == "search_result" and isinstance(fields.content.get("content"), list):
        at = f"{fields.place_of('content')}[]"
        return "".join(_mcp_part(each, notes, at) or "" for each in fields["content"])
    if kind == "document" and isinstance(source, Mapping) and source.get("type") == "text":
        return str(notes.fields(fields["source"], fields.place_of("source")).get("data", ""))
    named = source.get("media_type") if isinstance(source, Mapping) else None
    media = str(fields.get("mimeType") or named or "of unknown type")
    fields.take_all()  # the placeholder and the warning stand for all of it
    notes.warn("media-dropped", f"a tool's result holds {kind} {media}: a placeholder stands for it")
    return f"[{kind}: {media}]"


def looks_like_mcp_result(value: Any) -> bool:
    """Whether a value can only be an MCP result: nothing but the fields of one, and parts of the kinds it may have.

    >>> looks_like_mcp_result({"content": [{"type": "text", "text": "15"}]})
    True
    >>> looks_like_mcp_result({"id": 9, "content": [{"type": "text", "text": "15"}]})
    False
    """
    if not isinstance(value, Mapping) or not value.keys() <= _MCP_FIELDS:
        return False
    content = value.get("content")
    if isinstance(content, list) and content:
        return all(_is_mcp_part(part) for part in content)
    return "structuredContent" in value or (content == [] and "isError" in value)


def _is_mcp_part(part: Any) -> bool:
    return isinstance(part, Mapping) and part.keys() <= _MCP_PARTS.get(str(part.get("type")), frozenset())


def result_text(value: Any, notes: RowNotes, path: str = "result", *, mcp: bool = False) -> tuple[str, bool]:
    """A tool's result: its text, and whether it reports a failure.

    Args:
        value: text, JSON, or a list of typed parts.
        notes: counts repairs, and remembers which fields were read.
        path: where it stands in the record.
        mcp: whether the row comes from MCP, whose results (as objects, or as JSON text) are unwrapped. Anybody else's
            JSON stays as it is: what looks like MCP's fields may be the tool's own.

    >>> result_text({"celsius": 15}, RowNotes())
    ('{"celsius": 15}', False)
    """
    if isinstance(value, str):
        may_be = mcp and value[:1] == "{" and ('"content"' in value or '"structuredContent"' in value)
        inner = exact_or_none(value) if may_be else None
        if isinstance(inner, Mapping) and looks_like_mcp_result(inner):
            notes.repair("mcp-result-to-text")
            return mcp_result(inner, notes, path)
        return readable_json(value, notes), False
    if mcp and looks_like_mcp_result(value):
        return mcp_result(value, notes, path)
    if isinstance(value, list) and value and all(isinstance(part, Mapping) and "type" in part for part in value):
        parts = [_mcp_part(part, notes, f"{path}[]") or "" for part in value]
        return readable_json("\n".join(parts), notes), False
    if is_missing(value):
        return "", False
    return json_text(value, notes), False


def readable_json(text: str, notes: RowNotes) -> str:
    r"""JSON text without ``\u`` escapes of printable characters: the engine would train on the escapes.

    Everything else, numbers and white space included, stays byte for byte; text that is not JSON stays as it is.

    >>> readable_json('{"city": "\\u5317\\u4eac"}', RowNotes())
    '{"city": "北京"}'
    """
    if "\\u" not in text or json_or_none(text) is None:
        return text
    readable = _ESCAPE.sub(_unescape, text)
    if readable != text:
        notes.repair("unicode-escapes")
    return readable


def _unescape(found: re.Match[str]) -> str:
    backslashes, escape = found.groups()
    units = [int(part, 16) for part in escape.split("\\u")[1:]]
    text = b"".join(unit.to_bytes(2, "big") for unit in units).decode("utf-16-be", "surrogatepass")
    return backslashes + "".join(_readable(character) for character in text)


def _readable(character: str) -> str:
    code = ord(character)
    if code < _FIRST_PRINTABLE or code in (_QUOTE, _BACKSLASH) or 0xD800 <= code <= 0xDFFF:  # noqa: PLR2004 - surrogates
        return f"\\u{code:04x}"
    return character
