"""Experiment trackers: they get the run's name, keep their files in its folder, and their links are found again."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.contract import SET, SWANLAB_VARIABLE
from lfwrap.plan.request import Setting
from lfwrap.recipe.recipe import split_names
from lfwrap.run.folder.paths import RunPaths

TRACKERS = ("tensorboard", "wandb", "swanlab", "mlflow", "trackio")
"""The trackers of which lfwrap knows how they are named and found; the engine hands on to others as well."""

_LINK = re.compile(r"View run(?: \S+)? at:? (?:\x1b\[[\d;]*m)*(https?://[^\s\x1b]+)")
_HOSTS = {"wandb": "wandb", "swanlab": "swanlab"}
_LOG_BYTES = 8 << 20


def chosen_trackers(values: Mapping[str, Any]) -> tuple[str, ...]:
    """The trackers that an engine configuration asks for, by ``report_to`` and ``use_swanlab``."""
    report_to = values.get("report_to")
    names = [name for name in split_names(report_to) if name != "none"]
    if values.get("use_swanlab") and "swanlab" not in names:
        names.append("swanlab")
    return tuple(TRACKERS if "all" in names else names)


def tracker_values(values: Mapping[str, Any], paths: RunPaths) -> dict[str, Setting]:
    """Engine keys that name the run for its trackers, where the recipe leaves them open; none without a tracker."""
    if not chosen_trackers(values):
        return {}
    wanted: dict[str, Setting] = {"run_name": Setting(paths.name, "Trackers call it as its folder is called.")}
    if values.get("use_swanlab"):
        wanted["swanlab_run_name"] = Setting(paths.name, "SwanLab calls it as its folder is called.")
        wanted["swanlab_logdir"] = Setting(str(paths.trackers / "swanlab"), "SwanLab's files stay with the run.")
    return {key: reasoned for key, reasoned in wanted.items() if values.get(key) is None}


def tracker_environment(values: Mapping[str, Any], paths: RunPaths, environ: Mapping[str, str]) -> dict[str, str]:
    """Variables for the trackers that are asked for; one that is set already stays as it is.

    A resumed run goes on in the same Weights & Biases or SwanLab run and the same TensorBoard curves.
    """
    folder = paths.trackers
    wanted: dict[str, dict[str, str]] = {
        "tensorboard": {"TENSORBOARD_LOGGING_DIR": str(folder / "tensorboard")},
        "wandb": {
            "WANDB_DIR": str(folder),
            "WANDB_RUN_ID": paths.name,
            "WANDB_RESUME": "allow",
            "WANDB_NOTES": str(paths.root),
        },
        "swanlab": {
            SWANLAB_VARIABLE: SET,
            "SWANLAB_LOG_DIR": str(folder / "swanlab"),
            "SWANLAB_RUN_ID": paths.name,
            "SWANLAB_RESUME": "allow",
        },
        "mlflow": {"MLFLOW_TAGS": orjson.dumps({"lfwrap.run": str(paths.root)}).decode()},
        "trackio": {},
    }
    added: dict[str, str] = {}
    for name in chosen_trackers(values):
        added |= wanted.get(name, {})
    return {name: value for name, value in added.items() if name not in environ}


def find_trackers(values: Mapping[str, Any], paths: RunPaths) -> list[dict[str, str | None]]:
    """Each tracker of a run: ``tracker``, the ``name`` it has there, its ``link`` and ``path`` where they are known."""
    links = list(_links(paths)) if chosen_trackers(values) else []
    found = []
    for tracker in chosen_trackers(values):
        name = values.get("swanlab_run_name") if tracker == "swanlab" else None
        folder = paths.trackers / tracker
        found.append(
            {
                "tracker": tracker,
                "name": str(name or values.get("run_name") or paths.name),
                "link": next((link for link in reversed(links) if _belongs(tracker, link)), None),
                "path": str(folder) if folder.is_dir() else None,
            }
        )
    return found


def _belongs(tracker: str, link: str) -> bool:
    """Hosted trackers are told by their address; MLflow's is the user's own."""
    if tracker == "mlflow":
        return "/#/experiments/" in link
    return tracker in _HOSTS and _HOSTS[tracker] in link.split("/")[2]


def _links(paths: RunPaths) -> Iterator[str]:
    for number in paths.attempt_numbers():
        attempt = paths.attempt(number)
        for log in (attempt.stdout, attempt.stderr):
            yield from _LINK.findall(_head(log))


def _head(log: Path) -> str:
    try:
        with log.open("rb") as source:
            return source.read(_LOG_BYTES).decode("utf-8", errors="replace")
    except OSError:
        return ""
