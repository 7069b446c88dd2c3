"""Compare the planner's memory and step time with what was measured, each half for itself.

    python benchmarks/memory/check.py [--half calibration|held-out|third calibration|third held-out|all]
    python benchmarks/memory/check.py --write      put the tables into docs/explanation/memory.md

The calibration half is what the planner's few constants were fitted on; nothing was fitted on the held-out half. The
blind cases of the third round were drawn, and predicted.jsonl written and committed, before they were measured: that
table comes from this file, whatever the model says now. For the model as it is now they were halved afterwards.
"""

from __future__ import annotations

import argparse
import dataclasses
import itertools
import json
import random
import statistics
import sys
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page_block import PageBlock

from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import Gpu
from lfwrap.model.shapes import ModelFacts, catalog_model
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.train_settings import TrainSettings, read_settings
from lfwrap.plan.memory.peak import estimate_memory
from lfwrap.plan.speed.throughput import FITTED, SpeedConstants, estimate_speed

_FOLDER = Path(__file__).parent
PAGE = _FOLDER.parents[1] / "docs" / "explanation" / "memory.md"
BLOCK = PageBlock(PAGE, "benchmarks/memory/check.py")
_FILES = ("h100.jsonl", "h100-second.jsonl", "h200x2.jsonl", "h200-third.jsonl")
_FEWER_LAYERS = "-4-layers"
_GPUS = {"NVIDIA H100 80GB HBM3": "h100-80gb", "NVIDIA H200": "h200"}
HALVES, BLIND = ("calibration", "held-out"), "blind"
LATER_HALVES = ("third calibration", "third held-out")
_THIRD_SEED = 20261124  # as make_cases.py has it
GB = 1e9


def load_records(half: str = "all") -> list[dict[str, Any]]:
    """The measured cases of one half that were trained to their end."""
    ended = [record for record in all_records() if record["status"] == "ok"]
    if half in LATER_HALVES:
        blind = [record for record in ended if record["case"]["split"] == BLIND]
        chosen = _later_half(blind, is_calibration=half == LATER_HALVES[0])
        return [record for record in blind if record["id"] in chosen]
    return [record for record in ended if half in {"all", record["case"]["split"]}]


def _later_half(records: list[dict[str, Any]], *, is_calibration: bool) -> set[str]:
    """Every second case of the third round, packed ones and others each for themselves, in an order that is drawn."""
    chance, chosen = random.Random(_THIRD_SEED), set()  # noqa: S311 - no secret
    for is_packed in (True, False):
        names = sorted(record["id"] for record in records if (record["case"]["data"] == "packed") == is_packed)
        chance.shuffle(names)
        chosen |= set(names[(0 if is_calibration else 1) :: 2])
    return chosen


def all_records() -> list[dict[str, Any]]:
    """Everything measured, what ran out of memory included."""
    files = [_FOLDER / name for name in _FILES]
    lines = [line for path in files if path.is_file() for line in path.read_text(encoding="utf-8").splitlines()]
    return [json.loads(line) for line in lines]


def case_model(case: dict[str, Any]) -> ModelFacts:
    """The shapes of a case's model."""
    name = case["model"]
    facts = catalog_model(name.removesuffix(_FEWER_LAYERS))
    assert facts is not None, name
    return dataclasses.replace(facts, num_layers=4) if name.endswith(_FEWER_LAYERS) else facts


def case_settings(case: dict[str, Any]) -> TrainSettings:
    """What a case sets, read from the engine's keys as a recipe's are."""
    values = {
        "finetuning_type": case["method"],
        "quantization_bit": case["quantization"] or None,
        "lora_rank": case["rank"],
        "lora_target": case["target"],
        "lora_dropout": case["dropout"],
        "enable_liger_kernel": case["liger"],
        "disable_gradient_checkpointing": not case["checkpointing"],
        "packing": case["data"] == "packed",
        "bf16": True,
        **case.get("args", {}),
    }
    settings = read_settings(
        values,
        BatchPlan(case["micro_batch"], case["accumulation"], case["world_size"]),
        case["length"],
        zero_stage=case["zero"],
        padded=case["data"] in {"padded", "mixed"},
    )
    is_extended = case.get("extended", False)
    return dataclasses.replace(settings, is_extended=is_extended, is_padding_free=is_extended)


def compare(record: dict[str, Any]) -> dict[str, Any]:
    """One row of the table."""
    memory = estimate_memory(case_model(record["case"]), longest_settings(record))
    return {
        "id": record["id"],
        "half": record["case"]["split"],
        "moment": memory.phase,
        "predicted": memory.peak_allocated_bytes,
        "measured": record["peak_allocated"],
        "error": memory.peak_allocated_bytes / record["peak_allocated"] - 1,
        "device_predicted": memory.device_bytes,
        "device_measured": record["peak_reserved"] + record["device_in_use"] - record["reserved_now"],
        "step_predicted": predicted_s(*timed_case(record)[:4]),
        "step_measured": record["step_s"],
    }


def longest_settings(record: dict[str, Any]) -> TrainSettings:
    """The settings on the longest micro-batch that came.

    A longest row alone fills the cutoff and has no padding. Packs that the extension lays without padding are as long
    as what is in them.
    """
    settings = case_settings(record["case"])
    if settings.is_padding_free and settings.packing:
        tokens = max(micro["shape"][0] * micro["shape"][1] for micro in record["micro"])
        return dataclasses.replace(settings, seq_len_tokens=-(-tokens // settings.micro_batch))
    return dataclasses.replace(settings, padded=settings.padded and settings.micro_batch > 1)


def timed_case(record: dict[str, Any]) -> tuple[ModelFacts, TrainSettings, Gpu, Counter[int], float]:
    """Model, settings, GPU, how many of the timed micro-steps were so long, and the seconds of one."""
    settings = case_settings(record["case"])
    gpu = load_hardware(_GPUS[record["device"]]).smallest_gpu
    assert gpu is not None
    warm_up = record["case"].get("warm_up", 1)
    timed = record["micro"][warm_up * settings.accumulation :]
    shapes = [micro["shape"] for micro in timed if len(micro["shape"]) > 1]
    lengths = Counter(round(rows * tokens / settings.micro_batch) for rows, tokens in shapes)
    row = _row_tokens(timed)
    settings = dataclasses.replace(settings, attended_tokens=row) if row else settings
    return case_model(record["case"]), settings, gpu, lengths or Counter([settings.seq_len_tokens]), record["step_s"]


def _row_tokens(timed: list[dict[str, Any]]) -> int:
    """How far a token looks where rows lie one behind the other: the mean row of a token; 0 where they do not."""
    bounds = [micro["row_bounds"] for micro in timed if "row_bounds" in micro]
    rows = [end - start for each in bounds for start, end in itertools.pairwise(each)]
    return round(sum(row**2 for row in rows) / sum(rows)) if rows else 0


def predicted_s(
    model: ModelFacts, settings: TrainSettings, gpu: Gpu, lengths: Counter[int], constants: SpeedConstants = FITTED
) -> float:
    """Seconds of a micro-step, its share of the update included, over batches as long as they were."""
    total = 0.0
    for length, count in lengths.items():
        is_full_row = settings.micro_batch == 1 and length == settings.seq_len_tokens
        batch = dataclasses.replace(settings, seq_len_tokens=length, padded=settings.padded and not is_full_row)
        speed = estimate_speed(model, batch, gpu, interconnect="nvlink", constants=constants)
        assert speed is not None
        total += count * speed.step_s / settings.accumulation
    return total / lengths.total()


def summary(rows: list[dict[str, Any]]) -> str:
    """Shares within 5% and 10%, the worst, and whether the device figure ever fell short."""
    errors = [abs(row["error"]) for row in rows]
    worst = max(rows, key=lambda row: abs(row["error"]))
    short = [row["id"] for row in rows if row["device_predicted"] < row["device_measured"]]
    times = [abs(row["step_predicted"] / row["step_measured"] - 1) for row in rows]
    return (
        f"{len(rows)} cases: within 5% {sum(error <= 0.05 for error in errors)}, within 10% "
        f"{sum(error <= 0.10 for error in errors)}, median {statistics.median(errors):.2%}, "
        f"worst {worst['error']:+.2%} ({worst['id']}); device memory predicted too low: {short or 'never'}; "
        f"time of a micro-step within 25% {sum(error <= 0.25 for error in times)}, "
        f"median {statistics.median(times):.1%}, worst {max(times):.1%}"
    )


def table(rows: list[dict[str, Any]]) -> list[str]:
    """The rows as Markdown."""
    columns = ["case", "widest moment", "predicted GB", "measured GB", "error", "device predicted", "measured"]
    lines = [f"| {' | '.join([*columns, 's predicted', 's measured'])} |", "|---|---|---|---|---|---|---|---|---|"]
    for row in sorted(rows, key=lambda row: row["id"]):
        figures = [row[key] / GB for key in ("predicted", "measured", "device_predicted", "device_measured")]
        cells = [
            row["id"], row["moment"], f"{figures[0]:.2f}", f"{figures[1]:.2f}", f"{row['error']:+.2%}",
            f"{figures[2]:.2f}", f"{figures[3]:.2f}", f"{row['step_predicted']:.2f}", f"{row['step_measured']:.2f}",
        ]  # fmt: skip
        lines.append(f"| {' | '.join(cells)} |")
    return lines


def out_of_memory() -> str:
    """What ran out of memory, and what had been predicted of it."""
    lines = []
    for record in all_records():
        if record["status"] == "oom":
            memory = estimate_memory(case_model(record["case"]), case_settings(record["case"]))
            share = memory.device_bytes / record["device_total"]
            lines.append(f"{record['id']} (predicted to need {share:.0%} of the card)")
    return f"Ran out of memory: {'; '.join(lines) or 'none'}."


def as_written_down() -> list[dict[str, Any]]:
    """The predictions of predicted.jsonl, written before the blind cases were run, beside what came."""
    lines = (_FOLDER / "predicted.jsonl").read_text(encoding="utf-8").splitlines()
    written = {line["id"]: line for line in map(json.loads, lines)}
    rows = []
    for record in load_records(BLIND):
        row, before = compare(record) | {"moment": ""}, written[record["id"]]
        row |= {"predicted": before["peak_allocated"], "device_predicted": before["device"]}
        row |= {"error": before["peak_allocated"] / row["measured"] - 1, "step_predicted": before["step_s"]}
        rows.append(row)
    return rows


def render(half: str = "all") -> str:
    """The tables and their summaries."""
    tables = {name: [compare(record) for record in load_records(name)] for name in (*HALVES, *LATER_HALVES)}
    tables[BLIND] = as_written_down()
    titles = {BLIND: "third round, as written down before it was run"}
    names = [*HALVES, BLIND, *LATER_HALVES] if half == "all" else [half]
    parts = []
    for name in names:
        if tables[name]:
            title = f"### {titles.get(name, name)}"
            parts.append("\n".join([title, "", *table(tables[name]), "", summary(tables[name])]))
    return "\n\n".join([*parts, out_of_memory()])


def main() -> None:
    """Print both halves, or one; or put them into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--half", choices=[*HALVES, BLIND, *LATER_HALVES, "all"], default="all")
    parser.add_argument("--write", action="store_true")
    options = parser.parse_args()
    if not options.write:
        print(render(options.half))
        return
    BLOCK.write(render())


if __name__ == "__main__":
    main()
