"""Reading finished runs into the table of benchmarks/throughput.py."""

from __future__ import annotations

import importlib.util
import json
import sys
from pathlib import Path

import pytest

pytest.importorskip("scipy")
PLACE = Path(__file__).resolve().parents[3] / "benchmarks"


@pytest.fixture(scope="module")
def throughput():
    spec = importlib.util.spec_from_file_location("throughput", PLACE / "throughput.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    yield module
    del sys.modules[spec.name]
    sys.path.remove(str(PLACE))


@pytest.fixture
def make_run(tmp_path):
    def make(name, train_s, losses, peak=2**30):
        root = tmp_path / name
        (root / "output").mkdir(parents=True)
        (root / "attempts/0/ranks/0").mkdir(parents=True)
        (root / "engine.yaml").write_text("model_name_or_path: nobody/knows\nfinetuning_type: lora\n")
        (root / "record.json").write_text(json.dumps({"global_step": len(losses), "world_size": 1}))
        (root / "output/all_results.json").write_text(json.dumps({"train_runtime": train_s, "epoch": 2.0}))
        lines = [{"current_steps": n, "epoch": 2 * n / len(losses), "loss": loss} for n, loss in enumerate(losses, 1)]
        lines.append({"current_steps": len(losses), "epoch": 2.0})
        (root / "output/trainer_log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        memory = {"peak_allocated_bytes": peak, "peak_reserved_bytes": 2 * peak}
        (root / "attempts/0/ranks/0/memory.json").write_text(json.dumps(memory))
        return root

    return make


def read(throughput, root, way, seed=42):
    return throughput.read_run(root, way, seed, throughput.Data(rows=100, tokens=10_000, supervised_tokens=4_000))


def test_a_runs_figures(throughput, make_run):
    run = read(throughput, make_run("a", 20.0, [3.0, 2.0, 1.0, 0.5]), "guide")
    assert (run.updates, run.rows, run.tokens, run.supervised_tokens) == (4, 200.0, 20_000.0, 8_000.0)
    assert (run.peak_allocated_bytes, run.peak_reserved_bytes) == (2**30, 2**31)
    assert run.curve == [(50.0, 3.0), (100.0, 2.0), (150.0, 1.0), (200.0, 0.5)]
    assert run.mfu is None


def test_ratios_are_of_medians_and_curves_are_compared_with_the_first_way(throughput, make_run):
    runs = []
    for number, (slow_s, fast_s) in enumerate([(30.0, 10.0), (33.0, 11.0), (90.0, 12.0)]):
        noise = number * 0.01
        runs.append(read(throughput, make_run(f"g{number}", slow_s, [3 + noise, 2 - noise]), "guide", number))
        runs.append(read(throughput, make_run(f"a{number}", fast_s, [3 - noise, 2 + noise]), "auto", number))
    guide, auto = throughput.summarise(runs)["ways"]
    assert (guide["train_s"], auto["train_s"], auto["times_as_fast"]) == (33.0, 11.0, 3.0)
    assert auto["tokens_per_s"] == pytest.approx(20_000 / 11)
    assert guide["loss"] is None
    assert auto["loss"]["agree"] is True


def test_a_run_done_again_says_nothing_of_the_noise_between_runs(throughput, make_run):
    runs = [read(throughput, make_run(f"g{n}", 30.0, [3.0, 2.0]), "guide", seed=42) for n in range(2)]
    runs += [read(throughput, make_run(f"a{n}", 10.0, [3.1, 2.1]), "auto", seed=42) for n in range(2)]
    assert throughput.summarise(runs)["ways"][1]["loss"]["agree"] is None


def test_figures_of_a_process_that_counts_its_own_tokens(throughput):
    updates = [{"s": s, "tokens": 100, "supervised_tokens": 40, "tokens_through": 160} for s in (8.0, 2.0, 2.0)]
    found = {
        "updates": updates, "losses": [[0.5, 3.0], [1.0, 2.0], [1.5, 1.0]], "train_s": 12.5,
        "peak_allocated_bytes": None, "peak_reserved_bytes": None,
    }  # fmt: skip
    run = throughput.read_ahead(found, "auto", 42, {"model_name_or_path": "nobody/knows"}, rows=10)
    assert (run.tokens, run.supervised_tokens, run.rows, run.updates) == (300, 120, 15.0, 3)
    assert (run.steady_tokens_per_s, run.steady_supervised_tokens_per_s) == (50.0, 20.0)
    assert run.curve == [(5.0, 3.0), (10.0, 2.0), (15.0, 1.0)]


def test_the_table_has_a_row_for_each_way_and_says_what_failed(throughput, make_run):
    runs = [read(throughput, make_run("a", 20.0, [3.0, 2.0]), "guide")]
    table = throughput.markdown({**throughput.summarise(runs), "failed": [{"way": "big", "why": "out of memory"}]})
    lines = table.splitlines()
    assert len({line.count("|") for line in lines[:3]}) == 1
    assert lines[2].startswith("| guide | 20.0 (20.0-20.0) | 1.00 | 1,000 | 400 | 10.0 | 2 | 1.0 (2.0) | - | 2.0000 |")
    assert lines[-1] == "big failed: out of memory"


def test_what_is_to_be_run(throughput):
    way = throughput.parse_way('auto=my.yaml lfwrap.speed=auto dataset="a b"')
    assert way == throughput.Way("auto", ("my.yaml", "lfwrap.speed=auto", "dataset=a b"))
    with pytest.raises(ValueError, match="expected NAME"):
        throughput.parse_way("my.yaml")
