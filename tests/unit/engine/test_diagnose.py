"""Each known fault is told from lines that the engine, torch, NCCL or the system print."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfwrap.engine.diagnose import FAULTS, diagnose, log_tail, read_tail

LINES = {
    "gpu-out-of-memory": "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.32 GiB. GPU 0 has a total "
    "capacity of 79.18 GiB of which 1.06 GiB is free.",
    "disk-full": "OSError: [Errno 28] No space left on device",
    "driver-too-old": "RuntimeError: The NVIDIA driver on your system is too old (found version 11040).",
    "cuda-mismatch": "RuntimeError: CUDA error: no kernel image is available for execution on the device",
    "no-gpu": "RuntimeError: No CUDA GPUs are available",
    "gated-model": "huggingface_hub.errors.GatedRepoError: 401 Client Error. Access to model owner/name is restricted.",
    "hub-unreachable": "OSError: We couldn't connect to 'https://huggingface.co' to load the files",
    "model-not-found": "OSError: nosuch/model is not a local folder and is not a valid model identifier",
    "model-incomplete": "OSError: Error no file named model.safetensors, or pytorch_model.bin, found in directory /m.",
    "unknown-template": "ValueError: Template qwenn does not exist.",
    "unknown-keys": "ValueError: Some keys are not used by the HfArgumentParser: ['lora_rnak']",
    "unknown-dataset": "ValueError: Undefined dataset nosuch in dataset_info.json.",
    "missing-columns": "KeyError: 'instruction'",
    "data-unreadable": "datasets.exceptions.DatasetGenerationError: An error occurred while generating the dataset",
    "port-in-use": "torch.distributed.DistNetworkError: The server socket has failed to listen on any local network "
    "address. port: 29500, useIpv6: false, code: -98, name: EADDRINUSE, message: address already in use",
    "nccl": "torch.distributed.DistBackendError: NCCL error in: ProcessGroupNCCL.cpp:3690, unhandled system error",
    "version-conflict": "ImportError: transformers>=4.55.0,<=5.6.0 is required for a normal functioning of this module",
    "deepspeed-build": "RuntimeError: Error building extension 'cpu_adam'",
    "missing-package": "ModuleNotFoundError: No module named 'liger_kernel'",
    "batch-does-not-resume": "ValueError: loaded state dict contains a parameter group that doesn't match the size of "
    "parameter group",
    "cpu-out-of-memory": "RuntimeError: [enforce fail at alloc_cpu.cpp:124] err == 0. DefaultCPUAllocator: can't "
    "allocate memory: you tried to allocate 4294967296 bytes. Error code 12 (Cannot allocate memory)",
    "shared-memory": "RuntimeError: DataLoader worker is killed by signal: Bus error. It is possible that dataloader's "
    "workers are out of shared memory. ERROR: Unexpected bus error encountered in worker. This might be caused by "
    "insufficient shared memory (shm).",
    "no-driver": "RuntimeError: Found no NVIDIA driver on your system. Please check that you have an NVIDIA GPU",
    "device-assert": "torch.AcceleratorError: CUDA error: device-side assert triggered",
    "gpu-fault": "RuntimeError: CUDA error: uncorrectable ECC error encountered",
    "template-error": "jinja2.exceptions.TemplateError: Conversation roles must alternate user/assistant",
    "lost-rank": "  traceback : Signal 9 (SIGKILL) received by PID 4711",
    "collective-timeout": "[rank1]:[E1122 ProcessGroupNCCL.cpp:683] [Rank 1] Watchdog caught collective operation "
    "timeout: WorkNCCL(SeqNum=5, OpType=ALLREDUCE) ran for 600000 milliseconds before timing out.",
    "host-out-of-memory": "RuntimeError: DataLoader worker (pid 77) is killed by signal: Killed.",
    "loss-not-finite": "Exception: Current loss scale already at minimum - cannot decrease scale anymore.",
}


def test_every_fault_of_the_table_has_a_line_here() -> None:
    assert set(LINES) == {fault.rule for fault in FAULTS}


@pytest.mark.parametrize("rule", LINES)
def test_a_fault_is_told_by_its_line(rule: str) -> None:
    log = f'Traceback (most recent call last):\n  File "x.py", line 1\n[rank0]: {LINES[rule]}\n100%|####| 3/3\n'
    found = diagnose([log, ""], 1)
    assert found.rule == rule
    assert found.evidence in LINES[rule].strip()
    assert found.message
    assert found.remedy


def test_the_cause_comes_before_what_it_brings_about() -> None:
    log = f"{LINES['gpu-out-of-memory']}\n{LINES['nccl']}\nsubprocess.CalledProcessError: Command died\n"
    assert diagnose([log], 1).rule == "gpu-out-of-memory"


NO_RUNTIME = "W1122 09:21:44.584000 10364 torch/utils/cpp_extension.py:117] No CUDA runtime is found, using CUDA_HOME="
NOT_SET = "OSError: CUDA_HOME environment variable is not set. Please set it to your CUDA install root."
NO_NVCC = "op_builder.builder.MissingCUDAException: CUDA_HOME does not exist, unable to compile CUDA op(s)"


@pytest.mark.parametrize(
    ("line", "rule"),
    [
        pytest.param(f"{NO_RUNTIME}'/usr/local'", "lost-rank", id="a warning on each machine without a GPU"),
        pytest.param(NOT_SET, "cuda-mismatch", id="wanted and not there"),
        pytest.param(NO_NVCC, "deepspeed-build", id="DeepSpeed wants to compile"),
    ],
)
def test_a_word_on_cuda_home_is_a_cause_only_where_it_stopped_something(line: str, rule: str) -> None:
    gone = "[rank0]: RuntimeError: [/pytorch/third_party/gloo/gloo/transport/tcp/pair.cc:538] Read error "
    log = f"{line}\n{gone}[127.0.0.1]:26511: Connection reset by peer\n"
    assert diagnose([log], 1).rule == rule


@pytest.mark.parametrize(
    ("exit_code", "rule"), [(-9, "killed"), (-11, "crashed"), (-6, "crashed"), (1, "unknown"), (0, "unknown")]
)
def test_without_a_known_line_the_exit_code_speaks(exit_code: int, rule: str) -> None:
    assert diagnose(["nothing of note"], exit_code).rule == rule


def test_an_unknown_error_is_quoted_and_the_launchers_own_is_not() -> None:
    log = "[rank0]: ValueError: something odd\nsubprocess.CalledProcessError: Command died with 1\n"
    assert diagnose([log], 1).message == "ValueError: something odd"


def test_the_tail_leaves_bars_and_rank_prefixes_out() -> None:
    log = "[rank0]: first\r 50%|#####     | 1/2\n\nlast\n"
    assert log_tail(["", log]) == ["first", "last"]
    assert log_tail(["", ""]) == []


def test_only_the_end_of_a_log_is_read(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_bytes(b"x" * 1000 + b"end")
    assert read_tail(path, 3) == "end"
    assert read_tail(tmp_path / "none") == ""


def test_the_documentation_names_every_fault() -> None:
    text = (Path(__file__).parents[3] / "docs/reference/diagnoses.md").read_text(encoding="utf-8")
    assert [fault.rule for fault in FAULTS if f"`{fault.rule}`" not in text] == []
