"""What the engine stops on after seconds, or silently drops, is found before it starts, with place and remedy."""

from __future__ import annotations

import json
import math
import struct
from pathlib import Path
from typing import Any

import pytest
from fake_engine import fake_engine

from lfwrap.engine import versions
from lfwrap.errors import DataError, Finding, PreflightError, RecipeError, Severity
from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.recipe.recipe import load_recipe
from lfwrap.run.preflight import machine as machine_checks
from lfwrap.run.preflight.context import PreflightContext, PreflightReport
from lfwrap.run.preflight.machine import estimate_disk_bytes
from lfwrap.run.preflight.model import model_parameters
from lfwrap.run.preflight.preflight import check_preflight
from lfwrap.units import GIB

CPU = HardwareProfile("auto", DeviceKind.CPU)
H100 = HardwareProfile("h100-80gb", DeviceKind.CUDA, (Gpu("H100", 80 * GIB),))
GOOD = {"instruction": "q", "input": "", "output": "a"}


def write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def write_data(folder: Path, rows: Any, *, entry: dict[str, Any] | None = None, name: str = "d.jsonl") -> Path:
    folder.mkdir(exist_ok=True)
    if isinstance(rows, str):
        text = rows
    elif name.endswith(".json"):
        text = json.dumps(rows)
    else:
        text = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / name).write_text(text, encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"d": entry or {"file_name": name}}), encoding="utf-8")
    return folder


def write_model(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    (folder / "tokenizer.json").write_text("{}", encoding="utf-8")
    write_safetensors(folder / "model.safetensors", {"w": (4, 4)})
    return folder


def context(tmp_path: Path, *, hardware: HardwareProfile = CPU, **values: Any) -> PreflightContext:
    recipe = tmp_path / "r.yaml"
    recipe.write_text("stage: sft\ndataset: d\nmodel_name_or_path: m\n", encoding="utf-8")
    defaults = {
        "do_train": True,
        "stage": "sft",
        "dataset": "d",
        "dataset_dir": str(tmp_path / "data"),
        "model_name_or_path": str(tmp_path / "m"),
    }
    return PreflightContext(
        recipe=load_recipe(recipe, (), {}),
        values=defaults | values,
        hardware=hardware,
        runs_dir=tmp_path / "runs",
        cwd=tmp_path,
        environ={},
    )


def rules(findings: tuple[Finding, ...]) -> list[str]:
    return [finding.rule for finding in findings]


@pytest.fixture
def good(tmp_path: Path) -> Path:
    write_data(tmp_path / "data", [GOOD, GOOD])
    write_model(tmp_path / "m")
    return tmp_path


def test_a_sound_run_has_no_findings(good: Path) -> None:
    assert check_preflight(context(good)).findings == ()


@pytest.mark.parametrize(
    ("rows", "entry", "rule", "words"),
    [
        ("", None, "dataset-file", "is empty"),
        ("\n\n", None, "data-empty", "no rows"),
        ('{"instruction": "q"\n', None, "data-json", "broken JSON"),
        ('{"instruction": "q", "output": "a", "input": ""}\n{"x": }\n', None, "data-json", "broken JSON"),
        ([{"question": "q", "answer": "a"}], None, "data-columns", "'instruction'"),
        ([{"instruction": "q", "output": "a"}], None, "data-columns", "'input'"),
        ([GOOD], {"file_name": "d.jsonl", "columns": {"prompt": "instruction"}}, "dataset-columns", "no response"),
        ([GOOD], {"file_name": "none.jsonl"}, "dataset-file", "does not exist"),
        ([GOOD], {"file_name": "d.jsonl", "formatting": "chatml"}, "dataset-columns", "formatting"),
        ([GOOD], {"file_name": "d.jsonl", "formatting": "sharegpt"}, "data-columns", "'conversations'"),
        (
            [{"conversations": []}],
            {"file_name": "d.jsonl", "formatting": "sharegpt"},
            "data-no-messages",
            "without turns",
        ),
        (
            [{"conversations": [1]}],
            {"file_name": "d.jsonl", "formatting": "sharegpt", "columns": {"tools": "tools"}},
            "dataset-columns",
            "KeyError: None",
        ),
        (["text"], None, "data-columns", "no row has"),
        ([GOOD | {"output": None}], None, "data-dropped", "drops them"),
    ],
)
def test_data_that_the_engine_would_stop_on(
    good: Path, rows: Any, entry: dict[str, Any] | None, rule: str, words: str
) -> None:
    write_data(good / "data", rows, entry=entry)
    report = check_preflight(context(good))
    assert rules(report.data) == [rule]
    (finding,) = report.data
    assert words in finding.message
    assert finding.severity is Severity.ERROR
    assert finding.file
    assert finding.hint
    with pytest.raises(DataError):
        report.require_none()


def test_broken_json_is_placed(good: Path) -> None:
    write_data(good / "data", json.dumps(GOOD) + '\n{"x": }\n')
    (finding,) = check_preflight(context(good)).data
    assert (Path(finding.file or "").name, finding.line, finding.column) == ("d.jsonl", 2, 7)


@pytest.mark.parametrize(
    ("row", "rule"),
    [
        (GOOD | {"output": None}, "data-dropped"),
        (GOOD | {"output": {"a": 1}}, "data-dropped"),
        (GOOD | {"output": " "}, "data-empty-response"),
        (GOOD | {"instruction": ""}, "data-empty-prompt"),
    ],
)
@pytest.mark.parametrize("name", ["d.jsonl", "d.json"])
def test_what_the_engine_does_silently_is_said(good: Path, row: dict[str, Any], rule: str, name: str) -> None:
    write_data(good / "data", [GOOD, row, row], name=name)
    report = check_preflight(context(good))
    (finding,) = report.data
    assert (finding.rule, finding.severity) == (rule, Severity.WARNING)
    assert "2 rows" in finding.message
    assert finding.line == 2 or "row 2" in finding.message
    assert report.to_error() is None


@pytest.mark.parametrize(("name", "hint"), [("dd", "Did you mean 'd'?"), ("zzz", "Registered there: d")])
def test_a_data_set_that_is_not_registered(good: Path, name: str, hint: str) -> None:
    (finding,) = check_preflight(context(good, dataset=name)).data
    assert finding.rule == "unknown-dataset"
    assert hint in finding.hint
    assert finding.place.endswith("r.yaml:2:1")


def test_a_folder_without_a_registry_and_a_broken_one(good: Path) -> None:
    info = good / "data" / "dataset_info.json"
    info.write_text("{", encoding="utf-8")
    assert "not valid JSON" in check_preflight(context(good)).data[0].message
    info.unlink()
    assert "does not exist" in check_preflight(context(good)).data[0].message


@pytest.mark.parametrize("dataset_dir", ["ONLINE", "REMOTE:owner/name"])
def test_data_on_a_hub_are_left_to_the_engine(good: Path, dataset_dir: str) -> None:
    assert check_preflight(context(good, dataset_dir=dataset_dir)).data == ()


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda m: (m / "config.json").unlink(), "config.json is missing"),
        (lambda m: (m / "config.json").write_text("{", encoding="utf-8"), "config.json is not JSON"),
        (lambda m: (m / "tokenizer.json").unlink(), "no tokenizer"),
        (lambda m: (m / "model.safetensors").unlink(), "model.safetensors is missing"),
        (lambda m: (m / "model.safetensors").write_bytes(b"\x10"), "cut off"),
        (
            lambda m: (m / "model.safetensors").write_text("version https://git-lfs.github.com/spec/v1\n"),
            "Git LFS pointer",
        ),
        (
            lambda m: (m / "model.safetensors").write_bytes((m / "model.safetensors").read_bytes()[:-1]),
            "its header says",
        ),
        (
            lambda m: (m / "model.safetensors.index.json").write_text('{"weight_map": {"w": "model-1.safetensors"}}'),
            "model-1.safetensors is missing",
        ),
    ],
)
def test_an_incomplete_model_is_refused(good: Path, damage: Any, words: str) -> None:
    damage(good / "m")
    report = check_preflight(context(good))
    assert rules(report.machine) == ["model-incomplete"]
    assert words in report.machine[0].message
    with pytest.raises(PreflightError):
        report.require_none()


@pytest.mark.parametrize("model", ["./models/none", "/no/such", "qwen"])
def test_what_is_neither_folder_nor_hub_id(good: Path, model: str) -> None:
    assert rules(check_preflight(context(good, model_name_or_path=model)).machine) == ["model-not-found"]


def test_a_hub_id_is_downloaded_unless_the_hub_is_forbidden(good: Path) -> None:
    plain = context(good, hardware=H100, model_name_or_path="nobody/tiny-model-x")
    (finding, *_) = check_preflight(plain).machine
    assert (finding.rule, finding.severity) == ("model-download", Severity.INFO)
    offline = PreflightContext(**{**_fields(plain), "environ": {"HF_HUB_OFFLINE": "1"}})
    (finding, *_) = check_preflight(offline).machine
    assert (finding.rule, finding.severity) == ("model-offline", Severity.ERROR)


def _fields(value: PreflightContext) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__slots__}


def test_a_large_model_on_a_cpu_is_refused_with_the_way_out(good: Path) -> None:
    large = context(good, model_name_or_path="Qwen/Qwen2.5-7B-Instruct")
    found = [finding for finding in check_preflight(large).machine if finding.rule == "model-too-large-for-cpu"]
    assert "7.62B" in found[0].message
    assert "--force" in found[0].hint
    assert "--hardware" in found[0].hint
    forced = PreflightContext(**{**_fields(large), "allow_large_on_cpu": True})
    assert "model-too-large-for-cpu" not in rules(check_preflight(forced).machine)


def test_parameters_are_counted_from_the_weights_when_the_shapes_are_unknown(good: Path) -> None:
    assert model_parameters(str(good / "m"), good / "m") == 16


def test_spaces_in_paths_matter_only_where_the_launcher_splits(good: Path) -> None:
    spaced = PreflightContext(**{**_fields(context(good)), "runs_dir": good / "my runs"})
    assert check_preflight(spaced).findings == ()
    split = PreflightContext(**{**_fields(spaced), "splits_at_spaces": True})
    assert rules(check_preflight(split).machine) == ["space-in-path"]


def test_a_full_disk_is_seen_before(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = machine_checks.shutil.disk_usage(good)
    monkeypatch.setattr(machine_checks.shutil, "disk_usage", lambda _: usage._replace(free=1))
    (finding,) = check_preflight(context(good)).machine
    assert finding.rule == "disk-space"
    assert "1 B free" in finding.message


def test_more_rank_and_more_checkpoints_need_more_disk(good: Path) -> None:
    def need(**values: Any) -> int:
        return estimate_disk_bytes(context(good, model_name_or_path="Qwen/Qwen2.5-7B-Instruct", **values))

    assert need(lora_rank=8, save_total_limit=2) < need(lora_rank=64, save_total_limit=2)
    assert need(lora_rank=64, save_total_limit=1) < need(lora_rank=64, save_total_limit=3)
    assert need(save_strategy="no") < need(save_total_limit=1)
    assert need(finetuning_type="full", save_total_limit=1) > 15 * GIB


def test_a_machine_of_the_catalogue_is_not_this_one(good: Path) -> None:
    report = check_preflight(context(good, hardware=H100))
    assert rules(report.machine) == ["no-such-gpus"]
    dry = PreflightContext(**{**_fields(context(good, hardware=H100)), "is_dry": True})
    assert check_preflight(dry).findings == ()


def test_secrets_do_not_go_into_the_runs_files(good: Path) -> None:
    (finding,) = check_preflight(context(good, hf_hub_token="hf_abc")).machine  # noqa: S106
    assert finding.rule == "secret-in-recipe"
    assert "hf_abc" not in str(finding)


def test_a_checkpoint_and_an_adapter_that_are_not_there(good: Path) -> None:
    report = check_preflight(context(good, resume_from_checkpoint="none", adapter_name_or_path="./x/y"))
    assert rules(report.machine) == ["adapter-incomplete", "no-checkpoint"]


ENGINE = fake_engine(version="0.9.4")


def test_packages_that_a_key_needs_and_another_engine(good: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine_checks, "package_version", lambda *_: None)
    values = {"quantization_bit": 4, "deepspeed": "z.json", "enable_liger_kernel": True}
    base = PreflightContext(**{**_fields(context(good, **values)), "engine": ENGINE})
    found = check_preflight(base).machine
    assert rules(found) == ["engine-version", "missing-package", "missing-package", "missing-package"]
    assert "lfwrap[deepspeed]" in found[1].hint


def test_versions_that_the_engine_refuses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "extras" / "misc.py"
    source.parent.mkdir()
    source.write_text(
        'check_version("transformers>=4.55.0,<=5.6.0")\ncheck_version("peft>=0.18.0,<=0.20.0")\n', encoding="utf-8"
    )
    engine = fake_engine(package=tmp_path)
    installed = {"transformers": "5.10.0", "peft": "0.18.1"}
    monkeypatch.setattr(versions, "package_version", lambda _, name: installed.get(name))
    assert versions.refused_versions(engine) == ["transformers 5.10.0 (it takes 4.55.0 to 5.6.0)"]
    installed["transformers"] = "5.6.0"
    assert versions.refused_versions(engine) == []
    del installed["peft"]
    assert "not installed" in versions.refused_versions(engine)[0]


def test_all_findings_come_at_once_and_the_first_group_names_the_kind() -> None:
    one = Finding("a", "recipe")
    report = PreflightReport((one,), (Finding("b", "data"),), (Finding("c", "machine"),))
    error = report.to_error()
    assert isinstance(error, RecipeError)
    assert rules(error.findings) == ["a", "b", "c"]
    assert "3 errors" in error.message
    warning = PreflightReport((Finding("a", "x", Severity.WARNING),))
    assert warning.to_error() is None
    assert rules(warning.warnings) == ["a"]
