"""How the engine is going to be started: which processes, on which machines and devices, meeting at which port."""

from __future__ import annotations

import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.child_process import MARKER
from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.engine.keys import MODEL_KEY
from lfwrap.engine.locate import Engine, package_version
from lfwrap.engine.ports import ALL_ADDRESSES, free_port
from lfwrap.engine.versions import refused_versions
from lfwrap.errors import Finding, PlanError, Severity, UsageError
from lfwrap.hardware.host_facts import has_busy_neighbours
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.launch.launchers import Launcher, LaunchRequest, Nodes
from lfwrap.run.launch.trackers import tracker_environment

_FILE = "launch.json"
_NO_ENGINE = Engine(Path("python"), Path("llamafactory-cli"), Path("llamafactory"), SUPPORTED_VERSION)
# The second is torch's newer name for the first.
_ALLOCATOR_VARIABLES = {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"}
_EXTRAS = {"deepspeed": "lfwrap[deepspeed]", "ray": "lfwrap[ray]"}


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How a run is to be started, beside the launcher's name.

    Attributes:
        nodes: the machines.
        by_engine: by the engine's own command, ``llamafactory-cli train``.
        job: what a scheduler is told.
        extended: with the extension of the engine that ``speed: max`` asks for.
        compiled: with compiled layers.
    """

    nodes: Nodes = field(default_factory=Nodes)
    by_engine: bool = False
    job: Mapping[str, str] = field(default_factory=dict)
    extended: bool = False
    compiled: bool = False

    def to_json(self) -> dict[str, Any]:
        """The content of ``launch.json``."""
        kept = {"nodes": self.nodes.to_json(), "by_engine": self.by_engine, "job": dict(self.job)}
        return {**kept, "extended": self.extended, "compiled": self.compiled}


def launch_path(paths: RunPaths) -> Path:
    """Where a run's options of launching are kept, for its resumes."""
    return paths.root / _FILE


def load_launch(paths: RunPaths) -> LaunchOptions:
    """The options that a run was started with; a single node where the run has kept none."""
    try:
        value = orjson.loads(launch_path(paths).read_bytes())
        nodes, extended = Nodes.from_json(value["nodes"]), bool(value.get("extended"))
        return LaunchOptions(nodes, bool(value["by_engine"]), value["job"], extended, bool(value.get("compiled")))
    except (OSError, ValueError, KeyError, TypeError):
        return LaunchOptions()


def count_processes(node_processes: int, nodes: Nodes) -> int:
    """Processes on all nodes together: the hostfile's slots, else as many on each node."""
    return sum(host.slots for host in nodes.hosts) or node_processes * nodes.count


def require_nodes(nodes: Nodes, launcher: Launcher) -> None:
    """See to it that a node knows which one it is and where the others are.

    Raises:
        UsageError: it does not.
    """
    if not 0 <= nodes.rank < nodes.count:
        raise UsageError(
            f"--node-rank {nodes.rank}: there are {nodes.count} nodes.", hint="They are counted from 0; see --nnodes."
        )
    if nodes.count > 1 and not (launcher.reaches_nodes or nodes.hosts or nodes.address):
        raise UsageError(
            f"--nnodes {nodes.count}: where do the nodes meet?",
            hint="Give every node the address of node 0 by --master-addr (and --master-port, by default 29500).",
        )


def require_exact_batches(nodes: Nodes, node_processes: int, batch: BatchPlan | None) -> None:
    """See to it that an elastic run can keep its effective batch with every number of nodes.

    Raises:
        PlanError: it can't; names the numbers with which it could.
    """
    if batch is None or not nodes.is_elastic:
        return
    exact = [count for count in nodes.counts() if batch.effective % (count * node_processes) == 0]
    if len(exact) < len(nodes.counts()):
        missing = ", ".join(str(count) for count in nodes.counts() if count not in exact)
        raise PlanError(
            f"--nnodes {nodes.least}:{nodes.count}: an effective batch of {batch.effective} can't be kept on"
            f" {missing} nodes of {node_processes} processes.",
            hint=f"It can on {', '.join(map(str, exact)) or 'none'}; choose that or another effective_batch_size.",
        )


def check_launch(
    launcher: Launcher,
    options: LaunchOptions,
    engine: Engine | None,
    hardware: HardwareProfile,
    *,
    zero_stage: int,
) -> Iterator[Finding]:
    """Findings on what the launcher needs, and on what can't be started together."""
    if launcher.package and engine is not None and package_version(engine, launcher.package) is None:
        yield Finding(
            "missing-package",
            f"--launcher {launcher.name}: needs the package {launcher.package}, which is not installed.",
            hint=f"{engine.python} -m pip install '{_EXTRAS[launcher.package]}'",
        )
    if launcher.is_scheduler and hardware.name == "auto" and hardware.is_cpu:
        yield Finding(
            "scheduled-for-cpu",
            f"--launcher {launcher.name}: this machine has no GPU, so the run is prepared for CPUs.",
            Severity.WARNING,
            hint="Name the machine that it will run on, such as --hardware 8x-h100-80gb.",
        )
    if options.nodes.hosts and shutil.which("pdsh") is None:
        yield Finding(
            "missing-program",
            "--hostfile: DeepSpeed reaches its hosts by pdsh, which is not on the PATH.",
            hint="Install pdsh, or start lfwrap on each node with --nnodes and --node-rank.",
        )
    if options.extended:
        yield from _check_extension(options)
    if options.nodes.is_elastic and zero_stage > 0:
        yield Finding(
            "elastic-deepspeed",
            f"--nnodes {options.nodes.least}:{options.nodes.count}: ZeRO-{zero_stage} checkpoints are split over the"
            " processes and can't be read by another number of them.",
            hint="Give --nnodes one number, or train with zero_stage: 0.",
        )


def _check_extension(options: LaunchOptions) -> Iterator[Finding]:
    """What ``speed: max`` can't be started with."""
    if options.by_engine:
        yield Finding(
            "extension-by-engine-cli",
            "speed: max needs lfwrap's own start of the engine; llamafactory-cli knows nothing of it.",
            hint="Leave --engine-cli out, or write speed: auto.",
        )
    if options.compiled:
        yield Finding(
            "compiled-extension",
            "torch_compile: true with speed: max: the compiler can't look into the extension's kernels.",
            hint="Leave torch_compile out, or write speed: auto, which compiles where it pays.",
        )


def launch_request(
    engine: Engine | None,
    hardware: HardwareProfile,
    paths: RunPaths,
    cwd: Path,
    environ: Mapping[str, str],
    *,
    world_size: int,
    options: LaunchOptions = LaunchOptions(),
    arguments: tuple[str, ...] = (),
    batch: BatchPlan | None = None,
    values: Mapping[str, Any] | None = None,
) -> LaunchRequest:
    """What a launcher is asked for; without an engine its names stand for it.

    ``world_size`` counts the processes of all nodes; ``arguments`` come after the YAML. Of the engine's ``values`` the
    folders are looked at that another machine would need, and what its trackers want to know.
    """
    on_gpu = hardware.kind in {DeviceKind.CUDA, DeviceKind.ROCM}
    node_processes = max(1, world_size // options.nodes.count)
    return LaunchRequest(
        engine=engine or _NO_ENGINE,
        engine_yaml=paths.engine_yaml,
        cwd=cwd,
        world_size=world_size,
        port=free_port(ALL_ADDRESSES),
        nodes=options.nodes,
        on_gpu=on_gpu,
        devices=choose_devices(hardware, node_processes, environ.get("CUDA_VISIBLE_DEVICES")),
        cpu_cores=hardware.cpu_cores,
        arguments=arguments,
        environment=_added_environment(engine, paths, options, values or {}, environ, on_gpu=on_gpu),
        by_engine=options.by_engine,
        batch=(batch.micro_batch, batch.effective) if batch else None,
        options=options.job,
        lfwrap=(sys.executable, "-m", "lfwrap"),
        uploads=_folders(values or {}, cwd),
    )


def _added_environment(
    engine: Engine | None,
    paths: RunPaths,
    options: LaunchOptions,
    values: Mapping[str, Any],
    environ: Mapping[str, str],
    *,
    on_gpu: bool,
) -> dict[str, str]:
    """The variables that follow from the run, whatever the launcher."""
    added = {MARKER: node_marker(paths, options.nodes.rank)}
    if engine is not None and refused_versions(engine):
        added["DISABLE_VERSION_CHECK"] = "1"
    if values.get("deepspeed") and values.get("use_cpu"):
        added["LFWRAP_DEEPSPEED_ON_CPU"] = "1"
    if options.by_engine:  # it looks for torchrun
        folder = (engine or _NO_ENGINE).python.parent
        added["PATH"] = f"{folder}{os.pathsep}{environ.get('PATH', os.defpath)}"
    if options.extended:
        added["LFWRAP_SPEED"] = "max"
    elif options.compiled and not options.by_engine:
        added["LFWRAP_COMPILE"] = "layers"
    if on_gpu:  # peak memory beside each loss, at no cost
        added["RECORD_VRAM"] = "1"
        added |= _allocator_setting(environ)
    elif "OMP_WAIT_POLICY" not in environ and has_busy_neighbours():
        # Threads that spin at barriers while another program has their core slow each other down several times; alone
        # on the machine they are up to half as fast again as threads that sleep there.
        added["OMP_WAIT_POLICY"] = "PASSIVE"
    return added | tracker_environment(values, paths, environ)


def _allocator_setting(environ: Mapping[str, str]) -> dict[str, str]:
    """Segments that grow: rows of many lengths made the allocator hold two to four times what was in use without them.

    They need the driver's virtual memory, which Windows and its Linux have not; what the person has set stays.
    """
    has_virtual_memory = sys.platform == "linux" and "microsoft" not in platform.release().lower()
    if not has_virtual_memory or _ALLOCATOR_VARIABLES & environ.keys():
        return {}
    return {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


def node_marker(paths: RunPaths, rank: int) -> str:
    """By what a node's processes are found; two nodes may be one machine, and each looks after its own."""
    return f"{paths.root}#{rank}" if rank else str(paths.root)


def _folders(values: Mapping[str, Any], cwd: Path) -> dict[str, Path]:
    found = {key: cwd / Path(str(values[key])).expanduser() for key in ("dataset_dir", MODEL_KEY) if values.get(key)}
    return {key: path.resolve() for key, path in found.items() if path.is_dir()}


def choose_devices(hardware: HardwareProfile, count: int, visible: str | None) -> str | None:
    """``CUDA_VISIBLE_DEVICES`` for the GPUs with the most free memory; None when all there are can stay visible.

    Args:
        hardware: the machine; its GPUs in the order in which they are visible.
        count: GPUs wanted.
        visible: the variable as it is set: numbers, UUIDs or MIG names, whose choice is respected.
    """
    if hardware.is_cpu:
        return "" if hardware.name != "auto" else None
    names = [name.strip() for name in visible.split(",") if name.strip()] if visible else []
    if not hardware.gpus or (count >= len(hardware.gpus) and not names):
        return None
    names = names or [str(number) for number in range(len(hardware.gpus))]
    by_free = sorted(range(len(hardware.gpus)), key=lambda index: -(hardware.gpus[index].free_bytes or 0))
    return ",".join(names[index] for index in sorted(by_free[:count]) if index < len(names))
