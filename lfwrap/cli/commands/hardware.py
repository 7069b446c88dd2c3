"""``lfwrap hardware``: list, show, probe."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import AS_JSON
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.hardware.profile import Gpu, HardwareProfile


@click.group()
def command() -> None:
    r"""List known machines, show one, look at this one.

    \b
    Example:
      lfwrap hardware list
      lfwrap hardware show 4x-h100-80gb
      lfwrap hardware probe --out mine.yaml
    """


@command.command("list")
@AS_JSON
def list_machines(as_json: bool) -> None:
    r"""List the machines that --hardware knows; `2x-`, `4x-`, `8x-` and so on in front stand for several GPUs.

    \b
    Example:
      lfwrap hardware list
    """
    from lfwrap.hardware.profile import catalog_machine, catalog_names

    machines = [catalog_machine(name) for name in catalog_names()]
    if as_json:
        output.print_json("hardware-list", {"machines": [machine.to_json() for machine in machines]})
        return
    width = max(len(machine.name) for machine in machines)
    for machine in machines:
        gpu = machine.smallest_gpu
        text = f"{_memory(gpu)}  {_precision(gpu):<9}  {gpu.name}" if gpu else f"{'':>9}  {'fp32':<9}  no GPU"
        output.result(f"{machine.name:<{width}}  {text}")


@command.command("show")
@click.argument("machine")
@AS_JSON
def show(machine: str, as_json: bool) -> None:
    r"""Show a machine: a name of the list, alone or for several GPUs, a profile file, or auto.

    \b
    Example:
      lfwrap hardware show 2xh200
    """
    from lfwrap.hardware.load import load_hardware

    _print(load_hardware(machine), as_json=as_json)


@command.command("probe")
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write the profile to this file.")
@click.option("--force", is_flag=True, help="Replace the file.")
@AS_JSON
def probe(*, out: Path | None, force: bool, as_json: bool) -> None:
    r"""Look at this machine's GPUs, links, CPU and memory; GPUs hidden by CUDA_VISIBLE_DEVICES are left out.

    The file is a profile that --hardware takes, here or elsewhere.

    \b
    Example:
      lfwrap hardware probe --out mine.yaml
      lfwrap recipe explain recipes/paper.yaml --hardware mine.yaml
    """
    from lfwrap.hardware.probe import probe_hardware

    if out is not None and out.exists() and not force:
        raise UsageError(f"{out}: exists already.", hint="Name another file, or give --force to replace it.")
    machine = probe_hardware()
    if out is not None:
        from lfwrap.files import write_text
        from lfwrap.yaml_files import dump_yaml

        write_text(out, dump_yaml({**machine.to_profile(), "name": out.stem}))
        output.say(f"wrote {out}")
    _print(machine, as_json=as_json)


def _print(machine: HardwareProfile, *, as_json: bool) -> None:
    if as_json:
        output.print_json("hardware", machine.to_json())
        return
    for label, text in _rows(machine):
        output.result(f"{label:<12} {text}")
    if machine.is_mixed:
        output.say("warning: the GPUs differ: the slowest sets the pace, the smallest the limit.")


def _rows(machine: HardwareProfile) -> Iterator[tuple[str, str]]:
    from lfwrap.units import format_bytes

    yield "machine", machine.name
    yield "trains on", str(machine.kind)
    for index, gpu in enumerate(machine.gpus):
        free = "" if gpu.free_bytes is None else f", {format_bytes(gpu.free_bytes)} free"
        yield f"GPU {index}", f"{gpu.name}: {format_bytes(gpu.memory_bytes)}{free}, {_precision(gpu)}{_rates(gpu)}"
    if len(machine.gpus) > 1:
        yield "link", machine.interconnect
    if machine.driver:
        yield "driver", machine.driver
    yield "CPU", f"{machine.cpu_cores} cores, {format_bytes(machine.ram_bytes)} of memory"
    if source := next((gpu.source for gpu in machine.gpus if gpu.source), ""):
        yield "rates from", source


def _rates(gpu: Gpu) -> str:
    parts: list[tuple[str, Any]] = [
        (f"{gpu.compute_flops / 1e12:g} TFLOP/s", gpu.compute_flops),
        (f"{gpu.bandwidth_bytes_per_s / 1e9:g} GB/s", gpu.bandwidth_bytes_per_s),
        (".".join(map(str, gpu.compute_capability or ())), gpu.compute_capability),
    ]
    labels = ("", "", "compute capability ")
    return "".join(f", {label}{text}" for label, (text, known) in zip(labels, parts, strict=True) if known)


def _memory(gpu: Gpu) -> str:
    from lfwrap.units import GIB

    return f"{gpu.memory_bytes / GIB:5.1f} GiB"


def _precision(gpu: Gpu) -> str:
    return "bf16" if gpu.bf16 else "fp16 only"
