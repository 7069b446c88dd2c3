"""Row lengths, packs and padding, against the same things done row by row."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.plan.inputs.row_lengths import RowLengths, pack_rows, padded_row_tokens

LENGTHS = tuple(random.Random(3).choices(range(20, 700), k=999))  # noqa: S311
ROWS = RowLengths(max(LENGTHS), sum(LENGTHS) / len(LENGTHS), len(LENGTHS), LENGTHS)


def first_fit(lengths, capacity):
    """Packs one after the other, each filled with the longest row that still fits."""
    left, packs = sorted(lengths), []
    while left:
        pack, room = [], capacity
        for length in sorted(left, reverse=True):
            if length <= room:
                pack.append(length)
                room -= length
        for length in pack:
            left.remove(length)
        packs.append(pack)
    return packs


def test_rows_are_cut_as_the_engine_cuts_them():
    cut = RowLengths(900, 500.0, 3, (900, 100, 500)).cut(400)
    assert (cut.longest_tokens, cut.lengths, cut.mean_tokens) == (400, (400, 100, 400), 300.0)
    assert RowLengths(5000).cut(4096) == RowLengths(4096)
    assert RowLengths(5000, 4500.0).cut(4096).mean_tokens == 4096


@pytest.mark.parametrize(
    ("lengths", "micro_batch", "pads"),
    [
        ((4096, 4096), 8, False),
        ((4096, 2048), 8, True),
        ((4096, 2048), 1, False),
        ((4096, 2047), 1, True),
        ((4095, 4095), 1, True),
        ((), 1, True),
    ],
)
def test_batches_are_padded_to_their_longest_row_and_to_a_multiple_of_8(lengths, micro_batch, pads):
    rows = RowLengths(max(lengths, default=4096), 3000.0, 2, lengths)
    assert rows.pads(micro_batch) is pads


def test_estimated_lengths_may_be_padded():
    assert RowLengths(4096, 4096.0, 2, (4096, 4096), is_exact=False).pads(1)


@pytest.mark.parametrize("capacity", [700, 1024, 4096])
def test_packs_are_counted_as_the_engine_fills_them(capacity):
    packs = pack_rows(ROWS, capacity, 1000)
    expected = first_fit(LENGTHS, capacity)
    assert packs.rows_per_pack == pytest.approx(len(LENGTHS) / len(expected))
    assert packs.filled == pytest.approx(sum(LENGTHS) / (len(expected) * capacity))


def test_many_preprocessing_workers_leave_packs_half_empty():
    """54 packs of 4096 tokens were measured where 16 workers packed 999 Alpaca rows; one worker makes fewer."""
    apart, together = pack_rows(ROWS, 4096, 63), pack_rows(ROWS, 4096, 1000)
    assert apart.filled < 0.9 < together.filled


def test_without_single_lengths_packs_are_estimated():
    packs = pack_rows(RowLengths(700, 170.0), 4096)
    assert packs.rows_per_pack * 170 / 4096 == pytest.approx(packs.filled)
    assert 0.8 < packs.filled <= 1
    assert pack_rows(RowLengths(700), 4096) is None


def test_a_row_longer_than_a_pack_is_no_endless_loop():
    assert pack_rows(RowLengths(50, 50.0, 2, (50, 50)), 40).rows_per_pack > 0


@given(st.lists(st.integers(1, 300), min_size=1, max_size=200), st.sampled_from([300, 512, 1000]))
def test_packs_hold_all_tokens(lengths, capacity):
    rows = RowLengths(max(lengths), sum(lengths) / len(lengths), len(lengths), tuple(lengths))
    packs = pack_rows(rows, capacity)
    assert packs.filled <= 1
    assert packs.rows_per_pack >= 1 - 1e-9


def test_padding_of_random_batches():
    """Against 400 batches that are really drawn."""
    chance = random.Random(5)  # noqa: S311
    drawn = [max(chance.choices(LENGTHS, k=8)) for _ in range(400)]
    assert padded_row_tokens(ROWS, 8, 128, grouped=False) == pytest.approx(sum(drawn) / len(drawn), rel=0.03)


def test_grouping_pads_less_and_one_row_is_not_padded():
    assert padded_row_tokens(ROWS, 1, 128, grouped=False) == ROWS.mean_tokens
    grouped = padded_row_tokens(ROWS, 8, 128, grouped=True)
    assert ROWS.mean_tokens < grouped < padded_row_tokens(ROWS, 8, 128, grouped=False)


@pytest.mark.parametrize("grouped", [False, True])
def test_padding_from_the_mean_alone(grouped):
    rows = RowLengths(700, 170.0)
    sizes = [padded_row_tokens(rows, micro, 128, grouped=grouped) for micro in (1, 2, 8, 64)]
    assert sizes == sorted(sizes)
    assert sizes[0] == 170
    assert sizes[-1] <= 700
    assert padded_row_tokens(RowLengths(700), 8, 128, grouped=grouped) is None
