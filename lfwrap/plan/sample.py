"""The training that the examples of this package plan, with model and machine from the catalogues."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from lfwrap.hardware.profile import catalog_machine
from lfwrap.model.shapes import ModelFacts, catalog_model
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.request import PlanRequest


def sample_model() -> ModelFacts:
    """Qwen2.5-7B, whose weights the examples count.

    Example:
        >>> sample_model().parameters
        7615616512
    """
    model = catalog_model("qwen2.5-7b")
    assert model is not None  # noqa: S101 - it is in the catalogue that ships with lfwrap
    return model


def sample_request(**changes: Any) -> PlanRequest:
    """LoRA of rank 8 on Qwen2.5-7B with one H100: 10,000 rows of 200 tokens on average, 16 of them an update.

    Args:
        changes: fields of the request that differ.

    Example:
        >>> sample_request(world_size=2).world_size
        2
    """
    request = PlanRequest(
        model=sample_model(),
        values={"bf16": True, "lora_rank": 8, "cutoff_len": 1024},
        hardware=catalog_machine("h100-80gb"),
        world_size=1,
        rows=RowLengths(longest_tokens=1024, mean_tokens=200.0, count=10_000),
        batch=BatchPlan(micro_batch=16, accumulation=1, world_size=1),
        effective_batch=16,
        speed="auto",
    )
    return replace(request, **changes)
