"""A SkyPilot task: a managed job that finds a machine, trains there, and goes on elsewhere when it is taken away."""

from __future__ import annotations

import re
import shlex
from typing import Any

from lfwrap import __version__
from lfwrap.bundled import render_template
from lfwrap.errors import UsageError
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launchers.base import LaunchRequest

_HOME = "~/lfwrap"
_RUNS = "/lfwrap-runs"
_OWN = frozenset({"bucket", "runs_dir", "setup"})
_CLOUDS = re.compile(r"[^a-z0-9-]+")


class SkypilotLauncher:
    """``sky jobs launch RUN/skypilot.yaml``; the job starts the run, or goes on from its newest whole checkpoint.

    The recipe, its data sets and a local model are copied to the machine; the run's folder lies in a bucket (one node)
    or on a volume that all nodes share, so that it outlives them.
    """

    name = "skypilot"
    splits_at_spaces = True
    is_scheduler = True
    reaches_nodes = True
    starts_several = False
    package = None

    def build(self, request: LaunchRequest) -> Command:
        """The submission, and the task it submits.

        Raises:
            UsageError: the run's folder would not outlive the machine, or nodes are to come and go.
        """
        if request.nodes.is_elastic or request.nodes.hosts:
            raise UsageError(
                "--launcher skypilot: the task has a fixed number of nodes, which SkyPilot names.",
                hint="Give --nnodes one number and no --hostfile; a lost machine is replaced by SkyPilot.",
            )
        from lfwrap.yaml_files import dump_yaml

        path = request.paths.skypilot_task
        text = render_template("skypilot/task.yaml.j2", task=dump_yaml(_task(request)), script=_script(request))
        argv = ("sky", "jobs", "launch", "--yes", "--detach-run", str(path))
        return Command(argv, request.cwd, {}, files={path: text})


def _task(request: LaunchRequest) -> dict[str, Any]:
    options = dict(request.options)
    if request.nodes.count > 1 and "runs_dir" not in options:
        raise UsageError(
            "--launcher skypilot: several nodes need a folder that all of them see; a bucket is not one.",
            hint="Name a folder on a shared volume: --job runs_dir=/mnt/shared/runs.",
        )
    if not {"bucket", "runs_dir"} & options.keys():
        raise UsageError(
            "--launcher skypilot: the run's folder must outlive the machine.",
            hint="Name a bucket (--job bucket=NAME, made if missing) or a shared volume's folder (--job runs_dir=DIR).",
        )
    mounts: dict[str, Any] = {f"{_HOME}/recipe.yaml": str(request.paths.recipe)}
    mounts |= {f"{_HOME}/{key}": str(folder) for key, folder in request.uploads.items()}
    if "runs_dir" not in options:
        # The engine appends to its log, which needs the cached mode.
        mounts[_RUNS] = {"name": options["bucket"], "mode": "MOUNT_CACHED"}
    return {
        "name": _CLOUDS.sub("-", request.paths.name.lower()).strip("-"),
        "resources": _resources(request, options),
        "num_nodes": request.nodes.count,
        "file_mounts": mounts,
        "setup": options.get("setup", f"python3 -m pip install 'lfwrap[train,deepspeed,qlora,speed]=={__version__}'"),
    }


def _resources(request: LaunchRequest, options: dict[str, str]) -> dict[str, Any]:
    """What is asked for; ``--job KEY=VALUE`` replaces and adds."""
    own: dict[str, Any] = {"use_spot": True, "job_recovery": {"strategy": "FAILOVER", "max_restarts_on_errors": 2}}
    given = {key: _scalar(value) for key, value in options.items() if key not in _OWN}
    resources = own | given
    if request.on_gpu and "accelerators" not in resources:
        raise UsageError(
            "--launcher skypilot: no GPU is named.",
            hint=f"Name it as SkyPilot does: --job accelerators=H100:{request.node_processes}.",
        )
    if not resources["use_spot"]:
        resources.pop("job_recovery")
    return resources


def _scalar(value: str) -> Any:
    spelled = {"true": True, "false": False}
    return int(value) if value.isdecimal() else spelled.get(value.lower(), value)


def _script(request: LaunchRequest) -> str:
    uploaded = [f"{key}={_HOME}/{key}" for key in request.uploads]
    return render_template(
        "skypilot/run.sh.j2",
        runs_dir=shlex.quote(request.options.get("runs_dir", _RUNS)),
        run_name=shlex.quote(request.paths.name),
        recipe=f"{_HOME}/recipe.yaml",
        overrides=" ".join(text.replace("~", "$HOME", 1) for text in uploaded),
        gpus=request.node_processes,
        nodes=request.nodes.count,
        port=request.meeting_port,
    )
