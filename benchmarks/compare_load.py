"""One comparison of three adapters against three separate ones: compare_load.py [--model DIR] [--adapters N].

Makes random adapters for a model and times `lfwrap compare A B C` (one load, adapters swapped) and `lfwrap compare A`,
`… B`, `… C` (a load each), in turns, with the same questions. Prints one JSON object; ``factor`` is separate / one.
Each comparison goes to stderr as it is done, with what its load took. Where the two ways' answers differ, one more load
tells whether the two likeliest tokens were level there (``parted``; random weights make many near-ties).

First it asks whether an answer depends on what else is loaded, or differs by chance (``--no-repeat`` leaves it out):
``repeat`` with its ``verdict``, from the logits of two processes; compare_chance.py says how. That part alone:
--no-time; it needs twice the model's memory, and is ended after --limit-s, with what is there until then.

Without --model a random 7B (Qwen2.5-7B's shape, bf16) is made; it needs a CUDA device, 16 GB of disk and
--tokenizer DIR. Nothing is fetched: it runs from a checkout on a host without a network.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from compare_chance import Wish, explain, measure

ROOT = Path(__file__).resolve().parents[1]
QUESTIONS = [f"Question {number}: what follows from {number * 7} and {number * 3}?" for number in range(16)]

MAKE_MODEL = """
import shutil, sys, torch
from pathlib import Path
from transformers import AutoModelForCausalLM, Qwen2Config
out, tokenizer = map(Path, sys.argv[1:])
config = Qwen2Config(hidden_size=3584, intermediate_size=18944, num_hidden_layers=28, num_attention_heads=28,
                     num_key_value_heads=4, vocab_size=152064, max_position_embeddings=32768, tie_word_embeddings=False,
                     bos_token_id=0, eos_token_id=2, pad_token_id=0)
with torch.device("cuda"):
    model = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
model.save_pretrained(out, max_shard_size="4GB")
for file in tokenizer.iterdir():
    shutil.copy(file, out)
"""


def linear_shapes(model: Path) -> Iterator[tuple[str, int, int]]:
    """Name, rows and columns of each linear layer of the blocks, from the headers of the model's files."""
    for file in sorted(model.glob("*.safetensors")):
        with file.open("rb") as source:
            header = json.loads(source.read(int.from_bytes(source.read(8), "little")))
        for name, entry in header.items():
            if ".layers." in name and name.endswith("_proj.weight"):
                yield name.removesuffix(".weight"), *entry["shape"]


def make_adapters(model: Path, rank: int, folders: list[Path]) -> None:
    """Random LoRA adapters on all linear layers, in fp32 as trainings save them; no torch is imported for it."""
    from safetensors.numpy import save_file

    shapes = list(linear_shapes(model))
    config = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "r": rank, "lora_alpha": 2 * rank, "bias": "none",
        "base_model_name_or_path": str(model), "inference_mode": True,
        "target_modules": sorted({name.rpartition(".")[2] for name, _, _ in shapes}),
    }  # fmt: skip
    for seed, folder in enumerate(folders):
        draw, state = np.random.default_rng(seed), {}
        for name, rows, columns in shapes:
            for part, shape in (("A", (rank, columns)), ("B", (rows, rank))):
                values = draw.standard_normal(shape, dtype=np.float32) * np.float32(0.01)
                state[f"base_model.model.{name}.lora_{part}.weight"] = values
        folder.mkdir(parents=True)
        save_file(state, folder / "adapter_model.safetensors", metadata={"format": "pt"})
        (folder / "adapter_config.json").write_text(json.dumps(config), encoding="utf-8")


def environment() -> dict[str, str]:
    """Ours, with this checkout importable and no look at a hub."""
    paths = [str(ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "HF_HUB_OFFLINE": "1"}


def run(*command: object) -> float:
    """Wall seconds of a command; its output is shown when it fails."""
    began = time.perf_counter()
    done = subprocess.run(
        [str(part) for part in command], capture_output=True, text=True, env=environment(), check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}")
    return time.perf_counter() - began


def compare(adapters: list[Path], model: Path, folder: Path, options: argparse.Namespace) -> tuple[float, list[list]]:
    """Wall seconds of one `lfwrap compare` in a fresh folder, and each adapter's answers in the questions' order."""
    out = folder / "out"
    shutil.rmtree(out, ignore_errors=True)
    questions = folder / "questions.txt"
    questions.write_text("\n".join(QUESTIONS[: options.questions]) + "\n", encoding="utf-8")
    seconds = run(
        sys.executable, "-m", "lfwrap", "compare", *adapters, "--no-base", "--base-model", model, "--template",
        options.template, "--questions", questions, "--max-new-tokens", options.tokens, "--batch-size",
        options.questions, "--out", out,
    )  # fmt: skip
    report = json.loads((out / "report.json").read_bytes())
    done = {"adapters": len(adapters), "wall_s": round(seconds, 1), "loads": report["loads"]}
    print(json.dumps(done), file=sys.stderr, flush=True)
    names = [target["name"] for target in report["targets"]]
    return seconds, [[row["answers"][name]["text"] for row in report["rows"]] for name in names]


def time_both(wish: Wish, folder: Path, options: argparse.Namespace) -> dict:
    """One load and several, in turns; and where their answers part."""
    together_s, apart_s, answers = [], [], 0
    parted: dict[str, list[tuple[str, str]]] = {}
    adapters = list(wish.adapters)
    for _ in range(options.rounds):
        seconds, beside = compare(adapters, wish.model, folder, options)
        together_s.append(seconds)
        single = [compare([adapter], wish.model, folder, options) for adapter in adapters]
        apart_s.append(sum(seconds for seconds, _ in single))
        for adapter, together, (_, [alone]) in zip(adapters, beside, single, strict=True):
            answers += len(alone)
            pairs = [pair for pair in zip(together, alone, strict=True) if pair[0] != pair[1]]
            if pairs:
                parted.setdefault(str(adapter), []).extend(pairs)
    one, separate = statistics.median(together_s), statistics.median(apart_s)
    found = {
        "one_load_s": round(one, 1), "separate_loads_s": round(separate, 1), "factor": round(separate / one, 2),
        "answers": answers, "answers_that_differ": sum(map(len, parted.values())),
    }  # fmt: skip
    print(json.dumps(found), file=sys.stderr, flush=True)
    return found | ({"parted": explain(parted, wish, folder)} if parted else {})


def read_options() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, help="a model to use instead of a random 7B")
    parser.add_argument("--tokenizer", type=Path, help="a tokenizer's folder, for the random 7B")
    parser.add_argument("--template", default="qwen")
    parser.add_argument("--adapters", type=int, default=3)
    parser.add_argument("--rank", type=int, default=64)
    parser.add_argument("--questions", type=int, default=8)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--repeat", action=argparse.BooleanOptionalAction, default=True, help="chance or dependence")
    parser.add_argument("--time", action=argparse.BooleanOptionalAction, default=True, help="one load or several")
    parser.add_argument("--limit-s", type=float, default=120.0, help="for the processes that keep logits")
    parser.add_argument("--scratch", type=Path, help="where models and answers go")
    options = parser.parse_args()
    if options.model is None and options.tokenizer is None:
        parser.error("--model DIR, or --tokenizer DIR for a random 7B")
    return options


def main() -> None:
    """Make what is missing, measure in turns, print."""
    options = read_options()
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        model = options.model.resolve() if options.model else folder / "model"
        made_s = 0.0 if options.model else run(sys.executable, "-c", MAKE_MODEL, model, options.tokenizer)
        began = time.perf_counter()
        adapters = [folder / f"adapter{number}" for number in range(options.adapters)]
        make_adapters(model, options.rank, adapters)
        result = {
            "adapters": options.adapters, "questions": options.questions, "tokens": options.tokens,
            "making_the_model_s": round(made_s, 1), "making_the_adapters_s": round(time.perf_counter() - began, 1),
        }  # fmt: skip
        asked = QUESTIONS[: options.questions]
        wish = Wish(model, options.template, options.tokens, asked, adapters, environment(), options.limit_s)
        if options.repeat:
            result["repeat"] = measure(wish, folder)
            print(json.dumps(result), file=sys.stderr, flush=True)
        if options.time:
            result |= time_both(wish, folder, options)
    print(json.dumps(result))
    sys.exit(1 if result.get("repeat", {}).get("failures") else 0)


if __name__ == "__main__":
    main()
