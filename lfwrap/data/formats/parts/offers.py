"""Tools for rows that only name them: looked up in the catalogue, with distractors beside them."""

from __future__ import annotations

import dataclasses
import random

import xxhash

from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.schema.conversation import Conversation, Tool


def offer_tools(conversation: Conversation, options: ConvertOptions) -> Conversation:
    """A conversation with the tools that it calls, where its row declares none, and with distractors where asked for.

    The distractors and the order are drawn with a seed made of the row's own text, so that they depend neither on the
    other rows nor on how many processes work. A tool that isn't in the catalogue stays undeclared.
    """
    called = {call.name for message in conversation.messages for call in message.calls}
    if not called or not options.tools:
        return conversation
    if conversation.tools:
        return conversation
    offered = [options.tools[name] for name in sorted(called) if name in options.tools]
    return dataclasses.replace(conversation, tools=with_distractors(offered, conversation, options))


def with_distractors(offered: list[Tool], conversation: Conversation, options: ConvertOptions) -> tuple[Tool, ...]:
    """Tools among ``options.distractors`` others of the catalogue, in an order that the row itself seeds."""
    if not options.distractors:
        return tuple(offered)
    content = "\0".join([str(options.seed), *(message.text for message in conversation.messages)])
    names = {tool.name for tool in offered}
    # What this draws must be repeatable, not secret.
    draw = random.Random(xxhash.xxh3_64_intdigest(content.encode("utf-8", "surrogatepass")))  # noqa: S311
    wanted = options.distractors + len(names)
    drawn = draw.sample(options.tool_names, min(wanted, len(options.tool_names)))
    others = [options.tools[name] for name in drawn if name not in names][: options.distractors]
    shuffled = [*offered, *others]
    draw.shuffle(shuffled)
    return tuple(shuffled)
