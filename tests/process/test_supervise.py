"""Real children, real signals: escalation, sweeping, and what happens when the supervisor itself is killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from lfwrap.engine.child_process import Child, become_subreaper, run_processes, start_child, training_ranks
from lfwrap.engine.contract import RUN_VARIABLE
from lfwrap.errors import PreflightError
from lfwrap.run.supervise.supervisor import Ending, Patience, StopLevel, StopRequests, supervise

LINUX = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="subreapers and death signals are Linux's")
QUICK = Patience(checkpoint_s=0.5, hurry_s=0.5, sweep_s=0.5, poll_s=0.02)

POLITE = """
    import signal, sys, time
    def stop(*_):
        print("saved", flush=True)
        sys.exit(0)
    signal.signal(signal.SIGTERM, stop)
    print("ready", flush=True)
    time.sleep(60)
"""
DEAF_TO_TERM = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(60)
"""
DEAF = """
    import signal, time
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    print("ready", flush=True)
    time.sleep(60)
"""
# As a launcher: ranks in sessions of their own, which outlive it.
LAUNCHER = """
    import os, subprocess, sys, time
    rank = "import signal, sys, time\\n"
    rank += "signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))\\n"
    rank += "print('ready', flush=True); time.sleep(60)"
    ranks = [
        subprocess.Popen([sys.executable, "-c", rank], env={**os.environ, "LOCAL_RANK": str(n)}, start_new_session=True)
        for n in range(2)
    ]
    sys.exit(max(rank.wait() for rank in ranks))
"""
ABANDONING = """
    import subprocess, sys
    subprocess.Popen([sys.executable, "-c", "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN);"
                      "print('ready', flush=True); time.sleep(60)"], start_new_session=True)
"""


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Callable[..., Child]]:
    children: list[Child] = []

    def begin(script: str, *, show_example: bool = False) -> Child:
        child = start_child(
            [sys.executable, "-c", textwrap.dedent(script)],
            cwd=tmp_path,
            environment={**os.environ, RUN_VARIABLE: str(tmp_path)},
            stdout=tmp_path / "stdout.log",
            stderr=tmp_path / "stderr.log",
            show_example=show_example,
        )
        children.append(child)
        return child

    become_subreaper()
    yield begin
    for child in children:
        for process in child.processes():
            process.kill()
        child.engine.wait()
        child.close(1)
    assert run_processes(str(tmp_path)) == []


def wait_ready(folder: Path, count: int = 1) -> None:
    deadline = time.monotonic() + 10
    log = folder / "stdout.log"
    while time.monotonic() < deadline:
        if log.exists() and log.read_text(encoding="utf-8").count("ready") >= count:
            return
        time.sleep(0.02)
    raise AssertionError("the child never got ready")


def supervise_with(child: Child, signals: int, patience: Patience = QUICK) -> tuple[Ending, list[StopLevel]]:
    requests, levels = StopRequests(), []
    for _ in range(signals):
        requests.add(signal.SIGINT)
    return supervise(child, requests, on_stop=levels.append, patience=patience), levels


def test_output_is_kept_apart_and_the_exit_code_is_told(start: Callable[..., Child], tmp_path: Path) -> None:
    ending, _ = supervise_with(start("import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"), 0)
    assert ending.exit_code == 3
    assert ending.stop_signal is None
    assert (tmp_path / "stdout.log").read_text(encoding="utf-8") == "out\n"
    assert (tmp_path / "stderr.log").read_text(encoding="utf-8") == "err\n"


def test_an_unknown_command_is_a_preflight_error(tmp_path: Path) -> None:
    with pytest.raises(PreflightError, match="can't be started"):
        start_child(
            ["/no/such/engine"],
            cwd=tmp_path,
            environment={RUN_VARIABLE: str(tmp_path)},
            stdout=tmp_path / "o",
            stderr=tmp_path / "e",
            show_example=False,
        )


@pytest.mark.parametrize(
    ("script", "expected"),
    [(POLITE, [StopLevel.ASKED]), (DEAF_TO_TERM, [1, 2]), (DEAF, [1, 2, 3])],
    ids=["polite", "deaf-to-term", "deaf"],
)
def test_a_stop_gets_harder_when_nothing_happens(
    start: Callable[..., Child], tmp_path: Path, script: str, expected: list[StopLevel]
) -> None:
    child = start(script)
    wait_ready(tmp_path)
    ending, levels = supervise_with(child, 1)
    assert levels == expected
    assert ending.stop_level is StopLevel(expected[-1])
    assert ending.stop_signal == signal.SIGINT


def test_the_polite_child_gets_the_time_to_save(start: Callable[..., Child], tmp_path: Path) -> None:
    child = start(POLITE)
    wait_ready(tmp_path)
    ending, _ = supervise_with(child, 1)
    assert ending.exit_code == 0
    assert "saved" in (tmp_path / "stdout.log").read_text(encoding="utf-8")


@pytest.mark.parametrize(("signals", "level"), [(2, StopLevel.HURRIED), (3, StopLevel.KILLED), (7, StopLevel.KILLED)])
def test_more_signals_mean_more_force_at_once(
    start: Callable[..., Child], tmp_path: Path, signals: int, level: StopLevel
) -> None:
    child = start(DEAF_TO_TERM)
    wait_ready(tmp_path)
    began = time.monotonic()
    ending, _ = supervise_with(child, signals, Patience(checkpoint_s=60, hurry_s=60))
    assert ending.stop_level is level
    assert time.monotonic() - began < 5


def test_ranks_are_asked_and_the_launcher_is_left_to_end_by_itself(start: Callable[..., Child], tmp_path: Path) -> None:
    child = start(LAUNCHER)
    wait_ready(tmp_path, 2)
    ranks = training_ranks(child.processes())
    assert len(ranks) == 2
    assert child.pid not in {rank.pid for rank in ranks}
    ending, levels = supervise_with(child, 1, Patience(checkpoint_s=10, sweep_s=1))
    assert (ending.exit_code, levels) == (0, [StopLevel.ASKED])


def test_descendants_that_outlive_the_engine_are_swept(start: Callable[..., Child], tmp_path: Path) -> None:
    child = start(ABANDONING)
    wait_ready(tmp_path)
    ending, _ = supervise_with(child, 0)
    assert len(ending.swept) == 1
    assert run_processes(str(tmp_path)) == []


def test_nothing_is_left_when_the_follower_itself_fails(start: Callable[..., Child], tmp_path: Path) -> None:
    def fail() -> None:
        raise RuntimeError("a bug")

    child = start(LAUNCHER)
    wait_ready(tmp_path, 2)
    with pytest.raises(RuntimeError, match="a bug"):
        supervise(child, StopRequests(), on_tick=fail, patience=QUICK)
    assert run_processes(str(tmp_path)) == []


def test_signals_are_collected_and_the_old_handlers_come_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with StopRequests().listening() as requests:
        os.kill(os.getpid(), signal.SIGTERM)
        os.kill(os.getpid(), signal.SIGINT)
        assert requests.received == [signal.SIGTERM, signal.SIGINT]
        assert requests.level is StopLevel.HURRIED
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("show_example", [True, False])
def test_the_printed_training_example_stays_out_of_the_log(
    start: Callable[..., Child], tmp_path: Path, show_example: bool
) -> None:
    script = """
        print("before")
        print("training example:\\ninput_ids:\\n[1, 2]\\ninputs:\\na private question\\nand more")
        print("[INFO|2026-11-22 02:29:05] llamafactory.model:144 >> after")
    """
    supervise_with(start(script, show_example=show_example), 0)
    text = (tmp_path / "stdout.log").read_text(encoding="utf-8")
    assert ("private" in text) is show_example
    assert text.startswith("before\n")
    assert text.endswith(">> after\n")


SUPERVISOR = """
    import os, sys
    from pathlib import Path
    from lfwrap.engine.child_process import become_subreaper, start_child
    from lfwrap.engine.contract import RUN_VARIABLE
    from lfwrap.run.supervise.supervisor import StopRequests, supervise
    folder = Path(sys.argv[1])
    become_subreaper()
    child = start_child(
        [sys.executable, "-c", sys.argv[2]], cwd=folder, environment={**os.environ, RUN_VARIABLE: str(folder)},
        stdout=folder / "stdout.log", stderr=folder / "stderr.log", show_example=False,
    )
    supervise(child, StopRequests())
"""


@LINUX
def test_a_killed_supervisor_leaves_an_engine_that_saves_and_ends(tmp_path: Path) -> None:
    script = textwrap.dedent(POLITE)
    supervisor = subprocess.Popen([sys.executable, "-c", textwrap.dedent(SUPERVISOR), str(tmp_path), script])
    wait_ready(tmp_path)
    assert run_processes(str(tmp_path))
    supervisor.kill()
    supervisor.wait()
    deadline = time.monotonic() + 10
    while run_processes(str(tmp_path)) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert run_processes(str(tmp_path)) == []
    assert "saved" in (tmp_path / "stdout.log").read_text(encoding="utf-8")
