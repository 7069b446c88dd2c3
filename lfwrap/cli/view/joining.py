"""A run of several nodes on the nodes besides node 0: waited for, joined, and followed to its end."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lfwrap.cli.view import output
from lfwrap.errors import EXIT_TERMINATED, EngineError

if TYPE_CHECKING:
    from lfwrap.invocation import Invocation
    from lfwrap.run.folder.record import Run
    from lfwrap.run.launch.launchers.nodes import Nodes
    from lfwrap.run.prepare.job import TrainRequest


def join_from_train(
    request: TrainRequest, invocation: Invocation, *, show_example: bool, quiet: bool, as_json: bool
) -> int:
    """`lfwrap train … --node-rank K`: find the run that node 0 has made of the same recipe, and train with it.

    Raises:
        RunStateError: there is none, or this node does not see the same files.
        EngineError: the run failed.
    """
    from lfwrap.run.again.join import find_run, wait_for
    from lfwrap.run.prepare.job import load_request, propose_name

    nodes = request.launch.nodes
    digest = propose_name(load_request(request, invocation), request, invocation.now).rpartition("-")[2]
    runs_dir = invocation.cwd / request.runs_dir.expanduser()
    output.say(f"node {nodes.rank}: waiting for node 0 at {nodes.meeting} …")
    found = wait_for(lambda: find_run(runs_dir, digest, nodes), str(runs_dir))
    return _join(found, nodes, invocation, show_example=show_example, quiet=quiet, as_json=as_json)


def join_from_resume(
    run: Run, nodes: Nodes, invocation: Invocation, *, show_example: bool, quiet: bool, as_json: bool
) -> int:
    """`lfwrap runs resume RUN --node-rank K`: wait until node 0 goes on with the run, and train with it.

    Raises:
        RunStateError: node 0 does not start it, or this node does not see the same files.
        EngineError: the run failed.
    """
    from lfwrap.run.again.join import is_joinable, wait_for
    from lfwrap.run.folder.record import load_run

    output.say(f"node {nodes.rank}: waiting for node 0 to go on with {run.paths.name} …")

    def find() -> Run | None:
        """The run, once its training has been started again; None before."""
        now = load_run(run.paths.root)
        return now if is_joinable(now, nodes) else None

    return _join(
        wait_for(find, run.paths.name), nodes, invocation, show_example=show_example, quiet=quiet, as_json=as_json
    )


def _join(run: Run, nodes: Nodes, invocation: Invocation, *, show_example: bool, quiet: bool, as_json: bool) -> int:
    from lfwrap.cli.view.training import choose_view
    from lfwrap.run.again.join import follow_joined, join_run, started_again
    from lfwrap.run.folder.record import RunState

    again: Run | None = run
    while again is not None:
        joined = join_run(again, nodes, invocation, show_example=show_example)
        output.say(f"node {nodes.rank}: joined attempt {again.record.attempt} of {run.paths.root}")
        view = choose_view(quiet=quiet)
        try:
            ended = follow_joined(joined, invocation.environ, view.listener())
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
    if as_json:
        output.print_json("node", {"node_rank": nodes.rank, "path": str(ended.paths.root), "state": record.state})
    return 0 if record.state is RunState.SUCCEEDED else EXIT_TERMINATED
