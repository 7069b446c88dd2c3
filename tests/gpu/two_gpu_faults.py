"""The faults of ``two_gpu_faults.sh``, which says what is expected; its command line is ``--help``."""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from statistics import median
from typing import Any

from lfwrap.engine.child_process import run_processes, training_ranks
from lfwrap.run.folder.checkpoints import find_checkpoints

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from proc_marks import marked_in_proc
from two_gpu_runs import (
    ALONE,
    FAULTS,
    FREED_BYTES,
    PATIENCE_S,
    STEPS,
    Place,
    difference,
    gpu_bytes,
    losses,
    prepare,
    repeated,
    still_used,
)

STOP_AT, KILL_AT, HANG_AT = 15, 27, 8
TOLERANCE, LARGEST_TOLERANCE = 0.01, 0.05
CPU_TOLERANCE = 1e-4


@dataclass(slots=True)
class Finding:
    """What a case came to."""

    facts: dict[str, Any] = field(default_factory=dict)
    failures: list[str] = field(default_factory=list)

    def expect(self, what: str, found: Any, wanted: Any) -> None:
        """Write a fact down, and whether it is as it should be."""
        self.facts[what] = found
        if found != wanted:
            self.failures.append(f"{what}: {found!r} instead of {wanted!r}")


def end_of(place: Place, name: str, process: subprocess.Popen[str], found: Finding, code: int) -> dict[str, Any]:
    """Wait for the end that a fault brings about; what ``exit.json`` says of it."""
    began_s = time.monotonic()
    found.expect("exit code", process.wait(PATIENCE_S), code)
    found.facts["ended after s"] = round(time.monotonic() - began_s, 1)
    run = place.run(name)
    found.expect("left in /proc", marked_in_proc(run.paths.root), [])
    ended: dict[str, Any] = json.loads(run.paths.attempt(0).exit.read_bytes())
    found.facts |= {"step": ended["global_step"], "reason": ended["reason"], "swept": len(ended["swept"])}
    return ended


def stop(place: Place, found: Finding) -> None:
    """SIGINT to lfwrap itself."""
    process = place.train("stop")
    place.wait_for_step("stop", process, STOP_AT)
    process.send_signal(signal.SIGINT)
    ended = end_of(place, "stop", process, found, 130)
    found.expect("state", ended["state"], "interrupted")
    found.expect("stop level", ended["stop_level"], "asked")
    run, step = place.run("stop"), ended["global_step"]
    newest = run.paths.output / f"checkpoint-{step}"
    found.expect("random states", sorted(path.name for path in newest.glob("rng_state_*")), [
        "rng_state_0.pth", "rng_state_1.pth",
    ])  # fmt: skip
    found.expect("its trainer's step", json.loads((newest / "trainer_state.json").read_bytes())["global_step"], step)
    whole = [one.step for one in find_checkpoints(run.paths, world_size=2, finetuning_type="lora") if one.is_whole]
    found.expect("whole checkpoint", whole[0], step)


def kill_rank(place: Place, found: Finding, name: str, *options: str) -> None:
    """SIGKILL of the last rank."""
    process = place.train(name, *options)
    run = place.wait_for_step(name, process, KILL_AT)
    ranks = training_ranks(run_processes(str(run.paths.root)))
    found.expect("ranks", len(ranks), 2)
    max(ranks, key=lambda rank: int(rank.environ()["RANK"])).kill()
    ended = end_of(place, name, process, found, 7)
    found.expect("rule", (ended["diagnosis"] or {}).get("rule"), "lost-rank")
    found.facts["probe"] = ended["probe"]


def hang(place: Place, found: Finding) -> None:
    """SIGSTOP of the last rank."""
    process = place.train("hang", "--stall-minutes", "0.15", "--on-stall", "stop")
    run = place.wait_for_step("hang", process, HANG_AT)
    ranks = training_ranks(run_processes(str(run.paths.root)))
    max(ranks, key=lambda rank: int(rank.environ()["RANK"])).suspend()
    ended = end_of(place, "hang", process, found, 7)
    found.expect("rule", (ended["diagnosis"] or {}).get("rule"), "stalled")
    stacks = run.paths.attempt(0).stall(0).read_text(encoding="utf-8")
    sections = {part.split()[0]: part for part in stacks.split("== rank ")[1:]}
    found.expect("ranks in the record", sorted(sections), ["0", "1"])
    found.expect("rank 1 is stopped", "state=stopped" in sections.get("1", ""), True)
    threads = [part.strip().splitlines() for part in sections.get("0", "").split("\n\n")]
    training = next((lines for lines in threads if any("_inner_training_loop" in line for line in lines)), [])
    found.expect("rank 0 is in the training", bool(training), True)
    found.facts["rank 0 waits in"] = [line.strip() for line in training if "File" in line][:4]


def go_on(place: Place, found: Finding, name: str) -> None:
    """Resume a case's run to its end."""
    found.expect("resume's exit code", place.resume(name), 0)
    run = place.run(name)
    found.expect("state after the resume", str(run.record.state), "succeeded")
    found.expect("left after the resume", marked_in_proc(run.paths.root), [])
    words = (place.folder / f"{name}.log").read_text(encoding="utf-8")
    found.facts["went on from"] = next((line for line in words.splitlines() if line.startswith("going on from")), "")
    found.expect("steps after the resume", sorted(losses(run)) == list(range(1, STEPS + 1)), True)


def train_through(place: Place, name: str, found: Finding) -> None:
    """A run that nobody interrupts."""
    found.expect("exit code", place.train(name).wait(PATIENCE_S), 0)


def compare(place: Place, findings: dict[str, Finding]) -> dict[str, Any]:
    """The resumed runs' losses against those of the run that nobody interrupted."""
    through = losses(place.run("through"))
    noise = difference(losses(place.run("again")), through) if "again" in findings else 0.0
    tolerance = CPU_TOLERANCE if place.on_cpu else min(max(TOLERANCE, 3 * noise), LARGEST_TOLERANCE)
    told = {
        "tolerance": tolerance,
        "two uninterrupted runs": noise,
        "from one update to the next": round(median(abs(through[b] - through[a]) for a, b in pairwise(through)), 4),
        "curve": [round(through[step], 4) for step in (1, 2, 5, 10, 20, 30, 40, 50, STEPS)],
    }
    for name in {"stop", "kill", "deepspeed"} & findings.keys():
        found, run = findings[name], place.run(name)
        if name != "deepspeed":  # whose adapters are of another precision
            found.facts["losses off by"] = difference(losses(run), through)
        found.facts["steps done twice"] = len(repeated(run))
        found.facts["their losses off by"] = max(repeated(run), default=0.0)
        for what in ("losses off by", "their losses off by"):
            if found.facts.get(what, 0.0) > tolerance:
                found.failures.append(f"{what} {found.facts[what]}")
    return told


def at_once(jobs: Sequence[tuple[Finding, Callable[[], None]]], workers: int) -> float:
    """Do these, ``workers`` at a time; what goes wrong in one is its own failure. Seconds."""
    began_s = time.monotonic()

    def do(job: tuple[Finding, Callable[[], None]]) -> None:
        found, work = job
        try:
            work()
            print(f"{time.monotonic() - began_s:.0f} s: {found.facts}", file=sys.stderr)
        except Exception as error:  # noqa: BLE001 - told, and the other cases go on
            found.failures.append(f"{type(error).__name__}: {error}")

    with ThreadPoolExecutor(workers) as pool:
        list(pool.map(do, jobs))
    return round(time.monotonic() - began_s, 1)


def fault_work(place: Place, findings: dict[str, Finding]) -> dict[str, Callable[[], None]]:
    """What each case does first."""
    by_deepspeed = ("--launcher", "deepspeed", "lfwrap.zero_stage=2", "optim=adamw_torch")
    return {
        "through": lambda: train_through(place, "through", findings["through"]),
        "again": lambda: train_through(place, "again", findings["again"]),
        "stop": lambda: stop(place, findings["stop"]),
        "kill": lambda: kill_rank(place, findings["kill"], "kill"),
        "deepspeed": lambda: kill_rank(place, findings["deepspeed"], "deepspeed", *by_deepspeed),
        "hang": lambda: hang(place, findings["hang"]),
    }


def try_all(place: Place, findings: dict[str, Finding], workers: int) -> dict[str, Any]:
    """Two rounds: the faults beside uninterrupted runs, then the resumes beside the hung rank."""
    work, before = fault_work(place, findings), gpu_bytes()
    seconds, more = {}, {}
    seconds["faults"] = at_once([(findings[name], work[name]) for name in findings if name != "hang"], workers)
    place.end_all()
    more["after the faults"] = still_used(before)
    jobs = [
        (found, work["hang"] if name == "hang" else lambda name=name, found=found: go_on(place, found, name))
        for name, found in findings.items()
        if name not in ALONE
    ]
    seconds["resumes and the hang"] = at_once(jobs, workers)
    place.end_all()
    more["after the resumes and the hang"] = still_used(before)
    return {"seconds": seconds, "gpus": len(before), "gpu_bytes_before": before, "gpu_bytes_more": more}


def main() -> int:
    """Try all cases, compare the losses, print what came of it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--cases", default=",".join(FAULTS), help="some of %(default)s")
    parser.add_argument("--cpu", action="store_true", help="a tiny model over gloo, one case after the other")
    parser.add_argument("--at-once", type=int, help="cases at the same time; all of a round by default, on a CPU one")
    options = parser.parse_args()
    place = Place(options.folder.resolve(), options.cpu)
    place.folder.mkdir(parents=True, exist_ok=True)
    prepare(place)
    alone = ALONE[:1] if place.on_cpu else ALONE
    findings = {name: Finding() for name in (*alone, *options.cases.split(","))}
    tried = try_all(place, findings, options.at_once or (1 if place.on_cpu else len(findings)))
    told: dict[str, Any] = {}
    findings["losses"] = Finding(told)
    at_once([(findings["losses"], lambda: told.update(compare(place, findings)))], 1)
    failures = {name: found.failures for name, found in findings.items() if found.failures}
    for when, more in tried["gpu_bytes_more"].items():
        if max(more, default=0) >= FREED_BYTES:
            failures[when] = [f"GPU memory still in use: {more}"]
    cases = {name: found.facts for name, found in findings.items()}
    print(json.dumps({**tried, "cases": cases, "failures": failures}, indent=2))
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
