"""Failures that are planted are named by the verdict, and healthy runs are called learned, with the real engine."""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from verdict_cases import HEALTHY, Training, lfwrap, make_model, rules_of, train, verdict_of, write_training

pytestmark = [pytest.mark.engine, pytest.mark.timeout(900)]
SHORT = {"num_train_epochs": 2.0}


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    pytest.importorskip("transformers", reason="the engine is not installed")
    return make_model(tmp_path_factory.mktemp("taught"))


@pytest.fixture(scope="module")
def healthy(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A healthy run, which tests copy and break."""
    return train(tmp_path_factory.mktemp("healthy"), model, HEALTHY[1])


@pytest.fixture
def copied(healthy: Path, tmp_path: Path) -> Path:
    shutil.copytree(healthy.parent.parent, tmp_path / "place", symlinks=True)
    return tmp_path / "place" / "runs" / healthy.name


@pytest.mark.parametrize("number", [0, 7, 12])
def test_a_healthy_run_is_called_learned(model, tmp_path, number):
    """A sample; ``python tests/engine/verdict_cases.py FOLDER`` makes all twenty."""
    verdict = verdict_of(train(tmp_path, model, HEALTHY[number]))
    assert (verdict["kind"], rules_of(verdict), verdict["left_out"]) == ("learned", set(), [])
    assert verdict["evidence"]["answers"]["changed"] > 0


@pytest.mark.parametrize(
    ("training", "kinds", "rule"),
    [
        (Training(rows=16, changes={"max_steps": 1, "warmup_steps": 1}), {"nothing changed"}, "no-learning-rate"),
        (Training(rows=32, changes={"learning_rate": 1e-12}), {"nothing changed"}, "same-answers"),
        (Training(changes={"learning_rate": 2.0, **SHORT}), {"diverged"}, "diverged"),
        (Training(changes={"template": "llama3", **SHORT}), {"learned", "too little"}, "wrong-template"),
    ],
    ids=["warm-up alone", "rate far too small", "rate 1000 times too large", "wrong template"],
)
def test_a_planted_failure_is_named(model, tmp_path, training, kinds, rule):
    verdict = verdict_of(train(tmp_path, model, training, "--force"))
    assert verdict["kind"] in kinds, verdict
    assert rule in rules_of(verdict), verdict


def test_shuffled_answers_are_not_said_to_belong_to_their_questions(model, tmp_path):
    """Sixteen rows of this model are not always enough to be sure; what is measured shows no relation."""
    verdict = verdict_of(train(tmp_path, model, Training(shuffled=True, changes={"num_train_epochs": 6.0})))
    margin = verdict["evidence"]["answers"]["margin"]
    assert margin["mean"] < 3 * margin["error"]
    assert verdict["kind"] in {"too little", "overfitted", "learned"}


def test_one_row_repeated_is_named(model, tmp_path):
    row = {"instruction": "What does a cow say?", "input": "", "output": "Moo, it says."}
    verdict = verdict_of(
        train(tmp_path, model, Training(rows=48, val_rows=0, changes=SHORT), "--force", rows=[row] * 48)
    )
    assert (verdict["kind"], rules_of(verdict)) == ("overfitted", {"repeated-rows"})


def test_masked_labels_are_named(model, tmp_path):
    """A cutoff that leaves nothing of the answers: questions far longer than it, answers of a few tokens."""
    rows = [{"instruction": f"{number} " * 60, "input": "", "output": "Moo, moo, moo!"} for number in range(24)]
    changes = {"cutoff_len": 8, "num_train_epochs": 1.0}
    verdict = verdict_of(train(tmp_path, model, Training(rows=24, val_rows=0, changes=changes), "--force", rows=rows))
    assert "no-labels" in rules_of(verdict), verdict
    assert verdict["kind"] in {"nothing changed", "too little", "diverged"}


def weights(run: Path) -> Path:
    return run / "output" / "adapter_model.safetensors"


def earlier_checkpoint(run: Path) -> None:
    first, _ = sorted(run.glob("output/checkpoint-*"), key=lambda path: int(path.name.rpartition("-")[2]))
    shutil.copy(first / "adapter_model.safetensors", weights(run))


def no_layer(run: Path) -> None:
    text = b"{}      "
    weights(run).write_bytes(struct.pack("<Q", len(text)) + text)


def zeros(run: Path) -> None:
    content = weights(run).read_bytes()
    (length,) = struct.unpack("<Q", content[:8])
    weights(run).write_bytes(content[: 8 + length] + bytes(len(content) - 8 - length))


def older_state(run: Path) -> None:
    path = run / "output" / "trainer_state.json"
    state = json.loads(path.read_bytes())
    path.write_text(json.dumps(state | {"global_step": 3}), encoding="utf-8")
    for checkpoint in run.glob("output/checkpoint-*"):
        shutil.rmtree(checkpoint)


@pytest.mark.parametrize(
    ("break_it", "kind", "rule"),
    [
        (earlier_checkpoint, "learned", "saved-too-early"),
        (older_state, "learned", "saved-too-early"),
        (no_layer, "nothing changed", "no-layers"),
        (zeros, "nothing changed", "weights-unmoved"),
    ],
)
def test_a_result_that_is_not_what_was_trained_is_named(copied, break_it: Callable[[Path], Any], kind, rule):
    break_it(copied)
    verdict = verdict_of(copied)
    assert verdict["kind"] == kind
    assert rule in rules_of(verdict)


def test_compare_and_export_say_that_the_answers_are_the_bases(copied, tmp_path):
    zeros(copied)
    (tmp_path / "q.txt").write_text("What does a cow say?\nAnd a dog?\n", encoding="utf-8")
    done = lfwrap(tmp_path, "compare", copied, "--base", "--questions", "q.txt", "--max-new-tokens", "8")
    assert done.returncode == 0, done.stderr
    assert "answers as its base does, to all of 2 questions: the adapter's weights are zero" in done.stderr
    done = lfwrap(tmp_path, "export", copied, "--out", "out", "--no-parity")
    assert done.returncode == 0, done.stderr
    assert "what is exported answers as the base model does" in done.stderr


def test_the_terminal_says_it_at_the_end_and_leaves_it_out_where_asked(model, tmp_path):
    recipe = write_training(tmp_path, model, Training(rows=16, changes={"max_steps": 1, "warmup_steps": 1}))
    done = lfwrap(tmp_path, "train", recipe, "--force", "--no-probe")
    assert done.returncode == 0, done.stderr
    assert "verdict: NOTHING CHANGED. " in done.stderr
    assert "Talk to it" not in done.stderr
    run = Path(done.stdout.strip()).parent
    assert json.loads((run / "verdict.json").read_bytes())["seconds"] < 20
    (tmp_path / "recipe.yaml").write_text(recipe.read_text().replace('"speed"', '"verdict": false, "speed"'))
    done = lfwrap(tmp_path, "train", recipe, "--force", "--no-probe", "--json")
    assert json.loads(done.stdout)["verdict"] is None
