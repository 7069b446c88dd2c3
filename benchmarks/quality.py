r"""What training on the bundled sets teaches: quality.py RECIPE [KEY=VALUE ...] [--data mcp] [--seeds 1,2] [--out DIR].

Trains the recipe on each set once for each seed, by `lfwrap train`, and measures base and tuned model by `lfwrap eval`:
`mcp` on `mcp_val` (questions that it has not seen) and `mcp_new_tools` (tools that it has not seen), the others on the
rows that the run keeps back. Prints a table, a line for each set that was measured on, and leaves every report in DIR;
what DIR already holds is not done again, so that the same command goes on where it was stopped.

    MODEL_PATH=$(lfwrap demo --only-model) python benchmarks/quality.py recipes/demo.yaml cutoff_len=768 \
        num_train_epochs=1
"""

from __future__ import annotations

import argparse
import json
import statistics
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

LFWRAP = Path(sys.executable).with_name("lfwrap")
# Set → what it is measured on; none: the tenth of its rows that training keeps back.
MEASURED_ON: Mapping[str, tuple[str, ...]] = {
    "mcp": ("mcp_val", "mcp_new_tools"),
    "animals_zh": (),
    "harbour_en": (),
    "law_zh": (),
}
KEPT_BACK = "val_size=0.1"
COLUMNS = ("trained on", "measured on", "seeds", "loss", "exact calls", "calls", "right without a call")
HEAD = f"| {' | '.join(COLUMNS)} |\n{'|---' * len(COLUMNS)}|"


def lfwrap(*arguments: str | Path) -> None:
    """One command, whose output is shown. Raises CalledProcessError."""
    subprocess.run([str(LFWRAP), *map(str, arguments)], check=True)


def prepared_law(out: Path) -> list[str]:
    """The CSV set, prepared once: the values with which a recipe trains on it."""
    folder = out / "law_zh"
    if not (folder / "law_zh.jsonl").is_file():
        source = Path(__file__).parents[1] / "data/law_zh.csv"
        lfwrap("prepare-data", source, "--out", folder, "--name", "law_zh")
    return [f"dataset_dir={folder}"]


def measure(options: argparse.Namespace, name: str, seed: int) -> None:
    """Train on a set with a seed, and leave the reports of what it is measured on."""
    runs = options.out / f"{name}-{seed}"
    own_rows = not MEASURED_ON[name]
    values = [*options.values, f"dataset={name}", f"seed={seed}", *([KEPT_BACK] if own_rows else [])]
    values += prepared_law(options.out) if name == "law_zh" else []
    if not list(runs.glob("*/output/all_results.json")):
        lfwrap("train", options.recipe, *values, "--runs-dir", runs)
    for target in MEASURED_ON[name] or ("",):
        folder = runs / (target or "kept_back")
        if (folder / "report.json").is_file():
            continue
        data = ["--data", target] if target else []
        base = [] if seed == options.seeds[0] else ["--no-base"]  # it answers the same whatever the seed
        limit = ["--limit", str(options.limit)] if options.limit else []
        lfwrap(
            "eval", "tuned=latest", "--runs-dir", runs, *data, *base, *limit, "--max-new-tokens", "160", "--out", folder
        )


def table(reports: Mapping[tuple[str, str], Sequence[Mapping[str, Any]]]) -> str:
    """A Markdown table: base → the mean of the tuned models, with the lowest and highest of the seeds.

    Args:
        reports: (trained on, measured on) → what `lfwrap eval` left for each seed, the first with the base.
    """
    lines = [HEAD]
    for (name, target), found in reports.items():
        figures = [
            {"base" if model["name"] != "tuned" else "tuned": model for model in report["models"]} for report in found
        ]
        tuned = [one["tuned"] for one in figures]
        base = figures[0].get("base", {})
        cells = [
            _change(base, tuned, ("loss", "loss"), "{:.3f}"),
            _change(base, tuned, ("calls", "ast_accuracy"), "{:.1%}"),
            str(tuned[0].get("calls", {}).get("cases", "")),
            _change(base, tuned, ("calls", "no_call_accuracy"), "{:.1%}"),
        ]
        lines.append(f"| {name} | {target or 'rows kept back'} | {len(found)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def _change(base: Mapping[str, Any], tuned: Sequence[Mapping[str, Any]], path: tuple[str, str], form: str) -> str:
    block, key = path
    values = [model[block][key] for model in tuned if model.get(block, {}).get(key) is not None]
    if not values:
        return ""
    before = base.get(block, {}).get(key)
    spread = f" ({form.format(min(values))} to {form.format(max(values))})" if len(values) > 1 else ""
    return f"{'?' if before is None else form.format(before)} → {form.format(statistics.fmean(values))}{spread}"


def main() -> None:
    """Train, measure, print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("recipe")
    parser.add_argument("values", nargs="*", metavar="KEY=VALUE")
    parser.add_argument("--data", default="mcp", help=f"sets, with commas: {', '.join(MEASURED_ON)}")
    parser.add_argument("--seeds", default="42,43,44", type=lambda text: [int(one) for one in text.split(",")])
    parser.add_argument("--limit", type=int, help="only so many rows or cases of each set that is measured on")
    parser.add_argument("--out", type=Path, default=Path("quality"))
    options = parser.parse_intermixed_args()
    options.out = options.out.resolve()
    options.out.mkdir(parents=True, exist_ok=True)
    reports: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for name in options.data.split(","):
        for seed in options.seeds:
            measure(options, name, seed)
        for target in MEASURED_ON[name] or ("",):
            paths = [options.out / f"{name}-{seed}" / (target or "kept_back") / "report.json" for seed in options.seeds]
            reports[name, target] = [json.loads(path.read_bytes()) for path in paths]
    print(table(reports))


if __name__ == "__main__":
    main()
