"""Upload an export to a model hub, through huggingface_hub in the engine's Python.

The token is the environment's own (``HF_TOKEN`` or what ``hf auth login`` stored): it is never an argument, and never
in a record.
"""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.contract import OP_CHECK, OP_PUSH, PushJob
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine, package_version
from lfwrap.engine.worker_process import run_worker
from lfwrap.errors import PreflightError, UsageError
from lfwrap.model.hub import DEFAULT_ENDPOINT, TOKEN_VARIABLES

_REPOSITORY = re.compile(r"^[A-Za-z0-9][\w.-]*/[\w.-]+$")


@dataclass(frozen=True, slots=True)
class Push:
    """The hub's repository that an export is uploaded to.

    Attributes:
        repository: ``ORG/NAME``.
        private: whether only its owner sees it.
        replace: whether a repository that holds files may be written to.
    """

    repository: str
    private: bool = True
    replace: bool = False


def check_push(engine: Engine, push: Push, environ: Mapping[str, str] = os.environ) -> None:
    """See that an upload can work: name, package, network not switched off, token.

    Raises:
        UsageError: the name can't be that of a repository.
        PreflightError: the package or a token is missing, the hub refuses the token, the repository holds files, or is
            public where a private one was wanted.
    """
    if not _REPOSITORY.match(push.repository):
        raise UsageError(f"--push {push.repository}: not a repository name", hint="Write it as ORG/NAME.")
    if package_version(engine, "huggingface_hub") is None:
        raise PreflightError("huggingface_hub is not installed", hint=f"{engine.python} -m pip install huggingface_hub")
    if environ.get("HF_HUB_OFFLINE", "").upper() in {"1", "ON", "YES", "TRUE"}:
        raise PreflightError("HF_HUB_OFFLINE forbids the upload", hint="Unset it, or leave --push out.")
    job: PushJob = {
        "op": OP_CHECK,
        "repository": push.repository,
        "private": push.private,
        "replace": push.replace,
    }
    _ask(engine, job)


def push_folder(engine: Engine, folder: Path, push: Push) -> str:
    """Upload a folder; returns the address of the commit.

    Raises:
        EngineError: the hub refused, or was lost on the way.
    """
    job: PushJob = {"op": OP_PUSH, "repository": push.repository, "private": push.private, "folder": str(folder)}
    return str(_ask(engine, job)["url"])


def endpoint(environ: Mapping[str, str] = os.environ) -> str:
    """The address of the hub."""
    return environ.get("HF_ENDPOINT") or DEFAULT_ENDPOINT


def _ask(engine: Engine, job: PushJob) -> dict[str, Any]:
    environment = engine_environment(
        model_is_local=False, runs_model=False, added={"HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    )
    found = run_worker(engine.python, "push_model", job, environment=environment)
    if found.get("refused"):
        raise PreflightError(
            f"{endpoint()}: {found['refused']}",
            hint=f"A token with the right to write goes into the environment: {TOKEN_VARIABLES[0]}.",
        )
    return found
