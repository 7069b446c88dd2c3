"""prepare-data against other ways: prepare_data.py [--rows N] [--rounds N] [--only NAME …] [--source ALPACA.json …].

Makes an Alpaca JSONL file and a CSV file of N distinct rows, then times, in turns and each in a process of its own with
its start included: `lfwrap prepare-data` with all checks and dedup (without the engine check, which the others lack), a
bare orjson loop, the same loop in two processes with half of the lines each (its output in two files: a bound for what
parses with orjson on two CPUs), a csv.reader + orjson loop, and, where they are installed, Hugging Face datasets (load,
map, to_json) and convmerge (Alpaca to ShareGPT with its checks, a process for each CPU; it looks for duplicates in a
second command, which is not counted). Prints seconds, MB/s of input, the most resident memory that all processes of a
contender had together (in a first round, which is not timed), and ratios of the medians; above 1 means that lfwrap is
quicker. Every contender finds its own modules compiled, as after an installation.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib.util
import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

ORJSON_LOOP = """
import sys, orjson
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as sink:
    for line in source:
        row = orjson.loads(line)
        question = row["instruction"] + "\\n" + row["input"] if row["input"] else row["instruction"]
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": row["output"]}]
        sink.write(orjson.dumps({"conversations": turns, "system": "", "tools": ""}) + b"\\n")
"""
ORJSON_HALVES = """
import os, sys, orjson
path, middle = sys.argv[1], os.path.getsize(sys.argv[1]) // 2
def convert(start, end, sink_path):
    with open(path, "rb") as source, open(sink_path, "wb") as sink:
        if start:
            source.seek(start - 1)
            start += len(source.readline()) - 1
        for line in source:
            if start >= end:
                break
            start += len(line)
            row = orjson.loads(line)
            question = row["instruction"] + "\\n" + row["input"] if row["input"] else row["instruction"]
            turns = [{"from": "human", "value": question}, {"from": "gpt", "value": row["output"]}]
            sink.write(orjson.dumps({"conversations": turns, "system": "", "tools": ""}) + b"\\n")
child = os.fork()
if child:
    convert(0, middle, sys.argv[2])
    os.waitpid(child, 0)
else:
    convert(middle, 2 * middle + 1, sys.argv[2] + ".second")
    os._exit(0)
"""
CSV_LOOP = """
import csv, sys, orjson
with open(sys.argv[1], encoding="utf-8", newline="") as source, open(sys.argv[2], "wb") as sink:
    rows = csv.reader(source)
    next(rows)
    for instruction, more, output in rows:
        question = instruction + "\\n" + more if more else instruction
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": output}]
        sink.write(orjson.dumps({"conversations": turns, "system": "", "tools": ""}) + b"\\n")
"""
HF_DATASETS = """
import sys, tempfile, datasets
def convert(row):
    question = row["instruction"] + "\\n" + row["input"] if row["input"] else row["instruction"]
    turns = [{"from": "human", "value": question}, {"from": "gpt", "value": row["output"]}]
    return {"conversations": turns, "system": "", "tools": ""}
with tempfile.TemporaryDirectory() as cache:
    rows = datasets.load_dataset("json", data_files=sys.argv[1], split="train", cache_dir=cache)
    rows.map(convert, remove_columns=rows.column_names).to_json(sys.argv[2], force_ascii=False)
"""
_LOOK_EVERY_S = 0.05
_SLOW = ("datasets", "convmerge")
WORDS = ("model", "reads", "row", "of", "text", "and", "learns", "how", "people", "answer", "in", "plain", "words")
HAN = "模型读取一行文字并学习人们如何用平实的语言回答这样的问题数据训练结果法律动物健康"


def make_rows(count: int, source: list[Path]) -> Iterator[dict[str, str]]:
    """Distinct rows: those of the sources again and again, each with its number, or made-up ones of like length."""
    given = [row for path in source for row in json.loads(path.read_text(encoding="utf-8"))]
    draw = random.Random(1)  # noqa: S311 - no secret
    if not given:
        given = [made_up(draw) for _ in range(2000)]
    for number in range(count):
        yield {**draw.choice(given), "instruction": f"{draw.choice(given)['instruction']} #{number}"}


def made_up(draw: random.Random) -> dict[str, str]:
    """A row of about 950 bytes, as in the Alpaca sets at hand; every other one is Chinese."""
    if draw.random() < 0.5:
        texts = ["".join(draw.choices(HAN, k=draw.randint(8, 60))) for _ in range(draw.randint(3, 10))]
    else:
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(8, 40))) for _ in range(draw.randint(3, 10))]
    return {"instruction": texts[0], "input": texts[1][:40] if draw.random() < 0.3 else "", "output": "\n".join(texts)}


def write_inputs(folder: Path, count: int, source: list[Path]) -> tuple[Path, Path]:
    """The JSONL and the CSV file."""
    lines, table = folder / "rows.jsonl", folder / "rows.csv"
    with lines.open("w", encoding="utf-8") as sink:
        sink.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in make_rows(count, source))
    with table.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.DictWriter(sink, ["instruction", "input", "output"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(make_rows(count, source))
    return lines, table


def measure_s(command: list[str]) -> float:
    """Wall seconds of a command that succeeds."""
    began = time.perf_counter()
    done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False, env=environment())
    elapsed_s = time.perf_counter() - began
    if done.returncode:
        sys.exit(f"{command[:3]} failed:\n{done.stderr.decode()[-2000:]}")
    return elapsed_s


def environment() -> dict[str, str]:
    """That of the caller, but compiled modules are kept: where they are not, each start compiles all of lfwrap."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}


def measure_peak_bytes(command: list[str]) -> int:
    """The most resident memory that a command and its children have together; what they share counts for each."""
    process = psutil.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=environment())
    peak_bytes = 0
    while process.poll() is None:
        with contextlib.suppress(psutil.NoSuchProcess):
            members = [process, *process.children(recursive=True)]
            peak_bytes = max(peak_bytes, sum(member.memory_info().rss for member in members))
        time.sleep(_LOOK_EVERY_S)
    return peak_bytes


def contenders(lines: Path, table: Path, folder: Path) -> dict[str, list[str]]:
    """Name → command."""
    out = str(folder / "out.jsonl")
    lfwrap = [sys.executable, "-m", "lfwrap", "prepare-data", "--name", "x", "--no-engine-check"]
    found = {
        "lfwrap jsonl": [*lfwrap, str(lines), "--out", str(folder / "out")],
        "orjson loop": [sys.executable, "-c", ORJSON_LOOP, str(lines), out],
        "orjson loop, halves": [sys.executable, "-c", ORJSON_HALVES, str(lines), out],
        "lfwrap csv": [*lfwrap, str(table), "--out", str(folder / "out")],
        "csv.reader + orjson": [sys.executable, "-c", CSV_LOOP, str(table), out],
    }
    if importlib.util.find_spec("datasets"):
        found["datasets"] = [sys.executable, "-c", HF_DATASETS, str(lines), out]
    if convmerge := shutil.which("convmerge", path=str(Path(sys.executable).parent)):
        convert = [convmerge, "convert", "--input", str(lines), "--output", out, "--from", "alpaca"]
        found["convmerge"] = [*convert, "--format", "sharegpt", "--workers", str(os.cpu_count())]
    return found


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--only", nargs="*", default=[], help="contenders, such as 'lfwrap jsonl' 'orjson loop'")
    parser.add_argument("--source", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        lines, table = write_inputs(folder, options.rows, options.source)
        commands = {
            contender: command
            for contender, command in contenders(lines, table, folder).items()
            if not options.only or contender in options.only
        }
        peaks: dict[str, int] = {}
        for contender, command in commands.items():
            clear(folder)
            peaks[contender] = measure_peak_bytes(command)
        seconds: dict[str, list[float]] = {contender: [] for contender in commands}
        for number in range(options.rounds):
            for contender, command in commands.items():
                if number and contender in _SLOW:
                    continue  # minutes each: once is enough
                clear(folder)
                seconds[contender].append(measure_s(command))
        load = os.getloadavg()[0]
        sizes = {contender: (table if "csv" in contender else lines).stat().st_size for contender in commands}
    summary = {"rows": options.rows, "cpus": os.cpu_count(), "load": round(load, 2)}
    print(json.dumps({**summary, **summarise(seconds, peaks, sizes)}, indent=2))


def clear(folder: Path) -> None:
    """Take away what the last contender wrote."""
    shutil.rmtree(folder / "out", ignore_errors=True)
    for path in folder.glob("out.jsonl*"):
        path.unlink()


def summarise(seconds: dict[str, list[float]], peaks: dict[str, int], sizes: dict[str, int]) -> dict[str, Any]:
    """Medians and ratios; a ratio above 1 means that lfwrap is quicker."""
    medians = {contender: statistics.median(taken) for contender, taken in seconds.items()}
    own = {contender: "lfwrap csv" if "csv" in contender else "lfwrap jsonl" for contender in medians}
    return {
        "contenders": {
            contender: {
                "median_s": round(medians[contender], 3),
                "least_s": round(min(taken), 3),
                "seconds": [round(second, 3) for second in taken],
                "mb_per_s": round(sizes[contender] / 1e6 / medians[contender]),
                "peak_mb": round(peaks[contender] / 1e6),
            }
            for contender, taken in seconds.items()
        },
        "ratios": {
            f"{own[contender]} against {contender}": round(median / medians[own[contender]], 2)
            for contender, median in medians.items()
            if own[contender] in medians and contender != own[contender]
        },
    }


if __name__ == "__main__":
    main()
