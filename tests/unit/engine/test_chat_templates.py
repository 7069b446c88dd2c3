"""The chat templates of the engine, from the shipped tables."""

from __future__ import annotations

import pytest

from lfwrap.engine.chat_templates import ANY_TEMPLATE, ObservationStyle, Saying, chat_template, chat_template_names
from lfwrap.errors import UsageError


def test_every_template_of_the_table_is_read():
    names = chat_template_names()
    assert len(names) > 100
    facts = [chat_template(name) for name in names]
    assert sum(known.family == "default" for known in facts) > 60
    assert chat_template("mistral").observation is ObservationStyle.JSON_VALUE
    assert chat_template("glm4").parallel_calls is Saying.IMPOSSIBLE
    assert chat_template("") is ANY_TEMPLATE
    with pytest.raises(UsageError, match="qwen_25"):
        chat_template("qwen_25")


def test_a_template_tells_the_tokens_that_it_adds():
    added = chat_template("qwen").added_tokens(len)
    assert added is not None
    assert added.turns["human"] > 0
    assert ANY_TEMPLATE.added_tokens(len) is None
