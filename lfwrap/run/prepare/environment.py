"""What a run was done with: versions, machine, git commit, input files. Secrets are masked."""

from __future__ import annotations

import os
import platform
import re
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lfwrap import __version__
from lfwrap.engine.keys import MODEL_KEY
from lfwrap.engine.locate import Engine
from lfwrap.engine.versions import all_packages, installed_versions
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.masking import mask_login, mask_override, mask_secrets
from lfwrap.model.fingerprint import hub_commit

# The variables that change what the engine does; their values are kept, those named like secrets masked.
_KEPT = re.compile(
    r"ACCELERATE_|ALLOW_|API_|CUBLAS_|CUDA_|DISABLE_VERSION_CHECK|DS_|FORCE_TORCHRUN|HF_|KMP_|LFWRAP_|LLAMAFACTORY_|"
    r"MASTER_|MKL_|MLFLOW_|MODEL_PATH|NCCL_|NNODES|NODE_RANK|NPROC_|NVIDIA_|OMP_|OPTIM_TORCH|PYTHON|PYTORCH_|RAY_|RECORD_VRAM|"
    r"SWANLAB_|TENSORBOARD_|TOKENIZERS_|TORCH|TRACKIO_|TRANSFORMERS_|USE_|WANDB_"
)
_GIT_TIMEOUT_S = 5.0
_DEFAULT_SEED = 42  # transformers' own


def describe_environment(
    engine: Engine, hardware: HardwareProfile, environment: Mapping[str, str], cwd: Path
) -> dict[str, Any]:
    """The content of ``environment.json``.

    Args:
        engine: the engine that is used.
        hardware: the machine that is trained on.
        environment: the whole environment of the engine.
        cwd: the working directory, whose git commit is kept.
    """
    kept = {name: mask_login(value) for name, value in sorted(environment.items()) if _KEPT.match(name)}
    return {
        "lfwrap": __version__,
        "python": platform.python_version(),
        "engine_python": str(engine.python),
        "engine_package": str(engine.package),
        "versions": installed_versions(engine),
        "packages": all_packages(engine),
        "platform": platform.platform(),
        "host": platform.node(),
        "hardware": hardware.to_json(),
        "git": _git_state(cwd),
        "cwd": str(cwd),
        "command_line": ["lfwrap", *map(mask_override, sys.argv[1:])],
        "variables": mask_secrets(kept),
    }


def _git_state(cwd: Path) -> dict[str, Any] | None:
    """The commit of the working directory and whether tracked files differ from it; None outside of a repository."""
    commit = _git(cwd, "rev-parse", "HEAD")
    if not commit:
        return None
    return {"commit": commit, "is_dirty": bool(_git(cwd, "status", "--porcelain", "--untracked-files=no"))}


def _git(cwd: Path, *arguments: str) -> str:
    environment = {**os.environ, "GIT_OPTIONAL_LOCKS": "0"}
    try:
        answer = subprocess.run(
            ["git", "-C", str(cwd), *arguments],  # noqa: S607 - the user's own git
            capture_output=True,
            text=True,
            timeout=_GIT_TIMEOUT_S,
            check=False,
            env=environment,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip() if answer.returncode == 0 else ""


def seeds(values: Mapping[str, Any]) -> dict[str, int]:
    """The seed of the training and that of the data's order, as the engine takes them where none is set."""
    seed = _DEFAULT_SEED if values.get("seed") is None else int(values["seed"])
    return {"seed": seed, "data_seed": seed if values.get("data_seed") is None else int(values["data_seed"])}


def hub_commits(values: Mapping[str, Any], cwd: Path) -> dict[str, str]:
    """``{"hub_commit": …}`` of the base model's copy in the cache; empty for a folder, or before it was fetched."""
    name, revision = str(values.get(MODEL_KEY) or ""), values.get("model_revision")
    commit = hub_commit(name, cwd, str(revision) if revision else None) if name else None
    return {"hub_commit": commit} if commit else {}
