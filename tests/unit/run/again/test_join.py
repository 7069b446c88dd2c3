"""Which run a further node joins, and what it writes."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path

import pytest

from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.errors import RunStateError
from lfwrap.files import write_json
from lfwrap.invocation import Invocation
from lfwrap.run.again.join import (
    Joined,
    find_run,
    follow_joined,
    is_joinable,
    join_run,
    read_facts,
    started_again,
    wait_for,
)
from lfwrap.run.again.resume import taken_over
from lfwrap.run.folder.identity import probe_process
from lfwrap.run.folder.paths import AttemptPaths, RunPaths
from lfwrap.run.folder.record import Run, RunRecord, RunState, save_record, utc_now
from lfwrap.run.launch.command import Command
from lfwrap.run.launch.launch import LaunchOptions
from lfwrap.run.launch.launchers.nodes import Nodes
from lfwrap.run.supervise.attempt import Listener

PAIR = Nodes(count=2, least=2, rank=1, address="127.0.0.1", port=7000)
FACTS = {"meeting": "127.0.0.1:7000", "address": "127.0.0.1", "port": 7000, "arguments": ["a=b"]}


def make_run(root: Path, state: RunState = RunState.RUNNING, *, facts: dict[str, object] | None = None) -> Run:
    """A run of two nodes whose node 0 is this process."""
    paths = RunPaths(root)
    record = RunRecord(
        name=root.name,
        state=state,
        recipe="r",
        created_at=utc_now(),
        updated_at=utc_now(),
        base_model="m",
        finetuning_type="lora",
        stage="sft",
        template=None,
        launcher="torchrun",
        world_size=2,
        nodes=2,
        attempt=0,
        supervisor=probe_process(),
    )
    paths.attempt(0).root.mkdir(parents=True)
    environment = {"LFWRAP_ATTEMPT": str(paths.attempt(0).root), "LFWRAP_RUN": str(root), "HF_TOKEN": "***"}
    write_json(paths.attempt(0).command, {"environment": environment, "launch": FACTS if facts is None else facts})
    write_json(paths.inputs, {"files": {}})
    write_json(paths.launch, LaunchOptions(dataclasses.replace(PAIR, rank=0)).to_json())
    return save_record(paths, record)


def test_a_node_finds_the_run_of_its_recipe_at_its_meeting(tmp_path: Path) -> None:
    assert find_run(tmp_path, "0123abcd", PAIR) is None
    run = make_run(tmp_path / "20260101T000000Z-r-0123abcd")
    found = find_run(tmp_path, "0123abcd", PAIR)
    assert found is not None
    assert found.paths == run.paths
    assert find_run(tmp_path, "99999999", PAIR) is None
    assert find_run(tmp_path, "0123abcd", dataclasses.replace(PAIR, port=7001)) is None


@pytest.mark.parametrize("state", [state for state in RunState if state is not RunState.RUNNING])
def test_only_a_running_run_can_be_joined(tmp_path: Path, state: RunState) -> None:
    assert not is_joinable(make_run(tmp_path / "r", state), PAIR)


def test_a_run_of_one_node_can_not_be_joined(tmp_path: Path) -> None:
    assert read_facts(make_run(tmp_path / "r", facts={})) == {}
    assert not is_joinable(make_run(tmp_path / "s", facts={}), PAIR)


def test_a_node_joins_an_attempt_once(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    here = Invocation(tmp_path, {"PATH": "/usr/bin"})
    pytest.importorskip("llamafactory", reason="the engine is not installed")
    joined = join_run(run, PAIR, here)
    assert joined.folder.root == run.paths.attempt(0).root / "nodes" / "1"
    written = json.loads(joined.folder.command.read_bytes())
    assert "--node_rank 1" in written["quoted"]
    assert written["quoted"].endswith("engine.yaml a=b")
    assert written["environment"]["LFWRAP_ATTEMPT"] == str(run.paths.attempt(0).root)
    assert written["environment"][RUN_VARIABLE] == f"{run.paths.root}#1"
    assert not is_joinable(run, PAIR)
    with pytest.raises(RunStateError, match="has joined already"):
        join_run(run, PAIR, here)
    elastic = dataclasses.replace(PAIR, least=1)
    assert is_joinable(run, elastic)
    assert join_run(run, elastic, here).folder.root.name == "1-2"


def test_a_node_that_sees_other_files_does_not_join(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    gone = {"path": str(tmp_path / "gone.jsonl"), "size_bytes": 1, "sha256": "x"}
    write_json(run.paths.inputs, {"files": {"dataset:d": gone}})
    with pytest.raises(RunStateError, match=r"does not see what node 0 sees.*gone\.jsonl is gone"):
        join_run(run, PAIR, Invocation(tmp_path, {}))


def test_a_node_waits_only_so_long() -> None:
    with pytest.raises(RunStateError, match="node 0 has not started it"):
        wait_for(lambda: None, "runs", timeout_s=0.01)


def test_a_node_leaves_its_logs_and_node_0_the_outcome(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    folder = AttemptPaths(run.paths.attempt(0).root / "nodes" / "1")
    folder.root.mkdir(parents=True)
    script = (
        "import json, pathlib, sys; print('hello'); path = pathlib.Path(sys.argv[1]);"
        "path.write_text(json.dumps({**json.loads(path.read_text()), 'state': 'succeeded'}))"
    )
    command = Command(
        (sys.executable, "-c", script, str(run.paths.record)), tmp_path, {RUN_VARIABLE: f"{run.paths.root}#1"}
    )
    ended = follow_joined(Joined(run, folder, command), {}, Listener())
    assert ended.record.state is RunState.SUCCEEDED
    assert folder.stdout.read_text(encoding="utf-8") == "hello\n"
    assert json.loads(folder.exit.read_bytes())["exit_code"] == 0


def test_only_a_machine_that_is_gone_can_be_taken_over(tmp_path: Path) -> None:
    run = make_run(tmp_path / "r")
    assert taken_over(run) is run
    elsewhere = dataclasses.replace(probe_process(), host="node-7")
    lost = taken_over(Run(run.paths, dataclasses.replace(run.record, supervisor=elsewhere)))
    assert (lost.record.state, lost.record.reason) == (RunState.LOST, "Its machine, node-7, is gone.")
    ended = Run(run.paths, dataclasses.replace(run.record, state=RunState.SUCCEEDED))
    assert taken_over(ended) is ended


def test_a_scheduler_is_asked_and_its_refusal_told(tmp_path: Path) -> None:
    from lfwrap.errors import PreflightError
    from lfwrap.run.supervise.background import submit

    paths = RunPaths(tmp_path)
    answer = submit(Command((sys.executable, "-c", "print(4711)"), tmp_path), paths)
    assert answer == "4711"
    assert json.loads(paths.events.read_text(encoding="utf-8"))["answer"] == "4711"
    with pytest.raises(PreflightError, match="refuses the job: no such partition"):
        submit(Command((sys.executable, "-c", "import sys; sys.exit('no such partition')"), tmp_path), paths)
    with pytest.raises(PreflightError, match="does not answer"):
        submit(Command((str(tmp_path / "nothing"),), tmp_path), paths)


@pytest.mark.parametrize(("rule", "waits"), [("gpu-out-of-memory", True), ("nccl", False)])
def test_a_node_joins_again_when_node_0_goes_on_with_less_memory(tmp_path: Path, rule: str, waits: bool) -> None:
    failed = make_run(tmp_path / "r", RunState.FAILED)
    write_json(failed.paths.attempt(0).exit, {"diagnosis": {"rule": rule}})
    assert started_again(failed, PAIR, timeout_s=0) is None
    again = failed.paths.attempt(1)
    again.root.mkdir()
    write_json(again.command, {"environment": {}, "launch": FACTS})
    running = save_record(failed.paths, dataclasses.replace(failed.record, state=RunState.RUNNING, attempt=1))
    found = started_again(failed if waits else running, PAIR, timeout_s=5)
    assert found is not None
    assert found.record.attempt == 1
