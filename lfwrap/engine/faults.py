"""The table of known faults: which lines of a log show each, what it is, what to do; and its reference page."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table.

    Attributes:
        rule: the fault's name, stable, in kebab case.
        pattern: what a line of the log says when the fault has happened.
        message: what has happened, a sentence.
        remedy: what to do, a sentence or two.
    """

    rule: str
    pattern: re.Pattern[str]
    message: str
    remedy: str


def _fault(rule: str, pattern: str, message: str, remedy: str) -> Fault:
    return Fault(rule, re.compile(pattern, re.IGNORECASE), message, remedy)


# Ordered: a cause before what it brings about (an out-of-memory rank makes the others time out in NCCL).
FAULTS: tuple[Fault, ...] = (
    _fault(
        "gpu-out-of-memory",
        r"OutOfMemoryError|CUDA out of memory|CUBLAS_STATUS_ALLOC_FAILED|HIP out of memory",
        "The GPU ran out of memory.",
        "Halve per_device_train_batch_size (lfwrap doubles the accumulation and keeps the effective batch), lower "
        "cutoff_len, turn gradient checkpointing on, or set quantization_bit=4. Free the GPU first if others use it.",
    ),
    _fault(
        "cpu-out-of-memory",
        r"DefaultCPUAllocator: (?:can't|not enough)",
        "The training ran out of main memory.",
        "On a CPU lfwrap lowers the micro-batch by itself. Lower cutoff_len, choose a smaller model, or add RAM.",
    ),
    _fault(
        "shared-memory",
        r"insufficient shared memory|unable to (?:open|mmap|write to) .*(?:shared memory|/torch_)",
        "The shared memory (/dev/shm) is too small for the data loaders.",
        "Give the container more (docker run --shm-size 16g, or --ipc=host), or set dataloader_num_workers: 0.",
    ),
    _fault(
        "disk-full",
        r"No space left on device|Errno 28|Disk quota exceeded|PytorchStreamWriter failed writing|"
        r"SafetensorError.*(?:No space|os error 28)",
        "The disk is full.",
        "Free some space or name another --runs-dir, then `lfwrap runs resume`.",
    ),
    _fault(
        "driver-too-old",
        r"NVIDIA driver on your system is too old|CUDA driver version is insufficient",
        "The NVIDIA driver is too old for this torch.",
        "Update the driver, or install a torch built for an older CUDA.",
    ),
    _fault(
        "no-driver",
        r"Found no NVIDIA driver|libcuda\.so(?:\.1)?: cannot open|Driver Not Loaded|NVML Shared Library Not Found",
        "There is no NVIDIA driver here.",
        "Install the driver on the host; a container needs `--gpus all` and the NVIDIA container toolkit.",
    ),
    _fault(
        "cuda-mismatch",
        r"no kernel image is available|CUDA_HOME environment variable is not set|libcud\w+\.so[.\d]*: cannot"
        r"|undefined symbol: .*(?:cuda|nccl|cublas)|CUDAMismatchException|Torch not compiled with CUDA",
        "torch, CUDA and the GPU do not fit together.",
        "`lfwrap doctor` shows the versions; install a torch built for this GPU and driver.",
    ),
    _fault(
        "no-gpu",
        r"No CUDA GPUs are available|CUDA driver initialization failed|no CUDA-capable device is detected",
        "No usable GPU was found.",
        "`lfwrap doctor` says what is visible; check the driver and CUDA_VISIBLE_DEVICES.",
    ),
    _fault(
        "device-assert",
        r"device-side assert triggered",
        "A GPU met an index out of range: most often a token that the model has no embedding for.",
        "Check that tokenizer and model belong together (resize_vocab: true after adding tokens). "
        "CUDA_LAUNCH_BLOCKING=1 shows the line.",
    ),
    _fault(
        "gpu-fault",
        r"uncorrectable ECC|fallen off the bus|unspecified launch failure|illegal memory access|CUDA error: misaligned|"
        r"Xid \(|GPU is lost",
        "A GPU or its driver failed.",
        "`nvidia-smi -q` and `dmesg | grep -i xid` show it; leave the GPU out by CUDA_VISIBLE_DEVICES, then "
        "`lfwrap runs resume`.",
    ),
    _fault(
        "gated-model",
        r"GatedRepoError|gated repo|Access to model .* is restricted|401 Client Error|403 Client Error",
        "The hub does not give this model to this account.",
        "Accept the model's licence on its page and log in with `hf auth login`, or download it and give its folder.",
    ),
    _fault(
        "hub-unreachable",
        r"LocalEntryNotFoundError|couldn't connect to|Max retries exceeded|OfflineModeIsEnabled"
        r"|Name or service not known|Temporary failure in name resolution|Network is unreachable",
        "The model hub can't be reached.",
        "Download the model where there is a network and give its folder as model_name_or_path.",
    ),
    _fault(
        "model-not-found",
        r"RepositoryNotFoundError|is not a local folder and is not a valid model identifier|404 Client Error",
        "There is no such model.",
        "Check model_name_or_path: a hub id (owner/name) or a folder with config.json.",
    ),
    _fault(
        "model-incomplete",
        r"no file named .*(?:safetensors|bin)|SafetensorError|Error while deserializing header|invalid JSON in header|"
        r"PytorchStreamReader failed|Can't load tokenizer|Unable to load vocabulary",
        "A file of the model is missing or broken.",
        "Download the model again, completely; compare file sizes with the hub's.",
    ),
    _fault(
        "unknown-template",
        r"Template \S+ does not exist",
        "The engine has no such template.",
        "`lfwrap recipe check` names the nearest; `qwen` is Qwen2.5's.",
    ),
    _fault(
        "template-error",
        r"jinja2\.exceptions\.|TemplateSyntaxError|apply_chat_template.*(?:Error|not set)|chat_template is not set",
        "The chat template can't be applied to the data.",
        "Name the engine's own `template` for this model; `lfwrap prepare-data --strict` finds the roles and orders "
        "of turns that templates refuse.",
    ),
    _fault(
        "unknown-keys",
        r"Some keys are not used by the HfArgumentParser|unrecognized arguments",
        "The engine does not know a key of the YAML.",
        "`lfwrap recipe check` names it and the nearest one that exists.",
    ),
    _fault(
        "unknown-dataset",
        r"Undefined dataset|Cannot open \S*dataset_info\.json",
        "The data set is not registered.",
        "`lfwrap prepare-data` registers it; dataset_dir must hold its dataset_info.json.",
    ),
    _fault(
        "missing-columns",
        r"KeyError: '(?:instruction|input|output|conversations|messages|prompt|query|response|from|value|role|content|"
        r"chosen|rejected|system|tools)'",
        "A column that dataset_info.json names is missing in the data.",
        "Correct `columns` in dataset_info.json, or let `lfwrap prepare-data` write both.",
    ),
    _fault(
        "data-unreadable",
        r"DatasetGenerationError|JSON parse error|corresponds to no data|Cannot find valid samples|"
        r"ArrowInvalid|Couldn't cast array|Cannot find sufficient samples",
        "The data can't be read, or no row of it is usable.",
        "`lfwrap prepare-data` names every bad row and writes what the engine reads.",
    ),
    _fault(
        "port-in-use",
        r"EADDRINUSE|Address already in use|errno: 98",
        "The port at which the processes meet is taken.",
        "Start again: lfwrap looks for a free port each time.",
    ),
    _fault(
        "deepspeed-build",
        r"Error building extension|CUDA_HOME does not exist|Unable to JIT load",
        "DeepSpeed could not compile one of its operators.",
        "It needs a C++ compiler (g++), ninja and, for a GPU, CUDA's nvcc (CUDA_HOME); optim: adamw_torch does without "
        "its own Adam.",
    ),
    _fault(
        "lost-rank",
        r"Signal \d+ \(SIG(?:KILL|SEGV|BUS|ABRT|ILL)\) received|exitcode\s*: -(?:9|11|7|6|4)\b|"
        r"exits with return code = -(?:9|11|7|6|4)\b|Connection (?:closed|reset) by peer",
        "A process of the training went away: it was killed or crashed, and the others could not go on.",
        "`dmesg | grep -iE 'oom|xid'` says whether the kernel (main memory) or the driver did it. `lfwrap runs resume` "
        "goes on from the newest checkpoint.",
    ),
    _fault(
        "collective-timeout",
        r"Watchdog caught collective operation timeout|Timed out waiting \d+ms|collective operation timeout|"
        r"wait timeout|Socket Timeout",
        "The processes waited for one of them until the time limit.",
        "One rank was slow or hung: look at its log and at stall-N.txt. Raise ddp_timeout when one rank has more to "
        "prepare than the others; `lfwrap runs resume` goes on from the newest checkpoint.",
    ),
    _fault(
        "nccl",
        r"NCCL (?:error|WARN)|ncclSystemError|ncclUnhandledCudaError|ncclInternalError|ncclRemoteError|"
        r"ProcessGroupNCCL.*abort|DistBackendError",
        "The GPUs could not talk to each other (NCCL).",
        "Look for the first rank that failed. NCCL_DEBUG=INFO says more; NCCL_P2P_DISABLE=1 helps on boxes without "
        "peer access.",
    ),
    _fault(
        "version-conflict",
        r"requires? the following packages|is required for a normal functioning|Please run `pip install .*` to fix",
        "A package has a version that the engine refuses.",
        "Install the version it names; `lfwrap doctor` lists them all.",
    ),
    _fault(
        "missing-package",
        r"ModuleNotFoundError: No module named|ImportError: .*(?:requires|pip install|is not installed)",
        "A package is missing.",
        "`lfwrap doctor` says which of lfwrap's extras brings it.",
    ),
    _fault(
        "batch-does-not-resume",
        r"world size .* does not match|size mismatch for|doesn't match the size of parameter group",
        "The checkpoint is of another shape or world size.",
        "Resume with the settings of the run, or start a new one.",
    ),
    _fault(
        "host-out-of-memory",
        r"Cannot allocate memory|MemoryError|oom-kill|is killed by signal: Killed",
        "The machine ran out of main memory.",
        "Lower preprocessing_num_workers and dataloader_num_workers, choose a smaller model, or add RAM.",
    ),
    _fault(
        "loss-not-finite",
        r"loss is (?:nan|inf)|non-finite (?:loss|gradient)|Current loss scale already at minimum",
        "The loss is no longer a finite number.",
        "Lower learning_rate, use bf16 instead of fp16, and look at the data near that step.",
    ),
)

NOT_FINITE = "loss-not-finite"
SPIKE = "loss-spike"
STUCK = "loss-stuck"
MEMORISED = "loss-near-zero"
ZERO_RATE = "learning-rate-zero"
NO_GRADIENT = "no-gradient"


def _row(message: str, remedy: str) -> tuple[str, str]:
    return message, remedy


# What lfwrap notices in a training that goes on: rule → (what happened, what to change).
WARNINGS: dict[str, tuple[str, str]] = {
    NOT_FINITE: _row(
        "The loss or its gradient is no longer a finite number: the weights are spoilt from here on.",
        "Start anew with a lower learning_rate (a tenth), with bf16 instead of fp16, and look at the rows of this "
        "update; a row without any trained token does it, too.",
    ),
    SPIKE: _row(
        "The loss has risen and does not come back.",
        "Start anew with a lower learning_rate (a third to a tenth), a longer warm-up (warmup_ratio: 0.1) or a smaller "
        "max_grad_norm; the checkpoints from before the rise are still good.",
    ),
    STUCK: _row(
        "The loss does not move.",
        "Raise learning_rate (LoRA: 1.0e-04 to 2.0e-04, full tuning: 1.0e-05), and check with `lfwrap data show` that "
        "the answers are what should be learned.",
    ),
    MEMORISED: _row(
        "The loss is near 0 on rows that were seen before: they are known by heart.",
        "Lower num_train_epochs, give more rows, or take an earlier checkpoint; `lfwrap prepare-data` removes copies, "
        "and an eval_dataset shows when it began.",
    ),
    ZERO_RATE: _row(
        "The learning rate is 0: nothing is learned.",
        "Set learning_rate (LoRA: 1.0e-04 to 2.0e-04) and look at lr_scheduler_type and warmup_ratio.",
    ),
    NO_GRADIENT: _row(
        "The gradients are 0: nothing is learned.",
        "Check that lora_target names layers of this model, that some parameter is trained, and that rows have answers "
        "within cutoff_len.",
    ),
}
DIVERGED = frozenset({NOT_FINITE, SPIKE})
"""The warnings at which ``--on-divergence stop`` ends a training."""

STALLED = "stalled"
KILLED = "killed"
CRASHED = "crashed"
UNKNOWN = "unknown"

# Known by something else than a line of the log: rule → (what happened, what to do).
OTHERS: dict[str, tuple[str, str]] = {
    STALLED: (
        "The training made no progress for too long and was stopped.",
        "Look in attempts/N/stall-0.txt for the rank whose stack is not like the others'; then `lfwrap runs resume`.",
    ),
    KILLED: (
        "The engine was killed (SIGKILL): most often by the kernel, for lack of main memory.",
        "`dmesg | grep -i oom` says so if it was; lower preprocessing_num_workers, or choose a smaller model.",
    ),
    CRASHED: (
        "The engine crashed (SIGSEGV, SIGBUS, SIGABRT, SIGILL).",
        "`lfwrap doctor` checks that its packages fit together.",
    ),
    UNKNOWN: (
        "The last error line of the log, or the exit code.",
        "The last lines of the log stand above; the whole log is in the run's attempts folder.",
    ),
}

CONSEQUENCES = frozenset({"lost-rank", "collective-timeout", "nccl"})
"""What a rank meets when another one has gone: never the cause while some rank reports another error."""

_HEAD = """\
# Diagnoses

Written by `just docs` from `lfwrap/engine/faults.py`.

When the engine fails, lfwrap reads the errors that the training processes left
(`attempts/N/ranks/R/error.json`, the earliest first) and the ends of all logs, looks for the lines of this
table from the top down, and prints what it found with its remedy. The same stands in `attempts/N/exit.json`
under `diagnosis`: `rule`, `message`, `remedy` and `evidence`, the line of the log. The exit code is 7.

| rule | what happened | what to do |
|---|---|---|
"""
_FOOT = """
The order matters: a cause stands before what it brings about. A rank that ran out of memory makes the others
time out in NCCL; the diagnosis is then out of memory. `lost-rank`, `collective-timeout` and `nccl` are named
only where no rank reports another error.

lfwrap looks at the host as well: a full disk ends the logs before they can say so, and the kernel counts the
processes that it killed for lack of memory.

After `gpu-out-of-memory` (on a CPU `cpu-out-of-memory`) during training lfwrap goes on by itself with a smaller
micro-batch and the same effective batch: see [Train](../how-to/train.md).
"""


_WARNINGS_HEAD = """
## Warnings during a training

While the engine trains, lfwrap looks at every line of its log. Each of these is said at once and once: on the
terminal, as the event `warning` in `events.jsonl` and under `warnings` of `--json`; `lfwrap runs show` and the report
show them. The training goes on; with `--on-divergence stop` it ends at `loss-not-finite` and `loss-spike` after a
checkpoint, the run is `failed`, its diagnosis is this rule and the exit code is 7.
[How a training fares](../explanation/health.md) says when each of them is given.

| rule | what happened | what to change |
|---|---|---|
"""


def render_diagnoses() -> str:
    """The reference page of the tables, in Markdown."""
    rows = [(fault.rule, fault.message, fault.remedy) for fault in FAULTS]
    rows += [(rule, message, remedy) for rule, (message, remedy) in OTHERS.items()]
    warnings = [(rule, message, remedy) for rule, (message, remedy) in WARNINGS.items()]
    return _HEAD + _lines(rows) + _FOOT + _WARNINGS_HEAD + _lines(warnings)


def _lines(rows: Iterable[tuple[str, str, str]]) -> str:
    return "".join(f"| `{rule}` | {_cell(message)} | {_cell(remedy)} |\n" for rule, message, remedy in rows)


def _cell(text: str) -> str:
    r"""A text as a table's cell takes it: ``\|`` for a bar, which would end the cell."""
    return text.replace("|", "\\|")
