"""Find LLaMA-Factory: its Python, its command, its package and its version, without importing it."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.errors import PreflightError

ENGINE_PYTHON_VARIABLE = "LFWRAP_ENGINE_PYTHON"
_CLI_NAME = "llamafactory-cli"
_PROBE_TIMEOUT_S = 30.0

# Runs in the engine's Python; the standard library alone, so that it takes 50 ms and not the engine's 6 s.
_PROBE = """
import importlib.metadata, importlib.util, json
spec = importlib.util.find_spec("llamafactory")
folder = list(spec.submodule_search_locations)[0] if spec and spec.submodule_search_locations else None
print(json.dumps([folder, importlib.metadata.version("llamafactory") if folder else None]))
"""


@dataclass(frozen=True, slots=True)
class Engine:
    """An installed LLaMA-Factory, with the Python that it is installed for.

    Attributes:
        python: the interpreter it is installed for.
        cli: its command `llamafactory-cli`.
        package: the folder of the package `llamafactory`.
        version: the package's version, as its metadata say.
    """

    python: Path
    cli: Path
    package: Path
    version: str

    @property
    def site_packages(self) -> Path:
        """The folder that holds the engine's dependencies (the package's own parent when it was not installed -e)."""
        transformers = self.package.parent / "transformers"
        return self.package.parent if transformers.is_dir() else _site_packages(self.python)


def _site_packages(python: Path) -> Path:
    found = sorted(python.parent.parent.glob("lib/python3*/site-packages"))
    return found[-1] if found else python.parent.parent / "Lib" / "site-packages"


def find_engine(environ: Mapping[str, str] = os.environ) -> Engine | None:
    """The engine to use, or None when there is none.

    In this order: the Python that ``LFWRAP_ENGINE_PYTHON`` names; the one that runs lfwrap; the `llamafactory-cli` on
    the PATH.
    """
    named = environ.get(ENGINE_PYTHON_VARIABLE)
    if named:
        return _engine_of(Path(named))
    own = _engine_here()
    if own is not None:
        return own
    on_path = shutil.which(_CLI_NAME, path=environ.get("PATH"))
    python = _python_of(Path(on_path)) if on_path else None
    return _engine_of(python, cli=Path(on_path)) if python and on_path else None


def locate_engine(environ: Mapping[str, str] = os.environ) -> Engine:
    """The engine to use.

    Raises:
        PreflightError: none is installed, or ``LFWRAP_ENGINE_PYTHON`` names a Python without it.
    """
    engine = find_engine(environ)
    if engine is not None:
        return engine
    named = environ.get(ENGINE_PYTHON_VARIABLE)
    if named and not (Path(named).is_file() and os.access(named, os.X_OK)):
        raise PreflightError(
            f"{ENGINE_PYTHON_VARIABLE}={named}: not a program that can be run.",
            hint=f"Name an environment's Python, such as /path/to/.venv/bin/python, or unset {ENGINE_PYTHON_VARIABLE}.",
        )
    if named:
        raise PreflightError(
            f"{ENGINE_PYTHON_VARIABLE}={named}: LLaMA-Factory is not installed for that Python.",
            hint=f"{named} -m pip install 'llamafactory=={SUPPORTED_VERSION}', or unset {ENGINE_PYTHON_VARIABLE}.",
        )
    raise PreflightError(
        "LLaMA-Factory is not installed.",
        hint=f"{sys.executable} -m pip install 'lfwrap[train]' installs {SUPPORTED_VERSION} with the torch it works"
        f" with; {ENGINE_PYTHON_VARIABLE}=/path/to/python names one that is installed elsewhere.",
    )


def package_version(engine: Engine, name: str) -> str | None:
    """The version of one of the engine's dependencies, from its metadata; None when it is not installed."""
    for distribution in importlib.metadata.distributions(name=name, path=[str(engine.site_packages)]):
        return distribution.version
    return None


def _engine_here() -> Engine | None:
    """The engine installed for the Python that runs lfwrap."""
    python = Path(sys.executable)
    cli = python.with_name(_CLI_NAME)
    spec = importlib.util.find_spec("llamafactory")
    if not cli.exists() or spec is None or not spec.submodule_search_locations:
        return None
    try:
        version = importlib.metadata.version("llamafactory")
    except importlib.metadata.PackageNotFoundError:
        return None
    return Engine(python, cli, Path(next(iter(spec.submodule_search_locations))), version)


def _engine_of(python: Path, cli: Path | None = None) -> Engine | None:
    """Ask another Python, in a child, whether it has the engine."""
    cli = cli or python.with_name(_CLI_NAME)
    if not cli.exists():
        return None
    try:
        answer = subprocess.run(
            [str(python), "-I", "-c", _PROBE], capture_output=True, text=True, check=True, timeout=_PROBE_TIMEOUT_S
        )
        said = json.loads(answer.stdout)
    except (OSError, subprocess.SubprocessError, ValueError):
        return None
    match said:
        case [str(folder), str(version)]:
            return Engine(python, cli, Path(folder), version)
        case _:
            return None


def _python_of(cli: Path) -> Path | None:
    """The interpreter that a console script runs in: beside it, or named on its first lines."""
    for name in ("python", "python3", "python.exe"):
        if cli.with_name(name).exists():
            return cli.with_name(name)
    try:
        head = cli.read_bytes()[:512].decode(errors="replace")
    except OSError:
        return None
    # Paths that are long or hold spaces get a second line: '''exec' "/path/to/python" "$0" "$@"
    match = re.search(r"^(?:#!\s*|'''exec' \"?)(/[^\n\"]*python[\d.]*)", head, re.MULTILINE)
    return Path(match.group(1)) if match else None
