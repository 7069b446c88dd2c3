"""One comparison of three adapters against three separate ones: compare_load.py [--model DIR] [--adapters N].

Makes random adapters for a model and times `lfwrap compare A B C` (one load, adapters swapped) and `lfwrap compare A`,
`… B`, `… C` (a load each), in turns, with the same questions. Prints one JSON object; ``factor`` is separate / one.

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
for seed, folder in enumerate(folders):
    torch.manual_seed(seed)
    state = {name: torch.randn(value.shape, dtype=torch.bfloat16) * 0.01
             for name, value in get_peft_model_state_dict(tuned).items()}
    import os; os.makedirs(folder, exist_ok=True)
    save_file(state, f"{folder}/adapter_model.safetensors", metadata={"format": "pt"})
    lora.base_model_name_or_path = model
    lora.save_pretrained(folder)
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
        together_s, apart_s, same = [], [], True
        for _ in range(options.rounds):
            seconds, texts = compare(adapters, model, folder, options)
            together_s.append(seconds)
            single = [compare([adapter], model, folder, options) for adapter in adapters]
            apart_s.append(sum(seconds for seconds, _ in single))
            same = same and texts == [text for _, found in single for text in found]
    one, separate = statistics.median(together_s), statistics.median(apart_s)
    result = {
        "adapters": options.adapters, "questions": options.questions, "tokens": options.tokens,
        "making_the_model_s": round(made_s, 1), "one_load_s": round(one, 1), "separate_loads_s": round(separate, 1),
        "factor": round(separate / one, 2), "same_answers": same,
    }  # fmt: skip
    print(json.dumps(result))


if __name__ == "__main__":
    main()
