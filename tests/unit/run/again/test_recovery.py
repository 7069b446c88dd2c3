"""What is tried when the memory was not enough: never another effective batch, and an end to it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.engine.keys import ACCUMULATION_KEY, MICRO_KEY, NO_CHECKPOINTING_KEY
from lfwrap.run.again.recovery import find_fallback, with_changes
from lfwrap.yaml_files import load_yaml

TEXT = """\
# Rendered by lfwrap.
# micro-batch × accumulation × processes: 4 × 2 × 1 = 8

### train
per_device_train_batch_size: 4
gradient_accumulation_steps: 2  # a remark
learning_rate: 1.0e-4
"""


@pytest.mark.parametrize(
    ("micro", "accumulation", "expected"),
    [(16, 1, (8, 2)), (4, 2, (2, 4)), (3, 1, (1, 3)), (6, 5, (3, 10)), (5, 7, (1, 35)), (2, 64, (1, 128))],
)
def test_the_micro_batch_is_halved_as_far_as_the_effective_batch_allows(
    micro: int, accumulation: int, expected: tuple[int, int]
) -> None:
    fallback = find_fallback({MICRO_KEY: micro, ACCUMULATION_KEY: accumulation})
    assert fallback is not None
    assert (fallback.changes[MICRO_KEY], fallback.changes[ACCUMULATION_KEY]) == expected
    assert f"{micro} → {expected[0]}" in fallback.reason


def test_checkpointing_comes_after_the_micro_batch_and_nothing_after_it() -> None:
    values = {MICRO_KEY: 1, ACCUMULATION_KEY: 8, NO_CHECKPOINTING_KEY: True}
    fallback = find_fallback(values)
    assert fallback is not None
    assert fallback.changes == {NO_CHECKPOINTING_KEY: False}
    assert find_fallback(values | fallback.changes) is None
    assert find_fallback({}) is None


@given(st.integers(1, 512), st.integers(1, 512), st.booleans())
def test_the_ladder_ends_and_keeps_the_effective_batch(micro: int, accumulation: int, off: bool) -> None:
    values = {MICRO_KEY: micro, ACCUMULATION_KEY: accumulation, NO_CHECKPOINTING_KEY: off}
    tried = 0
    while (fallback := find_fallback(values)) is not None:
        values |= fallback.changes
        assert values[MICRO_KEY] * values[ACCUMULATION_KEY] == micro * accumulation
        tried += 1
    assert tried <= 11
    assert (values[MICRO_KEY], values[NO_CHECKPOINTING_KEY]) == (1, False)


def test_only_the_changed_lines_of_the_yaml_change(tmp_path) -> None:
    text = with_changes(TEXT, {MICRO_KEY: 2, ACCUMULATION_KEY: 4, NO_CHECKPOINTING_KEY: False})
    path = tmp_path / "engine.yaml"
    path.write_text(text, encoding="utf-8")
    assert load_yaml(path).values == {
        MICRO_KEY: 2,
        ACCUMULATION_KEY: 4,
        "learning_rate": 1e-4,
        NO_CHECKPOINTING_KEY: False,
    }
    assert text.startswith("# Rendered by lfwrap.\n\n### train\n")
