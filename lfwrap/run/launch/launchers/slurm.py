"""A Slurm job: a script that starts lfwrap on each node, and goes on from a checkpoint when it is requeued."""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping

from lfwrap.bundled import render_template
from lfwrap.errors import UsageError
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launchers.base import LaunchRequest

_NAME = re.compile(r"^[a-z][a-z0-9-]*$")
_PLAIN = re.compile(r"^[^\s'\"\\$`]*$")
_PORTS = (20000, 20000)
# Seconds before the time limit at which the script asks for a checkpoint.
_NOTICE_S = 300


class SlurmLauncher:
    """``sbatch --parsable RUN/job.slurm``; the job starts ``lfwrap runs resume RUN`` on each of its nodes."""

    name = "slurm"
    splits_at_spaces = True
    is_scheduler = True
    reaches_nodes = True
    starts_several = False
    package = None

    def build(self, request: LaunchRequest) -> Command:
        """The submission, and the script it submits.

        Raises:
            UsageError: sbatch has no such option, or the script sets it itself.
        """
        nodes = request.nodes
        if nodes.is_elastic or nodes.hosts:
            raise UsageError(
                "--launcher slurm: the job has a fixed number of nodes, which Slurm names.",
                hint="Give --nnodes one number and no --hostfile; a lost node is replaced when the job is requeued.",
            )
        script = request.paths.slurm_script
        text = render_template(
            "slurm/job.slurm.j2",
            directives=_directives(request),
            lfwrap=shlex.join(request.lfwrap),
            run=shlex.quote(str(request.paths.root)),
            environment={name: shlex.quote(value) for name, value in _exported(request).items()},
            first_port=_PORTS[0],
            ports=_PORTS[1],
            nodes=nodes.count,
        )
        return Command(("sbatch", "--parsable", str(script)), request.cwd, {}, files={script: text})


def _exported(request: LaunchRequest) -> Mapping[str, str]:
    """Where lfwrap finds the engine on a node; all else is added by lfwrap there."""
    from lfwrap.engine.locate import ENGINE_PYTHON_VARIABLE

    return {ENGINE_PYTHON_VARIABLE: str(request.engine.python)}


def _directives(request: LaunchRequest) -> dict[str, str]:
    """``#SBATCH`` options: the shape of the run, then those given."""
    processes = request.node_processes
    own = {
        "job-name": request.paths.name,
        "chdir": str(request.cwd),
        "output": str(request.paths.slurm_log),
        "open-mode": "append",
        "nodes": str(request.nodes.count),
        "ntasks-per-node": "1",
        "requeue": "",
        "signal": f"B:USR1@{_NOTICE_S}",
    }
    if request.on_gpu:
        own["gpus-per-node"] = str(processes)
    fixed = {"nodes", "ntasks-per-node", "output", "chdir"}
    for name, value in request.options.items():
        if not _NAME.match(name) or not _PLAIN.match(value):
            raise UsageError(
                f"--job {name}={value}: not an option of sbatch.",
                hint="For example --job partition=gpu --job time=08:00:00.",
            )
        if name in fixed:
            raise UsageError(f"--job {name}: lfwrap sets it.", hint="--nnodes, --gpus and --runs-dir decide it.")
    return own | dict(request.options)
