"""Rows of training data stay out of the log, however the pipe cuts the lines."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap_worker.train.log_filter import LEFT_OUT, ExampleFilter

HEAD = b"[INFO|2026-11-22 02:29:05] llamafactory.data.loader:144 >> Loading dataset tiny.jsonl...\n"
EXAMPLE = b"training example:\ninput_ids:\n[1, 2]\ninputs:\n<|im_start|>user\nSECRET\n\nlabels:\nSECRET<|im_end|>\n\n"
NEXT = b"[INFO|2026-11-22 02:29:06] llamafactory.model:144 >> KV cache is disabled during training.\n"
LOSS = b"{'loss': '5.545', 'grad_norm': '3.008'}\n"


def run_filter(*pieces: bytes) -> bytes:
    lines = ExampleFilter()
    return b"".join(lines.feed(piece) for piece in pieces) + lines.finish()


@given(st.lists(st.integers(0, len(HEAD + EXAMPLE + NEXT))))
def test_the_example_is_left_out_wherever_the_pieces_are_cut(cuts: list[int]) -> None:
    text = HEAD + EXAMPLE + NEXT
    edges = [0, *sorted(cuts), len(text)]
    assert run_filter(*(text[a:b] for a, b in itertools.pairwise(edges))) == HEAD + LEFT_OUT + NEXT


@pytest.mark.parametrize(
    "end", [NEXT, LOSS, b"[WARNING|2026-11-22 02:29:05] llamafactory.x:1 >> y\n", b"***** train metrics *****\n"]
)
def test_the_log_goes_on_after_the_example(end: bytes) -> None:
    assert run_filter(EXAMPLE + end + b"more\n") == LEFT_OUT + end + b"more\n"


def test_the_evaluation_example_and_those_of_ranks_are_left_out_too() -> None:
    assert run_filter(b"eval example:\nSECRET\n", NEXT) == LEFT_OUT + NEXT
    assert run_filter(b"[default0]:training example:\n[default0]:SECRET\n", b"[default0]:" + NEXT) == (
        LEFT_OUT + b"[default0]:" + NEXT
    )


@pytest.mark.parametrize(
    "line",
    [
        b"[WARNING] >> Dropped invalid example: [{'role': 'user', 'content': 'SECRET'}]\n",
        b"[WARNING] >> Invalid role tag in [{'from': 'human', 'value': 'SECRET'}].\n",
        b"[WARNING] >> Invalid message count in [{'value': 'SECRET'}].\n",
    ],
)
def test_rows_quoted_in_warnings_are_left_out(line: bytes) -> None:
    kept = run_filter(line)
    assert b"SECRET" not in kept
    assert kept.startswith(b"[WARNING] >> ")


@given(st.binary())
def test_other_output_passes_unchanged(text: bytes) -> None:
    assert run_filter(b"x" + text) == b"x" + text


def test_an_unfinished_last_line_is_kept() -> None:
    assert run_filter(b"no end") == b"no end"
