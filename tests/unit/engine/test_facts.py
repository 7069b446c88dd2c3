"""The template of a model by its name, and facts that survive their JSON."""

from __future__ import annotations

import json

import pytest
from fake_engine import fake_engine

from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.engine.facts import facts_from_json, load_engine_facts
from lfwrap.errors import PreflightError

FACTS = load_engine_facts()


@pytest.mark.parametrize(
    ("model", "template"),
    [
        ("Qwen/Qwen2.5-7B-Instruct", "qwen"),
        ("/models/Qwen2.5-7B-Instruct", "qwen"),
        ("/models/qwen2.5-7b-instruct/", "qwen"),
        ("models\\Qwen2.5-7B-Instruct", "qwen"),
        ("D:\\Models\\Qwen2.5-7B-Instruct", "qwen"),
        ("meta-llama/Llama-3.2-3B-Instruct", "llama3"),
        ("HuggingFaceTB/SmolLM2-135M-Instruct", "smollm2"),
        ("Qwen/Qwen3-4B", "qwen3"),
        ("google/gemma-3-4b-it", "gemma3"),
        ("Qwen/Qwen2.5-7B", None),
        ("nobody/knows-this", None),
        ("", None),
    ],
)
def test_a_template_is_found_by_hub_id_or_folder_name(model, template):
    assert FACTS.template_for(model) == template


def test_every_mapped_template_exists_and_is_found_again():
    assert len(FACTS.model_templates) > 100
    assert set(FACTS.model_templates.values()) <= set(FACTS.templates)
    assert all(FACTS.template_for(model) == template for model, template in FACTS.model_templates.items())


def test_without_an_engine_the_shipped_table_serves():
    assert (FACTS.version, len(FACTS.keys), len(FACTS.templates)) == (SUPPORTED_VERSION, 346, 121)


def test_facts_survive_their_json():
    assert facts_from_json(json.loads(json.dumps(FACTS.to_json()))) == FACTS


@pytest.mark.parametrize(
    ("key", "words"),
    [("lora_rank", "int"), ("resume_from_checkpoint", "str or bool or null"), ("template", "str or null")],
)
def test_types_are_said_in_words(key, words):
    assert set(FACTS.keys[key].type.split(" or ")) <= set(words.split(" or ")) | {"null"}


def test_every_key_has_a_group_a_type_and_a_default_of_it():
    for name, fact in FACTS.keys.items():
        assert fact.name == name
        assert fact.types, name
        assert fact.group in {"model", "data", "train", "method", "generate"}
        if fact.choices and fact.default is not None and fact.types != ("list",):
            assert fact.default in fact.choices, name


def test_an_engine_whose_source_is_gone_is_named(tmp_path):
    with pytest.raises(PreflightError) as caught:
        load_engine_facts(fake_engine(tmp_path))
    assert str(tmp_path / "llamafactory") in caught.value.message


@pytest.mark.parametrize(("content", "said"), [(b"", "TrainingArguments"), (b"\0", "null byte"), (b"\xff", "utf-8")])
def test_an_engine_that_is_built_in_another_way_is_named(tmp_path, content, said):
    engine = fake_engine(tmp_path)
    for name in ("trainer_utils", "debug_utils", "training_args", "training_args_seq2seq"):
        (tmp_path / "transformers").mkdir(exist_ok=True)
        (tmp_path / f"transformers/{name}.py").write_bytes(content)
    (engine.package / "extras").mkdir(parents=True)
    (engine.package / "extras/constants.py").touch()
    with pytest.raises(PreflightError, match=said):
        load_engine_facts(engine)
