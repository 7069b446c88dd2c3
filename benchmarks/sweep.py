"""Does anything that `speed: auto` chooses for an 80 GB card run out of memory? Train the worst of many choices.

    python benchmarks/memory/make_models.py benchmarks/memory/cases.yaml MODELS qwen2.5-0.5b …
    python benchmarks/sweep.py --models MODELS --dataset-dir DIR --out sweep.jsonl

For each combination of model shape, method, data and cutoff a recipe is written and given to
`lfwrap train --hardware h100-80gb --dry-run`; what that renders is trained for three updates, in which every second
micro-batch is the longest that the data can give, the last of an update when gradients add up. On a GPU with more
memory torch may take no more than an H100's 79.18 GiB less the 0.79 GiB that CUDA itself took there. DIR has the data
sets `alpaca` and `tools` (`lfwrap prepare-data`); rows that fill the cutoff, and rows of all lengths, are made here.
Running out of memory is a result; so is a choice that lfwrap refuses to make.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import yaml

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ahead import Case, Runner, render_case

H100_BYTES = int(78.39 * 2**30)
"""An H100 80 GB's 85,017,493,504 bytes less the 804 M that its context, libraries and kernels were seen to take."""
UPDATES = 3
_ACCUMULATION = 2
_FULL_ROWS, _MIXED_ROWS = 48, 400
_LARGEST_CHARACTERS = 90_000  # more than 16k tokens of a small BPE vocabulary


@dataclass(frozen=True, slots=True)
class Combination:
    """What a user might ask for.

    Attributes:
        model: a checkpoint's folder name.
        method: ``lora``, ``qlora-4``, ``qlora-8`` or ``full``.
        data: ``alpaca``, ``tools``, ``full`` or ``mixed``.
        cutoff: tokens.
        rank: of the adapter.
        speed: ``auto`` or ``max``.
        rows: of an update.
        epochs: with many of them the plan compiles layers.
    """

    model: str
    method: str
    data: str
    cutoff: int = 4096
    rank: int = 64
    speed: str = "auto"
    rows: int = 128
    epochs: float = 1.0

    @property
    def name(self) -> str:
        """Unlike those of all others."""
        long = f"_{self.epochs:g}-epochs" if self.epochs > 1 else ""
        return f"{self.model}_{self.method}_r{self.rank}_{self.data}_{self.cutoff}_{self.speed}{long}"


def combinations() -> list[Combination]:
    """Small and large, short and long, every method; those that say most first."""
    c = Combination
    return [
        c("qwen2.5-0.5b", "lora", "alpaca"),
        c("qwen2.5-0.5b", "full", "mixed", 4096),
        c("qwen2.5-0.5b", "lora", "full", 16384, 16),
        c("qwen2.5-0.5b", "qlora-4", "tools"),
        c("qwen2.5-7b", "lora", "alpaca"),
        c("qwen2.5-7b", "lora", "tools"),
        c("qwen2.5-7b", "lora", "full", 4096),
        c("qwen2.5-7b", "lora", "full", 16384, 16),
        c("qwen2.5-7b", "lora", "mixed", 8192),
        c("qwen2.5-7b", "qlora-4", "alpaca"),
        c("qwen2.5-7b", "qlora-4", "full", 8192),
        c("qwen2.5-7b", "qlora-8", "tools"),
        c("llama-3.2-3b", "lora", "full", 2048),
        c("llama-3.2-3b", "lora", "mixed", 8192),
        c("llama-3.2-3b", "qlora-4", "tools"),
        c("llama-3.2-3b", "qlora-8", "alpaca", 1024, 16),
        c("llama-3.2-3b", "full", "alpaca", 1024),
        c("qwen3-1.7b", "lora", "mixed", 8192),
        c("qwen3-1.7b", "lora", "full", 512, 128),
        c("qwen3-1.7b", "full", "alpaca", 2048),
        c("qwen3-1.7b", "qlora-4", "full", 16384, 16),
        c("qwen2.5-7b", "lora", "alpaca", speed="max"),
        c("qwen2.5-7b", "lora", "mixed", 8192, speed="max"),
        c("qwen2.5-7b", "qlora-4", "tools", speed="max"),
        c("qwen2.5-0.5b", "full", "full", 2048),
        c("qwen2.5-0.5b", "qlora-8", "mixed", 2048),
        c("llama-3.2-3b", "qlora-4", "full", 4096, 8),
        c("qwen2.5-7b", "qlora-8", "full", 1024, 8),
        *(
            Combination(*wanted, epochs=100.0)
            for wanted in (
                ("qwen2.5-7b", "lora", "alpaca"),
                ("qwen2.5-7b", "lora", "full", 4096),
                ("qwen2.5-7b", "qlora-4", "tools"),
                ("qwen2.5-7b", "lora", "full", 16384, 16),
                ("llama-3.2-3b", "lora", "mixed", 8192),
                ("qwen3-1.7b", "lora", "full", 512, 128),
                ("qwen3-1.7b", "qlora-4", "alpaca", 2048),
                ("qwen2.5-0.5b", "lora", "full", 2048),
            )
        ),
    ]


def write_rows(folder: Path, text_of: Path) -> None:
    """Alpaca rows that fill any cutoff (``full``), and rows of all lengths (``mixed``), beside the folder's own sets.

    Args:
        folder: the data folder; its ``dataset_info.json`` is kept, and two entries are added.
        text_of: a JSONL file, whose lines are taken for text.
    """
    text = " ".join(text_of.read_text(encoding="utf-8").splitlines())
    text *= 1 + (_LARGEST_CHARACTERS + len(text)) // len(text)
    chance = random.Random(7)  # noqa: S311 - no secret

    def row(length: int) -> dict[str, str]:
        start = chance.randrange(len(text) - length)
        return {"instruction": "say on", "input": "", "output": text[start : start + length]}

    sets = {
        "full": [row(_LARGEST_CHARACTERS) for _ in range(_FULL_ROWS)],
        "mixed": [row(int(60 * 600 ** chance.random())) for _ in range(_MIXED_ROWS)],
    }
    info = json.loads((folder / "dataset_info.json").read_text())
    for name, rows in sets.items():
        (folder / f"{name}.json").write_text(json.dumps(rows), encoding="utf-8")
        info[name] = {"file_name": f"{name}.json"}
    (folder / "dataset_info.json").write_text(json.dumps(info), encoding="utf-8")


def write_recipe(combination: Combination, models: Path, data: Path, out: Path) -> Path:
    """The recipe that a user would write."""
    lora = {
        "lora_rank": combination.rank,
        "lora_alpha": 2 * combination.rank,
        "lora_dropout": 0.1,
        "lora_target": "all",
    }
    bits = {"qlora-4": 4, "qlora-8": 8}.get(combination.method)
    recipe: dict[str, Any] = {
        "model_name_or_path": str(models / combination.model),
        "template": "qwen",
        "stage": "sft",
        "finetuning_type": "full" if combination.method == "full" else "lora",
        **({} if combination.method == "full" else lora),
        **({"quantization_bit": bits} if bits else {}),
        "dataset": combination.data,
        "dataset_dir": str(data),
        "cutoff_len": combination.cutoff,
        "learning_rate": 1.0e-5,
        "num_train_epochs": combination.epochs,
        "seed": 42,
        "lfwrap": {"effective_batch_size": combination.rows, "speed": combination.speed},
    }
    path = out / f"{combination.name}.yaml"
    path.write_text(yaml.safe_dump(recipe, sort_keys=False), encoding="utf-8")
    return path


def render(combination: Combination, recipe: Path, hardware: str, limit_bytes: int | None) -> Case:
    """The case that `lfwrap train` chooses, shortened. Raises ValueError where it refuses."""
    case = render_case(combination.name, [str(recipe), "--hardware", hardware, "--gpus", "1"], longest=True)
    values = {key: value for key, value in case.values.items() if key != "num_train_epochs"}
    steps = int(values["gradient_accumulation_steps"])
    values |= {"max_steps": UPDATES, "gradient_accumulation_steps": min(_ACCUMULATION, steps), "warmup_steps": 0}
    chosen = _chosen(case.values) | {"compiled": "LFWRAP_COMPILE" in case.environment}
    facts = {**asdict(combination), "accumulation": steps, "chosen": chosen, "limit_bytes": limit_bytes}
    return Case(case.name, values, case.environment, case.speed, limit_bytes, longest=True, facts=facts)


def _chosen(values: Any) -> dict[str, Any]:
    keys = (
        "per_device_train_batch_size", "gradient_accumulation_steps", "packing", "cutoff_len", "enable_liger_kernel",
        "disable_gradient_checkpointing", "train_sampling_strategy",
    )  # fmt: skip
    return {key: values[key] for key in keys if key in values}


def markdown(results: list[dict[str, Any]]) -> str:
    """The table, and a line that says how it went."""
    lines = ["| model | method | data, cutoff | speed | chosen | peak allocated, GiB | reserved, GiB | |"]
    lines += ["|---|---|---|---|---|---|---|---|"]
    for found in results:
        method = found["method"] + ("" if found["method"] == "full" else f" r{found['rank']}")
        cells = (found["model"], method, f"{found['data']}, {found['cutoff']}", found["speed"], _words(found))
        memory = (_gib(found.get("peak_allocated_bytes")), _gib(found.get("peak_reserved_bytes")), found["status"])
        lines.append("| " + " | ".join((*cells, *memory)) + " |")
    counts = {status: sum(found["status"] == status for found in results) for status in {f["status"] for f in results}}
    said = ", ".join(f"{count} {status}" for status, count in sorted(counts.items()))
    return "\n".join([*lines, "", f"{len(results)} combinations: {said}."])


def _words(found: dict[str, Any]) -> str:
    chosen = found.get("chosen")
    if not chosen:
        return found.get("error", "")[:120]
    words = [f"{chosen['per_device_train_batch_size']} × {chosen['gradient_accumulation_steps']}"]
    words += [f"packs of {chosen['cutoff_len']}"] if chosen.get("packing") else []
    words += ["grouped by length"] if chosen.get("train_sampling_strategy") else []
    words += ["Liger"] if chosen.get("enable_liger_kernel") else []
    words += ["compiled layers"] if chosen.get("compiled") else []
    words += ["no checkpointing"] if chosen.get("disable_gradient_checkpointing") else ["checkpointing"]
    return ", ".join(words)


def _gib(count: int | None) -> str:
    return f"{count / 2**30:.1f}" if count else "-"


def rendered(options: argparse.Namespace, scratch: Path) -> Iterator[Case | dict[str, Any]]:
    """What lfwrap chooses for each combination, or its refusal as a result."""
    data = scratch / "data"
    shutil.copytree(options.dataset_dir, data, dirs_exist_ok=True)
    write_rows(data, data / "alpaca.jsonl")
    for combination in combinations()[: options.limit]:
        model = Path(options.models) / combination.model if options.one_model is None else options.one_model
        recipe = write_recipe(combination, model.parent, data, scratch)
        if options.one_model is not None:
            recipe.write_text(recipe.read_text().replace(str(model.parent / combination.model), str(model)))
        try:
            yield render(combination, recipe, options.hardware, options.limit_bytes)
        except ValueError as error:
            yield {**asdict(combination), "name": combination.name, "status": "refused", "error": str(error)}


def main() -> None:
    """Train them one after another; a result is written as soon as it is there."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--models", type=Path, default=Path("models"), help="folder of the checkpoints")
    parser.add_argument("--one-model", type=Path, help="take this checkpoint for all: to try the programme itself")
    parser.add_argument("--dataset-dir", type=Path, required=True, help="with the sets alpaca and tools")
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, one for each combination")
    parser.add_argument("--hardware", default="h100-80gb")
    parser.add_argument("--limit-bytes", type=int, default=H100_BYTES, help="what torch may take of the GPU")
    parser.add_argument("--limit", type=int, help="combinations")
    parser.add_argument("--timeout", type=float, default=120.0, help="seconds for each")
    parser.add_argument("--scratch", type=Path, default=Path("sweep-scratch"))
    options = parser.parse_args()
    options.scratch.mkdir(parents=True, exist_ok=True)
    runner, results = Runner(options.scratch.resolve()), []
    try:
        for case in rendered(options, options.scratch.resolve()):
            found = runner.run(case, options.timeout) if isinstance(case, Case) else case
            results.append(found)
            with options.out.open("a") as sink:
                sink.write(json.dumps(found) + "\n")
            print(found["name"], found["status"], file=sys.stderr)
    finally:
        runner.close()
    print(markdown(results))


if __name__ == "__main__":
    main()
