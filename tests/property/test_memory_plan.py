"""A plan never exceeds its machine, and always keeps the effective batch."""

from __future__ import annotations

from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lfwrap.errors import PlanError
from lfwrap.hardware.profile import catalog_names, load_hardware
from lfwrap.model.facts import catalog_model
from lfwrap.plan.batch import solve_batch
from lfwrap.plan.option import device_limit_bytes
from lfwrap.plan.plan import make_plan
from lfwrap.plan.request import PlanRequest
from lfwrap.plan.rows import Rows

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
    speed=st.sampled_from(["auto", "exact", "off"]),
)
def test_a_plan_never_exceeds_its_machine_and_keeps_the_batch(
    *, name, count, model, effective, rank, bits, longest, mean, speed
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
        rows=Rows(longest, mean),
        batch=solve_batch(effective, machine.world_size),
        effective_batch=effective,
        speed=speed,
    )
    try:
        plan = make_plan(request)
    except PlanError as error:
        assert "does not fit" in error.message  # noqa: PT017 - either way is right
        return
    assert plan.option.memory.device_bytes <= device_limit_bytes(machine) < machine.device_memory_bytes
    if plan.option.choices.packing:
        assert plan.option.batch.effective % machine.world_size == 0
    else:
        assert plan.option.batch.effective == effective
