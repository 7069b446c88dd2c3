"""Which micro-batches a trial takes: the longest first, then typical ones of the run's own order."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from lfwrap.tuning.trial_values import WARM_UP_UPDATES
from lfwrap_worker.train import tune_engine

pa = pytest.importorskip("pyarrow")


def test_it_warms_up_for_as_many_updates_as_lfwrap_asks_for():
    assert tune_engine.WARM_UPS == WARM_UP_UPDATES


@pytest.mark.parametrize("count", [2, 4, 8])
def test_wherever_one_stops_the_mean_is_near_that_of_all(count):
    costs = [float(number) for number in range(1, 401)]
    chosen = [costs[number] for number in tune_engine.choose_slots(costs, count)]
    assert len(set(chosen)) == count
    for taken in range(2, count + 1, 2):
        assert sum(chosen[:taken]) / taken == pytest.approx(200.5, rel=0.02)


def test_few_micro_batches_come_more_than_once():
    assert sorted(tune_engine.choose_slots([5.0, 1.0], 4)) == [0, 0, 1, 1]


@pytest.mark.parametrize(("padded", "tokens"), [(True, 3 * 16), (False, 14)])
def test_padding_counts_where_there_is_padding(padded, tokens):
    assert tune_engine.batch_cost([3, 9, 2], padded=padded) == tokens


class Rows(list):
    """A data set of rows of these lengths."""

    def __init__(self, lengths, masks=None):
        super().__init__(lengths)
        labels = [[-100] + [1] * (length - 1) for length in lengths]
        columns = {"input_ids": [[1] * length for length in lengths], "labels": labels}
        self.data = pa.table({**columns, **({"attention_mask": masks} if masks else {})})
        self._indices = None


def make_trainer(micro, accumulation, world_size=1):
    args = SimpleNamespace(
        train_batch_size=micro, gradient_accumulation_steps=accumulation, world_size=world_size
    )  # fmt: skip
    return SimpleNamespace(args=args)


@pytest.mark.parametrize("world_size", [1, 2])
def test_two_updates_begin_with_the_longest_rows_and_the_rest_is_of_the_runs_own_order(world_size):
    rows = Rows([5] * 30 + [40, 39])
    course = tune_engine.TrialRows({"accumulation": 16, "slots": 4, "extended": False})
    trainer, seen = make_trainer(2, 2, world_size), []

    def sampler(dataset):
        seen.append(trainer.args.gradient_accumulation_steps)
        return range(len(dataset))

    order = course.order_rows(trainer, sampler, rows)
    width = 2 * world_size
    assert seen == [16]  # the sampler that groups by length has to know the run's own
    assert trainer.args.gradient_accumulation_steps == 2
    assert len(order) == width * (2 * tune_engine.WARM_UPS + 4)
    assert order[:width] == order[2 * width : 3 * width] == [30, 31] * world_size
    assert course.facts["micro_batches"] == 32 / width
    assert course.facts["updates"] == 32 / width / 16
    assert course.facts["longest_row_tokens"] == 40


def test_tokens_of_an_epoch_leave_out_the_padding_of_packs():
    rows = Rows([8, 8], masks=[[1, 1, 1, 2, 2, 2, 0, 0], [1] * 8])
    assert tune_engine.count_tokens(rows, [8, 8]) == {"tokens": 14, "supervised_tokens": 14}


def test_supervised_tokens_are_counted():
    assert tune_engine.count_tokens(Rows([3, 5]), [3, 5]) == {"tokens": 8, "supervised_tokens": 6}


def laps_of(best_epoch_s=0.0):
    """A trial of four micro-batches, two an update; of ten micro-batches and five updates an epoch."""
    course = SimpleNamespace(costs=[1.0, 3.0, 2.0, 2.0], mean_cost=4.0, facts={"micro_batches": 10, "updates": 5})
    return tune_engine.UpdateTimes(course, best_epoch_s)


def run_update(laps, began_s, *, is_timed=True):
    laps.grade(began_s + 6.0)
    laps.end(began_s + 7.0, is_timed=is_timed)
    return began_s + 7.0


def test_an_epoch_is_reckoned_from_typical_micro_batches_and_updates():
    laps = laps_of()
    now_s = run_update(laps, 100.0, is_timed=False)
    now_s = run_update(laps, now_s)
    status, times = laps.judge(2, is_alone=True)
    # Two micro-batches of mean cost 2 took 6 s; a typical one costs 4, so 6 s each; an update 1 s more.
    assert (status, times["micro_s"], times["update_s"], times["epoch_s"]) == (None, 6.0, 1.0, 65.0)
    run_update(laps, now_s)
    assert laps.judge(2, is_alone=True)[0] == "ok"


@pytest.mark.parametrize(
    ("best_epoch_s", "is_alone", "status"),
    [(30.0, True, "slower"), (30.0, False, None), (40.0, True, None), (0.0, True, None)],
)
def test_a_slow_way_is_given_up_unless_others_wait_for_it(best_epoch_s, is_alone, status):
    laps = laps_of(best_epoch_s)
    run_update(laps, run_update(laps, 0.0, is_timed=False))
    assert laps.judge(2, is_alone=is_alone)[0] == status
