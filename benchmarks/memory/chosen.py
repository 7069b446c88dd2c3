"""Compare the planner with what came of plans that `speed: auto` and `max` made for an H100 (benchmarks/sweep.py).

    python benchmarks/memory/chosen.py            prints the table
    python benchmarks/memory/chosen.py --write    puts it into docs/explanation/memory.md

h200-chosen.jsonl has one line for each of 33 combinations of model, method, data, cutoff and epochs: three updates of
two micro-batches at most, every second micro-batch the longest that the data can give, on H200s on which torch could
take no more than an H100 has. No constant is fitted on them.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import statistics
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))
sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
import check
from page_block import PageBlock

from lfwrap.hardware.load import load_hardware
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.train_settings import TrainSettings, read_settings
from lfwrap.plan.memory.peak import estimate_memory
from lfwrap.plan.speed.throughput import estimate_speed

BLOCK = PageBlock(check.PAGE, "benchmarks/memory/chosen.py")
_RECORDS = Path(__file__).with_name("h200-chosen.jsonl")
_BITS = {"qlora-4": 4, "qlora-8": 8}
_MICRO, _STEPS = "per_device_train_batch_size", "gradient_accumulation_steps"
_MOST_STEPS = 2
# Tokens of a row of the two sets that rows come from without padding, on average: how far a token looks there.
_ROW_TOKENS = {"alpaca": 203, "tools": 900, "mixed": 1800}


def chosen_settings(record: dict[str, Any]) -> TrainSettings:
    """The settings that were trained, on the longest micro-batch; ``full`` rows all fill the cutoff."""
    chosen = record["chosen"]
    values = {
        "finetuning_type": "full" if record["method"] == "full" else "lora",
        "quantization_bit": _BITS.get(record["method"]),
        "lora_rank": record["rank"],
        "lora_dropout": 0.1,
        "bf16": True,
        "torch_compile": chosen.get("compiled"),
        **chosen,
    }
    settings = read_settings(
        values,
        BatchPlan(chosen[_MICRO], min(_MOST_STEPS, chosen[_STEPS]), 1),
        chosen.get("cutoff_len", record["cutoff"]),
        padded=record["data"] != "full",
    )
    is_extended = record["speed"] == "max"
    return dataclasses.replace(settings, is_extended=is_extended, is_padding_free=is_extended)


def compare(record: dict[str, Any]) -> dict[str, Any]:
    """One row of the table; time is of the second and the third update, of batches as long as they were."""
    model, settings = check.case_model(record), chosen_settings(record)
    memory = estimate_memory(model, settings)
    predicted_s = [_update_s(record, settings, update["tokens_through"]) for update in record["updates"][1:]]
    return {
        "record": record,
        "settings": settings,
        "predicted": memory.peak_allocated_bytes,
        "error": memory.peak_allocated_bytes / record["peak_allocated_bytes"] - 1,
        "predicted_s": sum(predicted_s),
        "measured_s": sum(update["s"] for update in record["updates"][1:]),
    }


def _update_s(record: dict[str, Any], settings: TrainSettings, tokens: int) -> float:
    length = round(tokens / settings.micro_batch / settings.accumulation)
    looked = _ROW_TOKENS[record["data"]] if settings.is_padding_free else 0
    batch = dataclasses.replace(settings, seq_len_tokens=length, attended_tokens=looked)
    speed = estimate_speed(check.case_model(record), batch, load_hardware("h200").smallest_gpu)
    assert speed is not None
    return speed.step_s


def render() -> str:
    """The table, and what it comes to."""
    rows = [compare(json.loads(line)) for line in _RECORDS.read_text(encoding="utf-8").splitlines()]
    lines = ["| combination | chosen | predicted GB | measured GB | error | reserved | s predicted | s measured |"]
    lines.append("|---|---|---|---|---|---|---|---|")
    for row in rows:
        record, settings = row["record"], row["settings"]
        words = [f"{settings.micro_batch} × {record['chosen'][_STEPS]} of {settings.seq_len_tokens}"]
        words += ["packed"] if settings.packing else []
        words += ["compiled"] if settings.is_compiled else []
        words += ["checkpointing"] if settings.checkpointing else []
        figures = [row["predicted"] / check.GB, record["peak_allocated_bytes"] / check.GB]
        cells = [
            record["name"], ", ".join(words), *(f"{figure:.2f}" for figure in figures), f"{row['error']:+.2%}",
            f"{record['peak_reserved_bytes'] / check.GB:.2f}", f"{row['predicted_s']:.2f}", f"{row['measured_s']:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join([*lines, "", _summary(rows)])


def _summary(rows: list[dict[str, Any]]) -> str:
    worst = [max(rows, key=lambda row: row["error"]), min(rows, key=lambda row: row["error"])]
    times = [abs(row["predicted_s"] / row["measured_s"] - 1) for row in rows]
    over, under = (f"{row['error']:+.2%} ({row['record']['name']})" for row in worst)
    near = sum(abs(row["error"]) <= 0.05 for row in rows)
    return (
        f"{len(rows)} combinations, none out of memory: peak within 5% {near}, "
        f"most over {over}, most under {under}; time of two updates within 25% {sum(time <= 0.25 for time in times)}, "
        f"median {statistics.median(times):.1%}, worst {max(times):.1%}"
    )


def main() -> None:
    """Print the table, or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if not parser.parse_args().write:
        print(render())
        return
    BLOCK.write(render())


if __name__ == "__main__":
    main()
