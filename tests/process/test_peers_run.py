"""Peers as processes: found by their package, timed by the Trainer's own callback, ended, and their ends told apart."""

from __future__ import annotations

import json
import sys
import textwrap
from pathlib import Path

import pytest

pytest.importorskip("scipy")
PLACE = Path(__file__).resolve().parents[2] / "benchmarks"
sys.path.insert(0, str(PLACE))
try:
    from peers import run
    from peers.commands import INSIDE, Job
    from peers.rows import Rows
    from peers.setting import read_setting
finally:
    sys.path.remove(str(PLACE))

# A Trainer with torch's and transformers' names: four micro-batches, an update after every second, two tokens of four
# with a label.
FAKES = {
    "torch/__init__.py": """
        class cuda:
            is_available = staticmethod(lambda: False)
    """,
    "numpy_like.py": """
        import types
        class Grid(list):
            def __getitem__(self, key):
                if isinstance(key, tuple):
                    return Flags([row[key[1]] for row in list(self)])
                return list.__getitem__(self, key)
            def dim(self): return 2
            def numel(self): return sum(len(row) for row in list(self))
            def __ne__(self, other): return Flags(list(self)) != other
        class Flags(list):
            def __ne__(self, other): return Flags([[value != other for value in row] for row in list(self)])
            def sum(self): return sum(sum(row) for row in list(self))
    """,
    "transformers/__init__.py": """
        from types import SimpleNamespace
        from numpy_like import Grid
        from transformers.trainer_callback import DefaultFlowCallback
        class Trainer:
            def training_step(self, model, inputs, num_items_in_batch=None):
                return 1.0
            def train(self):
                callback, state = DefaultFlowCallback(), SimpleNamespace(epoch=0.0)
                callback.on_train_begin(None, state, "control")
                for number in range(4):
                    self.training_step(None, {
                        "input_ids": Grid([[1, 2, 3, 4, 0]]), "attention_mask": Grid([[1, 1, 1, 1, 0]]),
                        "labels": Grid([[-100, -100, 3, 4, -100]])})
                    if number % 2:
                        state.epoch += 0.25
                        assert callback.on_step_end(None, state, "control") == "plain end"
                        callback.on_log(None, state, "control", logs={"loss": 3.0 - number})
                callback.on_log(None, state, "control", logs={"train_runtime": 12.5})
                callback.on_train_end(None, state, "control")
                raise SystemExit("the process should have ended with the training")
    """,
    "transformers/trainer_callback.py": """
        class DefaultFlowCallback:
            def on_step_end(self, args, state, control, **kwargs): return "plain end"
            def on_log(self, args, state, control, logs=None, **kwargs): return "plain log"
    """,
    "early.py": "import sys; assert 'transformers' not in sys.modules",
    "theirs/sft.py": """
        import sys
        from transformers import Trainer
        assert sys.argv[1:] == ["--some", "option"], sys.argv
        Trainer().train()
    """,
}


@pytest.fixture
def site(tmp_path):
    root = tmp_path / "site"
    for name, text in FAKES.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(textwrap.dedent(text))
    for name, version in (("trl", "9.9.1"), ("transformers", "5.0.0")):
        (root / f"{name}-{version}.dist-info").mkdir()
        (root / f"{name}-{version}.dist-info/METADATA").write_text(f"Name: {name}\nVersion: {version}\n")
    return root


@pytest.fixture
def job(tmp_path):
    setting = read_setting({"model_name_or_path": "nobody/knows"}, 8, updates=2)
    rows = Rows(tmp_path, (10,) * 10)
    return Job(setting, rows, tmp_path / "scratch", tmp_path / "scratch" / "result.json", {})


def test_versions_are_those_of_the_peers_own_packages(site):
    found = run.find_peer(run.Peer("trl", site=site))
    assert (found.versions["trl"], found.versions["transformers"]) == ("9.9.1", "5.0.0")


def test_a_peer_that_is_not_there_has_none(site, tmp_path):
    assert run.find_peer(run.Peer("unsloth", site=site)).versions == {}
    broken = tmp_path / "python"
    broken.write_text("#!/bin/sh\nexit 3\n")
    broken.chmod(0o755)
    assert run.find_peer(run.Peer("trl", str(broken))).versions == {}


def test_a_trainers_command_is_timed_as_it_is(site, job, monkeypatch):
    command = [str(INSIDE / "timed_trainer.py"), "--result", str(job.result), "--first", "early", "theirs.sft"]
    monkeypatch.setitem(run.COMMANDS, "trl", lambda _: [*command, "--some", "option"])
    found = run.run_peer(run.Peer("trl", site=site, versions={"trl": "9.9.1"}), job, 60)
    assert found["status"] == "ok", found
    assert (found["train_s"], found["losses"]) == (12.5, [[0.25, 2.0], [0.5, 0.0]])
    counts = [{key: update[key] for key in update if key != "s"} for update in found["updates"]]
    assert counts == [{"tokens": 8, "supervised_tokens": 4, "tokens_through": 10}] * 2
    assert (found["versions"], found["peak_allocated_bytes"]) == ({"trl": "9.9.1"}, None)


@pytest.mark.parametrize(
    ("program", "status", "error"),
    [
        (
            "print('fine'); raise RuntimeError('a GPU is needed')",
            "failed",
            "RuntimeError: a GPU is needed",
        ),
        ("raise RuntimeError('CUDA out of memory. Tried')", "oom", "RuntimeError: CUDA out of memory. Tried"),
        ("", "failed", "it said nothing"),
        ("import time; print('so far', flush=True); time.sleep(60)", "timeout", "so far"),
    ],
)
def test_how_a_peer_ended(job, monkeypatch, program, status, error):
    monkeypatch.setitem(run.COMMANDS, "trl", lambda _: ["-c", program])
    assert run.run_peer(run.Peer("trl"), job, 2) == {"status": status, "error": error}


def test_what_a_peer_cannot_train_starts_nothing(job, monkeypatch):
    def refuse(_):
        raise ValueError("not for this model")

    monkeypatch.setitem(run.COMMANDS, "trl", refuse)
    assert run.run_peer(run.Peer("trl"), job, 2) == {"status": "failed", "error": "not for this model"}


def test_an_earlier_result_is_not_taken_for_this_one(job, monkeypatch):
    job.scratch.mkdir()
    job.result.write_text(json.dumps({"status": "ok"}))
    monkeypatch.setitem(run.COMMANDS, "trl", lambda _: ["-c", "raise SystemExit(1)"])
    assert run.run_peer(run.Peer("trl"), job, 5)["status"] == "failed"
