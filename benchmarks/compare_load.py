"""One comparison of three adapters against three separate ones: compare_load.py [--model DIR] [--adapters N].

Makes random adapters for a model and times `lfwrap compare A B C` (one load, adapters swapped) and `lfwrap compare A`,
`… B`, `… C` (a load each), in turns, with the same questions. Prints one JSON object; ``factor`` is separate / one.
Each comparison goes to stderr as it is done, with what its load took.

First it asks each adapter twice beside the others and alone in processes of their own (``--no-repeat`` leaves it out),
which tells chance from dependence: ``repeat`` counts the answers that differ between two askings in one process,
between two processes with the same adapter, and between beside and alone; with the first differing token of each, and
how far the two likeliest tokens were apart there (logits; random weights make many near-ties).

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
from pathlib import Path

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
MAKE_ADAPTERS = """
import sys, torch
from peft import LoraConfig, get_peft_model
from transformers import AutoConfig, AutoModelForCausalLM
model, rank, *folders = sys.argv[1:]
config = AutoConfig.from_pretrained(model)
with torch.device("meta"):
    base = AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16)
lora = LoraConfig(r=int(rank), lora_alpha=2 * int(rank), target_modules="all-linear", task_type="CAUSAL_LM")
tuned = get_peft_model(base, lora)
from peft.utils import get_peft_model_state_dict
from safetensors.torch import save_file
device = "cuda" if torch.cuda.is_available() else "cpu"  # a GPU draws them at once, a core in half a minute
for seed, folder in enumerate(folders):
    torch.manual_seed(seed)
    state = {name: (torch.randn(value.shape, device=device) * 0.01).cpu()  # fp32, as trainings save them
             for name, value in get_peft_model_state_dict(tuned).items()}
    import os; os.makedirs(folder, exist_ok=True)
    save_file(state, f"{folder}/adapter_model.safetensors", metadata={"format": "pt"})
    lora.base_model_name_or_path = model
    lora.save_pretrained(folder)
"""
# In the engine's Python: WORKERS MODEL TEMPLATE TOKENS QUESTIONS OUT ADAPTER...; each adapter answers twice, in turns.
ANSWER = """
import hashlib, json, sys
workers, model, template, tokens, questions, out, *folders = sys.argv[1:]
sys.path.insert(0, workers)
import torch
from engine_model import EngineModel, Generation
arguments = {"model_name_or_path": model, "template": template, "finetuning_type": "lora"}
engine = EngineModel(arguments, {folder: folder for folder in folders})
prompts = [engine.encode([{"role": "user", "content": text}], None, None) for text in json.loads(questions)]
prompts.sort(key=len, reverse=True)
def digest(part):
    named = sorted((name.replace(part, ""), value) for name, value in engine.model.named_parameters()
                   if (part in name if part else "lora_" not in name))
    sums = [(name, value.double().sum().item(), value.double().abs().sum().item()) for name, value in named]
    return hashlib.sha256(json.dumps(sums).encode()).hexdigest()
def gaps(prompt, ids):
    top = engine.answer_logits(prompt, ids).topk(2).values
    return [round(float(gap), 4) for gap in top[:, 0] - top[:, 1]]
found = {"base": digest(""), "load_s": engine.base_s, "adapter_s": list(engine.adapter_s.values()), "adapters": {}}
for turn in range(2):
    for folder in folders:
        with engine.using(folder):
            ids = [answer.token_ids for answer in engine.generate_many(prompts, Generation(int(tokens)))]
            if not turn:
                found["adapters"][folder] = {
                    "ids": [], "weights": digest(f".{engine._internal[folder]}."),
                    "gaps": [gaps(prompt, answer) for prompt, answer in zip(prompts, ids)],
                }
            found["adapters"][folder]["ids"].append(ids)
json.dump(found, open(out, "w"))
"""


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


def ask_alone_and_beside(adapters: list[Path], model: Path, folder: Path, options: argparse.Namespace) -> dict:
    """How many answers differ by chance, and how many by what else is loaded; all processes at once."""
    lone = [adapters[0], adapters[-1]]  # four models of 7B fit on a GPU of 80 GB together
    groups = {"beside": adapters, "alone0": lone[:1], "alone1": lone[1:], "again": lone[:1]}
    asked = json.dumps(QUESTIONS[: options.questions])
    children = [
        subprocess.Popen(
            [sys.executable, "-c", ANSWER, str(ROOT / "lfwrap" / "worker"), str(model), options.template,
             str(options.tokens), asked, str(folder / f"{name}.json"), *map(str, group)],
            env=environment(), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        )
        for name, group in groups.items()
    ]  # fmt: skip
    errors = [child.communicate()[1] for child in children]
    if any(child.returncode for child in children):
        sys.exit("\n".join(error[-3000:] for error in errors))
    found = {name: json.loads((folder / f"{name}.json").read_bytes()) for name in groups}
    beside = found["beside"]["adapters"]
    alone = {
        name: entry for number in range(len(adapters)) for name, entry in found[f"alone{number}"]["adapters"].items()
    }
    again = found["again"]["adapters"]
    return {
        "weights_same": all(beside[name]["weights"] == alone[name]["weights"] for name in alone)
        and len({each["base"] for each in found.values()}) == 1,
        "in_one_process": differences([(entry, entry, 1) for entry in [*beside.values(), *alone.values()]]),
        "in_two_processes": differences([(alone[name], again[name], 0) for name in again]),
        "beside_and_alone": differences([(beside[name], alone[name], 0) for name in alone]),
        "median_gap": statistics.median(gap for entry in alone.values() for row in entry["gaps"] for gap in row),
        "base_s": [each["load_s"] for each in found.values()],
        "adapter_s": [each["adapter_s"] for each in found.values()],
    }


def differences(pairs: list[tuple[dict, dict, int]]) -> dict:
    """Of the first answers of one and those of the other, of its asking with that number."""
    total, at = 0, []
    for one, other, asking in pairs:
        for mine, theirs, gaps in zip(one["ids"][0], other["ids"][asking], one["gaps"], strict=True):
            total += 1
            if mine != theirs:
                same = (left == right for left, right in zip(mine, theirs, strict=False))
                first = next((place for place, equal in enumerate(same) if not equal), min(len(mine), len(theirs)))
                at.append([first, gaps[first]])
    return {"answers": total, "differ": len(at), "first_token_and_gap": sorted(at)}


def compare(adapters: list[Path], model: Path, folder: Path, options: argparse.Namespace) -> tuple[float, list[str]]:
    """Wall seconds of one `lfwrap compare` in a fresh folder, and all answers in the order of the adapters."""
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
    return seconds, [row["answers"][name]["text"] for name in names for row in report["rows"]]


def main() -> None:
    """Make what is missing, measure in turns, print."""
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
    parser.add_argument("--scratch", type=Path, help="where models and answers go")
    options = parser.parse_args()
    if options.model is None and options.tokenizer is None:
        parser.error("--model DIR, or --tokenizer DIR for a random 7B")
    with tempfile.TemporaryDirectory(dir=options.scratch) as name:
        folder = Path(name)
        model = options.model.resolve() if options.model else folder / "model"
        made_s = 0.0 if options.model else run(sys.executable, "-c", MAKE_MODEL, model, options.tokenizer)
        adapters = [folder / f"adapter{number}" for number in range(options.adapters)]
        run(sys.executable, "-c", MAKE_ADAPTERS, model, options.rank, *adapters)
        result = {
            "adapters": options.adapters, "questions": options.questions, "tokens": options.tokens,
            "making_the_model_s": round(made_s, 1),
        }  # fmt: skip
        if options.repeat:
            result["repeat"] = ask_alone_and_beside(adapters, model, folder, options)
            print(json.dumps(result), file=sys.stderr, flush=True)
        if options.time:
            result |= time_both(adapters, model, folder, options)
    print(json.dumps(result))


def time_both(adapters: list[Path], model: Path, folder: Path, options: argparse.Namespace) -> dict:
    """One load and several, in turns."""
    together_s, apart_s, differ = [], [], 0
    for _ in range(options.rounds):
        seconds, texts = compare(adapters, model, folder, options)
        together_s.append(seconds)
        single = [compare([adapter], model, folder, options) for adapter in adapters]
        apart_s.append(sum(seconds for seconds, _ in single))
        differ += sum(
            one != other for one, other in zip(texts, (text for _, found in single for text in found), strict=True)
        )
    one, separate = statistics.median(together_s), statistics.median(apart_s)
    return {
        "one_load_s": round(one, 1), "separate_loads_s": round(separate, 1), "factor": round(separate / one, 2),
        "answers_that_differ": differ,
    }  # fmt: skip


if __name__ == "__main__":
    main()
