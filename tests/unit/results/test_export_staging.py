"""Exports with a stand-in for the engine's command: checks before, staging, and what is left when something fails."""

from __future__ import annotations

import shutil
import stat
import sys
from collections import namedtuple
from pathlib import Path

import pytest

from lfwrap.engine.locate import Engine
from lfwrap.errors import EngineError, LfwrapError, PreflightError, UsageError
from lfwrap.results.export import ExportOptions, check_out, export_model, merge_settings
from lfwrap.results.target import resolve_target
from lfwrap.yamlio import load_yaml

UNCHECKED = ExportOptions(parity=False)
# Copies the base to export_dir, as the engine would write the merged model.
WRITES = """
import re, shutil, sys
text = open(sys.argv[2]).read()
value = lambda key: re.search(key + r': "?([^"\\n]*)', text).group(1)
shutil.copytree(value("model_name_or_path"), value("export_dir"))
"""


@pytest.fixture
def engine(tmp_path):
    """Makes an engine whose command runs the given Python code."""

    def make(code: str) -> Engine:
        cli = tmp_path / "llamafactory-cli"
        cli.write_text(f"#!{sys.executable}\n{code}")
        cli.chmod(cli.stat().st_mode | stat.S_IXUSR)
        return Engine(Path(sys.executable), cli, tmp_path, "0.9.5")

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
    assert said == ["merging into bfloat16 weights"]
    assert _left_beside(out) == []


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
    with pytest.raises(PreflightError, match="1000 B free, the merged model needs 64"):
        export_model(engine(WRITES), target, tmp_path / "new" / "law", UNCHECKED, lambda _: None)
    assert not (tmp_path / "new").exists()


def test_qlora_merges_without_quantization(build, facts, tmp_path):
    settings = "template: qwen\nquantization_bit: 4\nrope_scaling: yarn\nadapter_name_or_path: /one\n"
    paths = build.run(build.model("base"), engine_yaml=settings + "create_new_adapter: true\n")
    values = merge_settings(resolve_target(str(paths.root), facts), tmp_path / "stage", ExportOptions("float16", 2))
    assert "quantization_bit" not in values
    assert values["adapter_name_or_path"] == f"/one,{paths.output}"
    assert (values["rope_scaling"], values["infer_dtype"], values["export_size"]) == ("yarn", "float16", 2)


def test_a_whole_model_is_rewritten_without_an_adapter(build, facts, tmp_path):
    values = merge_settings(resolve_target(str(build.model()), facts), tmp_path, ExportOptions())
    assert "adapter_name_or_path" not in values
