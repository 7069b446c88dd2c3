"""`lfwrap eval` with the real engine: its losses are the engine's, and tuning on tool calls shows."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap.data.output.registry import dataset_entry
from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.locate import locate_engine
from lfwrap.evaluate.evaluate import EvalSession
from lfwrap.evaluate.metrics import loss_metrics
from lfwrap.inference.candidates import BASE
from lfwrap.inference.held_out_rows import EvalRows, LabelSettings, load_rows, validation_rows
from lfwrap.inference.target import resolve_target
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import Run, RunRecord, RunState

pytestmark = [pytest.mark.engine, pytest.mark.timeout(1800)]

HERE = Path(__file__).parent
CUTOFF_LEN = 160
TOOLS = json.dumps([{"type": "function", "function": {"name": "add", "description": "d", "parameters": {
    "type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]}}}])  # fmt: skip


def rows() -> list[dict]:
    """Short and long rows, several turns, a system prompt; three are longer than the cutoff."""
    found = []
    for number in range(10):
        turns = [
            {"from": "human", "value": f"What is {number}?"},
            {"from": "gpt", "value": "A number. " * (1 + number % 4)},
        ]
        if number % 3 == 0:
            turns += [{"from": "human", "value": "Sure?"}, {"from": "gpt", "value": f"Yes, {number}."}]
        if number % 5 == 0:
            turns[-1] = {"from": "function_call", "value": json.dumps({"name": "add", "arguments": {"a": number}})}
        system = "Be brief." if number % 2 else ""
        found.append({"conversations": turns, "system": system, "tools": TOOLS if number % 5 == 0 else ""})
    return found


@pytest.fixture(scope="module")
def data(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("data")
    (folder / "mixed.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows()), encoding="utf-8")
    (folder / "dataset_info.json").write_text(json.dumps({"mixed": dataset_entry("mixed.jsonl")}))
    return folder


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "one"
    subprocess.run(
        [sys.executable, HERE / "make_adapter.py", tiny_model, out, "1"], check=True, capture_output=True, timeout=120
    )
    return out


@pytest.fixture(scope="module")
def engine_losses(tiny_model, adapter, data, tmp_path_factory) -> dict[str, float]:
    """The engine's eval_loss: one row a batch, all in one batch, of the base, and of a split-off part."""
    common = {
        "model_name_or_path": str(tiny_model), "template": "qwen", "stage": "sft", "finetuning_type": "lora",
        "do_eval": True, "use_cpu": True, "dataset_dir": str(data), "cutoff_len": CUTOFF_LEN, "report_to": "none",
        "preprocessing_num_workers": 1, "overwrite_cache": True,
    }  # fmt: skip
    tuned = common | {"adapter_name_or_path": str(adapter)}
    jobs = {
        "one row": tuned | {"eval_dataset": "mixed", "per_device_eval_batch_size": 1},
        "all rows": tuned | {"eval_dataset": "mixed", "per_device_eval_batch_size": 10},
        "base": common | {"eval_dataset": "mixed", "per_device_eval_batch_size": 10},
        "split": tuned | {"dataset": "mixed", "val_size": 0.3, "per_device_eval_batch_size": 1},
        "last turn": tuned | {"eval_dataset": "mixed", "mask_history": True, "per_device_eval_batch_size": 1},
    }
    for name, job in jobs.items():
        job["output_dir"] = str(tmp_path_factory.mktemp(name.replace(" ", "-")))
    done = subprocess.run([sys.executable, HERE / "engine_eval_worker.py"], input=json.dumps(list(jobs.values())),
                          capture_output=True, text=True, check=False, timeout=300)  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(zip(jobs, json.loads(done.stdout.splitlines()[-1]), strict=True))


@pytest.fixture(scope="module")
def session(adapter):
    target = resolve_target(str(adapter), load_engine_facts(), template="qwen")
    with EvalSession(locate_engine(), target, adapters={"one": adapter}) as session:
        yield session


def losses_of(session, found: EvalRows, adapter: str | None, **labels) -> dict:
    return loss_metrics(session.losses(found.rows, adapter, LabelSettings(CUTOFF_LEN, **labels)))


def test_losses_are_the_engine_s_own(engine_losses, session, data):
    found = load_rows("mixed", data, "qwen")
    tuned, base = losses_of(session, found, "one"), losses_of(session, found, None)
    assert tuned["loss_of_rows"] == pytest.approx(engine_losses["one row"], rel=1e-5)
    assert tuned["loss"] == pytest.approx(engine_losses["all rows"], rel=1e-5)
    assert base["loss"] == pytest.approx(engine_losses["base"], rel=1e-5)
    assert tuned["loss"] != pytest.approx(base["loss"], rel=1e-3)
    assert (tuned["rows"], tuned["rows_cut"]) == (10, 3)
    last_turns = losses_of(session, found, "one", mask_history=True)
    assert last_turns["loss_of_rows"] == pytest.approx(engine_losses["last turn"], rel=1e-5)


def test_what_val_size_splits_off_is_measured_as_the_engine_splits_it(
    engine_losses, session, data, tiny_model, tmp_path
):
    paths = RunPaths(tmp_path / "runs" / "x")
    paths.root.mkdir(parents=True)
    paths.engine_yaml.write_text(f"dataset: mixed\ndataset_dir: {data}\nval_size: 0.3\ntemplate: qwen\n")
    record = RunRecord("x", RunState.SUCCEEDED, "x", "", "", str(tiny_model), "lora", "sft", "qwen", ("mixed",))
    kept_back = validation_rows(Run(paths, record), locate_engine())
    assert len(kept_back.rows) == 3
    assert losses_of(session, kept_back, "one")["loss_of_rows"] == pytest.approx(engine_losses["split"], rel=1e-5)


def test_tuning_on_tool_calls_raises_their_accuracy(tool_run, tmp_path):
    command = [
        sys.executable,
        "-m",
        "lfwrap",
        "eval",
        f"tuned={tool_run.paths.root}",
        "--max-new-tokens",
        "64",
        "--json",
    ]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=800)
    assert done.returncode == 0, done.stderr
    report = json.loads(done.stdout)
    base, tuned = report["models"]
    assert (base["name"], tuned["name"], report["data"], report["cases"]) == (BASE, "tuned", "mcp_val", 4)
    assert tuned["loss"]["loss"] < base["loss"]["loss"] / 2
    for reading in ("calls", "calls_in_any_format"):
        before, after = (model[reading] for model in (base, tuned))
        assert after["tool_accuracy"] >= before["tool_accuracy"] + 0.5
        assert after["arguments"]["exact_match"] > before["arguments"]["exact_match"]
        assert (after["seen"]["cases"] + after["unseen"]["cases"], after["calls"]["hallucinated"]) == (4, 0)
    assert list((tmp_path / report["folder"]).glob("*.judged.jsonl"))
