"""prepare-data against other ways: prepare_data.py [--rows N] [--rounds N] [--source ALPACA.json …].

Makes an Alpaca JSONL file and a CSV file of N distinct rows, then times, in turns and each in a process of its own with
its start included: `lfwrap prepare-data` with all checks and dedup (without the engine check, which the others lack), a
bare orjson loop, a csv.reader + orjson loop, and, where they are installed, Hugging Face datasets (load, map, to_json)
and convmerge. Prints seconds, MB/s of input, peak memory of the largest process, and ratios of the medians.
"""

from __future__ import annotations

import argparse
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
from pathlib import Path
from typing import Any

ORJSON_LOOP = """
import sys, orjson
with open(sys.argv[1], "rb") as source, open(sys.argv[2], "wb") as sink:
    for line in source:
        row = orjson.loads(line)
        question = row["instruction"] + "\\n" + row["input"] if row["input"] else row["instruction"]
        turns = [{"from": "human", "value": question}, {"from": "gpt", "value": row["output"]}]
        sink.write(orjson.dumps({"conversations": turns, "system": "", "tools": ""}) + b"\\n")
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
WORDS = ("model", "reads", "row", "of", "text", "and", "learns", "how", "people", "answer", "in", "plain", "words")
HAN = "模型读取一行文字并学习人们如何用平实的语言回答这样的问题数据训练结果法律动物健康"


def make_rows(count: int, source: list[Path]) -> list[dict[str, str]]:
    """Distinct rows: those of the sources again and again, each with its number, or made-up ones of like length."""
    given = [row for path in source for row in json.loads(path.read_text(encoding="utf-8"))]
    draw = random.Random(1)  # noqa: S311 - no secret
    if not given:
        given = [made_up(draw) for _ in range(2000)]
    return [{**draw.choice(given), "instruction": f"{draw.choice(given)['instruction']} #{n}"} for n in range(count)]


def made_up(draw: random.Random) -> dict[str, str]:
    """A row of about the length of Alpaca's, every other one Chinese."""
    if draw.random() < 0.5:
        texts = ["".join(draw.choices(HAN, k=draw.randint(8, 60))) for _ in range(draw.randint(2, 8))]
    else:
        texts = [" ".join(draw.choices(WORDS, k=draw.randint(8, 40))) for _ in range(draw.randint(2, 8))]
    return {"instruction": texts[0], "input": texts[1][:40] if draw.random() < 0.3 else "", "output": "\n".join(texts)}


def write_inputs(folder: Path, count: int, source: list[Path]) -> tuple[Path, Path]:
    """The JSONL and the CSV file."""
    lines, table = folder / "rows.jsonl", folder / "rows.csv"
    rows = make_rows(count, source)
    with lines.open("w", encoding="utf-8") as sink:
        sink.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    with table.open("w", encoding="utf-8", newline="") as sink:
        writer = csv.DictWriter(sink, ["instruction", "input", "output"], extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)
    return lines, table


def measure(command: list[str]) -> tuple[float, float]:
    """Wall seconds and peak resident MB of a command that succeeds."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    _, status, usage = os.wait4(process.pid, 0)
    elapsed_s = time.perf_counter() - began
    if status:
        assert process.stderr is not None
        sys.exit(f"{command[:3]} failed:\n{process.stderr.read().decode()[-2000:]}")
    return elapsed_s, usage.ru_maxrss / 1024


def contenders(lines: Path, table: Path, folder: Path) -> dict[str, list[str]]:
    """Name → command."""
    out = str(folder / "out.jsonl")
    lfwrap = [sys.executable, "-m", "lfwrap", "prepare-data", "--name", "x", "--no-engine-check"]
    found = {
        "lfwrap jsonl": [*lfwrap, str(lines), "--out", str(folder / "out")],
        "orjson loop": [sys.executable, "-c", ORJSON_LOOP, str(lines), out],
        "lfwrap csv": [*lfwrap, str(table), "--out", str(folder / "out")],
        "csv.reader + orjson": [sys.executable, "-c", CSV_LOOP, str(table), out],
    }
    if importlib.util.find_spec("datasets"):
        found["datasets"] = [sys.executable, "-c", HF_DATASETS, str(lines), out]
    if convmerge := shutil.which("convmerge", path=str(Path(sys.executable).parent)):
        found["convmerge"] = [convmerge, "convert", str(lines), "-o", out, "--format", "messages"]
    return found


def main() -> None:
    """Measure and print one JSON object."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=200_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--source", type=Path, nargs="*", default=[])
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as name:
        folder = Path(name)
        lines, table = write_inputs(folder, options.rows, options.source)
        commands = contenders(lines, table, folder)
        taken: dict[str, list[tuple[float, float]]] = {contender: [] for contender in commands}
        for number in range(options.rounds):
            for contender, command in commands.items():
                if number and contender == "datasets":
                    continue  # minutes each: once is enough
                shutil.rmtree(folder / "out", ignore_errors=True)
                (folder / "out.jsonl").unlink(missing_ok=True)
                taken[contender].append(measure(command))
        sizes = {contender: (table if "csv" in contender else lines).stat().st_size for contender in commands}
    print(json.dumps(summarise(taken, sizes, options.rows), indent=2))


def summarise(taken: dict[str, list[tuple[float, float]]], sizes: dict[str, int], rows: int) -> dict[str, Any]:
    """Medians and ratios; a ratio above 1 means that lfwrap is quicker."""
    medians = {contender: statistics.median(seconds for seconds, _ in runs) for contender, runs in taken.items()}
    return {
        "rows": rows,
        "cpus": os.cpu_count(),
        "contenders": {
            contender: {
                "median_s": round(medians[contender], 2),
                "seconds": [round(seconds, 2) for seconds, _ in runs],
                "mb_per_s": round(sizes[contender] / 1e6 / medians[contender]),
                "peak_mb": round(max(peak for _, peak in runs)),
            }
            for contender, runs in taken.items()
        },
        "ratios": {
            f"lfwrap against {contender}": round(
                median / medians["lfwrap csv" if "csv" in contender else "lfwrap jsonl"], 2
            )
            for contender, median in medians.items()
            if not contender.startswith("lfwrap")
        },
    }


if __name__ == "__main__":
    main()
