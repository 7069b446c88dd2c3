"""What a name on the command line becomes."""

from __future__ import annotations

import json
import re

import pytest

from lfwrap.errors import LfwrapError, PreflightError, RunStateError, UsageError
from lfwrap.inference.target import TargetKind, check_base, resolve_target
from lfwrap.model.training_note import write_note
from lfwrap.run.folder.record import RunState


def test_a_run_gives_base_adapter_and_template_of_its_record(build, facts):
    base = build.model("base")
    paths = build.run(base, engine_yaml="template: qwen\ntrust_remote_code: true\nlearning_rate: 1.0e-04\n")
    target = resolve_target(str(paths.root), facts)
    assert (target.kind, target.model, target.adapter) == (TargetKind.RUN, str(base), paths.output)
    assert target.engine_arguments() == {
        "model_name_or_path": str(base),
        "template": "qwen",
        "finetuning_type": "lora",
        "trust_remote_code": True,
    }


def test_a_run_is_found_by_its_name(build, facts):
    paths = build.run(build.model("base"))
    target = resolve_target("law", facts, runs_dir=build.root / "runs")
    assert target.run == paths.name
    assert target.name == "law"


def test_a_checkpoint_takes_the_settings_of_its_run(build, facts):
    base = build.model("base")
    paths = build.run(base, state=RunState.INTERRUPTED, adapter=False)
    checkpoint = build.adapter(paths.output / "checkpoint-3", base)
    target = resolve_target(str(checkpoint), facts)
    assert (target.kind, target.template, target.adapter) == (TargetKind.CHECKPOINT, "qwen", checkpoint)


def test_an_unfinished_run_names_its_last_checkpoint(build, facts):
    base = build.model("base")
    paths = build.run(base, state=RunState.INTERRUPTED, adapter=False)
    for step in (3, 12):
        build.adapter(paths.output / f"checkpoint-{step}", base)
    with pytest.raises(RunStateError, match="interrupted at step 3 of 9") as caught:
        resolve_target(str(paths.root), facts)
    assert "checkpoint-12" in caught.value.hint


def test_full_tuning_gives_the_output_as_the_model(build, facts):
    paths = build.run("Qwen/Qwen2.5-0.5B-Instruct", adapter=False)
    build.model("runs/20260101T000000Z-law-00000000/output/full")
    (paths.output / "full").rename(build.root / "full")
    for path in (build.root / "full").iterdir():
        path.rename(paths.output / path.name)
    target = resolve_target(str(paths.root), facts)
    assert (target.model, target.adapter, target.template) == (str(paths.output), None, "qwen")


def test_an_adapter_folder_takes_the_template_of_a_base_the_engine_knows(build, facts):
    base = build.model("SmolLM2-135M-Instruct")
    target = resolve_target(str(build.adapter(build.root / "adapter", base)), facts)
    assert (target.kind, target.template, target.stated_base) == (TargetKind.ADAPTER, "smollm2", str(base))


@pytest.mark.parametrize("kind", ["adapter", "model"])
def test_a_result_that_left_its_run_is_loaded_and_prompted_as_it_was_trained(build, facts, tmp_path, kind):
    """By the note beside it: the base's name would say qwen, or nothing at all."""
    base = build.model("Qwen2.5-0.5B-Instruct")
    folder = build.adapter(tmp_path / "copied", base) if kind == "adapter" else build.model("copied")
    write_note(folder, {"template": "llama3", "quantization_bit": 4, "default_system": "Be brief."})
    target = resolve_target(str(folder), facts)
    assert (target.template, dict(target.quantization)) == ("llama3", {"quantization_bit": 4})
    assert target.options == {"default_system": "Be brief."}
    assert resolve_target(str(folder), facts, template="qwen").template == "qwen"


def test_an_exported_adapter_remembers_its_template(build, facts, tmp_path):
    folder = build.adapter(tmp_path / "exported", build.model("Qwen2.5-0.5B-Instruct"))
    (folder / "export.json").write_text(json.dumps({"template": "llama3"}))
    assert resolve_target(str(folder), facts).template == "llama3"


def test_adapters_under_a_copied_one_are_still_needed(build, facts, tmp_path):
    folder = build.adapter(tmp_path / "copied", build.model("Qwen2.5-0.5B-Instruct"))
    write_note(folder, {"template": "qwen", "adapter_name_or_path": "/first", "create_new_adapter": True})
    assert resolve_target(str(folder), facts).prior_adapters == ("/first",)


def test_a_merged_model_remembers_its_template(build, facts):
    model = build.model("merged")
    (model / "export.json").write_text(json.dumps({"template": "llama3"}))
    target = resolve_target(str(model), facts)
    assert (target.kind, target.template, target.adapter) == (TargetKind.MODEL, "llama3", None)


def test_a_hub_id_is_a_whole_model(build, facts):
    target = resolve_target("Qwen/Qwen2.5-7B-Instruct", facts, runs_dir=build.root)
    assert (target.model, target.template, target.model_is_local) == ("Qwen/Qwen2.5-7B-Instruct", "qwen", False)


def test_quantization_is_kept_for_chat_and_left_out_for_a_merge(build, facts):
    paths = build.run(build.model("base"), engine_yaml="template: qwen\nquantization_bit: 4\n")
    target = resolve_target(str(paths.root), facts)
    assert target.engine_arguments()["quantization_bit"] == 4
    assert "quantization_bit" not in target.engine_arguments(quantized=False)


@pytest.mark.parametrize(
    ("settings", "prior"),
    [
        ("adapter_name_or_path: /one\n", ()),
        ("adapter_name_or_path: /one,/two\n", ("/one",)),
        ("adapter_name_or_path: /one\ncreate_new_adapter: true\n", ("/one",)),
        ("adapter_name_or_path: [/one, /two]\ncreate_new_adapter: true\n", ("/one", "/two")),
    ],
)
def test_adapters_under_the_trained_one_are_loaded_first(build, facts, settings, prior):
    target = resolve_target(str(build.run(build.model("base"), engine_yaml=settings).root), facts)
    assert target.prior_adapters == prior
    assert target.engine_arguments().get("adapter_name_or_path") == (",".join(prior) or None)
    everything = target.engine_arguments(adapters=target.adapters)
    assert everything["adapter_name_or_path"] == ",".join([*prior, str(target.adapter)])
    assert "adapter_name_or_path" not in target.engine_arguments(adapters=())


def test_base_and_template_can_be_said(build, facts):
    base, moved = build.model("base"), build.model("moved")
    adapter = build.adapter(build.root / "adapter", base)
    target = resolve_target(str(adapter), facts, base_model=str(moved), template="llama3")
    assert (target.model, target.template, target.stated_base) == (str(moved), "llama3", str(base))


@pytest.mark.parametrize("name", ["nope", "./nope", "models/old/nope"])
def test_a_base_that_is_neither_folder_nor_hub_id_is_refused_before_the_engine_starts(build, facts, name):
    adapter = build.adapter(build.root / "adapter", build.model("base"))
    with pytest.raises(PreflightError, match=r"nope: the base model of .* is not there"):
        resolve_target(str(adapter), facts, base_model=name, template="llama3")


def _cut_adapter(build):
    adapter = build.adapter(build.root / "adapter", build.model("base"))
    weights = adapter / "adapter_model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4])
    return str(adapter)


def _half_adapter(build):
    adapter = build.adapter(build.root / "adapter", build.model("base"))
    (adapter / "adapter_model.safetensors").unlink()
    return str(adapter)


def _moved_base(build):
    return str(build.adapter(build.root / "adapter", build.root / "gone"))


def _no_tokenizer(build):
    base = build.model("base")
    (base / "tokenizer.json").unlink()
    return str(build.adapter(build.root / "adapter", base))


def _unnamed_base(build):
    return str(build.adapter(build.root / "adapter", None))


def _unknown_template(build):
    return str(build.adapter(build.root / "adapter", build.model("some-model")))


def _empty_folder(build):
    (build.root / "empty").mkdir()
    return str(build.root / "empty")


def _a_file(build):
    (build.root / "file").write_text("x")
    return str(build.root / "file")


@pytest.mark.parametrize(
    ("make", "kind", "message_and_hint"),
    [
        (_cut_adapter, PreflightError, ("an incomplete adapter: .*its header says", "checkpoint before it")),
        (_half_adapter, PreflightError, ("an incomplete adapter: .*missing", "checkpoint before it")),
        (_moved_base, PreflightError, ("gone: the base model of .* is not there", "--base-model DIR")),
        (_no_tokenizer, PreflightError, ("not a whole model: a tokenizer", "again")),
        (_unnamed_base, PreflightError, ("does not name its base model", "--base-model DIR")),
        (_unknown_template, UsageError, ("is not known", "--template NAME")),
        (_empty_folder, PreflightError, ("neither a run, nor an adapter, nor a model", "lfwrap runs list")),
        (_a_file, PreflightError, ("a file", "folder of a checkpoint")),
        (lambda _: "nowhere", RunStateError, ("no run folder", "runs list")),
    ],
)
def test_what_is_wrong_is_said_with_a_remedy(build, facts, make, kind, message_and_hint):
    message, hint = message_and_hint
    with pytest.raises(kind) as caught:
        resolve_target(make(build), facts, runs_dir=build.root / "runs")
    assert re.search(message, caught.value.message)
    assert hint in caught.value.hint


def test_an_unknown_template_names_the_nearest(build, facts):
    with pytest.raises(UsageError) as caught:
        resolve_target(str(build.model()), facts, template="smolm2")
    assert caught.value.hint == "Did you mean 'smollm2'?"


def test_a_shard_that_is_missing_is_named(build, facts):
    model = build.model()
    (model / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "model-00002.safetensors"}}))
    with pytest.raises(LfwrapError, match=r"model-00002\.safetensors is missing"):
        check_base(resolve_target(str(model), facts))


def test_a_base_that_is_named_by_a_relative_path_is_found_from_anywhere(build, facts, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    build.model()
    adapter = build.adapter(tmp_path / "adapter", "SmolLM2-135M-Instruct")
    assert resolve_target(str(adapter), facts).model == str(tmp_path / "SmolLM2-135M-Instruct")
