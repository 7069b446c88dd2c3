"""Measure peak memory and step time of many configurations on a GPU host, through the engine's own entry point.

    python measure.py --models DIR --out FILE [--only REGEX] [--split NAME] [--part K/N] [--time-budget SECONDS] …

Each configuration gets a process of its own, so that no state leaks. Importing the engine takes about 20 s there, so a
few processes import ahead, while others train, and wait for their case. One JSON line a case is appended to --out as
soon as it ends (and to --state, which survives where --out does not): cases already there are skipped, so a second
call goes on. Several programs may share a host, each with a GPU (CUDA_VISIBLE_DEVICES) and a part of the cases; they
share the checkpoints. Running out of memory is a result, not a failure.
"""

from __future__ import annotations

import argparse
import collections
import itertools
import json
import os
import random
import re
import select
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import yaml

_HERE = Path(__file__).resolve().parent
_READY_TIMEOUT_S = 150.0
_PACKED_ROW_TOKENS = 250  # about what instruction data has; packing joins such rows up to the cutoff


def write_data(folder: Path, length: int, kind: str, rows: int) -> str:
    """A data set of Alpaca rows: cut to exactly `length` tokens, half of them shorter, of all lengths, or for packing.

    Returns its name. One ASCII character is one token (see make_models.py).
    """
    name = f"{kind}-{length}-{rows}"
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.json"
    if not file.exists():
        text = "the quick brown fox jumps over the lazy dog while seven wizards watch and "
        long = (text * (length // len(text) + 2))[: length + 64]
        short = (text * (length // len(text) + 2))[: length // 2]
        packed = (text * 4)[:_PACKED_ROW_TOKENS]
        per_pack = max(1, length // (_PACKED_ROW_TOKENS + 80)) + 1
        chance = random.Random(rows)  # noqa: S311 - no secret
        shares = [2 ** chance.uniform(-5, 0) for _ in range(rows)]
        shares[rows // 2] = 1.0
        values = {
            "mixed": [long[: int(len(long) * share)] for share in shares],
            "full": [long] * rows,
            "padded": [long, short] * (rows // 2 + 1),
            "packed": [packed] * (rows * per_pack),
        }[kind]
        file.write_text(
            json.dumps([{"instruction": "say it", "input": "", "output": v} for v in values]), encoding="utf-8"
        )
    info = {path.stem: {"file_name": path.name} for path in folder.glob("*-*-*.json")}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")
    return name


def deepspeed_config(stage: int) -> dict[str, Any]:
    """The engine's own example configuration of a ZeRO stage."""
    stages: dict[int, dict[str, Any]] = {
        0: {"stage": 0},
        2: {"stage": 2, "allgather_partitions": True, "allgather_bucket_size": 500_000_000, "overlap_comm": False,
            "reduce_scatter": True, "reduce_bucket_size": 500_000_000, "contiguous_gradients": True,
            "round_robin_gradients": True},
        3: {"stage": 3, "overlap_comm": False, "contiguous_gradients": True, "sub_group_size": 1_000_000_000,
            "reduce_bucket_size": "auto", "stage3_prefetch_bucket_size": "auto",
            "stage3_param_persistence_threshold": "auto", "stage3_max_live_parameters": 1_000_000_000,
            "stage3_max_reuse_distance": 1_000_000_000, "stage3_gather_16bit_weights_on_model_save": True},
    }  # fmt: skip
    return {
        "train_batch_size": "auto",
        "train_micro_batch_size_per_gpu": "auto",
        "gradient_accumulation_steps": "auto",
        "gradient_clipping": "auto",
        "zero_allow_untested_optimizer": True,
        "bf16": {"enabled": "auto"},
        "zero_optimization": stages[stage],
    }


def engine_args(case: dict[str, Any], options: argparse.Namespace, scratch: Path) -> dict[str, Any]:
    """The engine's arguments for a case; `case["args"]` has the last word."""
    rows = case["micro_batch"] * case["accumulation"] * case["world_size"] * case["updates"]
    args: dict[str, Any] = {
        "stage": "sft", "do_train": True, "model_name_or_path": str(Path(options.models) / case["model"]),
        "finetuning_type": case["method"], "template": "qwen", "cutoff_len": case["length"],
        "dataset_dir": str(scratch / "data"),
        "dataset": write_data(scratch / "data", case["length"], case["data"], rows),
        "per_device_train_batch_size": case["micro_batch"], "gradient_accumulation_steps": case["accumulation"],
        "max_steps": case["updates"], "learning_rate": 1.0e-05, "lr_scheduler_type": "constant", "logging_steps": 1,
        "save_strategy": "no", "report_to": "none", "output_dir": str(scratch / "out" / case["id"]),
        "enable_liger_kernel": case["liger"], "disable_gradient_checkpointing": not case["checkpointing"],
        "disable_shuffling": True, "dataloader_num_workers": 0, "seed": 1, "disable_tqdm": True,
    }  # fmt: skip
    if case["method"] == "lora":
        args |= {"lora_rank": case["rank"], "lora_alpha": 2 * case["rank"], "lora_dropout": case["dropout"]}
        args["lora_target"] = case["target"]
    if case["quantization"]:
        args |= {"quantization_bit": case["quantization"], "quantization_method": "bnb"}
    if case["data"] == "packed":
        args |= {"packing": True, "neat_packing": True}
    if case["zero"] is not None:
        path = scratch / f"ds_z{case['zero']}.json"
        path.write_text(json.dumps(deepspeed_config(case["zero"])), encoding="utf-8")
        args["deepspeed"] = str(path)
    args |= {"bf16": not options.cpu}  # without CUDA the engine takes the CPU by itself
    return args | case.get("args", {})


class Team:
    """The processes of one case, importing the engine ahead of their turn."""

    def __init__(self, size: int, deepspeed: bool) -> None:
        command = [sys.executable, "-u", str(_HERE / "measure_worker.py"), *(["--deepspeed"] if deepspeed else [])]
        environment = {
            **os.environ, "DISABLE_VERSION_CHECK": "1", "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
            "TOKENIZERS_PARALLELISM": "false", "PYTHONUNBUFFERED": "1", "HF_DATASETS_DISABLE_PROGRESS_BARS": "1",
        }  # fmt: skip
        self.kind = (size, deepspeed)
        self.started = time.monotonic()
        self.members = [
            subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment, start_new_session=True
            )
            for _ in range(size)
        ]

    def fits(self, case: dict[str, Any]) -> bool:
        """Whether it has the processes and imports that the case needs."""
        return self.kind == (case["world_size"], case["zero"] is not None)

    def wait_ready(self) -> bool:
        """Whether all members have imported the engine in time."""
        return all(self._wait_one(member) for member in self.members)

    def _wait_one(self, member: subprocess.Popen[bytes]) -> bool:
        text = b""
        while b"READY\n" not in text:
            left = max(0.0, self.started + _READY_TIMEOUT_S - time.monotonic())
            if not select.select([member.stdout], [], [], left)[0]:
                return False
            piece = os.read(member.stdout.fileno(), 65536)  # type: ignore[union-attr]
            if not piece:
                return False
            text += piece
        return True

    def send(self, jobs: list[dict[str, Any]]) -> None:
        """One job for each member."""
        for member, job in zip(self.members, jobs, strict=True):
            member.stdin.write((json.dumps(job) + "\n").encode())  # type: ignore[union-attr]
            member.stdin.close()  # type: ignore[union-attr]

    def wait(self, timeout_s: float) -> bool:
        """Whether all members ended in time; once one has failed, the others get ten more seconds."""
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            codes = [member.poll() for member in self.members]
            if None not in codes:
                return True
            if any(codes):
                deadline = min(deadline, time.monotonic() + 10)
            time.sleep(0.05)
        return False

    def end(self) -> None:
        """Kill what is left, each in its own process group."""
        for member in self.members:
            if member.poll() is None:
                os.killpg(member.pid, signal.SIGKILL)
            member.wait()


def free_port() -> int:
    """A TCP port nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def make_jobs(case: dict[str, Any], options: argparse.Namespace, scratch: Path) -> list[dict[str, Any]]:
    """What each process of a case is told."""
    args, port, jobs = engine_args(case, options, scratch), free_port(), []
    for rank in range(case["world_size"]):
        record = scratch / "records" / f"{case['id']}.{rank}.json"
        record.parent.mkdir(parents=True, exist_ok=True)
        record.unlink(missing_ok=True)
        env = {"HF_HOME": str(scratch / "hf")}
        if case["world_size"] > 1 or case["zero"] is not None:
            env |= {
                "RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(case["world_size"]),
                "LOCAL_WORLD_SIZE": str(case["world_size"]), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port),
            }  # fmt: skip
        log = scratch / "logs" / f"{case['id']}.{rank}.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        jobs.append(
            {"case": case, "cpu": options.cpu, "args": args, "env": env, "record": str(record), "log": str(log)}
        )
    return jobs


def collect(case: dict[str, Any], jobs: list[dict[str, Any]], in_time: bool) -> dict[str, Any]:
    """One result from the ranks' records: the largest figures, and the worst status."""
    records = [json.loads(Path(job["record"]).read_text()) for job in jobs if Path(job["record"]).exists()]
    if not records:
        log = Path(jobs[0]["log"])
        tail = log.read_text(errors="replace")[-1500:] if log.exists() else ""
        return {"id": case["id"], "case": case, "status": "timeout" if not in_time else "died", "error": tail}
    result: dict[str, Any] = dict(records[0])
    for key in ("peak_allocated", "peak_reserved", "device_in_use", "reserved_now"):
        if key in result:
            result[key] = max(record.get(key, 0) for record in records)
    statuses = [record["status"] for record in records]
    worst = [status for status in ("oom", "failed", "not finite", "ended early") if status in statuses]
    result["status"] = worst[0] if worst else ("ok" if in_time and len(records) == len(jobs) else "timeout")
    result["error"] = next((record["error"] for record in records if record["error"]), "")
    if len(records) > 1:
        result["ranks"] = [
            {key: record.get(key) for key in ("rank", "peak_allocated", "peak_reserved")} for record in records
        ]
    result["step_s"] = micro_step_seconds(result)
    return result


def micro_step_seconds(result: dict[str, Any]) -> float | None:
    """Seconds of one micro-step, its share of the update included.

    The median of the updates after the case's warm-up; without one, the mean from the first update's end to the last's.
    """
    done, case = result.get("update_done_s") or [], result["case"]
    warm_up = case.get("warm_up", 0)
    timed = [after - before for before, after in itertools.pairwise(done[max(0, warm_up - 1) :])]
    if not timed:
        return None
    return (statistics.median(timed) if warm_up else statistics.mean(timed)) / case["accumulation"]


def summary(result: dict[str, Any]) -> str:
    """One line for the log."""
    gib = {key: result.get(key, 0) / 2**30 for key in ("peak_allocated", "peak_reserved", "device_in_use")}
    step = result.get("step_s")
    return (
        f"{result['id']:<58} {result['status']:<10} alloc {gib['peak_allocated']:6.2f} res {gib['peak_reserved']:6.2f} "
        f"dev {gib['device_in_use']:6.2f} GiB  micro-step {step if step is None else round(step, 3)} s "
        f"wall {result.get('elapsed_s', 0):.1f} s {result.get('error', '').strip().splitlines()[-1:] or ''}"
    )


class Runner:
    """Runs the cases in order, keeping some teams ahead, until done or out of time."""

    def __init__(self, options: argparse.Namespace, cases: list[dict[str, Any]]) -> None:
        self.options = options
        self.scratch = Path(options.scratch)
        self.started = time.monotonic()
        self.pending = cases
        self.teams: collections.deque[Team] = collections.deque()
        self.failures = 0  # in a row, running out of memory not counted
        self.maker: subprocess.Popen[bytes] | None = None

    def left_s(self) -> float:
        """Seconds of the budget that are left."""
        return float(self.options.time_budget) - (time.monotonic() - self.started)

    def refill(self) -> None:
        """Start teams until `--warm` wait, each fit for the case it will get."""
        upcoming = self.pending[len(self.teams) : self.options.warm]
        for case in upcoming:
            self.teams.append(Team(case["world_size"], case["zero"] is not None))

    def make_models(self) -> None:
        """Write the checkpoints of the pending cases in the background, in the order they are needed."""
        names = list(dict.fromkeys(case["model"] for case in self.pending))
        command = [sys.executable, str(_HERE / "make_models.py"), self.options.cases, self.options.models]
        log = self.scratch / "models.log"
        with log.open("wb") as sink:
            self.maker = subprocess.Popen([*command, *names], stdout=sink, stderr=subprocess.STDOUT)

    def run(self) -> None:
        """All cases, in order."""
        self.scratch.mkdir(parents=True, exist_ok=True)
        self.make_models()
        try:
            while self.pending and self.left_s() > self.options.reserve and self.failures < self.options.max_failures:
                self.refill()
                team = self.teams.popleft()
                case = self.take(team)
                if case is None:
                    team.end()
                    continue
                result = self.run_one(case, team)
                self.failures = 0 if result["status"] in {"ok", "oom"} else self.failures + 1
                for path in (self.options.out, self.options.state):
                    if path:
                        with Path(path).open("a", encoding="utf-8") as sink:
                            sink.write(json.dumps(result) + "\n")
                print(f"[{time.monotonic() - self.started:6.1f}] {summary(result)}", flush=True)
                self.drop_model(case["model"])
        finally:
            for team in self.teams:
                team.end()
            if self.maker and self.maker.poll() is None:
                self.maker.kill()
        print(f"{len(self.pending)} cases left, {self.left_s():.0f} s left", flush=True)

    def take(self, team: Team) -> dict[str, Any] | None:
        """The next case that this team can run and whose checkpoint is complete; None when there is none of its kind.

        Cases whose checkpoint can't be written (no disk) end the program rather than wait for ever.
        """
        models = Path(self.options.models)
        while self.left_s() > 0:
            fitting = [case for case in self.pending if team.fits(case)]
            ready = [case for case in fitting if (models / case["model"] / ".done").exists()]
            if ready or not fitting:
                case = ready[0] if ready else None
                if case:
                    self.pending.remove(case)
                return case
            if self.maker and self.maker.poll() is not None:
                raise SystemExit(f"checkpoints are missing: {(self.scratch / 'models.log').read_text()}")
            time.sleep(0.2)
        return None

    def drop_model(self, name: str) -> None:
        """Delete a checkpoint that no case needs any more, if asked to: the disk may be small."""
        if self.options.delete_models and all(case["model"] != name for case in self.pending):
            shutil.rmtree(Path(self.options.models) / name, ignore_errors=True)

    def run_one(self, case: dict[str, Any], team: Team) -> dict[str, Any]:
        """One case, start to end."""
        if not team.wait_ready():
            team.end()
            return {"id": case["id"], "case": case, "status": "died", "error": "the engine was not imported"}
        begun = time.monotonic()
        jobs = make_jobs(case, self.options, self.scratch)
        team.send(jobs)
        self.refill()
        in_time = team.wait(min(case["timeout_s"], max(5.0, self.left_s())))
        team.end()
        result = collect(case, jobs, in_time)
        result["elapsed_s"] = time.monotonic() - begun
        shutil.rmtree(self.scratch / "out" / case["id"], ignore_errors=True)
        return result


def load_cases(options: argparse.Namespace) -> list[dict[str, Any]]:
    """The cases that are asked for and not yet done."""
    spec = yaml.safe_load(Path(options.cases).read_text(encoding="utf-8"))
    done: set[str] = set()
    for path in filter(None, (options.out, options.state)):
        if Path(path).exists():
            records = [json.loads(line) for line in Path(path).read_text().splitlines() if line.strip()]
            done |= {record["id"] for record in records if record["status"] in {"ok", "oom", "not finite"}}
    wanted = re.compile(options.only)
    cases = [{**spec["defaults"], **case} for case in spec["cases"]]
    cases = [case for case in cases if options.split in {"", case.get("split")}]
    chosen = [case for case in cases if wanted.search(case["id"]) and case["world_size"] == options.nproc]
    part, parts = map(int, options.part.split("/"))
    return [case for case in chosen[part - 1 :: parts] if case["id"] not in done]


def main() -> None:
    """Parse the options, run the cases."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cases", default=str(_HERE / "cases.yaml"))
    parser.add_argument("--models", required=True, help="folder of checkpoints; missing ones are written")
    parser.add_argument("--out", required=True, help="JSONL file to append to")
    parser.add_argument("--state", default="", help="a second JSONL file, for going on in a later call")
    parser.add_argument("--only", default="", help="regular expression on the case's id")
    parser.add_argument("--split", default="", help="only calibration, held-out or blind cases")
    parser.add_argument("--part", default="1/1", help="K/N: every N-th case, from the K-th on")
    parser.add_argument("--time-budget", type=float, default=540.0, help="seconds, this program's start to its end")
    parser.add_argument("--reserve", type=float, default=15.0, help="start no case with fewer seconds left")
    parser.add_argument("--warm", type=int, default=4, help="cases whose processes import ahead")
    parser.add_argument("--nproc", type=int, default=1, help="run the cases of this many GPUs")
    parser.add_argument("--scratch", default="/tmp/lfwrap-measure")  # noqa: S108 - a scratch folder of the host
    parser.add_argument("--max-failures", type=int, default=5, help="stop after so many failures in a row")
    parser.add_argument("--delete-models", action="store_true", help="delete each checkpoint after its last case")
    parser.add_argument("--cpu", action="store_true", help="try the cases on the CPU: no memory figures")
    options = parser.parse_args()
    cases = load_cases(options)
    print(f"{len(cases)} cases to run", flush=True)
    Runner(options, cases).run()


if __name__ == "__main__":
    main()
