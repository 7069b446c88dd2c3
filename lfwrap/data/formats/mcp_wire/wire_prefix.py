"""What stands before a message in a log: time, level, server, and who sent it; names for the servers of a log."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from lfwrap.errors import DataError

ONLY_SESSION = "session"

# The usual ones first: of two tags that could both be a level, the later one is the server's name.
_LEVELS = ("info", "debug", "error", "warn", "warning", "trace", "log", "verbose", "err", "notice", "fatal", "critical",
           "silly", "severe", "information")  # fmt: skip
_SIDES = {"client": "client", "editor": "client", "host": "client", "local": "client", "parent": "client",
          "server": "server", "remote": "server", "child": "server",
          "in": "<", "recv": "<", "received": "<", "incoming": "<", "inbound": "<", "rx": "<", "stdout": "<",
          "read": "<", "write": ">",
          "out": ">", "send": ">", "sent": ">", "outgoing": ">", "outbound": ">", "tx": ">", "stdin": ">",
          }  # fmt: skip
_OTHER = {"client": "server", "server": "client", ">": "<", "<": ">"}
_STAMP = re.compile(r"\s*[\[(]?\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d|\s*\[?\d\d:\d\d:\d\d")
_TAG = re.compile(r"\[([^\[\]\n]{1,100})\]")
_CONTAINER = re.compile(r"\s*([\w.-]+)\s+\|\s")
_NUMBERS = re.compile(r"[\d\s:.,TZ+/-]+")
_FROM = re.compile(r"\b(from|to)\s+(?:the\s+)?(client|editor|host|local|parent|server|remote|child)\b", re.IGNORECASE)
_RIGHT = r"-{1,3}>|={1,2}>|>{2,3}|[→⇒➡➜⟶]"
_LEFT = r"<-{1,3}|<={1,2}|<{2,3}|[←⇐⬅⟵]"
_ARROW = re.compile(
    rf"(?:\b([A-Za-z][\w.-]*)\s*)?(?:({_RIGHT})|({_LEFT})|(?:(?<=[\s\]])|^)([<>])(?=[\s:]|$))\s*(?:\b([A-Za-z][\w.-]*))?"
)
_WORD = re.compile(
    r"\b(send|sent|sending|outgoing|outbound|recv|received|receiving|incoming|inbound)\b"
    r"|\b(in|out|tx|rx|read|write|stdin|stdout)\b\W*$",
    re.IGNORECASE,
)
_SHOWN_CHARACTERS = 500
_WORDS = {"sending": ">", "receiving": "<"}


def _ends(prefix: str) -> str:
    """The beginning and the end of what may be a long line of something else."""
    return prefix if len(prefix) <= 2 * _SHOWN_CHARACTERS else prefix[:_SHOWN_CHARACTERS] + prefix[-_SHOWN_CHARACTERS:]


def is_stamped(text: str) -> bool:
    """Whether a line begins with a time, as a log's own lines do.

    >>> is_stamped("2025-06-13T14:44:29.945Z [info] [notes] started"), is_stamped('  "id": 1')
    (True, False)
    """
    return _STAMP.match(text) is not None


def tags_of(prefix: str) -> tuple[str, ...]:
    """What stands in brackets before a message, without times, numbers and directions; a container's name comes first.

    >>> tags_of("2025-06-13T14:44:29.945Z [notes] [info] Message from client: ")
    ('notes', 'info')
    >>> tags_of("[4711] [editor -> server] ")
    ()
    """
    prefix = _ends(prefix)
    container = _CONTAINER.match(prefix)
    found = [container.group(1)] if container else []
    for tag in _TAG.findall(prefix):
        text = tag.strip()
        if text and not _NUMBERS.fullmatch(text) and not _ARROW.search(text):
            found.append(text)
    return tuple(found)


def sender_of(prefix: str) -> str:
    """Who sent the message behind a prefix: client or server, > or < where only a direction is given, or empty.

    >>> sender_of("Message from server: "), sender_of("[editor -> server] "), sender_of("10:00:00 <-- ")
    ('server', 'client', '<')
    """
    prefix = _ends(prefix)
    if named := list(_FROM.finditer(prefix)):
        way, side = named[-1].group(1).lower(), _SIDES[named[-1].group(2).lower()]
        return side if way == "from" else _OTHER[side]
    for found in _ARROW.finditer(prefix):
        before, right, _, lone, after = found.groups()
        rightwards = right is not None or lone == ">"
        first, second = _side(before), _side(after)
        if first in ("client", "server"):
            return first if rightwards else _OTHER[first]
        if second in ("client", "server"):
            return _OTHER[second] if rightwards else second
        return ">" if rightwards else "<"
    for tag in _TAG.findall(prefix):
        if side := _side(tag.strip()):
            return side
    if word := _WORD.search(prefix):
        text = word.group().strip(" :]|)>-").lower()
        return _WORDS.get(text) or _side(text)
    return ""


def _side(word: str | None) -> str:
    return _SIDES.get(word.lower(), "") if word else ""


def name_sessions(
    said: Collection[tuple[str, ...]], seen: Collection[tuple[str, ...]], hint: str = ""
) -> dict[tuple[str, ...], str]:
    """Tags → the server's name, as all lines of a log together tell which tags are levels.

    Args:
        said: the tags of lines with messages.
        seen: the tags of all lines.
        hint: the server's name as the file's says it, or empty.

    Raises:
        DataError: tags that all look like levels, so that two servers can't be told from two levels.

    >>> name_sessions([("alpha", "info"), ("beta", "info")], [("alpha", "error")])
    {('alpha', 'info'): 'alpha', ('beta', 'info'): 'beta'}
    """
    names: dict[tuple[str, ...], str] = {}
    for size in sorted({len(tags) for tags in said}):
        mine = sorted({tags for tags in said if len(tags) == size})
        names |= _names(mine, [*mine, *(tags for tags in seen if len(tags) == size)], hint)
    servers = {name for name in names.values() if name}
    only = next(iter(servers)) if len(servers) == 1 else hint or ONLY_SESSION
    return {tags: name or only for tags, name in names.items()}


def _names(
    mine: Collection[tuple[str, ...]], everything: Collection[tuple[str, ...]], hint: str
) -> Mapping[tuple[str, ...], str]:
    if hint and all(_is_in(hint, tags) for tags in mine):
        return dict.fromkeys(mine, hint)
    columns = [column for column in range(len(next(iter(mine)))) if not _is_side(column, mine)]
    for lines in (everything, mine):
        levels = [column for column in columns if all(_is_level(tags[column]) for tags in lines)]
        rest = [column for column in columns if column not in levels]
        if rest and (levels or len(columns) == 1):
            return {tags: "/".join(tags[column] for column in rest) for tags in mine}
    if len(columns) < 2:  # noqa: PLR2004 - one tag, a level, or none
        return dict.fromkeys(mine, "")
    return {tags: _name_alone([tags[column] for column in columns], mine) for tags in mine}


def _name_alone(tags: list[str], mine: Collection[tuple[str, ...]]) -> str:
    """A name by the line's own tags: the order of level and server changed within the log, or all look like levels."""
    named = [tag for tag in tags if not _is_level(tag)]
    if named:
        return "/".join(named)
    if len(mine) == 1:
        return max(tags, key=lambda tag: _LEVELS.index(tag.lower()))
    shown = ", ".join("".join(f"[{tag}]" for tag in each) for each in sorted(mine))
    raise DataError(
        f"the lines' tags {shown} could all be levels: which of them name servers can't be told",
        hint="Give each server's log as a file of its own, or rename the servers in it.",
    )


def _is_level(tag: str) -> bool:
    return tag.lower() in _LEVELS


def _is_in(name: str, tags: tuple[str, ...]) -> bool:
    return any(tag.casefold() == name.casefold() for tag in tags)


def _is_side(column: int, mine: Collection[tuple[str, ...]]) -> bool:
    """Whether a tag only says who speaks: it changes, and is never a name of another kind."""
    found = {tags[column].lower() for tags in mine}
    return len(found) > 1 and found <= _SIDES.keys()
