"""Node counts, hostfiles, meetings, and what a number of nodes means for the batch."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.errors import PlanError, UsageError
from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.invocation import Invocation
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.launch.build import launch_request, node_marker
from lfwrap.run.launch.checks import check_launch, require_exact_batches, require_nodes
from lfwrap.run.launch.launch import LaunchOptions, TrainingStart, count_processes, load_launch
from lfwrap.run.launch.launchers.nodes import Host, Nodes, load_hostfile, parse_node_count
from lfwrap.run.launch.launchers.registry import LAUNCHERS
from lfwrap.units import GIB

CPU = HardwareProfile("auto", DeviceKind.CPU, cpu_cores=8)
TWO_GPUS = HardwareProfile("auto", DeviceKind.CUDA, (Gpu("H", 80 * GIB, free_bytes=GIB), Gpu("H", 80 * GIB)))


@pytest.mark.parametrize(("text", "expected"), [("1", (1, 1)), ("4", (4, 4)), ("2:4", (2, 4)), (" 3:3 ", (3, 3))])
def test_a_number_or_a_range_of_nodes(text: str, expected: tuple[int, int]) -> None:
    assert parse_node_count(text) == expected


@pytest.mark.parametrize("text", ["0", "-1", "4:2", "a", "2:", ":2", "0:2", "1.5"])
def test_what_is_no_number_of_nodes(text: str) -> None:
    with pytest.raises(UsageError, match="--nnodes"):
        parse_node_count(text)


def test_a_hostfile_says_how_many_processes_there_are(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("# two machines\nnode-0 slots=8\n\nuser@node-1   slots=4  # half\n", encoding="utf-8")
    hosts = load_hostfile(path)
    assert hosts == (Host("node-0", 8), Host("user@node-1", 4))
    assert count_processes(1, Nodes(count=2, hosts=hosts)) == 12
    assert count_processes(8, Nodes(count=3)) == 24


def test_every_bad_line_of_a_hostfile_is_named(tmp_path: Path) -> None:
    path = tmp_path / "hosts"
    path.write_text("a slots=2\na slots=2\nb\nc slots=0\nd slots=two\n", encoding="utf-8")
    with pytest.raises(UsageError) as caught:
        load_hostfile(path)
    assert [finding.line for finding in caught.value.findings] == [2, 3, 4, 5]
    assert "twice" in str(caught.value.findings[0])
    assert "no slots" in str(caught.value.findings[2])


@pytest.mark.parametrize("content", ["", "# nothing\n", None])
def test_a_hostfile_without_hosts_is_refused(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "hosts"
    if content is not None:
        path.write_text(content, encoding="utf-8")
    with pytest.raises(UsageError, match="--hostfile"):
        load_hostfile(path)


@pytest.mark.parametrize(
    ("nodes", "is_rendezvous", "meeting"),
    [
        (Nodes(), False, "127.0.0.1:29500"),
        (Nodes(count=2, least=2, address="a", port=7), False, "a:7"),
        (Nodes(count=2, least=1, address="a", port=7), True, "lfwrap@a:7"),
        (Nodes(count=2, least=2, address="a", port=7, rendezvous="x"), True, "x@a:7"),
        (Nodes(count=2, least=2, address="a", port=7, max_restarts=1), True, "lfwrap@a:7"),
        (Nodes(max_restarts=1), True, "lfwrap@127.0.0.1:29500"),
    ],
)
def test_how_and_where_nodes_meet(nodes: Nodes, is_rendezvous: bool, meeting: str) -> None:
    assert (nodes.is_rendezvous, nodes.meeting) == (is_rendezvous, meeting)
    assert Nodes.from_json(nodes.to_json()) == nodes


@pytest.mark.parametrize(
    ("nodes", "launcher", "message"),
    [
        (Nodes(count=2, least=2, rank=2, address="a"), "torchrun", "--node-rank 2"),
        (Nodes(rank=1), "torchrun", "--node-rank 1"),
        (Nodes(count=2, least=2, address=""), "torchrun", "where do the nodes meet"),
        (Nodes(count=2, least=2, address=""), "deepspeed", "where do the nodes meet"),
    ],
)
def test_a_node_knows_its_number_and_where_to_meet(nodes: Nodes, launcher: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        require_nodes(nodes, LAUNCHERS[launcher])


@pytest.mark.parametrize("launcher", ["ray", "slurm", "skypilot"])
def test_launchers_that_reach_all_nodes_need_no_place(launcher: str) -> None:
    require_nodes(Nodes(count=2, least=2, address=""), LAUNCHERS[launcher])


@pytest.mark.parametrize(("least", "count", "fits"), [(1, 2, True), (2, 2, True), (1, 3, False), (3, 4, False)])
def test_an_elastic_run_keeps_its_batch_on_every_number_of_nodes(least: int, count: int, fits: bool) -> None:
    nodes = Nodes(count=count, least=least)
    batch = BatchPlan(4, 4, 8)  # 128 rows; 3 nodes of 8 processes can't share them
    if fits:
        require_exact_batches(nodes, 8, batch)
        return
    with pytest.raises(PlanError, match="128 can't be kept on 3 nodes of 8 processes"):
        require_exact_batches(nodes, 8, batch)


def test_the_options_of_a_run_are_kept_for_its_resumes(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    assert load_launch(paths) == LaunchOptions()
    options = LaunchOptions(
        Nodes(count=2, least=1, hosts=(Host("a", 2),)), by_engine=True, job={"a": "b"}, extended=True, compiled=True
    )
    import orjson

    paths.launch.write_bytes(orjson.dumps(options.to_json()))
    assert load_launch(paths) == options


def test_each_node_finds_only_its_own_processes(tmp_path: Path) -> None:
    paths = RunPaths(tmp_path)
    assert node_marker(paths, 0) == str(tmp_path)
    assert node_marker(paths, 1) != node_marker(paths, 0)


def request(hardware: HardwareProfile, environ: dict[str, str], nodes: Nodes, world_size: int, **options: object):
    launcher, launch = LAUNCHERS["torchrun"], LaunchOptions(nodes, **options)
    start = TrainingStart(RunPaths(Path("/r")), launcher, None, hardware, world_size, options=launch)
    return launch_request(start, Invocation(Path("/w"), environ))


def test_devices_are_chosen_for_this_node_alone() -> None:
    asked = request(TWO_GPUS, {"CUDA_VISIBLE_DEVICES": "4,6"}, Nodes(count=2, least=2, address="a"), 2)
    assert (asked.devices, asked.node_processes, asked.meeting_port) == ("4", 1, 29500)
    assert LAUNCHERS["torchrun"].build(asked).environment["CUDA_DEVICE_ORDER"] == "PCI_BUS_ID"
    assert request(TWO_GPUS, {}, Nodes(), 2).devices is None


def test_speed_max_is_asked_for_by_a_variable_of_the_child() -> None:
    assert request(TWO_GPUS, {}, Nodes(), 1, extended=True).environment["LFWRAP_SPEED"] == "max"
    assert "LFWRAP_SPEED" not in request(TWO_GPUS, {}, Nodes(), 1).environment


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, None),
        ({"compiled": True}, "layers"),
        ({"compiled": True, "by_engine": True}, None),
        ({"compiled": True, "extended": True}, None),
    ],
)
def test_layers_are_compiled_by_lfwraps_own_start_alone(options: dict[str, bool], expected: str | None) -> None:
    assert request(TWO_GPUS, {}, Nodes(), 1, **options).environment.get("LFWRAP_COMPILE") == expected


def test_the_extension_can_not_be_compiled() -> None:
    options = LaunchOptions(extended=True, compiled=True)
    found = check_launch(LAUNCHERS["process"], options, None, TWO_GPUS, zero_stage=0)
    assert [finding.rule for finding in found] == ["compiled-extension"]


def test_the_engines_own_command_finds_torchrun_on_the_path() -> None:
    engine = fake_engine()
    asked = request(CPU, {"PATH": "/usr/bin"}, Nodes(max_restarts=2), 2, by_engine=True)
    command = LAUNCHERS["torchrun"].build(dataclasses.replace(asked, engine=engine))
    assert command.quoted == "/e/bin/llamafactory-cli train /r/engine.yaml"
    assert command.environment["PATH"].endswith(":/usr/bin")
    assert command.environment["FORCE_TORCHRUN"] == "1"
    assert command.environment["NPROC_PER_NODE"] == "2"


@pytest.mark.parametrize(
    ("launcher", "options", "hardware", "zero_stage", "rules"),
    [
        ("torchrun", LaunchOptions(extended=True), CPU, 0, []),
        ("torchrun", LaunchOptions(by_engine=True, extended=True), CPU, 0, ["extension-by-engine-cli"]),
        ("slurm", LaunchOptions(), CPU, 0, ["scheduled-for-cpu"]),
        ("slurm", LaunchOptions(), TWO_GPUS, 0, []),
        ("torchrun", LaunchOptions(Nodes(count=2, least=1)), TWO_GPUS, 2, ["elastic-deepspeed"]),
        ("torchrun", LaunchOptions(Nodes(count=2, least=1)), TWO_GPUS, 0, []),
        ("deepspeed", LaunchOptions(Nodes(count=2, hosts=(Host("a", 1),))), TWO_GPUS, 0, ["missing-program"]),
    ],
)
def test_what_a_launcher_misses_is_found_before(
    *,
    monkeypatch: pytest.MonkeyPatch,
    launcher: str,
    options: LaunchOptions,
    hardware: HardwareProfile,
    zero_stage: int,
    rules: list[str],
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    found = check_launch(LAUNCHERS[launcher], options, None, hardware, zero_stage=zero_stage)
    assert [finding.rule for finding in found] == rules
