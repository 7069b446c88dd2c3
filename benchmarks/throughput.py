"""Train recipes side by side on this machine, in the order A B A B …, and report speed, memory and loss.

    python benchmarks/throughput.py guide="guide.yaml" auto="my.yaml lfwrap.speed=auto" --rounds 3 --json out.json

Each way is started by `lfwrap train`, in round n with seed 42 + n (``--same-seed`` keeps the recipe's), so that its
rounds are its runs for the test of the loss curves (loss_curves.py). Train seconds are the engine's own, without start
and loading; real tokens are those of the data's rows, rendered by the engine and cut at the cutoff, without padding.
MFU counts 4 FLOPs a parameter and real token for adapters (forward and backward through a frozen base), 6 for all
weights. A way that fails, for want of memory say, is reported as failed. With ``--ahead`` the engine is given what
`lfwrap train --dry-run` renders, in processes that import it ahead of their turn: sooner done where runs are short.
Its MFU is that after the first update.

``--peer`` puts other trainers into the same rounds and the same table: what they are given, and where they may live,
stands in `peers/__init__.py`.
"""

from __future__ import annotations

import argparse
import functools
import json
import shlex
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent))

from ahead import Runner, render_case
from peers.commands import COMMANDS, Job
from peers.rows import Rows, encode_rows
from peers.run import Peer, find_peer, make_peers, run_peer
from peers.setting import render_setting
from throughput_table import Measured, markdown, summarise

from lfwrap.data.datasets.dataset import find_dataset
from lfwrap.data.datasets.rendered import rendered_lengths
from lfwrap.engine.locate import locate_engine
from lfwrap.files import write_json
from lfwrap.hardware.load import load_hardware
from lfwrap.model.hf_config import load_model_facts
from lfwrap.recipe.recipe import split_names
from lfwrap.yaml_files import load_yaml

FIRST_SEED = 42
_TIMEOUT_S = 3600.0
_FLOPS_PER_WEIGHT = {"lora": 4, "full": 6}


@dataclass(frozen=True, slots=True)
class Way:
    """A name, and what `lfwrap train` is given for it."""

    name: str
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Entry:
    """One run of a round: of a way, or of a peer on the first way's training."""

    name: str
    run: Callable[[int | None], tuple[Measured | None, str]]


@dataclass(frozen=True, slots=True)
class Data:
    """Rows of an epoch, and their tokens: all of them, and those that are supervised; cut at the cutoff."""

    rows: int
    tokens: int
    supervised_tokens: int


def parse_way(text: str) -> Way:
    """``NAME=RECIPE key=value …``. Raises ValueError for anything else."""
    name, equals, rest = text.partition("=")
    arguments = tuple(shlex.split(rest))
    if not equals or not name or not arguments:
        raise ValueError(f'{text}: expected NAME="RECIPE key=value …"')
    return Way(name, arguments)


def parse_place(text: str) -> tuple[str, Path]:
    """``NAME=PATH``. Raises ValueError for anything else."""
    name, equals, path = text.partition("=")
    if not equals or not name or not path:
        raise ValueError(f"{text}: expected NAME=PATH")
    return name, Path(path)


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
        stored = find_dataset(name, Path(dataset_dir))
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
    rows_seen = (found["losses"][-1][0] if found["losses"] else 0.0) * rows
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
        rows=rows_seen,
        tokens=tokens,
        supervised_tokens=supervised,
        peak_allocated_bytes=found["peak_allocated_bytes"],
        peak_reserved_bytes=found["peak_reserved_bytes"],
        mfu=utilisation(rates[0] or tokens / train_s, values, 1),
        curve=[(epoch * rows, loss) for epoch, loss in found["losses"]],
        steady_tokens_per_s=rates[0],
        steady_supervised_tokens_per_s=rates[1],
        steady_rows_per_s=_steady_rows(found["losses"], rows) / steady_s if steady_s else None,
        steady_updates_s=[update["s"] for update in steady],
        versions=found.get("versions", {}),
    )


def _steady_rows(losses: Sequence[Sequence[float]], rows: int) -> float:
    """Rows of the updates after the first, of losses by epochs of so many rows."""
    return (losses[-1][0] - losses[0][0]) * rows if losses else 0.0


def count_rows(values: Mapping[str, Any]) -> int:
    """Rows of an epoch, as they are stored."""
    most = values.get("max_samples")
    sets = [find_dataset(name, Path(str(values["dataset_dir"]))) for name in split_names(str(values["dataset"]))]
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


def train_peer(
    peer: Peer, way: Way, seed: int | None, rows: Rows, options: argparse.Namespace
) -> tuple[Measured | None, str]:
    """A few updates of another trainer on what a way trains; see `peers`."""
    seeded = [f"seed={seed}"] if seed is not None else []
    scratch = (options.runs_dir / "peers" / peer.name).resolve()
    try:
        setting = render_setting([*way.arguments, *seeded], updates=options.peer_updates)
    except ValueError as error:
        return None, str(error)
    found = run_peer(peer, Job(setting, rows, scratch, scratch / "result.json", peer.versions), options.peer_timeout)
    if found["status"] != "ok":
        return None, f"{found['status']}: {found['error']}"
    return read_ahead(found, peer.name, seed, setting.values, len(rows.lengths)), ""


def find_peers(options: argparse.Namespace) -> tuple[list[Peer], list[dict[str, str]]]:
    """Those that are installed, and the lines of those that are not. Raises ValueError for a place that is wrong."""
    found, absent = [], []
    if not options.peer and not options.peer_python:
        return [], []
    python = str(locate_engine().python)
    for peer in map(find_peer, make_peers(options.peer, dict(options.peer_python), python)):
        if peer.versions:
            found.append(peer)
        else:
            absent.append({"way": peer.name, "why": f"not installed: pip install {peer.name}"})
    return found, absent


def entries(options: argparse.Namespace, runner: Runner | None, peers: Sequence[Peer]) -> list[Entry]:
    """All that a round runs, one after another. Raises ValueError where peers can't be given the first way's rows."""

    def ours(way: Way, seed: int | None) -> tuple[Measured | None, str]:
        if runner is None:
            return train(way, seed, options.runs_dir)
        return train_ahead(way, seed, runner, options.limit_bytes)

    made = [Entry(way.name, functools.partial(ours, way)) for way in options.ways]
    if peers:
        first = options.ways[0]
        values = render_setting(first.arguments, updates=options.peer_updates).values
        rows = encode_rows(values, (options.runs_dir / "peers" / "rows").resolve(), str(locate_engine().python))
        made += [
            Entry(peer.name, functools.partial(train_peer, peer, first, rows=rows, options=options)) for peer in peers
        ]
    return made


def parse_options() -> argparse.Namespace:
    """The command line's."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ways", nargs="+", type=parse_way, metavar='NAME="RECIPE key=value …"')
    parser.add_argument("--rounds", type=int, default=3, help="runs of each way")
    parser.add_argument("--same-seed", action="store_true", help="keep the recipe's seed in every round")
    parser.add_argument("--runs-dir", type=Path, default=Path("throughput-runs"))
    parser.add_argument("--ahead", action="store_true", help="what `lfwrap train` renders, in processes of ahead.py")
    parser.add_argument("--limit-bytes", type=int, help="with --ahead: what torch may take of the GPU")
    parser.add_argument("--peer", action="append", default=[], choices=sorted(COMMANDS), help="train this, too")
    parser.add_argument(
        "--peer-python", action="append", default=[], type=parse_place, metavar="NAME=PATH",
        help="the peer's Python, or a folder of packages that goes before the engine's",
    )  # fmt: skip
    parser.add_argument("--peer-updates", type=int, default=4, help="after which a peer ends (default: 4)")
    parser.add_argument("--peer-timeout", type=float, default=600.0, metavar="SECONDS", help="(default: 600)")
    parser.add_argument("--json", type=Path, metavar="OUT", help="write everything measured, curves included")
    parser.add_argument("--markdown", type=Path, metavar="OUT", help="write the table")
    options = parser.parse_args()
    taken = [way.name for way in options.ways] + options.peer
    if len(set(taken)) < len(taken):
        parser.error(f"a name is given twice: {', '.join(taken)}")
    return options


def main() -> None:
    """Train, read, print the table."""
    options = parse_options()
    runs: list[Measured] = []
    failed: list[dict[str, str]] = []
    try:
        peers, absent = find_peers(options)
        runner = Runner(options.runs_dir.resolve()) if options.ahead else None
        round_of = entries(options, runner, peers)
    except ValueError as error:
        raise SystemExit(str(error)) from error
    for number in range(options.rounds):
        seed = None if options.same_seed else FIRST_SEED + number
        for entry in round_of:
            began_s = time.monotonic()
            run, why = entry.run(seed)
            if run is None:
                failed.append({"way": entry.name, "why": why})
                print(f"round {number + 1}, {entry.name}: failed: {why}", file=sys.stderr)
                continue
            runs.append(run)
            took_s = time.monotonic() - began_s
            print(f"round {number + 1}, {entry.name}: {run.train_s:.1f} s of {took_s:.1f}", file=sys.stderr)
        if runs:  # after each round: a lease may end before the last
            write_results({**summarise(runs), "failed": failed, "absent": absent}, options.json, options.markdown)
    if runner is not None:
        runner.close()
    if not runs:
        raise SystemExit("nothing was trained")
    print(markdown({**summarise(runs), "failed": failed, "absent": absent}))


def write_results(summary: dict[str, Any], json_path: Path | None, markdown_path: Path | None) -> None:
    """The files that were asked for."""
    if json_path:
        write_json(json_path.resolve(), summary)
    if markdown_path:
        markdown_path.write_text(markdown(summary) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
