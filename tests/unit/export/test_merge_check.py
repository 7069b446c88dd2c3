"""An adapter goes only into the base it was trained on."""

from __future__ import annotations

import json

import pytest

from lfwrap.errors import PreflightError
from lfwrap.export.merge_check import check_merge
from lfwrap.inference.target import resolve_target


def _target(build, facts, base, **options):
    adapter = build.adapter(build.root / "adapter", base)
    return resolve_target(str(adapter), facts, template="qwen", **options)


def test_the_right_base_needs_no_word(build, facts):
    assert check_merge(_target(build, facts, build.model("base"))) == ()


def test_a_whole_model_has_nothing_to_merge(build, facts):
    assert check_merge(resolve_target(str(build.model()), facts)) == ()


def test_another_model_is_refused_by_its_config(build, facts):
    base, other = build.model("base"), build.model("other", vocab_size=7)
    with pytest.raises(PreflightError, match=r"not the base of this adapter.*vocab_size differ"):
        check_merge(_target(build, facts, base, base_model=str(other)))


def test_other_shapes_are_refused_where_the_named_base_is_gone(build, facts):
    other = build.model("other", hidden=16)
    with pytest.raises(PreflightError, match="takes 16 inputs, the adapter's 8"):
        check_merge(_target(build, facts, build.root / "gone", base_model=str(other)))


def _with_layer(build, adapter, module):
    stem = f"base_model.model.model.layers.{{}}.{module}.lora_A.weight"
    build.weights(adapter / "adapter_model.safetensors", {stem.format(0): (2, 8), stem.format(1): (2, 8)})


def test_a_base_of_another_depth_is_refused(build, facts):
    target = _target(build, facts, build.model("base"))
    _with_layer(build, target.adapter, "self_attn.q_proj")
    with pytest.raises(PreflightError, match=r"layers\.1\.self_attn\.q_proj\.weight is not in it"):
        check_merge(target)


def test_modules_named_otherwise_in_the_file_are_passed_over(build, facts):
    target = _target(build, facts, build.model("base"))
    _with_layer(build, target.adapter, "mlp.experts.3.up_proj")
    assert check_merge(target) == ()


def test_a_moved_base_is_taken_with_a_word_of_caution(build, facts):
    moved = build.model("moved")
    [note] = check_merge(_target(build, facts, build.root / "gone", base_model=str(moved)))
    assert str(build.root / "gone") in note
    assert "shapes fit" in note


def test_a_quantised_base_is_refused(build, facts):
    base = build.model("base", quantization_config={"quant_method": "gptq"})
    with pytest.raises(PreflightError, match=r"quantised base \(gptq\)") as caught:
        check_merge(_target(build, facts, base))
    assert "16-bit" in caught.value.hint


def test_qlora_is_merged_into_the_16_bit_base_and_that_is_said(build, facts):
    paths = build.run(build.model("base"), engine_yaml="template: qwen\nquantization_bit: 4\n")
    [note] = check_merge(resolve_target(str(paths.root), facts))
    assert "4 bits" in note


def test_incidental_differences_do_not_matter(build, facts):
    base = build.model("base")
    copy = build.model("copy", transformers_version="9", _name_or_path="x")
    config = json.loads((copy / "config.json").read_text()) | {"dtype": "bfloat16"}
    (copy / "config.json").write_text(json.dumps(config))
    assert len(check_merge(_target(build, facts, base, base_model=str(copy)))) == 1
