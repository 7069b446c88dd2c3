"""What a process does that torchrun has started again: the same rows an update, from a checkpoint that is whole."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap_worker.contract import RESTART_VARIABLE
from lfwrap_worker.train.restart import adapt_arguments, newest_checkpoint, split_batch


@given(st.integers(1, 64), st.integers(1, 64), st.integers(1, 32))
def test_the_effective_batch_is_the_same_on_every_number_of_processes(share: int, world: int, limit: int) -> None:
    micro, accumulation = split_batch(share * world, world, limit)
    assert micro * accumulation * world == share * world
    assert 1 <= micro <= limit


@pytest.mark.parametrize(("effective", "world"), [(128, 3), (2, 4), (7, 2)])
def test_a_batch_that_can_not_be_kept_is_an_error(effective: int, world: int) -> None:
    with pytest.raises(ValueError, match=f"{effective} can't be kept on {world} processes"):
        split_batch(effective, world, 8)


def make_checkpoint(output: Path, step: int, state: str | None = None) -> Path:
    folder = output / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    if state is None:
        state = json.dumps({"global_step": step})
    if state:
        (folder / "trainer_state.json").write_text(state, encoding="utf-8")
    return folder


def test_the_newest_checkpoint_that_was_finished_is_taken(tmp_path: Path) -> None:
    assert newest_checkpoint(tmp_path) is None
    make_checkpoint(tmp_path, 9)
    whole = make_checkpoint(tmp_path, 10)
    make_checkpoint(tmp_path, 12, state="")
    make_checkpoint(tmp_path, 14, state='{"global_st')
    make_checkpoint(tmp_path, 16, state='{"global_step": 2}')
    (tmp_path / "checkpoint-x").mkdir()
    assert newest_checkpoint(tmp_path) == whole


def adapted(tmp_path: Path, *arguments: str, world: str = "2") -> list[str]:
    wanted = json.dumps({"micro": 4, "effective": 16, "output": str(tmp_path)})
    command = ["train_engine.py", "engine.yaml", *arguments]
    adapt_arguments(command, {RESTART_VARIABLE: wanted, "WORLD_SIZE": world})
    return command[2:]


def test_a_process_goes_on_with_the_batch_and_the_checkpoint(tmp_path: Path) -> None:
    batch = ["per_device_train_batch_size=4", "gradient_accumulation_steps=2"]
    assert adapted(tmp_path) == [*batch, "resume_from_checkpoint=false"]
    assert adapted(tmp_path, "resume_from_checkpoint=/old") == ["resume_from_checkpoint=/old", *batch]
    folder = make_checkpoint(tmp_path, 3)
    assert adapted(tmp_path, "resume_from_checkpoint=/old") == [*batch, f"resume_from_checkpoint={folder}"]
    assert adapted(tmp_path, world="4")[:2] == ["per_device_train_batch_size=4", "gradient_accumulation_steps=1"]


def test_where_no_restart_is_foreseen_nothing_changes() -> None:
    arguments = ["train_engine.py", "engine.yaml"]
    adapt_arguments(arguments, {"WORLD_SIZE": "2"})
    assert arguments == ["train_engine.py", "engine.yaml"]
