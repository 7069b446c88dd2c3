"""The commands, variables and files of the launchers for several nodes, of Ray and of the schedulers."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.errors import UsageError
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.launch.launchers.base import LaunchRequest
from lfwrap.run.launch.launchers.nodes import Host, Nodes
from lfwrap.run.launch.launchers.registry import LAUNCHERS, choose_launcher
from lfwrap.yaml_files import parse_yaml

ENGINE = fake_engine()
PAIR = Nodes(count=2, least=2, rank=1, address="node-0", port=7000)
REQUEST = LaunchRequest(
    ENGINE,
    RunPaths(Path("/runs/r1")),
    Path("/work"),
    world_size=4,
    port=1234,
    nodes=PAIR,
    environment={"LFWRAP_RUN": "/runs/r1"},
    lfwrap=("/e/bin/python", "-m", "lfwrap"),
)


def build(launcher: str, **changes: object):
    return LAUNCHERS[launcher].build(dataclasses.replace(REQUEST, **changes))


def test_torchrun_on_several_nodes_meets_at_node_0() -> None:
    command = build("torchrun")
    assert "--nproc_per_node 2 --nnodes 2 --node_rank 1 --master_addr node-0 --master_port 7000" in command.quoted
    assert command.launch == {"meeting": "node-0:7000", "address": "node-0", "port": 7000, "arguments": []}


def test_an_elastic_torchrun_meets_by_rendezvous() -> None:
    nodes = dataclasses.replace(PAIR, least=1, max_restarts=3, rendezvous="job-7")
    command = build("torchrun", nodes=nodes)
    assert (
        "--nnodes 1:2 --max_restarts 3 --rdzv_id job-7 --rdzv_backend c10d --rdzv_endpoint node-0:7000"
        " --rdzv_conf is_host=0" in command.quoted
    )
    assert "is_host=1" in build("torchrun", nodes=dataclasses.replace(nodes, rank=0)).quoted


def test_restarts_on_one_node_meet_by_rendezvous_too() -> None:
    """With the static one, processes that are started again look for those that are gone."""
    command = build("torchrun", nodes=Nodes(max_restarts=2))
    assert "--nnodes 1 --max_restarts 2 --rdzv_id lfwrap" in command.quoted
    assert "--rdzv_endpoint 127.0.0.1:1234" in command.quoted
    assert command.environment["TORCH_DISABLE_SHARE_RDZV_TCP_STORE"] == "1"
    assert command.launch == {}


def test_the_engines_own_command_gets_its_own_variables() -> None:
    command = build("torchrun", by_engine=True, nodes=dataclasses.replace(PAIR, rendezvous="x", max_restarts=1))
    wanted = {"NNODES": "2", "NODE_RANK": "1", "NPROC_PER_NODE": "2", "MASTER_ADDR": "node-0", "MASTER_PORT": "7000"}
    assert wanted.items() <= command.environment.items()
    assert (command.environment["RDZV_ID"], command.environment["MAX_RESTARTS"]) == ("x", "1")
    with pytest.raises(UsageError, match="--engine-cli"):
        build("torchrun", by_engine=True, nodes=dataclasses.replace(PAIR, least=1))


def test_deepspeed_on_each_node_names_as_many_hosts_as_there_are() -> None:
    command = build("deepspeed")
    assert "--hostfile /runs/r1/hostfile --no_ssh --node_rank 1 --master_addr node-0" in command.quoted
    assert command.files == {Path("/runs/r1/hostfile"): "node-0 slots=2\nnode-1 slots=2\n"}
    chosen = build("deepspeed", on_gpu=True, devices="4,6")
    assert "--include node-0:0,1@node-1:4,6" in chosen.quoted


def test_deepspeed_with_a_hostfile_starts_all_from_here() -> None:
    hosts = (Host("a", 8), Host("b", 4))
    command = build("deepspeed", world_size=12, nodes=Nodes(count=2, least=2, address="", hosts=hosts))
    assert "worker deepspeed_hosts --no_local_rank --hostfile /runs/r1/hostfile --master_port 29500" in command.quoted
    assert command.files == {Path("/runs/r1/hostfile"): "a slots=8\nb slots=4\n"}
    assert command.launch == {}


@pytest.mark.parametrize(
    ("launcher", "changes", "message"),
    [
        ("deepspeed", {"nodes": Nodes(max_restarts=1)}, "can't start lost processes again"),
        ("deepspeed", {"by_engine": True}, "--launcher deepspeed"),
        ("deepspeed", {"nodes": Nodes(), "on_gpu": True, "devices": "GPU-a,GPU-b"}, "by number only"),
        ("ray", {"nodes": Nodes(max_restarts=1)}, "--launcher ray"),
        ("slurm", {"nodes": Nodes(count=2, least=1)}, "fixed number of nodes"),
        ("slurm", {"options": {"nodes": "3"}}, "lfwrap sets it"),
        ("slurm", {"options": {"time": "1:00 # x"}}, "not an option of sbatch"),
        ("slurm", {"options": {"Bad Name": "x"}}, "not an option of sbatch"),
        ("skypilot", {}, "several nodes need a folder"),
        ("skypilot", {"nodes": Nodes()}, "must outlive"),
        ("skypilot", {"nodes": Nodes(), "on_gpu": True, "options": {"bucket": "b"}}, "no GPU is named"),
        ("skypilot", {"nodes": Nodes(count=2, least=1)}, "fixed number of nodes"),
    ],
)
def test_what_a_launcher_can_not_do_is_said(launcher: str, changes: dict[str, object], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        build(launcher, **changes)


def test_ray_is_the_engines_own_with_one_actor_a_process() -> None:
    command = build("ray", arguments=("resume_from_checkpoint=/c",))
    assert command.quoted.endswith("worker train_ray /runs/r1/engine.yaml ray_num_workers=4 resume_from_checkpoint=/c")
    assert command.environment["USE_RAY"] == "1"


def test_auto_takes_deepspeed_with_a_hostfile_and_torchrun_for_nodes_and_restarts() -> None:
    def chosen(nodes: Nodes) -> str:
        return choose_launcher("auto", world_size=1, uses_deepspeed=False, nodes=nodes).name

    assert chosen(Nodes(count=1, hosts=(Host("a", 1),))) == "deepspeed"
    assert chosen(Nodes(count=2, least=2)) == "torchrun"
    assert chosen(Nodes(max_restarts=1)) == "torchrun"
    with pytest.raises(UsageError, match="takes no hostfile"):
        choose_launcher("torchrun", world_size=2, uses_deepspeed=False, nodes=Nodes(hosts=(Host("a", 1),)))


def test_a_slurm_job_is_a_script_that_bash_reads() -> None:
    command = build("slurm", on_gpu=True, options={"partition": "gpu", "time": "08:00:00", "signal": "B:USR1@60"})
    assert command.argv == ("sbatch", "--parsable", "/runs/r1/job.slurm")
    (script,) = command.files.values()
    directives = [line for line in script.splitlines() if line.startswith("#SBATCH")]
    for wanted in ("nodes=2", "ntasks-per-node=1", "gpus-per-node=2", "requeue", "partition=gpu", "signal=B:USR1@60"):
        assert f"#SBATCH --{wanted}" in directives
    assert len(directives) == len({line.split("=")[0] for line in directives})
    assert subprocess.run(["bash", "-n"], input=script, text=True, check=False).returncode == 0


def test_odd_paths_do_not_break_the_script() -> None:
    (script,) = build("slurm", paths=RunPaths(Path("/my runs/$x"))).files.values()
    assert "run='/my runs/$x'" in script


def test_a_skypilot_task_recovers_and_keeps_its_runs_in_a_bucket() -> None:
    options = {"bucket": "my-runs", "accelerators": "H100:4", "region": "eu", "setup": "pip install x"}
    uploads = {"dataset_dir": Path("/work/data")}
    command = build("skypilot", nodes=Nodes(), on_gpu=True, options=options, uploads=uploads)
    task = read_task(command)
    assert task["resources"] == {
        "use_spot": True,
        "job_recovery": {"strategy": "FAILOVER", "max_restarts_on_errors": 2},
        "accelerators": "H100:4",
        "region": "eu",
    }
    assert task["file_mounts"] == {
        "~/lfwrap/recipe.yaml": "/runs/r1/recipe.yaml",
        "~/lfwrap/dataset_dir": "/work/data",
        "/lfwrap-runs": {"name": "my-runs", "mode": "MOUNT_CACHED"},
    }
    assert task["setup"] == "pip install x"
    assert "dataset_dir=$HOME/lfwrap/dataset_dir" in task["run"]
    assert subprocess.run(["bash", "-n"], input=task["run"], text=True, check=False).returncode == 0


def test_skypilot_without_spot_does_not_recover_and_several_nodes_know_their_places() -> None:
    options = {"runs_dir": "/mnt/shared/runs", "use_spot": "false", "cpus": "8"}
    task = read_task(build("skypilot", options=options))
    assert task["resources"] == {"use_spot": False, "cpus": 8}
    assert task["num_nodes"] == 2
    for text in ('--node-rank "$SKYPILOT_NODE_RANK"', "--nnodes 2", "--gpus 2", "--runs-dir /mnt/shared/runs"):
        assert text in task["run"]


def read_task(command) -> dict[str, object]:
    (text,) = command.files.values()
    return parse_yaml(text, "skypilot.yaml").values


def test_the_script_on_the_machine_starts_once_and_then_goes_on(tmp_path: Path) -> None:
    """The task's own script, with a stand-in for lfwrap that says what it was asked for."""
    command = build("skypilot", nodes=Nodes(), options={"runs_dir": str(tmp_path / "runs")})
    script = read_task(command)["run"]
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "lfwrap").write_text('#!/bin/sh\necho "$@"\n', encoding="utf-8")
    (tmp_path / "bin" / "lfwrap").chmod(0o755)
    environ = {"PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin", "HOME": str(tmp_path)}
    bash = shutil.which("bash") or "bash"

    def run() -> str:
        return subprocess.run([bash, "-c", script], env=environ, text=True, capture_output=True, check=True).stdout

    assert run().startswith(f"train {tmp_path}/lfwrap/recipe.yaml --runs-dir {tmp_path}/runs --name r1 --gpus 4")
    (tmp_path / "runs" / "20260101T000000Z-r1-0123abcd").mkdir(parents=True)
    assert run().strip() == f"runs resume {tmp_path}/runs/20260101T000000Z-r1-0123abcd --take-over"
