"""A plan never exceeds its machine, and always keeps the effective batch."""

from __future__ import annotations

import random

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lfwrap.errors import PlanError
from lfwrap.hardware.load import load_hardware
from lfwrap.hardware.profile import catalog_names
from lfwrap.model.shapes import catalog_model
from lfwrap.plan.candidate import device_limit_bytes
from lfwrap.plan.inputs.batch import solve_batch
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.plan.packing import PACKED_ROWS_TOLERANCE
from lfwrap.plan.plan import make_plan
from lfwrap.plan.request import PlanRequest

LENGTHS = tuple(random.Random(7).choices(range(20, 480), k=300))  # noqa: S311
GPUS = [name for name in catalog_names() if load_hardware(name).gpus]


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(GPUS),
    count=st.sampled_from([1, 2, 8]),
    model=st.sampled_from(["qwen2.5-0.5b", "qwen2.5-7b", "llama-3.2-3b", "qwen3-30b-a3b"]),
    effective=st.integers(1, 256),
    rank=st.sampled_from([8, 64]),
    bits=st.sampled_from([None, 4, 8]),
    longest=st.sampled_from([128, 1024, 8192]),
    mean=st.sampled_from([None, 100.0]),
    lengths=st.sampled_from([(), LENGTHS]),
    speed=st.sampled_from(["auto", "max", "exact", "none"]),
    stages=st.sampled_from([(), (2, 3)]),
)
def test_a_plan_never_exceeds_its_machine_and_keeps_the_batch(
    *, name, count, model, effective, rank, bits, longest, mean, lengths, speed, stages
):
    single = load_hardware(name)
    machine = load_hardware(f"{count}x-{name}") if single.kind == "cuda" else single
    effective *= machine.world_size
    assume(bits is None or machine.supports_quantization)
    request = PlanRequest(
        model=catalog_model(model),
        values={"lora_rank": rank, "quantization_bit": bits, "cutoff_len": longest, "bf16": machine.supports_bf16},
        hardware=machine,
        world_size=machine.world_size,
        rows=(RowLengths(max(LENGTHS), mean, len(LENGTHS), lengths) if lengths else RowLengths(longest, mean)).cut(
            longest
        ),
        batch=solve_batch(effective, machine.world_size),
        effective_batch=effective,
        speed=speed,
        open_stages=stages if machine.world_size > 1 else (),
    )
    try:
        plan = make_plan(request)
    except PlanError as error:
        assert "does not fit" in error.message  # noqa: PT017 - either way is right
        return
    assert plan.candidate.memory.device_bytes <= device_limit_bytes(machine) < machine.device_memory_bytes
    if plan.candidate.settings.packing:
        assert plan.candidate.batch.effective % machine.world_size == 0
        assert abs(plan.candidate.rows_per_update / effective - 1) <= PACKED_ROWS_TOLERANCE
        assert plan.candidate.settings.seq_len_tokens >= request.rows.longest_tokens
    else:
        assert plan.candidate.batch.effective == effective
