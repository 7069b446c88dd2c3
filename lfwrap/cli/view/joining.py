"""What `train` and `runs resume` do besides training here: join node 0's run, or hand a run to a scheduler."""

from __future__ import annotations

import shutil
from typing import TYPE_CHECKING, Any

from lfwrap.cli.view import output
from lfwrap.errors import EXIT_TERMINATED, EngineError

if TYPE_CHECKING:
    from lfwrap.invocation import Invocation
    from lfwrap.run.folder.record import Run
    from lfwrap.run.launch.launchers import Nodes
    from lfwrap.run.prepare.job import Job, TrainRequest


def join_from_train(request: TrainRequest, surroundings: Invocation, options: dict[str, Any]) -> int:
    """`lfwrap train … --node-rank K`: find the run that node 0 has made of the same recipe, and train with it.

    Raises:
        RunStateError: there is none, or this node does not see the same files.
        EngineError: the run failed.
    """
    from lfwrap.run.again.join import find_run, wait_for
    from lfwrap.run.prepare.job import load_request, propose_name

    nodes = request.launch.nodes
    digest = propose_name(load_request(request, surroundings), request, surroundings.now).rpartition("-")[2]
    runs_dir = surroundings.cwd / request.runs_dir.expanduser()
    output.say(f"node {nodes.rank}: waiting for node 0 at {nodes.meeting} …")
    found = wait_for(lambda: find_run(runs_dir, digest, nodes), str(runs_dir))
    return _join(found, nodes, surroundings, options)


def join_from_resume(run: Run, nodes: Nodes, surroundings: Invocation, options: dict[str, Any]) -> int:
    """`lfwrap runs resume RUN --node-rank K`: wait until node 0 goes on with the run, and train with it.

    Raises:
        RunStateError: node 0 does not start it, or this node does not see the same files.
        EngineError: the run failed.
    """
    from lfwrap.run.again.join import is_joinable, wait_for
    from lfwrap.run.folder.record import load_run

    output.say(f"node {nodes.rank}: waiting for node 0 to go on with {run.paths.name} …")

    def find() -> Run | None:
        now = load_run(run.paths.root)
        return now if is_joinable(now, nodes) else None

    return _join(wait_for(find, run.paths.name), nodes, surroundings, options)


def _join(run: Run, nodes: Nodes, surroundings: Invocation, options: dict[str, Any]) -> int:
    from lfwrap.cli.view.training import choose_view
    from lfwrap.run.again.join import follow_joined, join_run, started_again
    from lfwrap.run.folder.record import RunState

    again: Run | None = run
    while again is not None:
        joined = join_run(again, nodes, surroundings, show_example=options["show_example"])
        output.say(f"node {nodes.rank}: joined attempt {again.record.attempt} of {run.paths.root}")
        view = choose_view(quiet=options["quiet"])
        try:
            ended = follow_joined(joined, surroundings.environ, view.listener())
        finally:
            view.close()
        again = started_again(ended, nodes)
    record = ended.record
    if record.state not in {RunState.SUCCEEDED, RunState.INTERRUPTED}:
        raise EngineError(
            f"node {nodes.rank} of {ended.paths.name}: the run is {record.state}. {record.reason}".rstrip(),
            hint=f"What happened here: {joined.folder.stderr}",
        )
    output.say(f"node {nodes.rank}: {record.state}. {record.reason}".rstrip())
    if options["as_json"]:
        output.print_json("node", {"node_rank": nodes.rank, "path": str(ended.paths.root), "state": record.state})
    return 0 if record.state is RunState.SUCCEEDED else EXIT_TERMINATED


def submit_run(job: Job, run: Run, *, as_json: bool) -> int:
    """Hand a prepared run to its scheduler, where that is at hand; else say how.

    Raises:
        LfwrapError: the scheduler refuses it.
    """
    from lfwrap.run.prepare.submit import submit

    script = next(iter(job.command.files))
    answer = None
    if shutil.which(job.command.argv[0]) is not None:
        answer = submit(job.command, run.paths)
    if as_json:
        submitted = {"script": str(script), "job": answer, "command": job.command.to_json()}
        output.print_json("submission", {**run.to_json(), **submitted})
        return 0
    if answer is None:
        output.say(f"{job.command.argv[0]} is not on the PATH; the job is written. Submit it where it is:")
        output.result(job.command.quoted)
        return 0
    output.say(f"submitted to {job.launcher.name}: {answer}")
    output.result(str(run.paths.root))
    return 0
