"""The rules that every conversation is held against before it is written."""

from __future__ import annotations

from lfwrap.data.conversation import Conversation, Role
from lfwrap.data.formats.base import Reject, RowNotes

# A plain row (system, user and assistant text only, in order) whose line, UTF-8 JSON as written, holds none of these
# bytes passes `check` without a note: the quick lane looks for them in whole chunks and calls `check` where one is.
NEEDLES: tuple[bytes, ...] = ()


def check(conversation: Conversation, template: str, notes: RowNotes) -> None:  # noqa: ARG001
    """Hold a conversation against all rules: warnings go to ``notes``.

    Args:
        conversation: the row.
        template: the chat template it is for, or empty.
        notes: takes the warnings.

    Raises:
        Reject: an error: the row can't be used.
    """
    expected = Role.USER
    for message in conversation.messages:
        if message.role is not expected and not conversation.tools:
            raise Reject("order", f"expected {expected}, found {message.role}")
        expected = Role.ASSISTANT if message.role is Role.USER else Role.USER
