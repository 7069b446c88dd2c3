"""Tokenizers that llama.cpp's converter misreads."""

from __future__ import annotations

import json

import pytest

from lfwrap_worker.export.convert_gguf import corrected_copy, mistaken_for_sentencepiece, pre_tokenizer_name

BYTES = {"type": "ByteLevel", "use_regex": True}
DIGITS = {"type": "Digits", "individual_digits": True}


def _rules(*parts):
    return {"pre_tokenizer": {"type": "Sequence", "pretokenizers": list(parts)}}


@pytest.mark.parametrize(
    ("tokenizer", "name"),
    [
        ({"pre_tokenizer": BYTES}, "gpt-2"),
        (_rules(DIGITS, BYTES), "smollm"),
        (_rules({**DIGITS, "individual_digits": False}, BYTES), None),
        (_rules({"type": "Split"}, {**BYTES, "use_regex": False}), None),
        ({"pre_tokenizer": {"type": "Metaspace"}}, None),
        ({}, None),
    ],
)
def test_a_rule_is_named_only_where_it_is_known(tokenizer, name):
    assert pre_tokenizer_name(tokenizer) == name


@pytest.mark.parametrize(
    ("model", "rule", "mistaken"),
    [
        ({"byte_fallback": True, "vocab": {"a": 0}}, BYTES, True),
        ({"byte_fallback": True, "vocab": {"<0x00>": 0}}, BYTES, False),
        ({"byte_fallback": False, "vocab": {"a": 0}}, BYTES, False),
        ({"byte_fallback": True, "vocab": {"a": 0}}, {"type": "Metaspace"}, False),
    ],
)
def test_byte_level_files_that_look_like_sentencepiece(model, rule, mistaken):
    assert mistaken_for_sentencepiece({"model": model, "pre_tokenizer": rule}) is mistaken


def test_the_corrected_copy_leaves_the_model_alone(tmp_path):
    model, copy = tmp_path / "model", tmp_path / "copy"
    model.mkdir()
    copy.mkdir()
    tokenizer = {"model": {"byte_fallback": True, "vocab": {"é": 0}}, "pre_tokenizer": BYTES}
    (model / "tokenizer.json").write_text(json.dumps(tokenizer), encoding="utf-8")
    (model / "model.safetensors").write_bytes(b"weights")
    corrected_copy(model, copy, json.loads(json.dumps(tokenizer)))
    assert json.loads((copy / "tokenizer.json").read_text(encoding="utf-8"))["model"]["byte_fallback"] is False
    assert json.loads((model / "tokenizer.json").read_text(encoding="utf-8")) == tokenizer
    assert (copy / "model.safetensors").is_symlink()
