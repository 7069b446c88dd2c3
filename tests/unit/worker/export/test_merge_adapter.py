"""The worker that merges a LoRA adapter: its numbers against the exact sum, its files, what fails."""

from __future__ import annotations

import json
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lfwrap.engine.arguments import worker_argv

np = pytest.importorskip("numpy")
from lfwrap_worker.export.tensor_arithmetic import Scratch, Share, from_float32, merge_rows  # noqa: E402 - needs numpy

VIEWS = {"F32": np.float32, "F16": np.float16, "BF16": np.uint16, "I32": np.int32}
CODES = {"float32": "F32", "float16": "F16", "bfloat16": "BF16"}
RANK, ALPHA = 3, 5


def _save(path: Path, tensors: dict[str, tuple[str, np.ndarray]]) -> None:
    header, body = {}, b""
    for name, (code, values) in tensors.items():
        content = values.tobytes()
        header[name] = {"dtype": code, "shape": values.shape, "data_offsets": [len(body), len(body) + len(content)]}
        body += content
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + body)


def _load(folder: Path) -> dict[str, tuple[str, np.ndarray]]:
    found = {}
    for path in sorted(folder.glob("*.safetensors")):
        content = path.read_bytes()
        (length,) = struct.unpack("<Q", content[:8])
        for name, entry in json.loads(content[8 : 8 + length]).items():
            if name != "__metadata__":
                start, end = (8 + length + offset for offset in entry["data_offsets"])
                values = np.frombuffer(content[start:end], VIEWS[entry["dtype"]]).reshape(entry["shape"])
                found[name] = (entry["dtype"], values)
    return found


def _round(values: np.ndarray, code: str) -> np.ndarray:
    """To the nearest, ties to even, by the distance to both neighbours rather than by bits."""
    if code != "BF16":
        return values.astype(VIEWS[code])
    below = (values.view(np.uint32) >> 16).astype(np.uint64)
    neighbours = [_widen(bits.astype(np.uint16)).astype(np.float64) for bits in (below, below + 1)]
    distances = [np.abs(values.astype(np.float64) - neighbour) for neighbour in neighbours]
    up = (distances[1] < distances[0]) | ((distances[1] == distances[0]) & (below % 2 == 1))
    return (below + up).astype(np.uint16)


def _widen(bits: np.ndarray) -> np.ndarray:
    return (bits.astype(np.uint32) << 16).view(np.float32)


@pytest.fixture
def folders(tmp_path):
    """Makes a base of two files, in a type, and an adapter on one of its matrices."""
    chosen = np.random.default_rng(0)

    def make(stored: str):
        base, adapter = tmp_path / "base", tmp_path / "adapter"
        base.mkdir()
        adapter.mkdir()
        plain = {name: chosen.normal(0, 0.5, shape).astype(np.float32)
                 for name, shape in (("embed", (50, 40)), ("x.up.weight", (70, 600)), ("norm", (40,)))}  # fmt: skip
        values = {name: (stored, _round(value, stored)) for name, value in plain.items()}
        _save(base / "model-1.safetensors", {name: values[name] for name in ("embed", "x.up.weight")})
        steps = {"steps": ("I32", np.arange(5, dtype=np.int32))}
        _save(base / "model-2.safetensors", {"norm": values["norm"], **steps})
        pair = {"A": chosen.normal(size=(RANK, 600)).astype(np.float32),
                "B": chosen.normal(size=(70, RANK)).astype(np.float32)}  # fmt: skip
        _save(adapter / "adapter_model.safetensors",
              {f"base_model.model.x.up.lora_{key}.weight": ("F32", value) for key, value in pair.items()})  # fmt: skip
        (adapter / "adapter_config.json").write_text(json.dumps({"r": RANK, "lora_alpha": ALPHA}))
        return {**values, **steps}, pair

    return make


def _run(folder: Path, out: str = "out", **wishes) -> dict:
    (folder / out).mkdir()
    job = {"base": str(folder / "base"), "adapter": str(folder / "adapter"), "out": str(folder / out),
           "dtype": "bfloat16", "shard_bytes": 10**9, "skip": [], **wishes}  # fmt: skip
    command = [sys.executable, *worker_argv("merge_adapter")]
    worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    worker.stdin.write(json.dumps(job) + "\n")
    worker.stdin.flush()
    event = json.loads(worker.stdout.readline())
    worker.stdin.close()
    worker.stdout.close()
    worker.wait(10)
    return event


@pytest.mark.parametrize("stored", sorted(CODES.values()))
@pytest.mark.parametrize("dtype", sorted(CODES))
def test_each_number_is_the_exact_sum_rounded_once(folders, tmp_path, merge_bound, stored, dtype):
    values, pair = folders(stored)
    event = _run(tmp_path, dtype=dtype)
    assert (event["event"], event["tensors"], event["merged"]) == ("done", 4, 1)
    assert {
        "read_s",
        "merge_s",
        "write_s",
        "sync_s",
        "wall_s",
        "processes",
        "user_s",
        "system_s",
        "minor_faults",
    } == event["timing"].keys()
    found = _load(tmp_path / "out")
    for name, (code, value) in values.items():
        if code == "I32":
            assert np.array_equal(found[name][1], value)
            continue
        assert found[name][0] == CODES[dtype]
        if name == "x.up.weight":
            exact, error = merge_bound.merged(merge_bound.widen(value, code), pair["A"], pair["B"], ALPHA / RANK)
            written = merge_bound.widen(found[name][1], CODES[dtype])
            assert merge_bound.is_within(written, exact, error, CODES[dtype]).all()
        else:  # no arithmetic: the very bits
            wide = _widen(value) if code == "BF16" else value.astype(np.float32)
            assert np.array_equal(found[name][1], _round(wide, CODES[dtype])), name


def test_files_are_split_and_indexed(folders, tmp_path):
    folders("BF16")
    event = _run(tmp_path, shard_bytes=80_000)
    assert event["files"] == ["model-00001-of-00003.safetensors", "model-00002-of-00003.safetensors",
                              "model-00003-of-00003.safetensors"]  # fmt: skip
    index = json.loads((tmp_path / "out" / "model.safetensors.index.json").read_text())
    assert index["weight_map"]["x.up.weight"] == event["files"][1]
    assert index["metadata"]["total_size"] == 2 * (50 * 40 + 70 * 600 + 40) + 4 * 5
    whole = _run(tmp_path, "whole")
    assert whole["files"] == ["model.safetensors"]
    one, other = _load(tmp_path / "out"), _load(tmp_path / "whole")
    assert all(np.array_equal(one[name][1], other[name][1]) for name in one.keys() | other.keys())


def test_tied_weights_are_left_out(folders, tmp_path):
    folders("F32")
    _run(tmp_path, skip=["embed"])
    assert "embed" not in _load(tmp_path / "out")


@pytest.mark.parametrize(
    ("harm", "message"),
    [
        (lambda folder: (folder / "base" / "model-1.safetensors").unlink(), "the base has no x.up.weight"),
        (lambda folder: _cut(folder / "base" / "model-1.safetensors"), "ends in the middle of x.up.weight"),
    ],
)
def test_what_is_wrong_is_told(folders, tmp_path, harm, message):
    folders("BF16")
    harm(tmp_path)
    event = _run(tmp_path)
    assert (event["event"], message in event["message"]) == ("error", True), event


def _cut(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 100)


@given(st.lists(st.floats(width=32), min_size=1, max_size=64))
def test_rounding_to_bf16_is_to_the_nearest_even(numbers):
    values = np.array(numbers, np.float32)
    out = np.empty(values.shape, np.uint16)
    from_float32(values.copy(), "BF16", out, np.empty(values.shape, np.uint32))
    finite = np.abs(values) < 3e38  # what rounds to infinity has no neighbour to measure by
    assert np.array_equal(out[finite], _round(values[finite], "BF16"))
    assert np.array_equal(np.isnan(_widen(out)), np.isnan(values))
    assert np.array_equal(_widen(out)[np.isinf(values)], values[np.isinf(values)])


@settings(max_examples=20, deadline=None)
@given(st.integers(1, 600), st.integers(1, 1500), st.integers(1, 20))
def test_tiles_give_the_exact_sum_rounded_once(merge_bound, rows, columns, rank):
    chosen = np.random.default_rng(rows * 7 + columns)
    weight = chosen.normal(size=(rows, columns)).astype(np.float32)
    down, up = (chosen.normal(size=shape).astype(np.float32) for shape in ((rank, columns), (rows, rank)))
    out = np.empty_like(weight)
    merge_rows(weight, out, ("F32", "F32"), Share(down, up, 0.5), Scratch())
    exact, error = merge_bound.merged(weight.astype(np.float64), down, up, 0.5)
    assert merge_bound.is_within(out.astype(np.float64), exact, error, "F32").all()
