"""prepare-data from standard input, named pipes and ``<(command)``; and its memory on large files of one object."""

import gzip
import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

COMMAND = [sys.executable, "-m", "lfwrap", "prepare-data", "--no-engine-check"]
ROWS = [{"instruction": question, "input": "", "output": f"to {question}"} for question in "ab"]
LINES = "".join(json.dumps(row) + "\n" for row in ROWS).encode()
TEXTS = {
    "lines": LINES,
    "list": json.dumps(ROWS, indent=1).encode(),
    "wrapper": json.dumps({"n": 2, "data": ROWS}).encode(),
    "csv": b"ask,answer\na,to a\nb,to b\n",
    "packed": gzip.compress(LINES),
    "gbk": "提问,回复\na,to a\nb,to b\n".encode("gbk"),
}


def asked(folder: Path) -> list[str]:
    lines = (folder / "out" / "x.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(line)["conversations"][0]["value"] for line in lines]


def options(folder: Path) -> list[str]:
    return ["--out", str(folder / "out"), "--name", "x"]


@pytest.mark.parametrize("content", TEXTS.values(), ids=TEXTS)
@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_standard_input(tmp_path: Path, name: str, content: bytes) -> None:
    done = subprocess.run([*COMMAND, name, *options(tmp_path)], input=content, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert asked(tmp_path) == ["a", "b"]
    assert f"{name}: detected" in done.stderr.decode()
    assert not list((tmp_path / "out").glob(".lfwrap-staging-*"))


def test_process_substitution_and_a_named_pipe(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(LINES)
    command = " ".join([*COMMAND, f"<(cat {tmp_path / 'a'})", *options(tmp_path)])
    done = subprocess.run(["bash", "-c", command], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr.decode()
    assert asked(tmp_path) == ["a", "b"]
    pipe = tmp_path / "rows.jsonl"
    subprocess.run(["mkfifo", str(pipe)], check=True)
    writer = threading.Thread(target=pipe.write_bytes, args=(LINES,), daemon=True)
    writer.start()
    done = subprocess.run([*COMMAND, str(pipe), *options(tmp_path), "--force"], capture_output=True, check=False)
    writer.join()
    assert done.returncode == 0, done.stderr.decode()
    assert asked(tmp_path) == ["a", "b"]


def test_a_list_of_standard_input(tmp_path: Path) -> None:
    content = json.dumps({"train": ROWS[:1], "test": ROWS[1:]}).encode()
    done = subprocess.run(
        [*COMMAND, "/dev/stdin#train", *options(tmp_path)], input=content, capture_output=True, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    assert asked(tmp_path) == ["a"]


MEASURE = """
import resource, subprocess, sys
subprocess.run(sys.argv[1:], check=False)
print("peak", resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024)
"""


def peak_mib(source: Path, out: Path) -> tuple[int, str]:
    command = [sys.executable, "-c", MEASURE, *COMMAND, str(source), "--jobs", "1"]
    done = subprocess.run(
        [*command, "--out", str(out), "--name", "x", "--force"], capture_output=True, text=True, check=False
    )
    return int(done.stdout.rpartition("peak ")[2]), done.stderr


def write_large(path: Path, layout: str, size: int) -> Path:
    rows = [json.dumps({**ROWS[0], "instruction": f"q{n}", "output": "some words " * 90}) for n in range(size // 1060)]
    before, between, after = {
        "wrapper": ('{"version": 1, "data": [', ", ", "]}"),
        "two lists": ('{"a": [{"instruction": "q", "output": "a"}], "data": [', ", ", "]}"),
        "pretty records": ("", "\n", ""),
        "list": ("[", ",\n", "]"),
    }[layout]
    if layout == "pretty records":
        rows = [json.dumps(json.loads(row), indent=2) for row in rows]
    path.write_text(before + between.join(rows) + after, encoding="utf-8")
    return path


@pytest.mark.parametrize("layout", ["wrapper", "two lists", "pretty records", "list"])
def test_memory_does_not_grow_with_the_file(tmp_path: Path, layout: str) -> None:
    small, _ = peak_mib(write_large(tmp_path / "s.json", layout, 2 << 20), tmp_path / "out")
    large, said = peak_mib(write_large(tmp_path / "l.json", layout, 24 << 20), tmp_path / "out")
    assert "written" in said
    assert large - small < 32  # keys of rows, and a few chunks


@pytest.mark.parametrize(
    ("name", "before", "piece"),
    [
        ("a.jsonl", b"", b"x"),
        ("a.jsonl", LINES, b'{"instruction": "q", "output": "' + b"x" * 1000),
        ("a.json", b"[" + LINES.strip().replace(b"\n", b",\n") + b",\n", b'{"instruction": "' + b"y" * 1000),
        ("a.json", b'{"data": [', b'{"instruction": "' + b"y" * 1000),
        ("a.csv", b"ask,answer\nq,a\n", b"z" * 1000),
        ("a.json", b"", b'{"instruction": "'),
    ],
)
def test_a_line_without_an_end_is_refused_before_it_is_in_memory(
    tmp_path: Path, name: str, before: bytes, piece: bytes
) -> None:
    path = tmp_path / name
    with path.open("wb") as sink:
        sink.write(before + piece)
        for _ in range(150):
            sink.write(b"x" * (1 << 20))
    peak, said = peak_mib(path, tmp_path / "out")
    path.unlink()
    assert f"{name}:" in said
    assert "MiB" in said or "not valid JSON" in said or "no record ends" in said, said
    assert peak < 350, said
