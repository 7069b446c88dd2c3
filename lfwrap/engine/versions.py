"""Which versions of its dependencies the engine accepts, read from its source, and which are installed."""

from __future__ import annotations

import re

from lfwrap.engine.locate import Engine, package_version

PACKAGES = (
    "llamafactory",
    "torch",
    "transformers",
    "peft",
    "trl",
    "accelerate",
    "datasets",
    "deepspeed",
    "bitsandbytes",
    "liger-kernel",
    "flash-attn",
    "unsloth",
    "safetensors",
)
"""The packages whose versions a run's record keeps."""

_CHECK = re.compile(r"check_version\(\"([\w-]+)>=([\d.]+),<=([\d.]+)\"\)")


def installed_versions(engine: Engine) -> dict[str, str]:
    """Package → version, for those of `PACKAGES` that the engine's Python has."""
    found = {name: package_version(engine, name) for name in PACKAGES}
    return {name: version for name, version in found.items() if version} | {"llamafactory": engine.version}


def all_packages(engine: Engine) -> dict[str, str]:
    """Every package that the engine's Python has, by name, with its version, as its metadata folders are called."""
    folders = sorted(engine.site_packages.glob("*.dist-info"), key=lambda folder: folder.name.lower())
    named = (folder.name.removesuffix(".dist-info").rpartition("-") for folder in folders)
    return {name.replace("_", "-"): version for name, dash, version in named if dash}


def refused_versions(engine: Engine) -> list[str]:
    """What the engine would refuse at its start, such as ``transformers 5.7.0 (it takes 4.55.0 to 5.6.0)``."""
    try:
        source = (engine.package / "extras" / "misc.py").read_text(encoding="utf-8")
    except OSError:
        return []
    refused = []
    for name, least, most in _CHECK.findall(source):
        version = package_version(engine, name)
        if version is None:
            refused.append(f"{name} is not installed (it takes {least} to {most})")
        elif not _numbers(least) <= _numbers(version) <= _numbers(most):
            refused.append(f"{name} {version} (it takes {least} to {most})")
    return refused


def _numbers(version: str) -> tuple[int, ...]:
    """The numbers of a release, filled up to four with zeros: enough to compare releases.

    >>> _numbers("5.6.0rc1+cu128")
    (5, 6, 0, 0)
    """
    release = re.match(r"\d+(?:\.\d+)*", version)
    parts = [int(part) for part in release.group().split(".")] if release else []
    return tuple(parts + [0] * (4 - len(parts)))
