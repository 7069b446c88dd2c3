"""Which rows are the longest, and when trying them early would leave traces."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from lfwrap_worker.train.longest_batch import longest_rows, reason_against, weightless

pa = pytest.importorskip("pyarrow")

ROWS = [[1] * 3, [1] * 9, [1], [1] * 9, [1] * 5]


def dataset(order: list[int] | None = None, column: str = "input_ids") -> Any:
    indices = None if order is None else pa.table({"indices": pa.array(order, pa.uint64())})
    return SimpleNamespace(data=pa.table({column: ROWS}), _indices=indices)


@pytest.mark.parametrize(("count", "rows"), [(1, [1]), (3, [1, 3, 4]), (99, [1, 3, 4, 0, 2])])
def test_the_longest_come_first_and_equal_ones_in_their_order(count: int, rows: list[int]) -> None:
    assert longest_rows(dataset(), count) == rows


def test_a_shuffled_or_cut_data_set_is_counted_by_its_own_order() -> None:
    assert longest_rows(dataset([4, 2, 0, 3]), 2) == [3, 0]


def test_streams_and_rows_without_tokens_have_no_longest() -> None:
    assert longest_rows(SimpleNamespace(), 1) is None
    assert longest_rows(dataset(column="chosen_input_ids"), 1) is None


def trainer(**changes: Any) -> Any:
    plain = {"is_deepspeed_enabled": False, "is_fsdp_enabled": False, "train_dataset": dataset()}
    return SimpleNamespace(**plain | changes)


def model(hooks: dict[int, Any] | None = None) -> Any:
    return SimpleNamespace(parameters=lambda: [SimpleNamespace(_post_accumulate_grad_hooks=hooks)])


@pytest.mark.parametrize(
    ("changes", "hooks", "part"),
    [
        ({}, None, ""),
        ({"is_deepspeed_enabled": True}, {0: print}, ""),
        ({"is_fsdp_enabled": True}, None, "FSDP"),
        ({"_stored_metrics": {}}, None, "figures"),
        ({}, {0: print}, "updates the weights"),
        ({"train_dataset": SimpleNamespace()}, None, "lengths"),
    ],
)
def test_nothing_is_tried_where_it_would_leave_a_trace(
    changes: dict[str, Any], hooks: dict[int, Any] | None, part: str
) -> None:
    reason = reason_against(trainer(**changes), model(hooks))
    assert part in reason
    assert bool(reason) is bool(part)


class Accelerator:
    """As much of accelerate's as DeepSpeed's way through it needs."""

    def __init__(self) -> None:
        self.sync_gradients = True
        self.calls: list[tuple[float, bool]] = []

    def backward(self, loss: Any, **_: Any) -> None:
        loss.backward()
        self.calls.append((float(loss.detach()), self.sync_gradients))


@pytest.mark.parametrize(("factor", "calls"), [(2.0, 1), (float("nan"), 0), (float("inf"), 0)])
def test_a_weightless_pass_adds_nothing_and_ends_no_update(factor: float, calls: int) -> None:
    torch = pytest.importorskip("torch")
    weight = torch.ones(3, requires_grad=True)
    accelerator = Accelerator()
    accelerator.backward((weight * torch.tensor([1.0, 2.0, 3.0])).sum())
    before = weight.grad.clone()
    with weightless(accelerator):
        accelerator.backward((weight * factor).sum())
    assert accelerator.calls[1:] == [(0.0, False)] * calls
    assert torch.equal(weight.grad, before)
    assert accelerator.sync_gradients
    accelerator.backward((weight * 2).sum())
    assert torch.equal(weight.grad, before + 2)
