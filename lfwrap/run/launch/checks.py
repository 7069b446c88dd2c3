"""Checks before a start: options that exclude each other, and what a launcher needs that is missing."""

from __future__ import annotations

import shutil
from collections.abc import Iterator

from lfwrap.engine.locate import Engine, package_version
from lfwrap.errors import Finding, PlanError, Severity, UsageError
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.run.launch.launch import LaunchOptions
from lfwrap.run.launch.launchers.base import Launcher
from lfwrap.run.launch.launchers.nodes import Nodes

_EXTRAS = {"deepspeed": "lfwrap[deepspeed]", "ray": "lfwrap[ray]"}


def require_nodes(nodes: Nodes, launcher: Launcher) -> None:
    """Require that a node knows which one it is and where the others are.

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
    """Require that an elastic run can keep its effective batch with every number of nodes.

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
            "speed: max needs lfwrap's own start of the engine; llamafactory-cli does not use it.",
            hint="Leave --engine-cli out, or write speed: auto.",
        )
    if options.compiled:
        yield Finding(
            "compiled-extension",
            "torch_compile: true with speed: max: the compiler can't look into the extension's kernels.",
            hint="Leave torch_compile out, or write speed: auto, which compiles where it pays.",
        )
