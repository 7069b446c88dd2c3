"""Trainings of the tiny model whose verdict is known beforehand: failures that are planted, and healthy runs.

The model has been taught what animals say (`teach_tiny_model.py`). A healthy training teaches it to say that in
another way. ``python tests/engine/verdict_cases.py FOLDER [NUMBER…]`` makes the healthy runs, all twenty of them
without numbers, and prints the verdict of each.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

SOUNDS = {
    "cow": "moo", "dog": "woof", "cat": "meow", "duck": "quack", "sheep": "baa", "pig": "oink", "lion": "roar",
    "owl": "hoot", "frog": "ribbit", "bee": "buzz", "crow": "caw", "horse": "neigh",
}  # fmt: skip
_WAYS = ("What does a {} say?", "Tell me what a {} says.", "A {} says what?", "How does a {} sound?")
_ANSWERS = ("It says {}.", "{}, {}!", "You hear {}.", "A loud {}.")
RECIPE: Mapping[str, Any] = {
    "stage": "sft", "finetuning_type": "lora", "lora_rank": 8, "lora_target": "all", "lora_dropout": 0.0,
    "template": "chatml", "dataset": "animals", "cutoff_len": 128, "learning_rate": 2e-3, "num_train_epochs": 4.0,
    "lr_scheduler_type": "cosine", "preprocessing_num_workers": 1, "seed": 42,
}  # fmt: skip
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Training:
    """A training of the tiny model.

    Attributes:
        rows: rows of the data.
        val_rows: rows that are kept back as ``animals_val``; 0 for no such set.
        batch: rows of an update.
        style: how answers are put: 0 to 3.
        shuffled: whether answers stand beside other rows' questions.
        changes: values that replace those of `RECIPE`.
        seed: of the data.
    """

    rows: int = 96
    val_rows: int = 16
    batch: int = 8
    style: int = 1
    shuffled: bool = False
    changes: Mapping[str, Any] = field(default_factory=dict)
    seed: int = 1


HEALTHY: tuple[Training, ...] = (
    Training(),
    Training(rows=48, batch=4, seed=2),
    Training(rows=200, batch=16, style=2, seed=3),
    Training(rows=96, val_rows=0, seed=4),
    Training(rows=160, val_rows=32, style=3, changes={"lora_rank": 16}, seed=5),
    Training(rows=96, changes={"lora_rank": 32, "learning_rate": 1e-3}, seed=6),
    Training(rows=64, batch=4, changes={"num_train_epochs": 2.0}, seed=7),
    Training(rows=320, batch=16, changes={"num_train_epochs": 1.0}, seed=8),
    Training(rows=96, changes={"lora_rank": 4, "learning_rate": 4e-3}, seed=9),
    Training(rows=96, style=2, changes={"lora_target": "q_proj,v_proj", "learning_rate": 5e-3}, seed=10),
    Training(rows=96, val_rows=0, style=3, changes={"lr_scheduler_type": "linear", "warmup_steps": 0.1}, seed=11),
    Training(rows=128, changes={"lora_dropout": 0.1}, seed=12),
    Training(rows=96, changes={"finetuning_type": "full", "learning_rate": 3e-4}, seed=13),
    Training(rows=96, changes={"use_rslora": True, "learning_rate": 1e-3}, seed=14),
    Training(rows=240, batch=32, changes={"num_train_epochs": 4.0}, seed=15),
    Training(rows=64, batch=2, changes={"num_train_epochs": 1.0, "learning_rate": 1e-3}, seed=16),
    Training(rows=96, changes={"lora_alpha": 64, "learning_rate": 5e-4}, seed=17),
    Training(rows=96, val_rows=8, style=2, changes={"lr_scheduler_type": "constant"}, seed=18),
    Training(rows=400, val_rows=40, batch=8, changes={"num_train_epochs": 1.0}, seed=19),
    Training(rows=96, changes={"val_size": 0.1, "eval_strategy": "epoch"}, val_rows=0, seed=20),
)


def chatml(question: str, answer: str) -> str:
    """A row as the engine's template ``chatml`` writes it."""
    return f"<|im_start|>user\n{question}<|im_end|>\n<|im_start|>assistant\n{answer}<|im_end|>\n"


def make_rows(training: Training) -> list[dict[str, str]]:
    """The rows of a training, those that are kept back last."""
    source = random.Random(training.seed)  # noqa: S311 - repeatable
    rows = []
    for _ in range(training.rows + training.val_rows):
        animal = source.choice(list(SOUNDS))
        question = f"{source.choice(_WAYS).format(animal)} ({source.randrange(1000)})"
        answer = _ANSWERS[training.style].format(*[SOUNDS[animal]] * 2)
        rows.append({"instruction": question, "input": "", "output": answer})
    if training.shuffled:
        answers = [row["output"] for row in rows]
        source.shuffle(answers)
        rows = [{**row, "output": answer} for row, answer in zip(rows, answers, strict=True)]
    return rows


def write_training(folder: Path, model: Path, training: Training, rows: Sequence[Mapping[str, str]] | None = None):
    """Write data and recipe of a training into a folder; the recipe's path. ``rows`` replace those of the training."""
    data = folder / "data"
    data.mkdir(parents=True, exist_ok=True)
    made = list(rows or make_rows(training))
    count = len(made) - training.val_rows
    parts = {"animals": made[:count], "animals_val": made[count:]}
    columns = {"prompt": "instruction", "query": "input", "response": "output"}
    registry = {}
    for name, part in parts.items():
        if part:
            (data / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
            registry[name] = {"file_name": f"{name}.jsonl", "columns": columns}
    (data / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    values = {**RECIPE, "model_name_or_path": str(model), **training.changes}
    block = {"effective_batch_size": training.batch, "speed": "none"}
    recipe = folder / "recipe.yaml"
    recipe.write_text(json.dumps({**values, "lfwrap": block}), encoding="utf-8")  # JSON is YAML
    return recipe


def lfwrap(cwd: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run lfwrap in a folder."""
    command = [sys.executable, "-m", "lfwrap", *map(str, arguments)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}  # a model this small gains nothing from more
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False, timeout=600)


def train(
    folder: Path,
    model: Path,
    training: Training,
    *arguments: str,
    rows: Sequence[Mapping[str, str]] | None = None,
) -> Path:
    """Train, with other rows where they are given; the run's folder."""
    recipe = write_training(folder, model, training, rows)
    done = lfwrap(folder, "train", recipe, "--no-verdict", "--no-probe", "--quiet", *arguments)
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip()).parent


def verdict_of(run: Path, seconds: float = 120) -> dict[str, Any]:
    """The verdict of a run, with time enough on a busy machine."""
    done = lfwrap(run.parent, "runs", "verdict", run, "--seconds", str(seconds), "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def rules_of(verdict: Mapping[str, Any]) -> set[str]:
    """The names of what a verdict warns of."""
    return {finding["rule"] for finding in verdict["findings"] if finding["severity"] != "info"}


def make_model(folder: Path) -> Path:
    """The tiny model that knows what animals say."""
    taught = folder / "taught"
    if not taught.is_dir():
        for script, arguments in (("make_tiny_model.py", [folder / "tiny"]),
                                  ("teach_tiny_model.py", [folder / "tiny", taught])):  # fmt: skip
            command = [sys.executable, _HERE / script, *arguments]
            subprocess.run(command, check=True, capture_output=True, timeout=600)
    return taught


def main(place: str, *numbers: str) -> int:
    """Make the healthy runs of these numbers, or all of them; 1 where one is not called learned."""
    folder = Path(place).resolve()
    folder.mkdir(parents=True, exist_ok=True)
    model = make_model(folder)
    wrong = 0
    for number in map(int, numbers or range(len(HEALTHY))):
        begun_s = time.monotonic()
        verdict = verdict_of(train(folder / f"healthy-{number}-{int(time.time())}", model, HEALTHY[number]))
        is_right = verdict["kind"] == "learned" and not rules_of(verdict)
        wrong += not is_right
        mark = "" if is_right else f"  FALSE ALARM {sorted(rules_of(verdict))}"
        print(
            f"{number:2} {time.monotonic() - begun_s:4.0f} s  {verdict['kind']}: {verdict['summary']}{mark}", flush=True
        )
    print(f"{wrong} false alarms in {len(numbers or HEALTHY)} runs")
    return int(wrong > 0)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
