"""A training that can learn nothing is an error, one with few updates a warning; both count out what would do."""

import re
from types import SimpleNamespace

import pytest

from lfwrap.errors import Severity
from lfwrap.plan.schedule import make_schedule
from lfwrap.run.preflight.schedule import check_schedule

PAPER = {"num_train_epochs": 1.0, "warmup_steps": 0.1, "learning_rate": 2e-4, "lr_scheduler_type": "cosine"}


def _findings(rows, *, values=PAPER, batch=128, force=False, has_intent=True):
    recipe = SimpleNamespace(has_intent=has_intent, engine_values=values)
    return list(check_schedule(make_schedule(values, rows, batch), recipe, force=force))


def test_no_update_that_learns_is_an_error():
    (finding,) = _findings(109)
    assert (finding.rule, finding.severity) == ("no-learning", Severity.ERROR)
    assert "109 rows make 1 update, whose learning rate is 0" in finding.message
    assert "109 rows make 21 updates at `lfwrap.effective_batch_size=16 num_train_epochs=3`" in finding.hint
    (forced,) = _findings(109, force=True)
    assert forced.severity is Severity.WARNING


@pytest.mark.parametrize("rows", [200, 1000, 2500])
def test_few_updates_are_a_warning_whose_way_out_gives_enough(rows):
    (finding,) = _findings(rows)
    assert (finding.rule, finding.severity) == ("few-updates", Severity.WARNING)
    batch, epochs = (int(number) for number in re.findall(r"=(\d+)", finding.hint))
    enough = make_schedule({**PAPER, "num_train_epochs": epochs}, rows, batch)
    assert enough.learning_updates >= 20 or enough.updates >= 21
    assert not _findings(rows, values={**PAPER, "num_train_epochs": epochs, "warmup_steps": 1}, batch=batch)


def test_a_recipe_without_the_block_is_told_the_engines_own_keys():
    (finding,) = _findings(109, has_intent=False)
    assert "gradient_accumulation_steps=16" in finding.hint


def test_enough_updates_are_no_finding():
    assert not _findings(2640)
    assert not _findings(None)


def test_max_steps_is_what_to_raise_where_it_decides():
    (finding,) = _findings(10_000, values={**PAPER, "max_steps": 5})
    assert "max_steps" in finding.hint


@pytest.mark.parametrize(
    ("rows", "values", "said"),
    [
        (1, {}, "1 row makes 1 update, whose"),
        (1, {"warmup_steps": 0}, "1 row makes 1 update: too few"),
        (2, {"num_train_epochs": 2, "warmup_steps": 0}, "2 rows make 2 updates: too few"),
        (2, {"num_train_epochs": 2, "max_steps": -1}, "2 rows make 2 updates, 1 of them with"),
    ],
)
def test_counts_are_spoken_of_as_they_are(rows, values, said):
    (finding,) = _findings(rows, values={**PAPER, **values})
    assert said in finding.message
    assert "num_train_epochs=10" in finding.hint
