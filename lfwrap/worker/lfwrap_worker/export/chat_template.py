"""Which chat template ships with a model: the base's, the engine's, or one built from the training's template.

Each is tried on conversations that the engine's own template encodes too, and the one that gives the same token ids
most often is taken; of equals the base's, which its makers keep. Used by workers.
"""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from llamafactory.data.template import ReasoningTemplate

from lfwrap_worker.export import jinja_template

_WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Weather of a city",
        "parameters": {
            "type": "object",
            "properties": {
                "city": {"type": "string", "description": "Its name, as in 北京"},
                "unit": {"type": "string", "description": "Of the temperature", "enum": ["C", "F"]},
                "days": {"type": "array", "description": "Which days", "items": {"type": "string"}},
            },
            "required": ["city"],
        },
    },
}
_TIME = {
    "type": "function",
    "function": {"name": "get_time", "description": "", "parameters": {"type": "object", "properties": {}}},
}
_SHOWN_TOKENS = 8
AfterResult = tuple[str, str, str]


class Turn(NamedTuple):
    """A message in the engine's words: role ``user``, ``assistant``, ``function`` or ``observation``."""

    role: str
    content: str


class Conversation(NamedTuple):
    """A conversation that ends with a question, so that an answer is due."""

    name: str
    turns: tuple[Turn, ...]
    system: str | None = None
    tools: tuple[dict[str, Any], ...] = ()


def _calls(*calls: tuple[str, dict[str, Any]]) -> str:
    values = [{"name": name, "arguments": arguments} for name, arguments in calls]
    return json.dumps(values[0] if len(values) == 1 else values, ensure_ascii=False)


_ASK = Turn("user", "What is the weather in 北京?")
_CALL = Turn("function", _calls(("get_weather", {"city": "北京", "unit": "C"})))
_RESULT = Turn("observation", '{"temperature": 21}')
CONVERSATIONS = (
    Conversation("a question", (Turn("user", "How do I cook rice?"),)),
    Conversation("a system prompt", (Turn("user", "你好，请问什么是留置权？"),), "Be brief: 'yes' or \"no\".\n"),
    Conversation("several turns", (Turn("user", "Hi"), Turn("assistant", "Yes?"), Turn("user", "Why?"))),
    Conversation("spaces", (Turn("user", "\n  Hi \n"), Turn("assistant", " Yes? \n"), Turn("user", " Why?  "))),
    Conversation("tools", (_ASK,), None, (_WEATHER, _TIME)),
    Conversation("tools and a system prompt", (_ASK,), "Be brief.", (_WEATHER,)),
    Conversation("a call and its result", (_ASK, _CALL, _RESULT), None, (_WEATHER,)),
    Conversation(
        "two calls at once",
        (_ASK, Turn("function", _calls(("get_weather", {"city": "北京"}), ("get_time", {}))), _RESULT),
        None,
        (_WEATHER, _TIME),
    ),
)


_WORDS_AFTER = Conversation(
    "words after a result", (_ASK, _CALL, _RESULT, Turn("user", "And tomorrow?")), None, (_WEATHER,)
)


class Verdict(NamedTuple):
    """How one chat template compares with the engine's template.

    Attributes:
        source: ``base``, ``engine`` or ``training``.
        text: the template; a dictionary for a base with several.
        same: names of the conversations of which it gives the same tokens.
        differences: the others, each with where it parts and the text there.
    """

    source: str
    text: Any
    same: tuple[str, ...]
    differences: tuple[dict[str, Any], ...]

    def to_json(self) -> dict[str, Any]:
        """The values of the event that reports it."""
        return {"source": self.source, "same": list(self.same), "differences": list(self.differences)}


def _conversations(template: Any, after_result: AfterResult | None) -> tuple[Conversation, ...]:
    known = (*CONVERSATIONS, _WORDS_AFTER) if after_result else CONVERSATIONS
    if not isinstance(template, ReasoningTemplate):
        return known
    thought = template.thought_words[0] + "Hm." + template.thought_words[1]
    turns = (Turn("user", "Hi"), Turn("assistant", thought + "Yes?"), Turn("user", "Why?"))
    return (*known, Conversation("a thought in an earlier turn", turns))


def _joined(turns: tuple[Turn, ...], after_result: AfterResult | None) -> list[Turn]:
    """Turns as rows have them: a user's words after a result in one turn with it."""
    done: list[Turn] = []
    for turn in turns:
        if after_result and turn.role == "user" and done and done[-1].role == "observation":
            role, opening, between = after_result
            done[-1] = Turn(role, opening + done[-1].content + between + turn.content)
        else:
            done.append(turn)
    return done


def expected_ids(
    template: Any, tokenizer: Any, conversation: Conversation, after_result: AfterResult | None = None
) -> list[int] | None:
    """The prompt's tokens as training has them; None where the template or the tokenizer can't say it."""
    turns = _joined(conversation.turns, after_result)
    messages = [turn._asdict() for turn in turns] + [{"role": "assistant", "content": ""}]
    tools = json.dumps(conversation.tools, ensure_ascii=False) if conversation.tools else None
    try:
        prompt, _ = template.encode_oneturn(tokenizer, messages, conversation.system, tools)
    except (ValueError, RuntimeError, NotImplementedError, KeyError, TypeError):
        return None
    return None if None in prompt else list(prompt)  # a tokenizer without one of the template's tokens


def _message(turn: Turn) -> dict[str, Any]:
    if turn.role == "function":
        calls = json.loads(turn.content)
        functions = [{"type": "function", "function": call} for call in (calls if isinstance(calls, list) else [calls])]
        return {"role": "assistant", "content": "", "tool_calls": functions}
    return {"role": {"observation": "tool"}.get(turn.role, turn.role), "content": turn.content}


def rendered_ids(tokenizer: Any, chat_template: Any, conversation: Conversation) -> list[int] | str:
    """The prompt's tokens through a chat template; what went wrong where it can't say it."""
    messages = [_message(turn) for turn in conversation.turns]
    if conversation.system is not None:
        messages.insert(0, {"role": "system", "content": conversation.system})
    before = tokenizer.chat_template
    try:
        tokenizer.chat_template = chat_template
        text = tokenizer.apply_chat_template(
            messages, tools=list(conversation.tools) or None, tokenize=False, add_generation_prompt=True
        )
    except Exception as error:  # noqa: BLE001 - a base's template may raise whatever it likes
        return f"{type(error).__name__}: {error}"
    finally:
        tokenizer.chat_template = before
    return list(tokenizer.encode(text, add_special_tokens=False))


def _difference(tokenizer: Any, conversation: Conversation, trained: list[int], found: list[int] | str) -> Any:
    if isinstance(found, str):
        return {"conversation": conversation.name, "position": 0, "trained": "", "exported": found}
    shared = min(len(trained), len(found))
    position = next((index for index in range(shared) if trained[index] != found[index]), shared)
    return {
        "conversation": conversation.name,
        "position": position,
        "trained": tokenizer.decode(trained[position : position + _SHOWN_TOKENS]),
        "exported": tokenizer.decode(found[position : position + _SHOWN_TOKENS]),
    }


def judge(source: str, text: Any, template: Any, tokenizer: Any, after_result: AfterResult | None = None) -> Verdict:
    """Try one chat template on every conversation that the engine's template can say."""
    same, differences = [], []
    for conversation in _conversations(template, after_result):
        trained = expected_ids(template, tokenizer, conversation, after_result)
        if trained is None:
            continue
        found = rendered_ids(tokenizer, text, conversation)
        if found == trained:
            same.append(conversation.name)
        else:
            differences.append(_difference(tokenizer, conversation, trained, found))
    return Verdict(source, text, tuple(same), tuple(differences))


def choose(template: Any, tokenizer: Any, base: Any, after_result: AfterResult | None = None) -> Verdict:
    """The best of the base's own chat template, the one built from the training's, and the engine's.

    Args:
        template: the engine's.
        tokenizer: the model's.
        base: the chat template that it came with.
        after_result: how the template has a user's words after a result, as `ServeJob` says it.
    """
    between = after_result[-1] if after_result else ""
    candidates = [("base", base), ("training", jinja_template.build(template, tokenizer, between))]
    if tokenizer.chat_template != base:
        candidates.append(("engine", tokenizer.chat_template))
    verdicts = [judge(source, text, template, tokenizer, after_result) for source, text in candidates if text]
    return max(verdicts, key=lambda verdict: len(verdict.same))  # the first of equals
