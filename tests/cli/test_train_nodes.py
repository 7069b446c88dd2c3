"""`lfwrap train` on several nodes and through schedulers, as far as the start; the batch stays the recipe's."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lfwrap.cli.app import run
from lfwrap.run.folder.record import RunState, load_run
from lfwrap.run.launch import build, checks
from lfwrap.run.launch.launch import load_launch
from lfwrap.run.prepare import job

RECIPE = """\
model_name_or_path: nobody/tiny
finetuning_type: lora
dataset: d
dataset_dir: data
template: qwen
per_device_train_batch_size: 1
use_cpu: true
lfwrap: {effective_batch_size: 128, max_micro_batch: 8}
"""
H100 = ("--hardware", "8x-h100-80gb")


@pytest.fixture
def folder(train_folder: Callable[[str, str], Path], monkeypatch: pytest.MonkeyPatch) -> Path:
    """A recipe, a data set and an engine that is never started."""
    monkeypatch.setattr(build, "refused_versions", lambda _: ())
    monkeypatch.setattr(checks, "package_version", lambda *_: "1.0")
    monkeypatch.setattr(checks.shutil, "which", lambda name: f"/usr/bin/{name}" if name == "pdsh" else None)
    return train_folder("r.yaml", RECIPE)


def dry_run(capsys: pytest.CaptureFixture[str], *arguments: str) -> dict[str, Any]:
    code = run(["train", "r.yaml", "--dry-run", "--json", *arguments])
    captured = capsys.readouterr()
    assert code == 0, captured.err + captured.out
    return json.loads(captured.out)


def refusal(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str]:
    code = run(["train", "r.yaml", "--dry-run", *arguments])
    return code, capsys.readouterr().err


@pytest.mark.parametrize("nodes", [1, 2, 4, 16])
@pytest.mark.parametrize("launcher", ["torchrun", "deepspeed", "ray"])
def test_the_batch_is_kept_on_any_number_of_nodes(
    folder: Path, capsys: pytest.CaptureFixture[str], nodes: int, launcher: str
) -> None:
    place = () if launcher == "ray" else ("--master-addr", "node-0")
    seen = dry_run(capsys, *H100, "--launcher", launcher, "--nnodes", str(nodes), *place)
    assert (seen["effective_batch_size"], seen["world_size"]) == (128, 8 * nodes)
    assert seen["micro_batch_size"] * seen["gradient_accumulation_steps"] * 8 * nodes == 128
    assert seen["launcher"] == launcher


def test_the_engines_own_variables_are_understood(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {"NNODES": "2", "NODE_RANK": "1", "MASTER_ADDR": "node-0", "MASTER_PORT": "7000"}.items():
        monkeypatch.setenv(name, value)
    quoted = dry_run(capsys, *H100)["command"]["quoted"]
    assert "--nnodes 2 --node_rank 1 --master_addr node-0 --master_port 7000" in quoted
    monkeypatch.delenv("NNODES")
    monkeypatch.setenv("MIN_NNODES", "1")
    monkeypatch.setenv("MAX_NNODES", "2")
    monkeypatch.setenv("RDZV_ID", "job-7")
    quoted = dry_run(capsys, *H100)["command"]["quoted"]
    assert "--nnodes 1:2" in quoted
    assert "--rdzv_id job-7" in quoted


def test_a_hostfile_decides_the_number_of_processes(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "hosts").write_text("a slots=8\nb slots=8\nc slots=16\n", encoding="utf-8")
    seen = dry_run(capsys, *H100, "--hostfile", "hosts")
    assert (seen["launcher"], seen["world_size"], seen["effective_batch_size"]) == ("deepspeed", 32, 128)
    assert "c slots=16" in next(iter(seen["files"].values()))


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("--nnodes", "2"), 2, "where do the nodes meet"),
        (("--nnodes", "x"), 2, "not a number of nodes"),
        (("--nnodes", "2", "--node-rank", "2", "--master-addr", "a"), 2, "--node-rank 2"),
        (("--nnodes", "2:4", "--master-addr", "a"), 5, "can't be kept on 3 nodes of 8 processes"),
        (("--nnodes", "3", "--master-addr", "a"), 5, "128 can't be made exactly"),
        (("--launcher", "slurm", "--job", "partition"), 2, "expected KEY=VALUE"),
        (("--launcher", "slurm", "--job", "nodes=4"), 2, "lfwrap sets it"),
        (("--launcher", "skypilot"), 2, "must outlive"),
        (("--launcher", "process", "--nnodes", "2", "--master-addr", "a"), 2, "--launcher process"),
        (("--hostfile", "gone"), 2, "--hostfile gone: can't be read"),
    ],
)
def test_what_makes_no_sense_is_said_before_the_start(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], code: int, message: str
) -> None:
    got, errors = refusal(capsys, *H100, *arguments)
    assert (got, message in errors) == (code, True), errors


def test_a_job_is_prepared_shown_and_submitted(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    arguments = (*H100, "--launcher", "slurm", "--nnodes", "2", "--job", "partition=gpu")
    code = run(["train", "r.yaml", "--dry-run", *arguments])
    shown = capsys.readouterr().out
    assert code == 0
    assert "#SBATCH --partition=gpu" in shown
    assert "#SBATCH --gpus-per-node=8" in shown
    assert not (folder / "runs").exists()

    monkeypatch.setattr(job, "check_preflight", lambda _: job.PreflightReport())
    monkeypatch.setattr("lfwrap.run.prepare.start.installed_versions", lambda _: {})
    monkeypatch.setattr("lfwrap.run.prepare.environment.installed_versions", lambda _: {})
    code = run(["train", "r.yaml", *arguments, "-q"])
    captured = capsys.readouterr()
    assert code == 0, captured.err
    assert "sbatch is not on the PATH" in captured.err
    prepared = load_run("latest", folder / "runs")
    assert captured.out.strip() == f"sbatch --parsable {prepared.paths.root}/job.slurm"
    assert (prepared.record.state, prepared.record.launcher, prepared.record.nodes) == (
        RunState.PREPARED,
        "torchrun",
        2,
    )
    assert load_launch(prepared.paths).job == {"partition": "gpu"}

    bin_folder = folder / "bin"
    bin_folder.mkdir(exist_ok=True)
    (bin_folder / "sbatch").write_text("#!/bin/sh\necho 4711\n", encoding="utf-8")
    (bin_folder / "sbatch").chmod(0o755)
    monkeypatch.setattr(checks.shutil, "which", lambda _: "found")
    monkeypatch.setenv("PATH", f"{bin_folder}{os.pathsep}/usr/bin:/bin")
    code = run(["train", "r.yaml", *arguments, "-q", "--json"])
    answer = json.loads(capsys.readouterr().out)
    assert (code, answer["schema"], answer["job"], answer["state"]) == (0, "lfwrap.submission/1", "4711", "prepared")
    assert answer["script"].endswith("job.slurm")
