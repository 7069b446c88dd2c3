"""Which template a model has, and where that is known from."""

from __future__ import annotations

import pytest

from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.model_template import TemplateSource, find_model_template
from lfwrap.errors import UsageError

FACTS = load_engine_facts()
QWEN = "Qwen/Qwen2.5-7B-Instruct"


@pytest.mark.parametrize(
    ("stated", "noted", "models", "expected"),
    [
        ("llama3", ["qwen3"], [QWEN], ("llama3", TemplateSource.STATED)),
        (None, [None, "no-such", 3, "qwen3", "llama3"], [QWEN], ("qwen3", TemplateSource.NOTED)),
        (None, ["no-such"], [QWEN], ("qwen", TemplateSource.MAPPED)),
        ("", [], ["my/own", QWEN], ("qwen", TemplateSource.MAPPED)),
        (None, [], ["my/own", None, ""], None),
    ],
)
def test_the_strongest_source_decides(stated, noted, models, expected):
    for facts in (FACTS, None):
        found = find_model_template(models, facts, stated=stated, noted=noted)
        assert (found and (found.name, found.source)) == expected


def test_what_an_earlier_answer_makes_needless_is_not_asked_for():
    def never():
        raise AssertionError
        yield

    assert find_model_template(never(), FACTS, noted=["qwen"]) is not None
    assert find_model_template(never(), FACTS, stated="qwen", noted=never()) is not None


def test_the_name_that_the_map_has_is_told():
    found = find_model_template(["my/own", "/models/Qwen2.5-7B-Instruct"], FACTS)
    assert found is not None
    assert found.model == "/models/Qwen2.5-7B-Instruct"


@pytest.mark.parametrize("facts", [FACTS, None])
def test_a_stated_template_must_exist(facts):
    with pytest.raises(
        UsageError, match=r"template qwenn: LLaMA-Factory [\d.]+ has no template of this name"
    ) as caught:
        find_model_template([QWEN], facts, stated="qwenn")
    assert caught.value.hint == "Did you mean 'qwen'?"
