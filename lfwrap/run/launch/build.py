"""From a decided start of a training to its command: a launcher's arguments, and what is added to the environment."""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap.debug import note
from lfwrap.engine.arguments import ALL_ADDRESSES, free_port
from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.engine.contract import (
    ATTEMPT_VARIABLE,
    COMPILE_LAYERS,
    COMPILE_VARIABLE,
    DEEPSPEED_ON_CPU_VARIABLE,
    NO_PROBE_VARIABLE,
    RESTART_VARIABLE,
    RUN_VARIABLE,
    SET,
    SHOW_EXAMPLE_VARIABLE,
    SPEED_MAX,
    SPEED_VARIABLE,
    Restart,
)
from lfwrap.engine.environment import ENGINE_VARIABLES, waiting_policy
from lfwrap.engine.keys import MODEL_KEY
from lfwrap.engine.locate import Engine
from lfwrap.engine.versions import refused_versions
from lfwrap.invocation import Invocation
from lfwrap.run.folder.paths import AttemptPaths, RunPaths
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launch import TrainingStart
from lfwrap.run.launch.launchers.base import LaunchRequest
from lfwrap.run.launch.trackers import tracker_environment

_NO_ENGINE = Engine(Path("python"), Path("llamafactory-cli"), Path("llamafactory"), SUPPORTED_VERSION)

# The second is torch's newer name for the first.
_ALLOCATOR_VARIABLES = {"PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_ALLOC_CONF"}


def training_environment(start: TrainingStart, environ: Mapping[str, str]) -> dict[str, str]:
    """The variables that are added to lfwrap's own environment, in the order to show them.

    A launcher's `build` adds what only it needs, and leaves out what it has an option for.

    Args:
        start: what is started.
        environ: lfwrap's environment; what the person has set there stays.
    """
    added = {
        **ENGINE_VARIABLES,
        RUN_VARIABLE: node_marker(start.paths, start.options.nodes.rank),
        **_engine_variables(start, environ),
        **_device_variables(start, environ),
        **tracker_environment(start.values, start.paths, environ),
        **_visible_devices(start, environ),
        **_restart_variables(start),
    }
    return added | (_shared_variables(start) if start.launcher.starts_several else {})


def attempt_environment(attempt: AttemptPaths, *, show_example: bool, probe: bool) -> dict[str, str]:
    """What the training processes have to know of one start of the engine.

    Args:
        attempt: the start's folder.
        show_example: keep the training example that the engine prints.
        probe: try the longest batch early.
    """
    added = {ATTEMPT_VARIABLE: str(attempt.root)}
    if show_example:
        added[SHOW_EXAMPLE_VARIABLE] = SET
    if not probe:
        added[NO_PROBE_VARIABLE] = SET
    return added


def node_marker(paths: RunPaths, rank: int) -> str:
    """The value by which a node's processes are found; two nodes may be one machine, and each looks after its own."""
    return f"{paths.root}#{rank}" if rank else str(paths.root)


def _engine_variables(start: TrainingStart, environ: Mapping[str, str]) -> dict[str, str]:
    """How the engine is started and what lfwrap's own start of it does."""
    added: dict[str, str] = {}
    if start.engine is not None and refused_versions(start.engine):
        added["DISABLE_VERSION_CHECK"] = "1"
    if start.values.get("deepspeed") and start.values.get("use_cpu"):
        added[DEEPSPEED_ON_CPU_VARIABLE] = SET
    options = start.options
    if options.by_engine:  # it looks for torchrun
        folder = start.engine.python.parent if start.engine else "."
        added["PATH"] = f"{folder}{os.pathsep}{environ.get('PATH', os.defpath)}"
    if options.extended:
        added[SPEED_VARIABLE] = SPEED_MAX
    elif options.compiled and not options.by_engine:
        added[COMPILE_VARIABLE] = COMPILE_LAYERS
    return added


def _device_variables(start: TrainingStart, environ: Mapping[str, str]) -> dict[str, str]:
    """What the kind of device wants: on a CPU, a way in which threads wait for each other."""
    if start.on_gpu:  # peak memory beside each loss, at no cost
        return {"RECORD_VRAM": "1", **_allocator_setting(environ)}
    return waiting_policy(environ)


def _allocator_setting(environ: Mapping[str, str]) -> dict[str, str]:
    """Segments that grow: rows of many lengths made the allocator hold two to four times what was in use without them.

    They need the driver's virtual memory, which Windows and its Linux have not; what the person has set stays.
    """
    has_virtual_memory = sys.platform == "linux" and "microsoft" not in platform.release().lower()
    if not has_virtual_memory or _ALLOCATOR_VARIABLES & environ.keys():
        return {}
    return {"PYTORCH_CUDA_ALLOC_CONF": "expandable_segments:True"}


def _visible_devices(start: TrainingStart, environ: Mapping[str, str]) -> dict[str, str]:
    """The devices that the processes see; nothing where all there are can stay visible."""
    devices = start.devices(environ)
    if devices is None:
        return {}
    # The driver counts GPUs by slot, CUDA by speed: on a mixed machine the numbers would mean others.
    order = {"CUDA_DEVICE_ORDER": "PCI_BUS_ID"} if devices.replace(",", "").isdecimal() else {}
    return {"CUDA_VISIBLE_DEVICES": devices, **order}


def _restart_variables(start: TrainingStart) -> dict[str, str]:
    """The batch to keep and the folder of checkpoints, where torchrun may start the processes again."""
    if not start.options.nodes.is_rendezvous or start.batch is None:
        return {}
    batch, output = start.batch, str(start.paths.output)
    kept = Restart(batch.micro_batch, batch.effective, output)
    return {RESTART_VARIABLE: kept.to_text()}


def _shared_variables(start: TrainingStart) -> dict[str, str]:
    """For several processes: what the engine's own launcher sets, and a fair share of the CPU."""
    if start.on_gpu:
        return {"TORCH_NCCL_AVOID_RECORD_STREAMS": "1"}
    return {"OMP_NUM_THREADS": str(max(1, start.hardware.cpu_cores // start.node_processes))}


def build_command(start: TrainingStart, invocation: Invocation) -> Command:
    """The command that starts a training, with what it adds to the environment.

    Args:
        start: what is started.
        invocation: the folder that relative paths count from, and lfwrap's environment.

    Raises:
        UsageError: the launcher can't do that.
    """
    launcher, nodes = start.launcher, start.options.nodes
    note("strategy", "launcher %s: %s processes on %s nodes", launcher.name, start.world_size, nodes.count)
    return launcher.build(launch_request(start, invocation))


def launch_request(start: TrainingStart, invocation: Invocation) -> LaunchRequest:
    """What a launcher is asked for; without an engine, names stand for its programs."""
    return LaunchRequest(
        engine=start.engine or _NO_ENGINE,
        paths=start.paths,
        cwd=invocation.cwd,
        world_size=start.world_size,
        port=free_port(ALL_ADDRESSES),
        nodes=start.options.nodes,
        on_gpu=start.on_gpu,
        devices=start.devices(invocation.environ),
        arguments=start.arguments,
        environment=training_environment(start, invocation.environ),
        by_engine=start.options.by_engine,
        options=start.options.job,
        lfwrap=(sys.executable, "-m", "lfwrap"),
        uploads=_folders(start.values, invocation.cwd),
    )


def _folders(values: Mapping[str, Any], cwd: Path) -> dict[str, Path]:
    """The folders that the values name, by key; they are on this machine only."""
    found = {key: cwd / Path(str(values[key])).expanduser() for key in ("dataset_dir", MODEL_KEY) if values.get(key)}
    return {key: path.resolve() for key, path in found.items() if path.is_dir()}
