"""Train recipes side by side on this machine, in the order A B A B …, and report speed, memory and loss.

    python benchmarks/throughput.py guide="guide.yaml" auto="my.yaml lfwrap.speed=auto" --rounds 3 --json out.json

Each way is started by `lfwrap train`, in round n with seed 42 + n (``--same-seed`` keeps the recipe's), so that its
rounds are its runs for the test of the loss curves (loss_curves.py). Train seconds are the engine's own, without start
and loading; real tokens are those of the data's rows, rendered by the engine and cut at the cutoff, without padding.
MFU counts 4 FLOPs a parameter and real token for adapters (forward and backward through a frozen base), 6 for all
weights. A way that fails, for want of memory say, is reported as failed. With ``--ahead`` the engine is given what
`lfwrap train --dry-run` renders, in processes that import it ahead of their turn: sooner done where runs are short.
Its MFU is that after the first update.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ahead import Runner, render_case
from loss_curves import Verdict, compare_curves

from lfwrap.data.rendered import rendered_lengths
from lfwrap.data.stored import find_stored_set
from lfwrap.engine.locate import locate_engine
from lfwrap.fsio import write_json
from lfwrap.hardware.profile import load_hardware
from lfwrap.model.facts import load_model_facts
from lfwrap.recipe.recipe import split_names
from lfwrap.yamlio import load_yaml

FIRST_SEED = 42
_TIMEOUT_S = 3600.0
_FLOPS_PER_WEIGHT = {"lora": 4, "full": 6}


@dataclass(frozen=True, slots=True)
class Way:
    """A name, and what `lfwrap train` is given for it."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Data:
    """Rows of an epoch, and their tokens: all of them, and those that are supervised; cut at the cutoff."""

    rows: int
    tokens: int
    supervised_tokens: int


@dataclass(frozen=True, slots=True)
class Measured:
    """One run.

    Attributes:
        way: its name.
        seed: of the run.
        path: its folder.
        train_s: seconds of training, as the engine counts them.
        updates: optimizer updates.
        rows: rows seen.
        tokens: real tokens seen.
        supervised_tokens: those that are learned.
        peak_allocated_bytes: of the fullest GPU; None on a CPU.
        peak_reserved_bytes: likewise.
        mfu: share of the GPUs' bf16 peak; None where that is unknown.
        curve: (rows seen, loss) at each update.
        steady_tokens_per_s: real tokens a second after the first update, which warms kernels up; None where unknown.
        steady_supervised_tokens_per_s: likewise.
    """

    way: str
    seed: int | None
    path: str
    train_s: float
    updates: int
    rows: float
    tokens: float
    supervised_tokens: float
    peak_allocated_bytes: int | None = None
    peak_reserved_bytes: int | None = None
    mfu: float | None = None
    curve: list[tuple[float, float]] = field(default_factory=list)
    steady_tokens_per_s: float | None = None
    steady_supervised_tokens_per_s: float | None = None


def parse_way(text: str) -> Way:
    """``NAME=RECIPE key=value …``. Raises ValueError for anything else."""
    name, equals, rest = text.partition("=")
    arguments = tuple(shlex.split(rest))
    if not equals or not name or not arguments:
        raise ValueError(f'{text}: expected NAME="RECIPE key=value …"')
    return Way(name, arguments)


def train(way: Way, seed: int | None, runs_dir: Path) -> tuple[Measured | None, str]:
    """One run of `lfwrap train`: what it came to, or None and why it failed."""
    command = [sys.executable, "-m", "lfwrap", "train", *way.arguments, *([f"seed={seed}"] if seed is not None else [])]
    command += ["--runs-dir", str(runs_dir), "--name", way.name, "--quiet", "--json"]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=False)
    try:
        said = json.loads(done.stdout)
    except ValueError:
        return None, f"exit code {done.returncode}"
    if done.returncode:
        return None, str(said["error"]["message"])
    return read_run(Path(said["path"]), way.name, seed), ""


def train_ahead(way: Way, seed: int | None, runner: Runner, limit_bytes: int | None) -> tuple[Measured | None, str]:
    """The same training without lfwrap around it, in a process that has imported the engine ahead, nothing saved."""
    seeded = [f"seed={seed}"] if seed is not None else []
    try:
        case = render_case(f"{way.name}-{seed}", [*way.arguments, *seeded], limit_bytes=limit_bytes)
    except ValueError as error:
        return None, str(error)
    found = runner.run(case, _TIMEOUT_S)
    if found["status"] != "ok":
        return None, f"{found['status']}: {found.get('error', '')[:200]}"
    return read_ahead(found, way.name, seed, case.values, count_rows(case.values)), ""


@functools.cache
def count_data(dataset: str, dataset_dir: str, *, template: str, model: str, cutoff: int, most: int | None) -> Data:
    """The tokens of a run's data, counted once: every row rendered by the engine, as `lfwrap data stats --rendered`."""
    totals = [0, 0, 0]
    for name in split_names(dataset):
        stored = find_stored_set(name, Path(dataset_dir))
        values = [row.value for row in stored.rows() if row.value is not None][:most]
        lengths = rendered_lengths(values, locate_engine(), template, model)
        totals[0] += len(lengths.total)
        totals[1] += sum(min(length, cutoff) for length in lengths.total)
        # What is cut off is taken as the last of the row, which is what is learned.
        totals[2] += sum(
            max(0, learned - max(0, length - cutoff))
            for length, learned in zip(lengths.total, lengths.trained, strict=True)
        )
    return Data(*totals)


def read_run(path: Path, way: str, seed: int | None, data: Data | None = None) -> Measured:
    """What a finished run left in its folder.

    Args:
        path: the folder.
        way: its way's name.
        seed: its seed.
        data: its data; None counts it.
    """
    values = load_yaml(path / "engine.yaml").values
    record = json.loads((path / "record.json").read_text())
    results = json.loads((path / "output" / "all_results.json").read_text())
    cutoff = int(values.get("cutoff_len") or 2048)
    data = data or count_data(
        str(values["dataset"]),
        str(values["dataset_dir"]),
        template=str(values["template"]),
        model=str(values["model_name_or_path"]),
        cutoff=cutoff,
        most=values.get("max_samples"),
    )
    train_s, epochs = float(results["train_runtime"]), float(results["epoch"])
    peaks = [json.loads(file.read_text()) for file in path.glob("attempts/*/ranks/*/memory.json")]
    tokens = epochs * data.tokens
    return Measured(
        way=way,
        seed=seed,
        path=str(path),
        train_s=train_s,
        updates=int(record["global_step"]),
        rows=epochs * data.rows,
        tokens=tokens,
        supervised_tokens=epochs * data.supervised_tokens,
        peak_allocated_bytes=max((peak["peak_allocated_bytes"] for peak in peaks), default=None),
        peak_reserved_bytes=max((peak["peak_reserved_bytes"] for peak in peaks), default=None),
        mfu=utilisation(tokens / train_s, values, int(record["world_size"])),
        curve=read_curve(path / "output" / "trainer_log.jsonl", data.rows),
    )


def read_ahead(found: dict[str, Any], way: str, seed: int | None, values: Mapping[str, Any], rows: int) -> Measured:
    """What a process of `ahead.py` saw; its tokens are counted in the batches themselves.

    Args:
        found: its result.
        way: the way's name.
        seed: the run's.
        values: the engine's.
        rows: rows of an epoch.
    """
    updates, train_s = found["updates"], float(found["train_s"])
    steady = updates[1:]
    steady_s = sum(update["s"] for update in steady)
    tokens, supervised = (sum(update[key] for update in updates) for key in ("tokens", "supervised_tokens"))
    rates = [
        sum(update[key] for update in steady) / steady_s if steady_s else None
        for key in ("tokens", "supervised_tokens")
    ]
    return Measured(
        way=way,
        seed=seed,
        path="",
        train_s=train_s,
        updates=len(updates),
        rows=(found["losses"][-1][0] if found["losses"] else 0.0) * rows,
        tokens=tokens,
        supervised_tokens=supervised,
        peak_allocated_bytes=found["peak_allocated_bytes"],
        peak_reserved_bytes=found["peak_reserved_bytes"],
        mfu=utilisation(rates[0] or tokens / train_s, values, 1),
        curve=[(epoch * rows, loss) for epoch, loss in found["losses"]],
        steady_tokens_per_s=rates[0],
        steady_supervised_tokens_per_s=rates[1],
    )


def count_rows(values: Mapping[str, Any]) -> int:
    """Rows of an epoch, as they are stored."""
    most = values.get("max_samples")
    sets = [find_stored_set(name, Path(str(values["dataset_dir"]))) for name in split_names(str(values["dataset"]))]
    return sum(min(sum(row.value is not None for row in stored.rows()), most or sys.maxsize) for stored in sets)


def utilisation(tokens_per_s: float, values: Mapping[str, Any], world_size: int) -> float | None:
    """Model FLOPs a second, 4 (6) a parameter and token, against the GPUs' bf16 peak; None where either is unknown."""
    facts, gpu = load_model_facts(str(values["model_name_or_path"])), load_hardware("auto").smallest_gpu
    if facts is None or gpu is None or not gpu.compute_flops:
        return None
    flops = _FLOPS_PER_WEIGHT.get(str(values.get("finetuning_type", "lora")), 6) * facts.parameters * tokens_per_s
    return flops / (gpu.compute_flops * world_size)


def read_curve(log: Path, rows: int) -> list[tuple[float, float]]:
    """(rows seen, loss) at each update that the engine logged."""
    lines = [json.loads(line) for line in log.read_text().splitlines() if line.strip()]
    return [(float(line["epoch"]) * rows, float(line["loss"])) for line in lines if line.get("loss") is not None]


def summarise(runs: Sequence[Measured]) -> dict[str, Any]:
    """Each way's medians, their ratio to the first way's, and whether its loss curves agree with the first's."""
    names = list(dict.fromkeys(run.way for run in runs))
    groups = {name: [run for run in runs if run.way == name] for name in names}
    base = groups[names[0]]
    ways = []
    for name, group in groups.items():
        verdict = Verdict(None) if group is base else compare_curves(_curves(base), _curves(group))
        median_s = statistics.median(run.train_s for run in group)
        ways.append(
            {
                "way": name,
                "runs": len(group),
                "train_s": median_s,
                "train_s_range": [min(run.train_s for run in group), max(run.train_s for run in group)],
                "times_as_fast": statistics.median(run.train_s for run in base) / median_s,
                "tokens_per_s": statistics.median(run.tokens / run.train_s for run in group),
                "supervised_tokens_per_s": statistics.median(run.supervised_tokens / run.train_s for run in group),
                "rows_per_s": statistics.median(run.rows / run.train_s for run in group),
                "updates": group[0].updates,
                "peak_allocated_bytes": max((run.peak_allocated_bytes or 0 for run in group), default=0) or None,
                "peak_reserved_bytes": max((run.peak_reserved_bytes or 0 for run in group), default=0) or None,
                "steady_tokens_per_s": _median([run.steady_tokens_per_s for run in group]),
                "steady_supervised_tokens_per_s": _median([run.steady_supervised_tokens_per_s for run in group]),
                "mfu": None if group[0].mfu is None else statistics.median(run.mfu or 0.0 for run in group),
                "last_loss": statistics.fmean([run.curve[-1][1] for run in group if run.curve] or [float("nan")]),
                "loss": None if group is base else verdict.to_json(),
            }
        )
    return {"ways": ways, "runs": [asdict(run) for run in runs]}


def _curves(group: Sequence[Measured]) -> list[list[tuple[float, float]]]:
    """One curve for each seed: doing a run again shows nothing of the noise between runs."""
    return list({run.seed: run.curve for run in reversed(group)}.values())


def _median(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return statistics.median(known) if known else None


def markdown(summary: dict[str, Any]) -> str:
    """The table that the documentation shows."""
    head = ("way", "train s", "times as fast", "tokens/s", "supervised/s", "rows/s", "updates", "peak GiB (reserved)",
            "MFU", "last loss", "tokens/s after update 1 (supervised)", "curves")  # fmt: skip
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    lines += ["| " + " | ".join(_cells(way)) + " |" for way in summary["ways"]]
    lines += [f"\n{each['way']} failed: {each['why']}" for each in summary.get("failed", [])]
    return "\n".join(lines)


def _cells(way: dict[str, Any]) -> list[str]:
    peak, reserved, steady = way["peak_allocated_bytes"], way["peak_reserved_bytes"], way["steady_tokens_per_s"]
    return [
        way["way"],
        f"{way['train_s']:.1f} ({way['train_s_range'][0]:.1f}-{way['train_s_range'][1]:.1f})",
        f"{way['times_as_fast']:.2f}",
        f"{way['tokens_per_s']:,.0f}",
        f"{way['supervised_tokens_per_s']:,.0f}",
        f"{way['rows_per_s']:.1f}",
        str(way["updates"]),
        f"{peak / 2**30:.1f} ({reserved / 2**30:.1f})" if peak and reserved else "-",
        f"{way['mfu']:.1%}" if way["mfu"] is not None else "-",
        f"{way['last_loss']:.4f}",
        f"{steady:,.0f} ({way['steady_supervised_tokens_per_s']:,.0f})" if steady else "-",
        _agreement(way["loss"]),
    ]


def _agreement(loss: dict[str, Any] | None) -> str:
    if loss is None:
        return "(compared with this)"
    if loss["agree"] is None:
        return "not tested: fewer than two seeds"
    return f"{'agree' if loss['agree'] else 'DIFFER'} (least p {loss['least_p']:.2g})"


def main() -> None:
    """Train, read, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="+", type=parse_way, metavar='NAME="RECIPE key=value …"')
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way")
    parser.add_argument("--same-seed", action="store_true", help="keep the recipe's seed in every round")
    parser.add_argument("--runs-dir", type=Path, default=Path("throughput-runs"))
    parser.add_argument("--ahead", action="store_true", help="what `lfwrap train` renders, in processes of ahead.py")
    parser.add_argument("--limit-bytes", type=int, help="with --ahead: what torch may take of the GPU")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything measured, curves included")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="write the table")
    options = parser.parse_args()
    runs: list[Measured] = []
    failed: list[dict[str, str]] = []
    runner = Runner(options.runs_dir.resolve()) if options.ahead else None
    for number in range(options.rounds):
        seed = None if options.same_seed else FIRST_SEED + number
        for way in options.ways:
            began_s = time.monotonic()
            if runner is None:
                run, why = train(way, seed, options.runs_dir)
            else:
                run, why = train_ahead(way, seed, runner, options.limit_bytes)
            if run is None:
                failed.append({"way": way.name, "why": why})
                print(f"round {number + 1}, {way.name}: failed: {why}", file=sys.stderr)
                continue
            runs.append(run)
            took_s = time.monotonic() - began_s
            print(f"round {number + 1}, {way.name}: {runs[-1].train_s:.1f} s of {took_s:.1f}", file=sys.stderr)
        if runs:  # after each round: a lease may end before the last
            write_results({**summarise(runs), "failed": failed}, options.json, options.markdown)
    if runner is not None:
        runner.close()
    if not runs:
        raise SystemExit("nothing was trained")
    print(markdown({**summarise(runs), "failed": failed}))


def write_results(summary: dict[str, Any], json_path: Path | None, markdown_path: Path | None) -> None:
    """The files that were asked for."""
    if json_path:
        write_json(json_path.resolve(), summary)
    if markdown_path:
        markdown_path.write_text(markdown(summary) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
