"""The user's own measurements: a local file, from `lfwrap plan --calibrate`, read by every plan on the same machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import orjson

from lfwrap.dirs import state_dir
from lfwrap.engine.locate import Engine, package_version
from lfwrap.errors import PreflightError
from lfwrap.files import locked, write_json
from lfwrap.plan.speed.calibration import Measurement

_VERSIONED = ("torch", "transformers", "peft", "bitsandbytes", "liger-kernel", "deepspeed")


def measurements_file(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the user's measurements are kept, in lfwrap's state."""
    return state_dir(environ) / "measurements.json"


def engine_versions(engine: Engine) -> str:
    """The versions that decide memory and pace, as one text."""
    found = {name: package_version(engine, name) for name in _VERSIONED}
    return " ".join([f"llamafactory {engine.version}", *(f"{name} {version}" for name, version in found.items())])


def load_measurements(
    device: str | None, engine: Engine | None, environ: Mapping[str, str] = os.environ
) -> tuple[Measurement, ...]:
    """What was measured on this kind of GPU with this engine, oldest first; nothing where there is no such file.

    Raises:
        PreflightError: the file can't be read.
    """
    path = measurements_file(environ)
    if device is None or engine is None or not path.is_file():
        return ()
    versions = engine_versions(engine)
    return tuple(each for each in _read(path) if each.device == device and each.versions == versions)


def add_measurement(measurement: Measurement, environ: Mapping[str, str] = os.environ) -> Path:
    """Put a measurement on file, in place of an earlier one of the same run; returns the file.

    Raises:
        PreflightError: the file that is there can't be read.
    """
    path = measurements_file(environ)
    path.parent.mkdir(parents=True, exist_ok=True)
    with locked(path.with_suffix(".lock")):
        kept = [each for each in (_read(path) if path.is_file() else []) if each.run != measurement.run]
        write_json(path, {"schema": "lfwrap.measurements/1", "runs": [each.to_json() for each in (*kept, measurement)]})
    return path


def _read(path: Path) -> list[Measurement]:
    try:
        return [Measurement(**run) for run in orjson.loads(path.read_bytes())["runs"]]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise PreflightError(
            f"{path}: can't be read: {error}", hint="Delete it, and calibrate again with `lfwrap plan --calibrate RUN`."
        ) from error
