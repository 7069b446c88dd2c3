"""How many updates a training makes, and how many of them learn."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.plan.data_size import choose_for_rows, enough_updates
from lfwrap.plan.schedule import count_updates, make_schedule

PAPER = {"num_train_epochs": 1.0, "warmup_steps": 0.1, "learning_rate": 2e-4, "lr_scheduler_type": "cosine"}


@pytest.mark.parametrize(
    ("rows", "updates", "learning"), [(114, 1, 0), (128, 1, 0), (129, 2, 1), (1000, 8, 7), (2640, 21, 20)]
)
def test_the_papers_recipe_on_sets_of_different_sizes(rows, updates, learning):
    schedule = make_schedule(PAPER, rows, 128)
    assert (schedule.updates, schedule.learning_updates) == (updates, learning)


@pytest.mark.parametrize(
    ("changes", "learning"),
    [
        ({"warmup_steps": 0}, 8),
        ({"warmup_steps": 8}, 7),
        ({"warmup_ratio": 0.5}, 7),
        ({"learning_rate": 0.0}, 0),
        ({"learning_rate": None}, 7),
        ({"max_steps": 3}, 2),
        ({"lr_scheduler_type": "constant", "warmup_steps": 0.1}, 8),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, None),
    ],
)
def test_what_decides_how_many_updates_learn(changes, learning):
    assert make_schedule({**PAPER, **changes}, 1000, 128).learning_updates == learning


def test_without_rows_only_max_steps_says_how_many():
    assert make_schedule(PAPER, None, 128) is None
    assert make_schedule({**PAPER, "max_steps": 5}, None, 128).updates == 5


@given(st.integers(1, 200_000), st.integers(1, 256), st.floats(0.1, 20))
def test_updates_are_counted_as_the_trainer_counts_them(rows, batch, epochs):
    schedule = make_schedule({"num_train_epochs": epochs}, rows, batch)
    assert schedule.updates == max(1, math.ceil(epochs * math.ceil(rows / batch)))


@given(st.integers(1, 10_000_000))
def test_auto_gives_every_size_enough_updates_that_see_each_row_a_few_times(rows):
    choice = choose_for_rows(rows)
    assert choice.updates >= min(20, rows)
    assert 1 <= choice.epochs <= 5
    assert choice.batch in (4, 8, 16, 32, 64, 128)
    assert rows < 100 or choice.updates >= 50


@pytest.mark.parametrize(
    ("rows", "batch", "epochs"),
    [(16, 4, 5), (50, 4, 5), (51, 4, 3), (109, 4, 3), (1000, 4, 3), (2640, 8, 2), (10_000, 32, 2), (52_000, 128, 1)],
)
def test_what_auto_takes_for_sets_of_different_sizes(rows, batch, epochs):
    choice = choose_for_rows(rows)
    assert (choice.batch, choice.epochs) == (batch, epochs)


@pytest.mark.parametrize(
    ("width", "architecture", "rate"),
    [
        (0, "", 1e-4),
        (4096, "llama", 1e-4),
        (576, "llama", 4.6e-4),
        (3072, "llama", 1.3e-4),
        (8192, "llama", 5.8e-5),
        (896, "qwen2", 1.1e-4),
        (576, "never-heard-of", 1.2e-4),
    ],
)
def test_narrow_models_get_a_higher_learning_rate_and_those_of_unknown_width_that_of_an_8b(width, architecture, rate):
    assert choose_for_rows(109, width=width, architecture=architecture).learning_rate == rate
    full = choose_for_rows(109, "full", width=width, architecture=architecture).learning_rate
    assert full == pytest.approx(rate / 10, rel=0.06)


@given(st.integers(1, 10_000), st.integers(1, 100), st.integers(1, 256))
def test_the_way_out_of_too_few_updates_is_one(rows, wanted, batch):
    choice = enough_updates(rows, wanted, batch, 1.0, lost=1)
    assert choice.updates - 1 >= wanted or (choice.epochs == 10.0 and choice.batch <= max(4, batch))


@given(st.none() | st.integers(1, 100_000), st.integers(1, 512), st.floats(0.01, 20), st.none() | st.integers(-5, 500))
def test_there_is_one_count_of_the_updates(rows, per_update, epochs, most):
    values = {"num_train_epochs": epochs, "max_steps": most}
    schedule = make_schedule(values, rows, per_update)
    assert count_updates(values, rows, per_update) == (schedule.updates if schedule else None)


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"warmup_steps": 500}, "201 updates, 200 with a learning rate above 0 (at most 8e-05)"),
        ({"warmup_steps": 0}, "201 updates (at most 2e-04)"),
        ({"max_steps": 1, "warmup_steps": 0.1}, "1 update, 0 with a learning rate above 0 (at most 0)"),
        ({"lr_scheduler_type": "reduce_lr_on_plateau"}, "201 updates (at most 2e-04)"),
    ],
)
def test_the_highest_rate_is_the_one_that_is_reached(values, text):
    schedule = make_schedule({**PAPER, "num_train_epochs": 3.0, **values}, 267, 4)
    assert str(schedule).startswith(text)


@pytest.mark.parametrize("kwargs", [{"num_cycles": "many"}, '{"num_cycles": []}'])
def test_of_values_that_a_scheduler_can_not_have_nothing_is_said(kwargs):
    schedule = make_schedule({**PAPER, "lr_scheduler_kwargs": kwargs}, 1000, 128)
    assert (schedule.updates, schedule.learning_updates) == (8, None)
    assert str(schedule).startswith("8 updates (at most 2e-04)")


def test_a_schedulers_values_may_be_json():
    texts = [
        make_schedule({**PAPER, "lr_scheduler_kwargs": given}, 1000, 128)
        for given in ({"num_cycles": 2}, '{"num_cycles": 2}')
    ]
    assert texts[0] == texts[1] != make_schedule(PAPER, 1000, 128)
