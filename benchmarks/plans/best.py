"""The best plans for the paper recipe on four machines, with their reasons: what docs/how-to/plan.md shows.

    python benchmarks/plans/best.py            print them
    python benchmarks/plans/best.py --write    put them into the page

The rows are 999 Alpaca rows, whose lengths stand in alpaca_lengths.json (counted with SmolLM2's tokenizer and the
template qwen; Qwen's own makes them about as long). tests/docs holds the page to what this prints.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from page_block import PageBlock

from lfwrap.engine.facts import load_engine_facts
from lfwrap.errors import PlanError
from lfwrap.hardware.load import load_hardware
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.plan import Plan
from lfwrap.recipe.recipe import load_recipe
from lfwrap.recipe.values import resolve_values
from lfwrap.strategy.planning import Machine
from lfwrap.strategy.strategy import plan_strategy
from lfwrap.units import format_bytes, format_duration

ROOT = Path(__file__).parents[2]
BLOCK = PageBlock(ROOT / "docs" / "how-to" / "plan.md", "benchmarks/plans/best.py")
MACHINES = {
    "h100-80gb": ("one H100, 80 GB", ()),
    "2x-h200": ("two H200", ()),
    "rtx-4090": ("RTX 4090, 24 GB", ()),
    "t4": ("T4, 16 GB", ()),
    "t4 ": ("T4 with `quantization_bit=4`", ("quantization_bit=4",)),
}


def load_rows() -> RowLengths:
    """The rows that are planned for."""
    lengths = tuple(json.loads((Path(__file__).with_name("alpaca_lengths.json")).read_text(encoding="utf-8")))
    return RowLengths(max(lengths), sum(lengths) / len(lengths), len(lengths), lengths, "999 Alpaca rows")


def make_best(machine: str, overrides: tuple[str, ...]) -> Plan | PlanError:
    """The plan that `lfwrap train` follows there, or why there is none."""
    hardware = load_hardware(machine.strip())
    recipe = load_recipe(ROOT / "recipes" / "paper.yaml", overrides, environ={})
    try:
        values = resolve_values(recipe, load_engine_facts(), hardware)
        planned = plan_strategy(values, Machine(hardware, hardware.world_size), load_rows())
    except PlanError as error:
        return error
    assert planned.plan is not None
    return planned.plan


def row(title: str, plan: Plan | PlanError) -> str:
    """One line of the table."""
    if isinstance(plan, PlanError):
        return f"| {title} | does not fit | | | | |"
    candidate = plan.candidate
    assert candidate.speed is not None
    assert plan.duration_s is not None
    kind = f"packs of {candidate.settings.seq_len_tokens}" if candidate.settings.packing else "rows"
    memory = f"{format_bytes(candidate.memory.device_bytes)} of {format_bytes(candidate.limit_bytes)}"
    return (
        f"| {title} | {candidate.batch} {kind} | {candidate.rows_per_update:.1f} | {memory} |"
        f" {candidate.speed.tokens_per_s:,.0f} | {plan.steps} in {format_duration(plan.duration_s)} |"
    )


def reasons(title: str, plan: Plan | PlanError) -> list[str]:
    """Why, and what the nearest other ways would have cost."""
    if isinstance(plan, PlanError):
        return [f"- **{title}**: {plan.message} {plan.hint}"]
    said = {f"`{key}: {str(value).lower()}`": reason for key, (value, reason) in plan.candidate.changes.items()}
    merged: dict[str, list[str]] = {}
    for key, reason in said.items():
        merged.setdefault(reason, []).append(key)
    lines = [f"- **{title}**: " + " ".join(f"{', '.join(keys)}: {reason}" for reason, keys in merged.items())]
    lines += [f"  - not {each.settings}: {each.why}" for each in plan.rejected if "grouped" not in each.settings][:4]
    return lines


def render() -> str:
    """The block of the page."""
    plans = {title: make_best(machine, overrides) for machine, (title, overrides) in MACHINES.items()}
    lines = [
        "| machine | micro-batch × accumulation × GPUs | rows an update | device memory | tokens/s | updates |",
        "|---|---|---|---|---|---|",
        *(row(title, plan) for title, plan in plans.items()),
        "",
        *(line for title, plan in plans.items() for line in reasons(title, plan)),
    ]
    return "\n".join(lines)


def main() -> None:
    """Print the block, or put it into the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true")
    if not parser.parse_args().write:
        print(render())
        return
    BLOCK.write(render())


if __name__ == "__main__":
    main()
