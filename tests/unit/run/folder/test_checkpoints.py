"""Whole checkpoints are told from broken ones; attempts are judged by steps and files."""

from __future__ import annotations

import dataclasses
import json
import math
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from lfwrap.model.weight_files import check_safetensors, count_parameters
from lfwrap.run.folder.checkpoints import check_checkpoint, find_checkpoints, set_aside, spoilt_from
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import RunState
from lfwrap.run.supervise.outcome import Watched, judge, read_steps
from lfwrap.run.supervise.supervisor import Ending, StopLevel


def write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    header, end = {}, 0
    for name, shape in shapes.items():
        start, end = end, end + 4 * math.prod(shape)
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [start, end]}
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(end))


def write_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("data.pkl", b"x" * 100)


def write_checkpoint(output: Path, step: int, ranks: int = 1) -> Path:
    folder = output / f"checkpoint-{step}"
    folder.mkdir(parents=True)
    write_safetensors(folder / "adapter_model.safetensors", {"a": (20, 3)})
    names = ["rng_state.pth"] if ranks == 1 else [f"rng_state_{rank}.pth" for rank in range(ranks)]
    for name in (*names, "optimizer.pt", "scheduler.pt"):
        write_zip(folder / name)
    (folder / "trainer_state.json").write_text(json.dumps({"global_step": step}), encoding="utf-8")
    return folder


def cut(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).write_bytes((folder / name).read_bytes()[:-30])


def remove(name: str) -> Callable[[Path], object]:
    return lambda folder: (folder / name).unlink()


def test_a_whole_checkpoint(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 4)
    found = check_checkpoint(folder, world_size=1, finetuning_type="lora")
    assert (found.step, found.is_whole, found.problems) == (4, True, ())


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (cut("adapter_model.safetensors"), "its header says"),
        (remove("adapter_model.safetensors"), "is missing"),
        (cut("optimizer.pt"), "optimizer.pt is cut off"),
        (remove("scheduler.pt"), "scheduler.pt is missing"),
        (remove("rng_state.pth"), "rng_state.pth is missing"),
        (remove("trainer_state.json"), "trainer_state.json is missing"),
        (lambda f: (f / "trainer_state.json").write_text("{", encoding="utf-8"), "can't be read"),
        (lambda f: (f / "trainer_state.json").write_text('{"global_step": 3}', encoding="utf-8"), "is of step 3"),
        (lambda f: (f / "checkpoint-is-incomplete.txt").touch(), "was being written"),
        (lambda f: (f / "optimizer.pt").write_bytes(b""), "optimizer.pt is empty"),
    ],
)
def test_a_broken_checkpoint_is_named(tmp_path: Path, damage: Callable[[Path], object], words: str) -> None:
    folder = write_checkpoint(tmp_path, 4)
    damage(folder)
    found = check_checkpoint(folder, world_size=1, finetuning_type="lora")
    assert not found.is_whole
    assert any(words in problem for problem in found.problems)


def test_each_rank_needs_its_random_state(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 4, ranks=2)
    assert check_checkpoint(folder, world_size=2, finetuning_type="lora").is_whole
    (folder / "rng_state_1.pth").unlink()
    found = check_checkpoint(folder, world_size=2, finetuning_type="lora")
    assert found.problems == ("rng_state_1.pth is missing",)


def test_deepspeed_keeps_its_optimizer_in_shards(tmp_path: Path) -> None:
    folder = write_checkpoint(tmp_path, 4)
    (folder / "optimizer.pt").unlink()
    shards = folder / "global_step4"
    shards.mkdir()
    write_zip(shards / "mp_rank_00_model_states.pt")
    assert not check_checkpoint(folder, world_size=1, finetuning_type="lora").is_whole
    write_zip(shards / "bf16_zero_pp_rank_0_mp_rank_00_optim_states.pt")
    assert check_checkpoint(folder, world_size=1, finetuning_type="lora").is_whole


def test_a_broken_checkpoint_is_moved_out_of_the_way_and_kept(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    for step in (4, 8):
        write_checkpoint(paths.output, step)
    (paths.output / "checkpoint-8" / "optimizer.pt").unlink()
    newest, older = find_checkpoints(paths, world_size=1, finetuning_type="lora")
    assert (newest.step, newest.is_whole, older.step, older.is_whole) == (8, False, 4, True)
    moved = set_aside(paths, newest, 1)
    assert moved == tmp_path / "broken" / "before-attempt-1" / "checkpoint-8"
    assert moved.is_dir()
    assert [path.name for path in paths.checkpoints()] == ["checkpoint-4"]


def test_parameters_are_counted_from_the_header(tmp_path: Path) -> None:
    path = tmp_path / "w.safetensors"
    write_safetensors(path, {"a": (2, 3), "b": (5,)})
    assert check_safetensors(path) is None
    assert count_parameters(path) == 11
    assert count_parameters(tmp_path / "none") == 0


ENDING = Ending(0, None, StopLevel.NONE, 10.0, ())


def finished(paths: RunPaths, step: int, wanted: int = 10) -> None:
    paths.output.mkdir(parents=True, exist_ok=True)
    lines = [{"current_steps": n, "total_steps": wanted, "loss": 3 - n / 10} for n in range(1, step + 1)]
    paths.trainer_log.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    state = {"global_step": step, "max_steps": wanted}
    paths.trainer_state.write_text(json.dumps(state), encoding="utf-8")
    write_safetensors(paths.output / "adapter_model.safetensors", {"a": (1,)})


@pytest.mark.parametrize(
    ("step", "ending", "more", "state"),
    [
        (10, {}, "", RunState.SUCCEEDED),
        (10, {"exit_code": 1}, "", RunState.SUCCEEDED),
        (10, {"stop_signal": 2}, "", RunState.SUCCEEDED),
        (6, {"stop_signal": 2}, "", RunState.INTERRUPTED),
        (6, {"exit_code": -15}, "", RunState.INTERRUPTED),
        (6, {}, "SIGTERM received: saving a checkpoint at step 6", RunState.INTERRUPTED),
        (6, {}, {"early_stopping_steps": 3}, RunState.SUCCEEDED),
        (6, {}, "", RunState.FAILED),
        (6, {"exit_code": 1}, "CUDA out of memory.", RunState.FAILED),
        (6, {"exit_code": -9}, "", RunState.FAILED),
    ],
)
def test_an_attempt_is_judged_by_its_steps(
    tmp_path: Path, step: int, ending: dict[str, int], more: dict[str, int] | str, state: RunState
) -> None:
    paths = RunPaths(tmp_path)
    attempt = paths.attempt(0)
    attempt.root.mkdir(parents=True)
    attempt.stderr.write_text(more if isinstance(more, str) else "", encoding="utf-8")
    values = {"do_train": True, **(more if isinstance(more, dict) else {})}
    finished(paths, step)
    outcome = judge(paths, attempt, dataclasses.replace(ENDING, **ending), values, Watched(since_s=0))
    assert outcome.state is state
    assert (outcome.global_step, outcome.max_steps) == (step, 10)
    assert (outcome.first_loss, outcome.last_loss) == (2.9, pytest.approx(3 - step / 10))
    assert (outcome.diagnosis is not None) is (state is RunState.FAILED)


def test_all_steps_without_a_result_are_no_success(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    paths.attempt(0).root.mkdir(parents=True)
    finished(paths, 10)
    (paths.output / "adapter_model.safetensors").write_bytes(b"")
    outcome = judge(paths, paths.attempt(0), ENDING, {"do_train": True}, Watched(since_s=0))
    assert outcome.state is RunState.FAILED


def test_the_state_of_an_earlier_attempt_does_not_count(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    finished(paths, 4)
    paths.trainer_state.write_text('{"global_step": 10, "max_steps": 10}', encoding="utf-8")
    assert read_steps(paths) == (10, 10)
    assert read_steps(paths, since_s=paths.trainer_state.stat().st_mtime + 5) == (4, 10)


def test_weights_are_spoilt_from_where_the_loss_was_no_number(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    assert spoilt_from(paths, 0) is None
    folder = paths.attempt(0)
    folder.root.mkdir(parents=True)
    for text, step in (
        ("{}", None),
        ('{"warnings": [{"rule": "loss-spike", "step": 3}]}', None),
        ('{"warnings": [{"rule": "loss-stuck", "step": 3}, {"rule": "loss-not-finite", "step": 8}]}', 8),
        ('{"warnings": [{"rule": "loss-not-finite", "step": "x"}]}', None),
    ):
        folder.exit.write_text(text, encoding="utf-8")
        assert spoilt_from(paths, 0) == step
