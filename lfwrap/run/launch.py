"""How the engine is going to be started: which processes, on which devices, meeting at which port."""

from __future__ import annotations

import socket
from collections.abc import Mapping
from pathlib import Path

from lfwrap.engine.locate import SUPPORTED_VERSION, Engine
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.run.launchers import LaunchRequest
from lfwrap.run.paths import RunPaths
from lfwrap.run.process import MARKER
from lfwrap.run.versions import refused_versions


def launch_request(
    engine: Engine | None,
    hardware: HardwareProfile,
    paths: RunPaths,
    cwd: Path,
    environ: Mapping[str, str],
    *,
    world_size: int,
    arguments: tuple[str, ...] = (),
) -> LaunchRequest:
    """What a launcher is asked for; without an engine its names stand for it."""
    shown = engine or Engine(Path("python"), Path("llamafactory-cli"), Path("llamafactory"), SUPPORTED_VERSION)
    environment = {MARKER: str(paths.root)}
    if engine is not None and refused_versions(engine):
        environment["DISABLE_VERSION_CHECK"] = "1"
    return LaunchRequest(
        engine=shown,
        engine_yaml=paths.engine_yaml,
        cwd=cwd,
        world_size=world_size,
        port=_free_port(),
        on_gpu=hardware.kind in {DeviceKind.CUDA, DeviceKind.ROCM},
        devices=choose_devices(hardware, world_size, environ.get("CUDA_VISIBLE_DEVICES")),
        cpu_cores=hardware.cpu_cores,
        arguments=arguments,
        environment=environment,
    )


def choose_devices(hardware: HardwareProfile, world_size: int, visible: str | None) -> str | None:
    """``CUDA_VISIBLE_DEVICES`` for the GPUs with the most free memory; None when all of them are taken.

    Args:
        hardware: the machine; its GPUs in the order in which they are visible.
        world_size: GPUs wanted.
        visible: the variable as it is set, whose choice is respected.
    """
    if hardware.is_cpu:
        return "" if hardware.name != "auto" else None
    if not hardware.gpus or world_size >= len(hardware.gpus):
        return None
    names = [name.strip() for name in visible.split(",")] if visible else [str(n) for n in range(len(hardware.gpus))]
    by_free = sorted(range(len(hardware.gpus)), key=lambda index: -(hardware.gpus[index].free_bytes or 0))
    return ",".join(names[index] for index in sorted(by_free[:world_size]))


def _free_port() -> int:
    """A TCP port that nobody listens on; the launchers' usual one is often taken on shared hosts."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
