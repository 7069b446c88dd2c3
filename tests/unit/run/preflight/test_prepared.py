"""A data set that was prepared for one template and is trained with another."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.request import Request
from lfwrap.errors import Finding, Severity
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.recipe.recipe import load_recipe
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.run.preflight.data import check_data


def row(number: int, *, interrupted: bool) -> dict[str, Any]:
    call = {"id": "c", "function": {"name": "tide", "arguments": {"port": str(number)}}}
    said = [{"role": "user", "content": "And tomorrow?"}] if interrupted else []
    return {
        "messages": [
            {"role": "user", "content": f"The tide at {number}?"},
            {"role": "assistant", "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "c", "content": "high"},
            *said,
            {"role": "assistant", "content": "High."},
        ],
        "tools": [{"type": "function", "function": {"name": "tide", "parameters": {"type": "object"}}}],
    }


def findings(folder: Path, template: str | None, *, prepared_for: str, interrupted: bool = True) -> list[Finding]:
    source = folder / "log.jsonl"
    source.write_text("".join(json.dumps(row(n, interrupted=interrupted)) + "\n" for n in range(3)), encoding="utf-8")
    prepare(Request((str(source),), folder / "data", "log", template=prepared_for, jobs=1))
    recipe = folder / "r.yaml"
    recipe.write_text("stage: sft\ndataset: log\n", encoding="utf-8")
    values = {"do_train": True, "stage": "sft", "dataset": "log", "dataset_dir": str(folder / "data")}
    if template is not None:
        values["template"] = template
    machine = HardwareProfile("auto", DeviceKind.CPU)
    return list(check_data(PreflightContext(load_recipe(recipe, (), {}), values, machine, folder / "runs", folder)))


@pytest.mark.parametrize(("template", "prepared_for"), [("llama3", "qwen"), ("qwen", "chatml"), ("mistral", "glm4")])
def test_marks_of_another_template_stop_a_run(tmp_path, template, prepared_for):
    (finding,) = findings(tmp_path, template, prepared_for=prepared_for)
    assert (finding.rule, finding.severity) == ("data-template", Severity.ERROR)
    assert f"prepared for {prepared_for}, and 3 turns" in finding.message
    assert f"--template {template}" in finding.hint
    assert finding.place.endswith("r.yaml:2:1")


@pytest.mark.parametrize(("template", "prepared_for"), [("qwen", "qwen"), ("qwen3_nothink", "qwen"), (None, "qwen")])
def test_templates_with_the_same_marks_train(tmp_path, template, prepared_for):
    assert findings(tmp_path, template, prepared_for=prepared_for) == []


def test_rows_without_such_turns_train_with_any_template(tmp_path):
    assert findings(tmp_path, "llama3", prepared_for="qwen", interrupted=False) == []


@pytest.mark.parametrize("report", ["{", "[]", '{"repairs": [], "options": 3}', '{"options": {}}'])
def test_a_report_that_is_something_else_says_nothing(tmp_path, report):
    findings(tmp_path, "qwen", prepared_for="qwen")
    (tmp_path / "data" / "log.report.json").write_text(report, encoding="utf-8")
    machine = HardwareProfile("auto", DeviceKind.CPU)
    values = {"do_train": True, "dataset": "log", "dataset_dir": str(tmp_path / "data"), "template": "llama3"}
    recipe = load_recipe(tmp_path / "r.yaml", (), {})
    assert list(check_data(PreflightContext(recipe, values, machine, tmp_path / "runs", tmp_path))) == []
