"""The runs of ``two_gpu_faults.py``: where they are, what they train on, their losses, and the GPUs' memory."""

from __future__ import annotations

import json
import os
import random
import shutil
import string
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from lfwrap.run.folder.monitor import FileTail, load_history, parse_progress
from lfwrap.run.folder.record import Run, load_run

REPOSITORY = Path(__file__).resolve().parents[2]
LFWRAP = (sys.executable, "-m", "lfwrap")
PATIENCE_S = 180
ALONE = ("through", "again")
FAULTS = ("stop", "kill", "deepspeed", "hang")
STEPS = 60
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


def still_used(before: list[int]) -> list[int]:
    """The bytes that each GPU has in use beyond what it had; the driver gets some seconds to give them back."""
    for _ in range(20):
        more = [max(0, now - then) for now, then in zip(gpu_bytes(), before, strict=True)]
        if max(more, default=0) < FREED_BYTES:
            break
        time.sleep(0.5)
    return more
