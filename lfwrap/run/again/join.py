"""A further node of a run: it finds what node 0 has started, starts its own processes, and never changes the record.

Node 0 makes the run's folder, chooses the checkpoint and writes the record. The other nodes see the same folder (a
shared file system); each writes ``attempts/N/nodes/K`` and nothing else, its training processes what they always write.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.contract import VARIABLE_PREFIX
from lfwrap.engine.locate import locate_engine
from lfwrap.errors import RunStateError
from lfwrap.files import write_json
from lfwrap.invocation import Invocation
from lfwrap.recipe.inputs.files import changed_inputs
from lfwrap.run.again.resume import at_its_place, start_of
from lfwrap.run.folder.monitor import Progress, RunMonitor
from lfwrap.run.folder.paths import AttemptPaths
from lfwrap.run.folder.record import Run, RunState, list_runs, load_run
from lfwrap.run.launch.build import build_command
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launch import load_launch
from lfwrap.run.launch.launchers.nodes import Nodes
from lfwrap.run.launch.launchers.registry import LAUNCHERS
from lfwrap.run.supervise.attempt import Listener
from lfwrap.run.supervise.supervisor import Patience, StopRequests, start_training, supervise

# Node 0 may first wait for a machine, hash its inputs and read its checkpoints.
_WAIT_S = 1800.0
_RECORD_S = 60.0
_POLL_S = 0.5


@dataclass(frozen=True, slots=True)
class Joined:
    """A further node's part of an attempt.

    Attributes:
        run: the run, whose record is node 0's.
        folder: what this node writes.
        command: what it starts.
        show_example: keep the training example that the engine prints.
    """

    run: Run
    folder: AttemptPaths
    command: Command
    show_example: bool = False


def find_run(runs_dir: Path, digest: str, nodes: Nodes) -> Run | None:
    """The newest run of this recipe whose node 0 waits at the same place and has not yet met this node."""
    runs = [run for run in list_runs(runs_dir) if f"-{digest}" in run.paths.name]
    return next((run for run in reversed(runs) if is_joinable(run, nodes, nodes.meeting)), None)


def is_joinable(run: Run, nodes: Nodes, meeting: str | None = None) -> bool:
    """Whether node 0 has started an attempt that this node has not joined; ``meeting`` is where, when that is known."""
    if run.record.state is not RunState.RUNNING:
        return False
    facts = read_facts(run)
    if not facts or (meeting is not None and facts["meeting"] != meeting):
        return False
    return nodes.is_elastic or not _folder(run, nodes.rank).root.exists()


def read_facts(run: Run) -> Mapping[str, Any]:
    """What node 0 left for the others in its newest attempt; empty where it is alone, or has not yet."""
    try:
        command = orjson.loads(run.paths.attempt(run.record.attempt).command.read_bytes())
        ours = {name: value for name, value in command["environment"].items() if name.startswith(VARIABLE_PREFIX)}
        return {**command["launch"], "environment": ours} if command.get("launch") else {}
    except (OSError, ValueError, KeyError, TypeError):
        return {}


def _folder(run: Run, rank: int) -> AttemptPaths:
    return run.paths.attempt(run.record.attempt).node(rank)


def wait_for(find: Callable[[], Run | None], what: str, *, timeout_s: float = _WAIT_S) -> Run:
    """Look until node 0 has started.

    Raises:
        RunStateError: it has not in all that time.
    """
    deadline = time.monotonic() + timeout_s
    while time.monotonic() < deadline:
        run = find()
        if run is not None:
            return run
        time.sleep(_POLL_S)
    raise RunStateError(
        f"{what}: node 0 has not started it within {timeout_s:.0f} s",
        hint="All nodes need the same recipe, values, --master-addr and --master-port, and a --runs-dir that all see.",
    )


def join_run(run: Run, nodes: Nodes, invocation: Invocation, *, show_example: bool = False) -> Joined:
    """This node's part of the newest attempt; its folder is made, nothing is started.

    Raises:
        RunStateError: the files here are not those of node 0, or the node has joined already.
        PreflightError: the engine or the GPUs are missing here.
    """
    invocation = at_its_place(run, invocation)
    _require_same_files(run)
    facts = read_facts(run)
    kept = load_launch(run.paths)
    here = dataclasses.replace(kept.nodes, rank=nodes.rank, address=facts["address"], port=facts["port"])
    start = start_of(
        run,
        LAUNCHERS[run.record.launcher],
        locate_engine(invocation.environ),
        dataclasses.replace(kept, nodes=here),
        arguments=tuple(facts["arguments"]),
    )
    built = build_command(start, invocation)
    command = dataclasses.replace(built, environment={**facts["environment"], **built.environment})
    folder = _make_folder(run, nodes)
    write_json(folder.command, command.to_json())
    return Joined(run, folder, command, show_example)


def _require_same_files(run: Run) -> None:
    changed = changed_inputs(orjson.loads(run.paths.inputs.read_bytes())["files"])
    if changed:
        raise RunStateError(
            f"{run.paths.name}: this node does not see what node 0 sees: {'; '.join(changed)}",
            hint="Recipe, data and model must lie on a file system that all nodes share, at the same place.",
        )


def _make_folder(run: Run, nodes: Nodes) -> AttemptPaths:
    """The folder of this node; an elastic run's node that came back gets another."""
    first = _folder(run, nodes.rank).root
    names = [
        first,
        *(first.with_name(f"{first.name}-{number}") for number in range(2, 1000 if nodes.is_elastic else 2)),
    ]
    for root in names:
        try:
            root.mkdir(parents=True)
        except FileExistsError:
            continue
        return AttemptPaths(root)
    raise RunStateError(
        f"{run.paths.name}: node {nodes.rank} has joined already", hint="Give every node another --node-rank."
    )


def follow_joined(
    joined: Joined, environ: Mapping[str, str], listener: Listener, patience: Patience | None = None
) -> Run:
    """Start this node's processes, follow them to their end, leave none; returns the run as node 0 has recorded it.

    Raises:
        PreflightError: the command can't be started.
    """
    with StopRequests().listening() as requests:
        child = start_training(joined.command, joined.folder, environ, show_example=joined.show_example)
        monitor = RunMonitor(joined.run.paths, joined.folder)
        ending = supervise(
            child,
            requests,
            on_tick=lambda: _look(monitor, listener),
            on_stop=listener.on_stop,
            patience=patience or Patience(),
        )
        write_json(joined.folder.exit, ending.to_json())
        return _recorded(joined.run)


def _look(monitor: RunMonitor, listener: Listener) -> None:
    for news in monitor.poll():
        if isinstance(news, Progress):
            listener.on_progress(news)
        else:
            listener.on_phase(news)
    listener.on_tick()


def started_again(run: Run, nodes: Nodes, *, timeout_s: float = _RECORD_S) -> Run | None:
    """The run when node 0 starts it again by itself, with less memory in use; None when it does not."""
    deadline = time.monotonic() + timeout_s
    while run.record.state is RunState.RUNNING or _ran_out_of_memory(run):
        if is_joinable(run, nodes):
            return run
        if time.monotonic() > deadline:
            return None
        time.sleep(_POLL_S)
        run = load_run(run.paths.root)
    return None


def _ran_out_of_memory(run: Run) -> bool:
    try:
        ended = orjson.loads(run.paths.attempt(run.record.attempt).exit.read_bytes())
        return run.record.state is RunState.FAILED and str(ended["diagnosis"]["rule"]).endswith("out-of-memory")
    except (OSError, ValueError, KeyError, TypeError):
        return False


def _recorded(run: Run) -> Run:
    """The run once node 0 has written down how it came out; as it stands when that takes too long."""
    deadline = time.monotonic() + _RECORD_S
    while True:
        now = load_run(run.paths.root)
        if now.record.state is not RunState.RUNNING or now.record.attempt != run.record.attempt:
            return now
        if time.monotonic() > deadline:
            return now
        time.sleep(_POLL_S)
