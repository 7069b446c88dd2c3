"""The rules that a conversation is checked against before it is written."""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from lfwrap.data.convert.prefilter import may_break_a_rule
from lfwrap.data.convert.schema_check import argument_problems, schema_problem
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.arguments import dump_key, json_or_none
from lfwrap.data.schema.conversation import Conversation, Message, Role, Tool, ToolCall
from lfwrap.data.schema.redaction import find_secrets, redact
from lfwrap.data.schema.rules import CHANNEL_MARK, DAMAGE, MEDIA_KINDS, PLACEHOLDER, RULES
from lfwrap.engine.chat_templates import ChatTemplate, Saying, chat_template
from lfwrap.errors import Severity

_NUL = "\0"
_MEDIA = re.compile(f"<({'|'.join(MEDIA_KINDS)})>")
_KNOWN_TOOLS = 1 << 16  # more than the largest catalogues: with distractors each may stand in any row
_PLAIN_NAME = re.compile(r"[A-Za-z0-9_]+")


@dataclass(frozen=True, slots=True)
class RowFinding:
    """One rule that a row breaks.

    Attributes:
        rule: the rule's name.
        message: what is wrong in this row, without secrets.
    """

    rule: str
    message: str

    @property
    def severity(self) -> Severity:
        """How much it weighs."""
        return RULES[self.rule].severity


def check(conversation: Conversation, template: str, notes: RowNotes) -> None:
    """Check a conversation against all rules: warnings and joined turns go to ``notes``.

    Args:
        conversation: the row.
        template: the chat template it is for, or empty.
        notes: takes the warnings, and counts the turns that are joined with the result before them.

    Raises:
        Reject: an error: the row can't be used.
        UsageError: the engine has no such template.
    """
    for finding in validate(conversation, chat_template(template)):
        if finding.severity is Severity.ERROR:
            raise Reject(finding.rule, finding.message)
        notes.warn(finding.rule, finding.message)
    for before, message in itertools.pairwise(conversation.messages):
        if before.role is Role.TOOL and message.role is Role.USER:
            notes.repair("user-after-result-joined")


def validate(conversation: Conversation, template: ChatTemplate) -> list[RowFinding]:
    """Everything that is wrong with a conversation, errors first."""
    tools = [_known_tool(tool, template) for tool in conversation.tools]
    broken = itertools.chain(
        _structure(conversation, template),
        _texts(conversation, tools, template),
        _tools(conversation, tools),
        _sayings(conversation, template),
    )
    findings = [RowFinding(rule, redact(message)) for rule, message in broken]
    return sorted(findings, key=lambda finding: finding.severity is not Severity.ERROR)


def _structure(conversation: Conversation, template: ChatTemplate) -> Iterator[tuple[str, str]]:
    before: Message | None = None
    called = False
    for number, message in enumerate(conversation.messages, 1):
        role = message.role
        if role is Role.TOOL:
            if not called:
                yield "unmatched-result", f"turn {number} is a result, but no call was made"
        elif role is Role.USER and before is not None and before.role is Role.TOOL:
            if template.user_after_result is None:
                spoken = f"turn {number}: the user speaks right after a tool's result"
                yield "user-after-result", f"{spoken}{_unsayable_after_result(template.name)}"
        elif (before is None and role is not Role.USER) or (before is not None and role is before.role):
            yield "order", f"turn {number} is the {role}'s, after {f'the {before.role}' if before else 'nothing'}"
        if role is Role.ASSISTANT:
            called = bool(message.calls)
        before = message
    if before is None or before.role is not Role.ASSISTANT:
        yield "no-answer", "the last turn is not the assistant's"


def _unsayable_after_result(template: str) -> str:
    if template:
        return f", which the template {template} can't say"
    return "; some templates can say that: name yours with --template or --model"


def _texts(
    conversation: Conversation, tools: Sequence[_KnownTool], template: ChatTemplate
) -> Iterator[tuple[str, str]]:
    texts = [*_all_texts(conversation)]
    if may_break_a_rule([text for _, text, _ in texts], template.name):
        for where, text, role in texts:
            yield from _text(where, text, role, template)
    for known in tools:
        yield from known.findings.texts


@dataclass(frozen=True, slots=True)
class _ToolFindings:
    """What is wrong with a tool: as (rule, message) in its texts, and with its schema."""

    texts: tuple[tuple[str, str], ...]
    schema: str


class _KnownTool(NamedTuple):
    """A tool of a row, its parameters as JSON text, and what is wrong with it."""

    tool: Tool
    parameters: str
    findings: _ToolFindings


def _known_tool(tool: Tool, template: ChatTemplate) -> _KnownTool:
    parameters = dump_key(tool.parameters)
    return _KnownTool(tool, parameters, _tool_findings(tool.name, tool.description, parameters, template.name))


@functools.lru_cache(maxsize=_KNOWN_TOOLS)
def _tool_findings(name: str, description: str, parameters: str, template: str) -> _ToolFindings:
    """Of a tool, which may stand in any number of rows, everything is found once."""
    texts = _text(f"the tool {name}", f"{description} {parameters}", None, chat_template(template))
    return _ToolFindings(tuple(texts), schema_problem(parameters))


def _text(where: str, text: str, role: Role | None, template: ChatTemplate) -> Iterator[tuple[str, str]]:
    tokens = _token_pattern(template.special_tokens)
    if not text.isascii() and _has_surrogate(text):
        yield "lone-surrogate", f"{where} holds half of a character"
        return
    for mark in (mark for mark in DAMAGE if mark in text):
        yield DAMAGE[mark], f"{where} holds {'a zero byte' if mark == _NUL else ascii(mark)}"
    if tokens is not None and (found := tokens.search(text)):
        yield "special-token", f"{where} holds {found.group()!r}, a control token"
    if PLACEHOLDER in text and role is Role.USER:
        yield "placeholder", f"{where} holds '{PLACEHOLDER}', which the engine replaces"
    if template.media and (found := _MEDIA.search(text)) and found.group(1) in template.media:
        yield (
            "media-placeholder",
            f"{where} holds {found.group()!r}, which {template.name} takes for an image, a video or sound",
        )
    elif role is Role.USER and (found := _MEDIA.search(text)):
        yield "media-mark", f"{where} holds {found.group()!r}, but nothing of that kind comes with the row"
    if role is Role.ASSISTANT and CHANNEL_MARK in text:
        yield "channel", f"{where} holds {CHANNEL_MARK!r}: what it thinks would be trained as its answer"
    for secret in find_secrets(text):
        yield "secret", f"{where} holds something that looks like a secret ({secret.kind})"


def _all_texts(conversation: Conversation) -> Iterator[tuple[str, str, Role | None]]:
    if conversation.system:
        yield "the system prompt", conversation.system, None
    for number, message in enumerate(conversation.messages, 1):
        if message.text:
            yield f"turn {number}", message.text, message.role
        if message.thought:
            yield f"the thought of turn {number}", message.thought, message.role
        for call in message.calls:
            yield f"the call of turn {number}", f"{call.name} {dump_key(call.arguments)}", None


def _has_surrogate(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return True
    return False


@functools.lru_cache(maxsize=256)
def _token_pattern(tokens: tuple[str, ...]) -> re.Pattern[str] | None:
    return re.compile("|".join(re.escape(token) for token in tokens)) if tokens else None


def _tools(conversation: Conversation, tools: Sequence[_KnownTool]) -> Iterator[tuple[str, str]]:
    declared: dict[str, _KnownTool] = {}
    for known in tools:
        tool = known.tool
        if declared.setdefault(tool.name, known).tool != tool:
            yield "tool-collision", f"two different tools are named {tool.name!r}"
        if problem := known.findings.schema:
            yield "tool-schema", f"the parameters of {tool.name!r}: {problem}"
    for call in (call for message in conversation.messages for call in message.calls):
        if call.name not in declared:
            among = f"the {len(declared)} declared tools" if declared else "the row's tools: it declares none"
            yield "undeclared-tool", f"the call of {call.name!r} is not among {among}"
        else:
            for rule, problem in argument_problems(declared[call.name].parameters, call.arguments):
                yield rule, f"the call of {call.name!r}: {problem}"


def _sayings(conversation: Conversation, template: ChatTemplate) -> Iterator[tuple[str, str]]:
    """What this template can't express, or writes in a way that its own parser does not find again."""
    for number, message in enumerate(conversation.messages, 1):
        if not message.calls:
            continue
        text = bool(message.text.strip())
        if len(message.calls) > 1 and template.parallel_calls is Saying.IMPOSSIBLE:
            yield "parallel-calls", f"turn {number} makes {len(message.calls)} calls, {template.name} can make one"
        if text and template.text_beside_call is Saying.IMPOSSIBLE:
            yield "text-beside-call", f"turn {number} has text beside its call, {template.name} can't say both"
        elif text and template.text_beside_call is Saying.UNREAD:
            yield "text-call-unread", f"turn {number} has text beside its call"
        if message.thought and template.thought_beside_call is Saying.IMPOSSIBLE:
            yield "thought-beside-call", f"turn {number} has a thought before its call, {template.name} can't say both"
        for call in message.calls:
            for rule, problem in _unread(call, template):
                yield rule, f"turn {number} calls {call.name!r}{problem}"


def _unread(call: ToolCall, template: ChatTemplate) -> Iterator[tuple[str, str]]:
    """What is trained, but not read again as it was meant."""
    if template.dotted_names is Saying.UNREAD and not _PLAIN_NAME.fullmatch(call.name):
        yield "tool-name-unread", ""
    if template.text_figures is Saying.UNREAD:
        for name, value in call.arguments.items():
            if isinstance(value, str) and _reads_as_value(value):
                yield "text-argument-unread", f": the text {name!r} reads as a value"


def _reads_as_value(text: str) -> bool:
    """Whether a text, without its quotes, is JSON."""
    return text.strip() == "null" or json_or_none(text) is not None
