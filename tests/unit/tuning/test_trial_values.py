"""What a trial of `lfwrap tune` is asked for, which way wins, and what is said of the others."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.strategy.lock import Trial
from lfwrap.strategy.strategy import Strategy
from lfwrap.tuning.trial_values import (
    WARM_UP_UPDATES,
    choose_winner,
    judge_trials,
    read_trial,
    timed_slots,
    trial_accumulation,
    trial_values,
)

RUN = {
    "model_name_or_path": "m",
    "cutoff_len": 1024,
    "gradient_accumulation_steps": 16,
    "per_device_train_batch_size": 8,
    "num_train_epochs": 3.0,
    "save_steps": 0.1,
    "eval_strategy": "steps",
    "eval_dataset": "val",
    "report_to": "wandb",
    "output_dir": "RUN/output",
}


def trial(epoch_s, status="ok"):
    return Trial("way", "auto", {}, status, epoch_s=epoch_s)


@pytest.mark.parametrize("accumulation", [1, 2, 3, 4, 5, 16, 128])
def test_a_trial_times_whole_updates_two_at_least(accumulation):
    slots, each = timed_slots(accumulation), trial_accumulation(accumulation)
    assert slots % each == 0
    assert slots // each >= 2
    assert 8 <= slots <= 9


def test_a_trial_is_the_run_without_saving_evaluating_and_watching():
    values = trial_values(RUN, "scratch/output")
    assert (values["gradient_accumulation_steps"], values["max_steps"]) == (4, WARM_UP_UPDATES + 2)
    assert (values["save_strategy"], values["eval_strategy"], values["report_to"]) == ("no", "no", "none")
    assert (values["cutoff_len"], values["per_device_train_batch_size"]) == (1024, 8)
    assert values["output_dir"] == "scratch/output"
    assert not {"save_steps", "eval_dataset", "num_train_epochs"} & set(values)


@pytest.mark.parametrize(
    ("seconds", "winner"),
    [
        ([10.0, 8.0, 9.0], 1),
        ([10.0, 9.95, 12.0], 0),  # within the noise auto's own choice stays
        ([10.0, 11.0], 0),
        ([None, 11.0, 10.9], 2),  # auto's own ran out of memory
        ([None, None], None),
    ],
)
def test_the_fastest_wins_and_never_a_slower_one_than_autos_own(seconds, winner):
    assert choose_winner([trial(s, "ok" if s else "oom") for s in seconds]) == winner


def test_a_way_that_was_given_up_never_wins():
    assert choose_winner([trial(10.0), trial(5.0, "slower")]) == 0


def test_each_other_way_is_told_why():
    trials = (trial(12.0), trial(10.0), trial(20.0, "slower"), Trial("w", "auto", {}, "oom", "out of memory"))
    assert [each.why for each in judge_trials(trials, 1)] == [
        "20.0% slower", "", "given up, about 100% slower", "out of memory",
    ]  # fmt: skip


def test_what_the_worker_found_as_figures_of_the_data():
    found = {"status": "ok", "epoch_s": 20.0, "tokens": 4000, "supervised_tokens": 1000, "wall_s": 9.0,
             "peak_allocated_bytes": 5, "peak_reserved_bytes": 6}  # fmt: skip
    read = read_trial(Strategy(extension=True), found, 100)
    assert (read.speed, read.row_s, read.tokens_per_s, read.supervised_tokens_per_s) == ("max", 0.2, 200.0, 50.0)
    assert (read.peak_allocated_bytes, read.peak_reserved_bytes) == (5, 6)


@pytest.mark.parametrize(
    ("steps", "updates", "epoch_s"),
    [
        (10, 10.0, 120.0),  # one epoch: all of the 20 s
        (40, 10.0, 105.0),  # a quarter of the training
        (5, 10.0, 120.0),  # max_steps ends it within an epoch
        (None, 10.0, 100.0),
    ],
)
def test_an_epoch_bears_its_share_of_the_compiling_that_a_trial_does_not_time(steps, updates, epoch_s):
    candidate = SimpleNamespace(changes={}, batch=BatchPlan(1, 1, 1), compile_s=20.0)
    plan = SimpleNamespace(steps=steps, candidate=candidate)
    found = {"status": "ok", "epoch_s": 100.0, "updates": updates}
    assert read_trial(Strategy(plan=plan), found, None).epoch_s == epoch_s


def test_a_process_that_vanished_is_a_failure():
    assert read_trial(Strategy(), None, 100).status == "failed"
