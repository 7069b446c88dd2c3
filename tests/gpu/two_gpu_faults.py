"""The faults of ``two_gpu_faults.sh``, which says what is expected; its command line is ``--help``."""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import string
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

from lfwrap.run.checkpoints import find_checkpoints
from lfwrap.run.monitor import FileTail, load_history, parse_progress
from lfwrap.run.process import run_processes, training_ranks
from lfwrap.run.record import Run, load_run

REPOSITORY = Path(__file__).resolve().parents[2]
LFWRAP = (sys.executable, "-m", "lfwrap")
PATIENCE_S = 180
ALONE = ("through", "again")
FAULTS = ("stop", "kill", "deepspeed", "hang")
STEPS = 60
STOP_AT, KILL_AT, HANG_AT = 15, 27, 8
TOLERANCE, LARGEST_TOLERANCE = 0.01, 0.05
CPU_TOLERANCE = 1e-4
FREED_BYTES = 256 << 20
RECIPE = f"""\
stage: sft
do_train: true
finetuning_type: lora
lora_rank: 16
lora_dropout: 0.1
lora_target: all
template: qwen
dataset: rows
cutoff_len: 512
per_device_train_batch_size: 2
gradient_accumulation_steps: 2
learning_rate: 1.0e-3
seed: 7
max_steps: {STEPS}
save_steps: 10
"""


@dataclass(frozen=True, slots=True)
class Place:
    """Where the runs are: a folder, whether they train on a CPU, and what was started."""

    folder: Path
    on_cpu: bool
    started: list[subprocess.Popen[str]] = field(default_factory=list)

    def environment(self, lane: int) -> dict[str, str]:
        """What a command of this lane sees: two GPUs of its own where there are enough."""
        added = {"HF_HUB_OFFLINE": "1"}
        gpus = visible_gpus()
        pairs = len(gpus) // 2
        if pairs > 1:
            first = 2 * (lane % pairs)
            added["CUDA_VISIBLE_DEVICES"] = f"{gpus[first]},{gpus[first + 1]}"
        return os.environ | added | ({"OMP_NUM_THREADS": "1"} if self.on_cpu else {})

    def lfwrap(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a command of lfwrap, its words going to ``NAME.log``."""
        lane = (*ALONE, *FAULTS).index(name)
        with (self.folder / f"{name}.log").open("a", encoding="utf-8") as log:
            process = subprocess.Popen(
                [*LFWRAP, *arguments],
                cwd=self.folder,
                env=self.environment(lane),
                stdout=log,
                stderr=log,
                text=True,
                start_new_session=True,
            )
        self.started.append(process)
        return process

    def end_all(self) -> None:
        """Leave nothing of a case that went wrong; lfwrap itself ends its engine on the third signal."""
        for process in [one for one in self.started if one.poll() is None]:
            for _ in range(3):
                process.terminate()
                time.sleep(0.3)
            process.wait(60)

    def train(self, name: str, *arguments: str) -> subprocess.Popen[str]:
        """Start a training on two devices."""
        return self.lfwrap(name, "train", "faults.yaml", "--gpus", "2", "--runs-dir", str(self.runs(name)), *arguments)

    def resume(self, name: str) -> int:
        """Go on with the case's run; the exit code."""
        return self.lfwrap(name, "runs", "resume", str(self.run(name).paths.root)).wait(PATIENCE_S)

    def runs(self, name: str) -> Path:
        """The folder of the case's run."""
        return self.folder / "runs" / name

    def run(self, name: str) -> Run:
        """The case's run as it is recorded now."""
        return load_run("latest", self.runs(name))

    def wait_for_step(self, name: str, process: subprocess.Popen[str], step: int) -> Run:
        """The case's run once it has come so far."""
        deadline = time.monotonic() + PATIENCE_S
        while time.monotonic() < deadline and process.poll() is None:
            for root in self.runs(name).glob("2*"):
                history = load_history(root / "output" / "trainer_log.jsonl")
                if history and history[-1].step >= step:
                    return load_run(root)
            time.sleep(0.05)
        raise AssertionError(f"{name}: step {step} was never reached; see {self.folder / name}.log")


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


def visible_gpus() -> list[int]:
    """The GPUs that this script may use: all, or those that ``CUDA_VISIBLE_DEVICES`` names."""
    import pynvml

    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError:
        return []
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    return [int(one) for one in named.split(",")] if named else list(range(pynvml.nvmlDeviceGetCount()))


def gpu_bytes() -> list[int]:
    """The memory in use on each of these GPUs."""
    import pynvml

    handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in visible_gpus()]
    return [int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) for handle in handles]


def left_in_proc(root: Path) -> list[str]:
    """The processes of a run by the kernel's own list, not by the code under test."""
    mark = f"LFWRAP_RUN={root}".encode()
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                if mark in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:
                continue
    return found


def losses(run: Run) -> dict[int, float]:
    """Step → loss, the later one of a step that was done twice."""
    return {entry.step: entry.loss for entry in load_history(run.paths.trainer_log) if entry.loss is not None}


def repeated(run: Run) -> list[float]:
    """By how much the losses differ of each step that was done twice."""
    first: dict[int, float] = {}
    differences = []
    for entry in map(parse_progress, FileTail(run.paths.trainer_log).read_lines()):
        if entry is not None and entry.loss is not None:
            if entry.step in first:
                differences.append(abs(entry.loss - first[entry.step]))
            first[entry.step] = entry.loss
    return differences


def difference(one: dict[int, float], other: dict[int, float]) -> float:
    """The largest difference of the losses; the steps must be the same."""
    assert sorted(one) == sorted(other) == list(range(1, STEPS + 1)), (sorted(one), sorted(other))
    return max(abs(one[step] - other[step]) for step in one)


def end_of(place: Place, name: str, process: subprocess.Popen[str], found: Finding, code: int) -> dict[str, Any]:
    """Wait for the end that a fault brings about; what ``exit.json`` says of it."""
    began_s = time.monotonic()
    found.expect("exit code", process.wait(PATIENCE_S), code)
    found.facts["ended after s"] = round(time.monotonic() - began_s, 1)
    run = place.run(name)
    found.expect("left in /proc", left_in_proc(run.paths.root), [])
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
    found.expect("left after the resume", left_in_proc(run.paths.root), [])
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


def prepare(place: Place) -> None:
    """Model, data and recipe; the model is kept for the next time."""
    models = place.folder / "models"
    shutil.rmtree(place.folder / "runs", ignore_errors=True)
    for log in place.folder.glob("*.log"):
        log.unlink()
    model = models / ("tiny" if place.on_cpu else "qwen2.5-0.5b")
    memory = REPOSITORY / "benchmarks" / "memory"
    make = (memory / "make_models.py", memory / "cases.yaml", models, model.name)
    make_tiny = (REPOSITORY / "tests" / "engine" / "make_tiny_model.py", model)
    if not (model / "config.json").is_file():
        script = make_tiny if place.on_cpu else make
        subprocess.run([sys.executable, *map(str, script)], check=True, stdout=sys.stderr)
    data = place.folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    draw = random.Random(7)  # noqa: S311 - rows to learn, no secret
    rows = []
    for _ in range(256):  # letters of its own: each batch has a loss of its own
        letters = draw.sample(string.ascii_letters, 4)
        text = "".join(draw.choices(letters, k=draw.randint(40, 120 if place.on_cpu else 400)))
        rows.append({"instruction": "Go on.", "input": "", "output": text})
    (data / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    (data / "dataset_info.json").write_text('{"rows": {"file_name": "rows.jsonl"}}', encoding="utf-8")
    device = "use_cpu: true\ncutoff_len: 128\n" if place.on_cpu else "bf16: true\n"
    kept = [line for line in RECIPE.splitlines() if not (place.on_cpu and line.startswith("cutoff_len"))]
    own = f"model_name_or_path: {model}\ndataset_dir: {data}\n{device}"
    (place.folder / "faults.yaml").write_text("\n".join(kept) + "\n" + own, encoding="utf-8")


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


def still_used(before: list[int]) -> list[int]:
    """The bytes that each GPU has in use beyond what it had; the driver gets some seconds to give them back."""
    for _ in range(20):
        more = [max(0, now - then) for now, then in zip(gpu_bytes(), before, strict=True)]
        if max(more, default=0) < FREED_BYTES:
            break
        time.sleep(0.5)
    return more


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
