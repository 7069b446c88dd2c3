"""Why the engine failed, from its last lines: a table of known faults, each with its remedy."""

from __future__ import annotations

import re
import signal
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_TAIL_BYTES = 64 << 10
_SHOWN_LINES = 15
_RANK = re.compile(r"^\[(?:rank|default)\d+\]:\s?")
_PROGRESS_BAR = re.compile(r"\d+%\|[^|]*\|")


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What went wrong and what to do.

    Attributes:
        rule: the fault's name, stable, as in docs/reference/diagnoses.md.
        message: what happened.
        remedy: what to do.
        evidence: the line of the log that says so.
    """

    rule: str
    message: str
    remedy: str
    evidence: str = ""

    def to_json(self) -> dict[str, Any]:
        """Plain values for ``exit.json``."""
        return {"rule": self.rule, "message": self.message, "remedy": self.remedy, "evidence": self.evidence}


@dataclass(frozen=True, slots=True)
class Fault:
    """A row of the table: which lines tell of the fault, what it is, what to do."""

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
        "cuda-mismatch",
        r"no kernel image is available|CUDA_HOME|undefined symbol: .*(?:cuda|nccl|cublas)|libcud\w+\.so[.\d]*: cannot"
        r"|CUDAMismatchException|Torch not compiled with CUDA",
        "torch, CUDA and the GPU do not fit together.",
        "`lfwrap doctor` shows the versions; install a torch built for this GPU and driver.",
    ),
    _fault(
        "no-gpu",
        r"No CUDA GPUs are available|CUDA driver initialization failed|Found no NVIDIA driver",
        "No usable GPU was found.",
        "`lfwrap doctor` says what is visible; check the driver and CUDA_VISIBLE_DEVICES.",
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
        "The port for the processes to meet is taken.",
        "Start again: lfwrap looks for a free port each time.",
    ),
    _fault(
        "nccl",
        r"NCCL (?:error|WARN)|ncclSystemError|ncclUnhandledCudaError|ncclInternalError|ncclRemoteError|"
        r"Watchdog caught collective operation timeout|ProcessGroupNCCL.*(?:timeout|abort)|DistBackendError",
        "The GPUs could not talk to each other (NCCL).",
        "Look for the first rank that failed. NCCL_DEBUG=INFO says more; NCCL_P2P_DISABLE=1 helps on boxes without "
        "peer access, a larger ddp_timeout on slow ones.",
    ),
    _fault(
        "version-conflict",
        r"requires? the following packages|is required for a normal functioning|Please run `pip install .*` to fix",
        "A package has a version that the engine refuses.",
        "Install the version it names; `lfwrap doctor` lists them all.",
    ),
    _fault(
        "deepspeed-build",
        r"Error building extension|CUDA_HOME does not exist|Unable to JIT load",
        "DeepSpeed could not compile one of its operators.",
        "It needs a C++ compiler (g++) and ninja; optim: adamw_torch does without its own Adam.",
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
        r"Cannot allocate memory|DefaultCPUAllocator: (?:can't|not enough)|MemoryError|oom-kill|Signal 9 \(SIGKILL\)",
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

_UNKNOWN_REMEDY = "The last lines of the log stand above; the whole log is in the run's attempts folder."


def _clean_lines(text: str) -> list[str]:
    lines = (_RANK.sub("", line).rstrip() for line in text.replace("\r", "\n").split("\n"))
    return [line for line in lines if line and not _PROGRESS_BAR.search(line)]


def read_tail(path: Path, limit_bytes: int = _TAIL_BYTES) -> str:
    """The end of a log; empty when there is none."""
    try:
        with path.open("rb") as source:
            source.seek(max(0, source.seek(0, 2) - limit_bytes))
            return source.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def log_tail(texts: Iterable[str], count: int = _SHOWN_LINES) -> list[str]:
    """The last lines of the first log that has any, progress bars and rank prefixes taken off."""
    return next((lines[-count:] for lines in map(_clean_lines, texts) if lines), [])


def diagnose(texts: Sequence[str], exit_code: int) -> Diagnosis:
    """What the logs say of a failed engine.

    Args:
        texts: the logs' ends, the most telling first (stderr, then stdout).
        exit_code: of the engine's first process, negative for a signal.
    """
    lines = [line for text in texts for line in _clean_lines(text)]
    for fault in FAULTS:
        evidence = next((line for line in reversed(lines) if fault.pattern.search(line)), None)
        if evidence is not None:
            return Diagnosis(fault.rule, fault.message, fault.remedy, evidence.strip())
    if exit_code == -signal.SIGKILL:
        return Diagnosis(
            "killed",
            "The engine was killed (SIGKILL): most often by the kernel, for want of main memory.",
            "`dmesg | grep -i oom` says so if it was; lower preprocessing_num_workers, or choose a smaller model.",
        )
    if exit_code in {-signal.SIGSEGV, -signal.SIGBUS, -signal.SIGABRT, -signal.SIGILL}:
        name = signal.Signals(-exit_code).name
        return Diagnosis(
            "crashed", f"The engine crashed ({name}).", "`lfwrap doctor` checks that its packages fit together."
        )
    return Diagnosis("unknown", _last_error(lines) or f"The engine ended with exit code {exit_code}.", _UNKNOWN_REMEDY)


def _last_error(lines: Sequence[str]) -> str:
    pattern = re.compile(r"^(?:[A-Za-z_][\w.]*)?(?:Error|Exception|Interrupt)\b.*")
    errors = [line.strip() for line in lines if pattern.match(line.strip())]
    telling = [line for line in errors if "CalledProcessError" not in line and "ChildFailedError" not in line]
    return (telling or errors or [""])[-1]
