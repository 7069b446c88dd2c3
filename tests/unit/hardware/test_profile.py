"""Machines: the catalogue, multiples, profile files."""

from __future__ import annotations

import dataclasses

import pytest

from lfwrap.errors import PreflightError, RecipeError, UsageError
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import (
    DeviceKind,
    Gpu,
    HardwareProfile,
    catalog_gpu,
    catalog_machine,
    catalog_names,
    has_bf16,
    load_profile,
)
from lfwrap.units import GIB, MIB
from lfwrap.yaml_files import dump_yaml

SMALL = Gpu("small", 8 * GIB, bf16=False)
LARGE = Gpu("large", 80 * GIB)


@pytest.mark.parametrize("name", catalog_names())
def test_every_machine_of_the_catalogue_is_whole(name):
    machine = catalog_machine(name)
    assert machine.ram_bytes > 0
    assert machine.cpu_cores > 0
    assert (machine.smallest_gpu is None) is machine.is_cpu
    for gpu in machine.gpus:
        assert gpu.compute_flops > 1e12
        assert gpu.bandwidth_bytes_per_s > 1e10
        assert gpu.source
        assert 8 * GIB < gpu.memory_bytes < 256 * GIB
        if machine.kind is DeviceKind.CUDA:
            assert gpu.bf16 is has_bf16(gpu.compute_capability)
            assert gpu.memory_bytes % MIB == 0


def test_the_machines_asked_for_are_there():
    wanted = "rtx-2080-ti rtx-3080-ti-laptop-16gb rtx-3090 rtx-4060-ti-16gb rtx-4090 rtx-5090 t4 v100-16gb l4 a10 l40s"
    wanted += " a100-40gb a100-80gb h100-80gb h200 b200 mi300x m1-16gb m4-max-128gb cpu"
    assert set(wanted.split()) <= set(catalog_names())
    assert len(catalog_names()) >= 25


@pytest.mark.parametrize(
    ("spec", "name", "count"),
    [
        ("h200", "h200", 1),
        ("2xh200", "2x-h200", 2),
        ("2x-h200", "2x-h200", 2),
        ("2 x H200", "2x-h200", 2),
        ("8×h100_80gb", "8x-h100-80gb", 8),
        (" RTX 4090 ", "rtx-4090", 1),
        ("1x-t4", "t4", 1),
    ],
)
def test_usual_spellings(spec, name, count):
    machine = load_hardware(spec)
    assert (machine.name, machine.world_size, len(machine.gpus)) == (name, count, count)
    assert len(set(machine.gpus)) == 1


def test_a_host_grows_with_its_gpus():
    assert load_hardware("4x-t4").ram_bytes == 4 * load_hardware("t4").ram_bytes
    assert load_hardware("4x-t4").cpu_cores == 4 * load_hardware("t4").cpu_cores


@pytest.mark.parametrize(
    ("spec", "hint"), [("h100", "h100-80gb"), ("rtx4090", "rtx-4090"), ("a100", "a100-40gb"), ("zzz", "hardware list")]
)
def test_an_unknown_machine_names_the_nearest(spec, hint):
    with pytest.raises(UsageError, match="no such machine") as caught:
        load_hardware(spec)
    assert hint in caught.value.hint


@pytest.mark.parametrize("spec", ["2x-cpu", "4x-m1-16gb"])
def test_only_separate_gpus_come_in_multiples(spec):
    with pytest.raises(UsageError, match="multiples"):
        load_hardware(spec)


@pytest.mark.parametrize(
    ("device", "memory_mib"),
    [
        ("NVIDIA H100 80GB HBM3", 81559),
        ("NVIDIA A100-SXM4-40GB", 40960),
        ("NVIDIA A100-SXM4-80GB", 81920),
        ("Tesla T4", 15360),
        ("NVIDIA A10G", 23028),
        ("NVIDIA L40S", 46068),
        ("Tesla V100-SXM2-16GB", 16384),
        ("NVIDIA GeForce RTX 4060 Ti", 16380),
    ],
)
def test_the_drivers_names_find_their_rates(device, memory_mib):
    gpu = catalog_gpu(device)
    assert gpu is not None
    assert gpu.memory_bytes == memory_mib * MIB


@pytest.mark.parametrize("device", ["NVIDIA GeForce GT 710", "NVIDIA L400", "NVIDIA A100X-like"])
def test_an_unknown_device_is_not_guessed(device):
    assert catalog_gpu(device) is None


def test_mixed_gpus_are_seen_and_the_smallest_counts():
    machine = HardwareProfile("m", DeviceKind.CUDA, (LARGE, SMALL))
    assert machine.is_mixed
    assert machine.smallest_gpu is SMALL
    assert machine.device_memory_bytes == SMALL.memory_bytes
    assert not machine.supports_bf16
    assert not HardwareProfile("m", DeviceKind.CUDA, (LARGE, LARGE)).is_mixed


def test_a_cpu_has_one_process_and_its_own_memory():
    machine = load_hardware("cpu")
    assert machine.is_cpu
    assert machine.world_size == 1
    assert machine.device_memory_bytes == machine.ram_bytes
    assert not machine.supports_bf16
    assert not machine.supports_quantization


@pytest.mark.parametrize("spec", ["cpu", "t4", "2x-h100-80gb", "m2-max-96gb", "mi300x"])
def test_a_profile_file_reads_back_as_it_was(spec, tmp_path):
    machine = load_hardware(spec)
    path = tmp_path / "machine.yaml"
    path.write_text(dump_yaml(machine.to_profile()), encoding="utf-8")
    assert load_hardware(str(path)) == machine


def test_what_was_free_is_no_part_of_a_profile():
    busy = dataclasses.replace(LARGE, free_bytes=1)
    assert "free_bytes" not in HardwareProfile("m", DeviceKind.CUDA, (busy,)).to_profile()["gpus"][0]


def test_a_short_profile_is_enough(tmp_path):
    path = tmp_path / "lab.yaml"
    path.write_text("gpus:\n- {name: Some GPU, memory_gib: 24, count: 3}\n", encoding="utf-8")
    machine = load_profile(path)
    assert (machine.name, machine.world_size, machine.interconnect) == ("lab", 3, "pcie")
    assert machine.device_memory_bytes == 24 * GIB


@pytest.mark.parametrize(
    "text",
    [
        "gpus: 5\n",
        "gpus: [text]\n",
        "gpus: [{name: x}]\n",
        "gpus: [{memory_gib: 4}]\n",
        "gpus: [{name: x, memory_gib: 8, compute_capability: [8]}]\n",
        "kind: abacus\n",
        "cpu_cores: many\n",
        "model_name_or_path: a\ndataset: b\n",
        "# nothing\n",
    ],
)
def test_a_broken_profile_says_so(tmp_path, text):
    path = tmp_path / "broken.yaml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(PreflightError, match="not a hardware profile") as caught:
        load_hardware(str(path))
    assert "hardware probe" in caught.value.hint


def test_a_missing_profile_says_so(tmp_path):
    with pytest.raises(RecipeError, match=r"nowhere\.yaml") as caught:
        load_hardware(str(tmp_path / "nowhere.yaml"))
    assert "recipe" not in caught.value.hint


def test_no_machine_at_all_is_no_machine():
    with pytest.raises(UsageError, match="0x-h200"):
        load_hardware("0x-h200")


def test_json_holds_plain_values():
    value = load_hardware("2x-h200").to_json()
    assert value["kind"] == "cuda"
    assert value["world_size"] == 2
    assert value["gpus"][1]["name"] == "NVIDIA H200"
