"""What is noted beside a result, and what is believed of a note."""

from __future__ import annotations

import json

import pytest

from lfwrap.errors import PreflightError
from lfwrap.model import training_note
from lfwrap.model.training_note import NOTE, read_note, write_note, write_notes
from lfwrap.run.folder.paths import RunPaths

VALUES = {
    "template": "llama3", "quantization_bit": 4, "learning_rate": 1e-4, "enable_thinking": False, "resize_vocab": None,
    "trust_remote_code": True,
}  # fmt: skip
NOTED = {"template": "llama3", "quantization_bit": 4, "enable_thinking": False}


def test_what_shapes_loading_and_prompts_is_noted_and_nothing_else(tmp_path):
    write_note(tmp_path, VALUES)
    assert read_note(tmp_path) == NOTED


def test_result_and_checkpoints_with_weights_get_a_note(tmp_path):
    paths = RunPaths(tmp_path)
    for step, config in ((3, "adapter_config.json"), (6, "config.json"), (9, "trainer_state.json")):
        (paths.output / f"checkpoint-{step}").mkdir(parents=True)
        (paths.output / f"checkpoint-{step}" / config).write_text("{}")
    write_notes((paths.output, *paths.checkpoints()), VALUES)
    assert {path.parent.name for path in paths.output.rglob(NOTE)} == {"checkpoint-3", "checkpoint-6"}
    (paths.output / "adapter_config.json").write_text("{}")
    write_notes((paths.output, *paths.checkpoints()), VALUES)
    assert read_note(paths.output) == NOTED


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"settings": 1}', '{"settings": {"stage": "sft"}}', None])
def test_no_note_says_nothing(tmp_path, text):
    if text is not None:
        (tmp_path / NOTE).write_text(text)
    assert read_note(tmp_path) == {}


def test_a_note_that_somebody_wrote_lets_no_code_run(tmp_path):
    (tmp_path / NOTE).write_text(json.dumps({"settings": {"template": "qwen", "trust_remote_code": True}}))
    assert read_note(tmp_path) == {"template": "qwen"}


def test_a_full_disk_costs_the_note_alone(tmp_path, monkeypatch):
    def full(*_):
        raise PreflightError("no space left", hint="")

    paths = RunPaths(tmp_path)
    paths.output.mkdir()
    (paths.output / "adapter_config.json").write_text("{}")
    monkeypatch.setattr(training_note, "write_json", full)
    write_notes((paths.output, *paths.checkpoints()), VALUES)
    assert not (paths.output / NOTE).exists()
