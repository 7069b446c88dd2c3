"""Rows to evaluate on."""

from __future__ import annotations

import json

import pytest
from fake_engine import fake_engine

from lfwrap.errors import DataError, UsageError
from lfwrap.inference.held_out_rows import EvalRow, EvalRows, LabelSettings, load_rows, validation_rows
from lfwrap.run.folder.record import load_run

ALPACA = [{"instruction": f"Say {n}", "input": "", "output": f"{n}."} for n in range(5)]


def register(folder, name: str, rows: list) -> None:
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    registry = folder / "dataset_info.json"
    entries = json.loads(registry.read_text()) if registry.exists() else {}
    entries[name] = {
        "file_name": f"{name}.jsonl",
        "columns": {"prompt": "instruction", "query": "input", "response": "output"},
    }
    registry.write_text(json.dumps(entries))


def test_a_data_set_by_name_and_by_file_has_the_same_rows(tmp_path):
    register(tmp_path, "say", ALPACA)
    rows = load_rows("say", tmp_path, "qwen")
    assert rows.rows == load_rows(str(tmp_path / "say.jsonl"), None, "qwen").rows
    assert rows.rows[1].messages == ({"role": "user", "content": "Say 1"}, {"role": "assistant", "content": "1."})
    assert rows.rows[1].to_request()["id"] == 2


def test_rows_that_can_not_be_read_are_counted(tmp_path):
    register(tmp_path, "say", [ALPACA[0], 7, ALPACA[1]])
    rows = load_rows("say", tmp_path, "qwen")
    assert ([row.number for row in rows.rows], rows.unreadable) == ([1, 3], 1)
    register(tmp_path, "none", [7])
    with pytest.raises(DataError, match="no row to evaluate on: row 1"):
        load_rows("none", tmp_path, "qwen")


def test_a_sample_is_seeded_and_keeps_the_order():
    rows = EvalRows("x", tuple(EvalRow(number, ()) for number in range(1, 101)))
    drawn = rows.sampled(10, 1)
    assert drawn == rows.sampled(10, 1) != rows.sampled(10, 2)
    assert [row.number for row in drawn.rows] == sorted(row.number for row in drawn.rows)
    assert drawn.digest != rows.digest
    assert rows.sampled(None, 1) is rows


def a_run(build, engine_yaml: str):
    paths = build.run(build.model(), engine_yaml=f"template: qwen\n{engine_yaml}")
    return load_run(paths.root)


ENGINE = fake_engine()  # never asked here


def test_a_run_s_own_validation_set_is_taken_as_the_engine_takes_it(build, tmp_path):
    register(tmp_path / "data", "say", ALPACA)
    register(tmp_path / "data", "more", ALPACA)
    run = a_run(build, f"dataset_dir: {tmp_path / 'data'}\neval_dataset: say,more\nmax_samples: 2\n")
    rows = validation_rows(run, ENGINE)
    assert rows.name == "say,more"
    assert [row.messages[0]["content"] for row in rows.rows] == ["Say 0", "Say 1"] * 2
    assert len({row.number for row in rows.rows}) == 4


def test_a_run_that_kept_nothing_back_is_told_so(build):
    with pytest.raises(UsageError, match="nothing was kept back for validation"):
        validation_rows(a_run(build, ""), ENGINE)


def test_labels_are_those_of_the_training(build):
    run = a_run(build, "cutoff_len: 300\nmask_history: true\n")
    assert LabelSettings.of_run(run, None) == LabelSettings(300, train_on_prompt=False, mask_history=True)
    assert LabelSettings.of_run(run, 64).cutoff_len == 64
    assert LabelSettings.of_run(None, None) == LabelSettings(2048)
