"""What other calculators predict of the measured configurations, and how far off they are.

    python benchmarks/memory/peers.py --bin DIR    ask them all, and keep the answers in peers.jsonl
    python benchmarks/memory/peers.py              print the table of the answers that are kept
    python benchmarks/memory/peers.py --write      put it into docs/explanation/memory.md

DIR holds the commands of accelerate, hf-vram-calc, qmemcalc and vramcalc, in an environment of their own: they want
other versions of torch than the engine. Each is asked with the settings that it knows, told as much as it takes; where
it has no setting for what a configuration does (quantisation, Liger, more GPUs), it is not asked. Every answer is of a
real run of the command.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from check import PAGE, all_records, compare, load_records
from make_cases import MODELS, hf_config
from page_block import PageBlock

ANSWERS = Path(__file__).with_name("peers.jsonl")
BLOCK = PageBlock(PAGE, "benchmarks/memory/peers.py")
GIB = 2**30
_CLASSES = {
    "qwen2": "Qwen2ForCausalLM", "llama": "LlamaForCausalLM", "qwen3": "Qwen3ForCausalLM",
    "qwen3_moe": "Qwen3MoeForCausalLM", "gemma2": "Gemma2ForCausalLM",
}  # fmt: skip
_TIMEOUT_S = 300
_ACCELERATE = """
from types import SimpleNamespace
from accelerate.commands import estimate
estimate.verify_on_hub = lambda *a, **k: SimpleNamespace(config={})
estimate.main()
"""

Peer = Callable[[dict[str, Any], Path, Path], "int | None"]


def run(command: list[str]) -> str:
    """A command's stdout, offline; empty when it fails."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, timeout=_TIMEOUT_S, check=False, env=environment)
    return done.stdout if done.returncode == 0 else ""


def ask_accelerate(case: dict[str, Any], model: Path, commands: Path) -> int | None:
    """Weights, or four times as much for training with Adam; no batch, no length, no adapter.

    Its command looks every model up on the hub first; that is left out, the rest is its own.
    """
    dtype = {0: "float16", 4: "int4", 8: "int8"}[case["quantization"]]
    if case["method"] == "full":
        dtype = "float32"
    asked = [str(model), "--library_name", "transformers", "--dtypes", dtype]
    text = run([str(commands / "python"), "-c", _ACCELERATE, *asked])
    cells = [cell.strip() for line in text.splitlines() if dtype in line for cell in re.split("[│|]", line)]
    sizes = [parse_size(cell) for cell in cells]
    found = [size for size in sizes if size is not None]
    if not found:
        return None
    return found[-1] if case["method"] == "full" else found[1]


def parse_size(text: str) -> int | None:
    """``14.19 GB`` in bytes; accelerate's GB are 2**30."""
    match = re.fullmatch(r"([\d.]+) ([KMGT]?)B", text)
    if match is None:
        return None
    return int(float(match.group(1)) * 2 ** {"": 0, "K": 10, "M": 20, "G": 30, "T": 40}[match.group(2)])


def ask_hf_vram_calc(case: dict[str, Any], model: Path, commands: Path) -> int | None:
    """LoRA or full training, by batch, length and rank; no checkpointing, no Liger."""
    if case["liger"]:
        return None
    dtype = {0: "bf16", 4: "int4", 8: "int8"}[case["quantization"]]
    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "out.json"
        tokens = str(case["micro_batch"] * case["length"])
        run([
            str(commands / "hf-vram-calc"), "--model", case["model"], "--model_path", str(model), "--dtype", dtype,
            "--max_batch_size", str(case["micro_batch"]), "--max_seq_len", str(case["length"]),
            "--max-num-tokens", tokens, "--lora_rank", str(case["rank"] or 64), "--output_json", str(out),
        ])  # fmt: skip
        if not out.is_file():
            return None
        [found] = json.loads(out.read_text(encoding="utf-8"))["memory_requirements"]
    return int(found["training_gib" if case["method"] == "full" else "lora_size_gib"] * GIB)


def ask_qmemcalc(case: dict[str, Any], model: Path, commands: Path) -> int | None:
    """LoRA and QLoRA by batch, length, rank and checkpointing; of full training, no gradients: not asked."""
    if case["liger"] or case["method"] == "full":
        return None
    text = run([
        str(commands / "qmemcalc"), "--model_name", str(model), "--batch_size", str(case["micro_batch"]),
        "--seq_len", str(case["length"]), "--lora_r", str(case["rank"]), "--precision", "bf16",
        "--quantization", {0: "none", 4: "4bit", 8: "8bit"}[case["quantization"]],
        *(["--gradient_checkpointing"] if case["checkpointing"] else []),
    ])  # fmt: skip
    match = re.search(r"total_MB\s*: ([\d.]+)", text)
    return int(float(match.group(1)) * 1e6) if match else None


def ask_vramcalc(case: dict[str, Any], model: Path, commands: Path) -> int | None:
    """LoRA and full training by batch, length, rank and checkpointing; no quantisation, no Liger."""
    if case["liger"] or case["quantization"] or case["data"] == "packed":
        return None
    text = run([
        str(commands / "vramcalc"), "estimate", str(model), "--train", "--dtype", "bf16", "--json",
        "--overhead-gb", "0", "--batch", str(case["micro_batch"]), "--seq", str(case["length"]), "--attn", "sdpa",
        "--precision", "amp" if case["method"] == "full" else "pure",
        *(["--lora", str(case["rank"])] if case["method"] == "lora" else []),
        *(["--grad-checkpoint"] if case["checkpointing"] else []),
    ])  # fmt: skip
    return int(json.loads(text)["estimate"]["total"]) if text else None


PEERS: dict[str, Peer] = {
    "accelerate estimate-memory": ask_accelerate,
    "hf-vram-calc": ask_hf_vram_calc,
    "qmemcalc": ask_qmemcalc,
    "vramcalc": ask_vramcalc,
}


def write_models(folder: Path) -> None:
    """A config.json of each model, all that the calculators read."""
    for name in MODELS:
        config = hf_config(name)
        (folder / name).mkdir()
        text = json.dumps({**config, "architectures": [_CLASSES[config["model_type"]]], "torch_dtype": "bfloat16"})
        (folder / name / "config.json").write_text(text, encoding="utf-8")


def ask_all(record: dict[str, Any], models: Path, commands: Path) -> dict[str, Any]:
    """One configuration: what was measured, and what each says."""
    case = record["case"]
    answers = {name: ask(case, models / case["model"], commands) for name, ask in PEERS.items()}
    return {"id": record["id"], "measured": record["peak_allocated"], **answers}


def summary(rows: list[dict[str, Any]], name: str) -> str:
    """One line of the table."""
    pairs = [(row[name], row["measured"]) for row in rows if row[name] is not None]
    if not pairs:
        return f"| {name} | 0 of {len(rows)} | | | | |"
    errors = [predicted / measured - 1 for predicted, measured in pairs]
    sizes = [abs(error) for error in errors]
    within = [sum(size <= limit for size in sizes) for limit in (0.05, 0.10)]
    worst = max(errors, key=abs)
    return (
        f"| {name} | {len(pairs)} of {len(rows)} | {within[0]} | {within[1]} | {statistics.median(sizes):.1%} |"
        f" {worst:+.0%} |"
    )


def render() -> str:
    """The table of the answers that are kept; lfwrap's own are made anew."""
    rows = [json.loads(line) for line in ANSWERS.read_text(encoding="utf-8").splitlines()]
    records = {record["id"]: record for record in all_records()}
    rows = [{**row, "lfwrap": compare(records[row["id"]])["predicted"]} for row in rows]
    head = ["| calculator | answered | within 5% | within 10% | median error | worst |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *(summary(rows, name) for name in ("lfwrap", *PEERS))])


def ask_everyone(commands: Path) -> None:
    """All calculators on all held-out cases of one GPU; the answers are kept."""
    records = [record for record in load_records("held-out") if record["case"]["world_size"] == 1]
    with tempfile.TemporaryDirectory() as folder:
        models = Path(folder)
        write_models(models)
        rows = [ask_all(record, models, commands) for record in records]
    ANSWERS.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main() -> None:
    """Ask, print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bin", type=Path, help="folder of the calculators' commands")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if options.bin:
        ask_everyone(options.bin)
    if not options.write:
        print(render())
        return
    BLOCK.write(render())


if __name__ == "__main__":
    main()
