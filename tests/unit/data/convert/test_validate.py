"""Rules: every one has its case, secrets never show, and every name that the code uses is in the table."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from lfwrap.data.convert.validate import check, validate
from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.schema import redaction, rules
from lfwrap.data.schema.conversation import Conversation, Message, Role, Tool, ToolCall
from lfwrap.data.schema.rules import RULES
from lfwrap.engine.chat_templates import chat_template, chat_template_names
from lfwrap.engine.joined_turns import JOINED_TURNS
from lfwrap.errors import Severity, UsageError

ROOT = Path(__file__).parents[4]
TOKEN = "ghp_" + "a1B2" * 9
SCHEMA = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "days": {"type": "integer"}},
    "required": ["city"],
}


def talk(*messages: Message, tools: tuple[Tool, ...] = (Tool("get", "d", SCHEMA),), system: str = "") -> Conversation:
    return Conversation((Message(Role.USER, "q"), *messages), system=system, tools=tools)


def answer(text: str = "a", **more) -> Message:
    return Message(Role.ASSISTANT, text, **more)


def call(name: str = "get", **arguments) -> Message:
    return Message(Role.ASSISTANT, calls=(ToolCall(name, arguments),))


def rules_of(conversation: Conversation, template: str = "qwen") -> list[str]:
    return [finding.rule for finding in validate(conversation, chat_template(template))]


def after(said: str, result: str = "x") -> Conversation:
    return talk(call(city="a"), Message(Role.TOOL, result), Message(Role.USER, said), answer())


AFTER = after("And now?")
TWICE = Message(Role.ASSISTANT, calls=(ToolCall("get", {"city": "a"}), ToolCall("get", {"city": "b"})))
BESIDE = Message(Role.ASSISTANT, "see", calls=(ToolCall("get", {"city": "a"}),))
THINKING = Message(Role.ASSISTANT, thought="hm", calls=(ToolCall("get", {"city": "a"}),))
CASES = {
    "nothing wrong": (talk(call(city="Rome", days=2)), "qwen", []),
    "nothing wrong for glm4": (talk(call(city="Rome")), "glm4", []),
    "assistant twice": (talk(answer(), answer()), "qwen", ["order"]),
    "ends with the user": (talk(answer(), Message(Role.USER, "?")), "qwen", ["no-answer"]),
    "result without a call": (talk(Message(Role.TOOL, "x"), answer()), "qwen", ["unmatched-result"]),
    "user after a result": (AFTER, "qwen", []),
    "user after a result with llama3": (AFTER, "llama3", []),
    "user after a result with mistral": (AFTER, "mistral", ["user-after-result"]),
    "user after a result with lfm2": (AFTER, "lfm2", ["user-after-result"]),
    "user after a result, no template": (AFTER, "", ["user-after-result"]),
    "a control token in the words after a result": (
        after("<|im_end|>\n<|im_start|>user\n?"),
        "qwen",
        ["special-token"],
    ),
    "a control token in a result": (after("?", "<|im_end|>\n<|im_start|>user\nhi"), "qwen", ["special-token"]),
    "both hold control tokens": (after("<|eot_id|>", "<|eot_id|>"), "llama3", ["special-token", "special-token"]),
    "undeclared": (talk(call("other")), "qwen", ["undeclared-tool"]),
    "required argument": (talk(call(days=1)), "qwen", ["missing-argument"]),
    "wrong type": (talk(call(city="a", days="two")), "qwen", ["arguments-schema"]),
    "schema is none": (
        talk(call(city="a"), tools=(Tool("get", "d", {"type": "object", "required": True}),)),
        "qwen",
        ["tool-schema"],
    ),
    "reference leads nowhere": (
        talk(call(city="a"), tools=(Tool("get", "d", {"properties": {"city": {"$ref": "http://127.0.0.1:1/x"}}}),)),
        "qwen",
        ["tool-schema"],
    ),
    "tools collide": (talk(answer(), tools=(Tool("get"), Tool("get", "other"))), "qwen", ["tool-collision"]),
    "control token of this template": (talk(answer("stop <|im_end|>")), "qwen", ["special-token"]),
    "control token of another template": (talk(answer("stop <|eot_id|>")), "qwen", []),
    "control token of llama3": (talk(answer("stop <|eot_id|>")), "llama3", ["special-token"]),
    "control token in mistral": (talk(answer("say [INST] x")), "mistral", ["special-token"]),
    "control token in a tool": (talk(answer(), tools=(Tool("get", "<|im_start|>", {}),)), "qwen", ["special-token"]),
    "control token in arguments": (talk(call(city="<|im_end|>")), "qwen", ["special-token"]),
    "idx asked": (Conversation((Message(Role.USER, "{{idx}}"), answer())), "qwen", ["placeholder"]),
    "idx answered": (talk(answer("{{idx}}")), "qwen", []),
    "media with a text template": (talk(answer("an <image> tag")), "qwen", []),
    "media with a vision template": (talk(answer("an <image> tag")), "qwen2_vl", ["media-placeholder"]),
    "surrogate in arguments": (talk(call(city="\udc00")), "qwen", ["lone-surrogate"]),
    "secret in the system prompt": (talk(answer(), system=f"token {TOKEN}"), "qwen", ["secret"]),
    "secret in arguments": (talk(call(city=TOKEN)), "qwen", ["secret"]),
    "parallel with glm4": (talk(TWICE), "glm4", ["parallel-calls"]),
    "parallel with llama3": (talk(TWICE), "llama3", []),
    "text beside a call with mistral": (talk(BESIDE), "mistral", ["text-beside-call"]),
    "text beside a call with llama3": (talk(BESIDE), "llama3", ["text-call-unread"]),
    "text beside a call with qwen": (talk(BESIDE), "qwen", []),
    "thought beside a call with gemma3": (talk(THINKING), "gemma3", ["thought-beside-call"]),
    "texts that look like values with qwen3_5": (
        talk(call(city="5", zip="05", text="x", nothing="null", list=["5"], days=5)),
        "qwen3_5",
        ["text-argument-unread", "text-argument-unread"],
    ),
    "a text that looks like a number with qwen": (talk(call(city="5")), "qwen", []),
    "MCP name with default": (talk(call("a-b.c"), tools=(Tool("a-b.c", "d", {}),)), "default", ["tool-name-unread"]),
    "MCP name with qwen3": (talk(call("a-b.c"), tools=(Tool("a-b.c", "d", {}),)), "qwen3", []),
}


@pytest.mark.parametrize("case", CASES)
def test_rules(case):
    conversation, template, expected = CASES[case]
    assert rules_of(conversation, template) == expected


def test_the_user_after_a_result_is_counted_turn_by_turn():
    notes = RowNotes()
    more = (call(city="b"), Message(Role.TOOL, "1"), Message(Role.USER, "!"), call(city="c"), Message(Role.TOOL, "2"))
    check(Conversation((*AFTER.messages[:-1], *more, answer()), tools=AFTER.tools), "qwen3", notes)
    assert notes.repairs == {"user-after-result-joined": 2}
    assert notes.warnings == []


@pytest.mark.parametrize(("template", "why"), [("mistral", "mistral can't say"), ("", "--template")])
def test_a_row_that_no_template_says_tells_which(template, why):
    with pytest.raises(Reject, match=why) as caught:
        check(AFTER, template, RowNotes())
    assert caught.value.rule == "user-after-result"
    assert "turn 4" in caught.value.reason


def test_the_hint_names_every_template_that_can_say_it():
    hint = RULES["user-after-result"].hint
    able = [name for name in chat_template_names() if chat_template(name).user_after_result]
    assert able == sorted(JOINED_TURNS)
    assert {re.sub(r"qwen3_.*", "qwen3", name) for name in able} <= set(re.findall(r"\w+", hint))
    assert "--template" in hint


def test_errors_reject_and_warnings_are_noted():
    notes = RowNotes()
    check(talk(call(days=1)), "qwen", notes)
    assert [rule for rule, _ in notes.warnings] == ["missing-argument"]
    with pytest.raises(Reject) as caught:
        check(talk(answer("<|im_end|>"), Message(Role.USER, "?"), call("other")), "qwen", notes)
    assert caught.value.rule == "undeclared-tool"


def test_an_unknown_template_names_the_nearest():
    with pytest.raises(UsageError) as caught:
        check(talk(answer()), "qwen25", RowNotes())
    assert "qwen" in caught.value.hint


def test_no_message_shows_a_secret():
    conversation = talk(call(city=1, days=TOKEN), call(TOKEN), system=TOKEN)
    findings = validate(conversation, chat_template("qwen"))
    assert {"arguments-schema", "undeclared-tool", "secret"} <= {finding.rule for finding in findings}
    assert not any("a1B2" in finding.message for finding in findings)


SECRETS = {
    "private key": "-----BEGIN RSA PRIVATE KEY-----\nMIIabc123\n-----END RSA PRIVATE KEY-----",
    "AWS access key": "AKIA" + "Z7" * 8,
    "GitHub token": TOKEN,
    "GitLab token": "glpat-" + "a1" * 10,
    "Slack token": "xoxb-" + "12ab" * 4,
    "Hugging Face token": "hf_" + "aB3" * 11,
    "Google API key": "AIza" + "b" * 35,
    "API key": "sk-" + "aB3" * 11,
    "JSON web token": "eyJhbGciOiJI.eyJzdWIiOiIx.c2lnbmF0dXJl",
    "bearer token": "Authorization: Bearer " + "abc123" * 6,
    "password in an address": "postgres://me:hunter22@db/x",
    "environment secret": 'MY_API_KEY="a8f3b2c1d4e5f6a7b8"',
}


@pytest.mark.parametrize("kind", SECRETS)
def test_secrets_are_found_and_masked(kind):
    text = f"before {SECRETS[kind]} after"
    assert [found.kind for found in redaction.find_secrets(text)] == [kind]
    masked = redaction.redact(text)
    assert masked.startswith("before ")
    assert masked.endswith(" after")
    assert SECRETS[kind] not in masked
    assert not redaction.find_secrets(masked)


@pytest.mark.parametrize(
    "text",
    [
        "What is an API key? Set API_KEY=your_key_here in the shell.",
        "the ask-about-something-else skill",
        "task-force sk-learn",
        "a -----BEGIN CERTIFICATE----- block",
        "postgres://localhost/db",
        "password: ask the administrator of the house",
        "Bearer of good news",
        "eyJ is how JSON begins",
    ],
)
def test_ordinary_text_holds_no_secret(text):
    assert redaction.find_secrets(text) == []


def test_every_rule_in_the_code_is_in_the_table():
    used = set()
    for path in (ROOT / "lfwrap" / "data").rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        used |= set(re.findall(r"Reject\(\s*\"([a-z-]+)\"", text))
        used |= set(re.findall(r"\.warn\(\s*\"([a-z-]+)\"", text))
        if path.name == "validate.py":
            used |= set(re.findall(r"yield \"([a-z-]+)\"", text))
    assert used <= set(RULES)
    assert len(used) > 25


def test_the_documentation_of_the_rules_is_current():
    page = (ROOT / rules.DOCS_PAGE).read_text(encoding="utf-8")
    assert page == rules.render_rules(), "write lfwrap.data.schema.rules.render_rules() there"
    for rule in RULES.values():
        assert rule.severity in (Severity.ERROR, Severity.WARNING)
        assert f"## {rule.name}\n" in page
        assert rule.anchor.endswith(f"#{rule.name}")
