"""The doctor's judgement: facts of a machine in, rows out."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.doctor.doctor import CheckState, can_train, diagnose_machine
from lfwrap.doctor.machine_facts import OPTIONAL_PACKAGES, MachineFacts
from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.hardware.profile import DeviceKind, Gpu, HardwareProfile
from lfwrap.units import GIB

ENGINE = fake_engine(Path("/venv"))
TORCH = {
    "python": "3.11.7", "error": None, "torch": "2.9.1+cu128", "cuda_build": "12.8", "rocm_build": None,
    "cuda_available": True, "device_count": 1, "bf16": True, "mps": False,
}  # fmt: skip
GPU = Gpu("NVIDIA GeForce RTX 3080 Ti Laptop GPU", 16 * GIB, (8, 6), bf16=True, free_bytes=15 * GIB)
HOST = HardwareProfile("auto", DeviceKind.CUDA, (GPU,), 8, 32 * GIB, driver="560.1")
GOOD = MachineFacts(
    "3.11.7", "Linux x86_64", ENGINE, (), TORCH, HOST, dict.fromkeys(OPTIONAL_PACKAGES, "1.0"),
    Path("/venv/bin/torchrun"), 500 * GIB, has_token=True, hub_error="",
)  # fmt: skip
CPU = replace(HOST, kind=DeviceKind.CPU, gpus=(), driver="")
CPU_TORCH = TORCH | {"torch": "2.9.1+cpu", "cuda_build": None, "cuda_available": False}

NO_ENGINE = replace(GOOD, engine=None, torch=None)
OLDER = replace(GOOD, engine=replace(ENGINE, version="0.9.4"))
BROKEN_TORCH = replace(GOOD, torch={"error": "OSError: libcudnn"})
BLIND_TORCH = replace(GOOD, torch=TORCH | {"cuda_available": False})
TURING = replace(GOOD, hardware=replace(HOST, gpus=(replace(GPU, bf16=False),)))
SMALL = replace(GOOD, hardware=replace(HOST, ram_bytes=3 * GIB))
BARE = replace(GOOD, packages={})


def _row(facts: MachineFacts, name: str):
    return next(check for check in diagnose_machine(facts) if check.name == name)


def test_a_good_machine_has_nothing_to_remedy():
    checks = diagnose_machine(GOOD)
    assert {check.state for check in checks} == {CheckState.OK}
    assert not any(check.remedy or check.blocks for check in checks)
    assert can_train(checks)


@pytest.mark.parametrize(
    ("facts", "name", "state", "words"),
    [
        (NO_ENGINE, "LLaMA-Factory", "missing", ("not installed", "lfwrap[train]", "train")),
        (NO_ENGINE, "torch", "missing", ("no engine", "", "train")),
        (OLDER, "LLaMA-Factory", "problem", ("0.9.4", f"llamafactory=={SUPPORTED_VERSION}", "")),
        (replace(GOOD, refused=("trl 0.9 (0.18 to 0.24)",)), "trl", "problem", ("trl 0.9", "pip install", "train")),
        (BROKEN_TORCH, "torch", "problem", ("libcudnn", "torch==2.9.1", "train")),
        (replace(GOOD, torch=CPU_TORCH), "CUDA", "problem", ("cuda False", "--force-reinstall torch==2.9.1", "GPU")),
        (BLIND_TORCH, "CUDA", "problem", ("sees no GPU", "driver", "GPU")),
        (replace(GOOD, hardware=CPU), "GPU", "missing", ("none", "0.5 B", "over 1 B")),
        (TURING, "bf16", "missing", ("Ampere", "fp16", "bf16")),
        (BARE, "bitsandbytes", "missing", ("not", "/venv/bin/python -m pip install bitsandbytes", "QLoRA")),
        (BARE, "DeepSpeed", "missing", ("not", "DS_BUILD_OPS=0", "ZeRO")),
        (BARE, "flash-attn", "missing", ("not", "--no-build-isolation", "fa2")),
        (replace(GOOD, torchrun=None), "torchrun", "missing", ("not found", "environment", "several GPUs")),
        (SMALL, "RAM", "problem", ("3.00 GiB", "4 GB", "demo")),
        (replace(GOOD, free_bytes=2 * GIB), "disk", "problem", ("2.00 GiB", "15 GB", "")),
        (replace(GOOD, offline=True, hub_error=None), "model hub", "missing", ("HF_HUB_OFFLINE", "unset", "hub id")),
        (replace(GOOD, hub_error="timed out"), "model hub", "missing", ("timed out", "HF_ENDPOINT", "hub id")),
        (replace(GOOD, has_token=False), "hub token", "missing", ("none", "HF_TOKEN", "gated")),
    ],
)
def test_each_fault_has_its_row_and_its_remedy(facts, name, state, words):
    check = _row(facts, name)
    assert check.state == state
    for word, text in zip(words, (check.found, check.remedy, ", ".join(check.blocks)), strict=True):
        assert word in text


@pytest.mark.parametrize(
    ("facts", "works"),
    [
        (replace(GOOD, hardware=CPU, torch=CPU_TORCH), True),
        (replace(GOOD, torch=CPU_TORCH), True),
        (replace(GOOD, packages={}, torchrun=None, hub_error="down", has_token=False), True),
        (replace(GOOD, engine=None, torch=None), False),
        (replace(GOOD, refused=("trl 0.9",)), False),
        (replace(GOOD, torch={"error": "ImportError"}), False),
    ],
)
def test_what_makes_training_impossible(facts, works):
    assert can_train(diagnose_machine(facts)) is works


def test_a_hub_that_was_not_asked_is_no_fault():
    check = _row(replace(GOOD, hub_error=None), "model hub")
    assert (check.state, "not asked" in check.found) == (CheckState.OK, True)
