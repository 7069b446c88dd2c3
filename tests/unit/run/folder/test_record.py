"""Run folders, records, states."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.errors import RunStateError
from lfwrap.run.folder.identity import ProcessIdentity, probe_process
from lfwrap.run.folder.paths import RunPaths, create_run_folder, run_name
from lfwrap.run.folder.record import (
    Run,
    RunRecord,
    RunState,
    change_state,
    latest_run,
    list_runs,
    load_run,
    prepare_record,
)

NOW = datetime(2026, 11, 22, 2, 30, 5, tzinfo=UTC)


def make_run(folder: Path, name: str = "a", **changes: object) -> Run:
    paths = create_run_folder(folder, name)
    record = RunRecord(
        name=paths.name,
        state=RunState.PREPARED,
        recipe="a",
        created_at="2026-11-22T02:30:05.000Z",
        updated_at="",
        base_model="m",
        finetuning_type="lora",
        stage="sft",
        template="qwen",
    )
    return prepare_record(paths, dataclasses.replace(record, **changes))  # type: ignore[arg-type]


def test_a_run_is_named_by_time_recipe_and_content() -> None:
    name = run_name("my law recipe/v2", b"{}", NOW)
    assert name == "20261122T023005Z-my-law-recipe-v2-44136fa3"
    assert run_name("a", b"{}", NOW) != run_name("a", b"{1}", NOW)


@given(st.text())
def test_run_names_never_hold_white_space_or_separators(name: str) -> None:
    made = run_name(name, b"", NOW)
    assert not set(made) & set(" \t\n\r/\\'\"")
    assert not any(character.isspace() for character in made)


def test_a_taken_name_gets_a_number(tmp_path: Path) -> None:
    names = [create_run_folder(tmp_path, "x").name for _ in range(3)]
    assert names == ["x", "x-2", "x-3"]


def test_runs_can_not_be_made_inside_a_file(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    with pytest.raises(RunStateError, match="can't hold runs"):
        create_run_folder(tmp_path / "file", "x")


def test_checkpoints_come_newest_first_by_number(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    for step in (2, 10, 9):
        (paths.output / f"checkpoint-{step}").mkdir(parents=True)
    (paths.output / "checkpoint-last").mkdir()
    assert [path.name for path in paths.checkpoints()] == ["checkpoint-10", "checkpoint-9", "checkpoint-2"]


def test_a_record_survives_the_disk(tmp_path: Path) -> None:
    run = make_run(tmp_path, datasets=("a", "b"), world_size=2, micro_batch_size=8, gradient_accumulation_steps=8)
    loaded = load_run(run.paths.root)
    assert loaded == run
    assert loaded.record.effective_batch_size == 128


def test_a_record_of_a_later_version_is_read(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    value = json.loads(run.paths.record.read_bytes()) | {"something_new": 1}
    run.paths.record.write_text(json.dumps(value), encoding="utf-8")
    assert load_run(run.paths.root) == run


@pytest.mark.parametrize(
    ("path", "is_allowed"),
    [
        ("running succeeded", True),
        ("running failed running succeeded", True),
        ("running interrupted running", True),
        ("succeeded", False),
        ("running running", False),
        ("running succeeded running", False),
        ("interrupted", False),
    ],
)
def test_states_follow_their_order(tmp_path: Path, path: str, is_allowed: bool) -> None:
    run = make_run(tmp_path)
    try:
        for state in path.split():
            run = change_state(run, RunState(state), supervisor=probe_process())
    except RunStateError:
        assert not is_allowed
    else:
        assert is_allowed
        assert load_run(run.paths.root).record.state == path.rsplit(maxsplit=1)[-1]


def test_each_change_of_state_stands_in_the_events_first(tmp_path: Path) -> None:
    run = change_state(make_run(tmp_path), RunState.RUNNING, supervisor=probe_process())
    change_state(run, RunState.FAILED, reason="out of memory")
    events = [json.loads(line) for line in run.paths.events.read_text(encoding="utf-8").splitlines()]
    assert [event["state"] for event in events] == ["prepared", "running", "failed"]
    assert events[-1]["reason"] == "out of memory"


def test_a_running_run_whose_process_is_gone_is_lost(tmp_path: Path) -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    run = change_state(make_run(tmp_path), RunState.RUNNING, supervisor=probe_process(process.pid))
    assert load_run(run.paths.root).record.state is RunState.RUNNING
    process.kill()
    process.wait()
    assert load_run(run.paths.root).record.state is RunState.LOST


def test_a_reused_pid_or_another_boot_is_not_the_process() -> None:
    own = probe_process()
    assert own.is_alive()
    assert not dataclasses.replace(own, started_s=own.started_s - 100).is_alive()
    assert not dataclasses.replace(own, boot="another").is_alive()
    assert dataclasses.replace(own, host="elsewhere", pid=1).is_alive()
    assert ProcessIdentity.from_json(dataclasses.asdict(own)) == own
    assert own.pid == os.getpid()


def test_runs_are_found_by_folder_name_part_and_latest(tmp_path: Path) -> None:
    first = make_run(tmp_path, "one-law")
    second = make_run(tmp_path, "two-law", created_at="2026-11-23T00:00:00.000Z")
    assert load_run(first.paths.root) == first
    assert load_run("one-law", tmp_path) == first
    assert load_run("two", tmp_path) == second
    assert load_run("latest", tmp_path) == latest_run(tmp_path) == second
    assert [run.paths.name for run in list_runs(tmp_path)] == ["one-law", "two-law"]


@pytest.mark.parametrize(("name", "words"), [("law", "several runs"), ("nothing", "no run"), ("", "no run")])
def test_a_name_that_means_no_single_run_is_refused(tmp_path: Path, name: str, words: str) -> None:
    make_run(tmp_path, "one-law")
    make_run(tmp_path, "two-law")
    with pytest.raises(RunStateError, match=words):
        load_run(name or "no such", tmp_path)


def test_an_unreadable_record_is_named_and_passed_over_in_lists(tmp_path: Path) -> None:
    run = make_run(tmp_path)
    run.paths.record.write_text("{", encoding="utf-8")
    with pytest.raises(RunStateError, match=r"record\.json"):
        load_run(run.paths.root)
    assert list_runs(tmp_path) == []
    with pytest.raises(RunStateError, match="no runs here"):
        latest_run(tmp_path)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_model.bin"])
def test_the_adapter_is_where_its_weights_are(tmp_path: Path, name: str) -> None:
    run = make_run(tmp_path)
    assert run.adapter_dir is None
    run.paths.output.mkdir()
    (run.paths.output / name).write_bytes(b"")
    assert run.adapter_dir == run.paths.output
    assert run.to_json()["adapter_dir"] == str(run.paths.output)
