"""Memory, term by term: against what was measured, and against arithmetic done by hand."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
from pathlib import Path

import pytest

from lfwrap.hardware.profile import DeviceKind
from lfwrap.model.shapes import catalog_model
from lfwrap.plan.candidate import MARGIN_SHARE
from lfwrap.plan.inputs.batch import BatchPlan
from lfwrap.plan.inputs.train_settings import Precision, TrainSettings, read_settings
from lfwrap.plan.memory.activations import layer_bytes
from lfwrap.plan.memory.peak import estimate_memory
from lfwrap.plan.memory.persistent import adapter_bytes, persistent_terms, weights_bytes

CHECK = Path(__file__).resolve().parents[4] / "benchmarks" / "memory" / "check.py"
GB = 1e9


def load_check():
    spec = importlib.util.spec_from_file_location("memory_check", CHECK)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


check = load_check()
RECORDS = check.load_records()
QWEN_7B, LLAMA_8B = catalog_model("qwen2.5-7b"), catalog_model("llama-3.1-8b")
LLAMA_3B = catalog_model("llama-3.2-3b")
PAPER = TrainSettings("lora", 16, 1024, accumulation=8, rank=64, dropout=0.1)


def terms(model, settings, kind=DeviceKind.CUDA):
    return {term.name: term for term in estimate_memory(model, settings, kind).terms}


def test_there_is_enough_to_compare_with():
    halves = [record["case"]["split"] for record in RECORDS]
    assert halves.count("calibration") >= 20
    assert halves.count("held-out") >= 18
    assert len({record["case"]["model"] for record in RECORDS}) >= 5


@pytest.mark.parametrize("record", RECORDS, ids=[record["id"] for record in RECORDS])
def test_what_was_measured_is_predicted(record):
    row = check.compare(record)
    assert abs(row["error"]) <= 0.05
    assert row["device_predicted"] * 1.05 >= row["device_measured"]


EXTENDED = dataclasses.replace(PAPER, liger=True, checkpointing=False, is_extended=True, is_padding_free=True)


@pytest.mark.parametrize(
    ("changes", "peak_gib"),
    [
        ({"micro_batch": 1, "seq_len_tokens": 4096}, 34.1),
        ({"micro_batch": 2, "seq_len_tokens": 4096}, 51.2),
        ({"micro_batch": 3, "seq_len_tokens": 2240, "packing": True}, 45.1),
        ({"micro_batch": 1, "seq_len_tokens": 4096, "quantization_bit": 4}, 25.1),
    ],
)
def test_the_extension_takes_what_was_measured_and_never_more(changes, peak_gib):
    """One H100, 7B, profiled and whole runs of `speed: max` (docs/explanation/speed.md, measured.md)."""
    estimate = estimate_memory(QWEN_7B, dataclasses.replace(EXTENDED, **changes))
    assert peak_gib <= estimate.peak_allocated_bytes / 2**30 <= 1.03 * peak_gib


@pytest.mark.parametrize(
    "changes", [{"quantization_bit": 8}, {"use_dora": True}, {"zero_stage": 3, "world_size": 2}, {"method": "full"}]
)
def test_layers_that_the_extension_leaves_alone_take_as_much_as_without_it(changes):
    left = dataclasses.replace(EXTENDED, liger=False, is_padding_free=False, **changes)
    assert not left.fuses_adapters
    plain = dataclasses.replace(left, is_extended=False)
    assert estimate_memory(QWEN_7B, left) == estimate_memory(QWEN_7B, plain)


def test_what_ran_out_of_memory_was_predicted_not_to_fit():
    """With the margin on, of what the card has; everything else that was measured is in the test above."""
    failed = [record for record in check.all_records() if record["status"] == "oom"]
    assert failed
    for record in failed:
        memory = estimate_memory(check.case_model(record["case"]), check.case_settings(record["case"]))
        assert memory.device_bytes > (1 - MARGIN_SHARE) * record["device_total"], record["id"]


@pytest.mark.parametrize("record", RECORDS[:6], ids=[record["id"] for record in RECORDS[:6]])
def test_trainable_numbers_are_exact(record):
    model, settings = check.case_model(record["case"]), check.case_settings(record["case"])
    assert settings.trainable_parameters(model) == record["trainable"]


def test_int8_keeps_what_it_reads_besides_what_dropout_makes_of_it():
    """The shared inputs of q, k and v, of gate and up, and of down; o_proj's is the attention's output."""
    int8 = dataclasses.replace(PAPER, quantization_bit=8, checkpointing=False, dropout=0.1)
    kept = (
        layer_bytes(QWEN_7B, int8).inputs - layer_bytes(QWEN_7B, dataclasses.replace(int8, quantization_bit=4)).inputs
    )
    assert kept == 2 * (3584 + 3584 + 18944)
    assert layer_bytes(QWEN_7B, dataclasses.replace(int8, target="q_proj")).inputs > kept


@pytest.mark.parametrize(("model", "rows"), [(LLAMA_3B, 32), (LLAMA_8B, 16), (LLAMA_3B, 1), (LLAMA_8B, 1)])
def test_gradients_of_one_micro_batch_come_as_activations_go(model, rows):
    once = TrainSettings("full", rows, 840, liger=True)
    often = dataclasses.replace(once, accumulation=2)
    peaks = [estimate_memory(model, each).peak_allocated_bytes for each in (once, often)]
    gradients = 4 * model.parameters
    assert peaks[1] - gradients <= peaks[0] <= peaks[1]
    lasting = sum(term.bytes for term in persistent_terms(model, once))
    assert peaks[0] >= lasting + gradients  # at the end all of them stand beside the states


@pytest.mark.parametrize("micro_batch", [1, 4])
def test_padding_takes_a_mask_in_each_layer(micro_batch):
    plain = dataclasses.replace(PAPER, micro_batch=micro_batch, seq_len_tokens=4096, liger=True, checkpointing=False)
    padded = dataclasses.replace(plain, padded=True)
    more = estimate_memory(QWEN_7B, padded).peak_allocated_bytes - estimate_memory(QWEN_7B, plain).peak_allocated_bytes
    assert more > QWEN_7B.num_layers * 2 * micro_batch * 4096**2


def test_the_table_adds_up():
    estimate = estimate_memory(QWEN_7B, PAPER)
    inside = [term.bytes for term in estimate.terms if term.in_peak]
    assert estimate.peak_allocated_bytes == sum(inside) == max(estimate.phases.values())
    assert estimate.device_bytes == sum(term.bytes for term in estimate.terms)
    assert estimate.phases[estimate.phase] == estimate.peak_allocated_bytes
    assert all(term.formula and term.source and term.holds for term in estimate.terms)


def test_json_is_plain():
    value = json.loads(json.dumps(estimate_memory(QWEN_7B, PAPER).to_json()))
    assert value["peak_allocated_bytes"] == sum(term["bytes"] for term in value["terms"] if term["in_peak"])
    assert {"name", "bytes", "formula", "source", "holds", "in_peak"} <= set(value["terms"][0])


def test_weights_of_each_kind():
    full = dataclasses.replace(PAPER, method="full", rank=0)
    assert weights_bytes(QWEN_7B, PAPER) == 2 * QWEN_7B.parameters
    assert weights_bytes(QWEN_7B, full) == 4 * QWEN_7B.parameters
    assert weights_bytes(QWEN_7B, dataclasses.replace(full, precision=Precision.PURE)) == 2 * QWEN_7B.parameters
    assert 8.6 * GB < weights_bytes(QWEN_7B, dataclasses.replace(PAPER, quantization_bit=8)) < 8.8 * GB
    nf4 = weights_bytes(QWEN_7B, dataclasses.replace(PAPER, quantization_bit=4))
    plain = weights_bytes(QWEN_7B, dataclasses.replace(PAPER, quantization_bit=4, double_quantization=False))
    assert 5.4 * GB < nf4 < 5.6 * GB
    assert plain - nf4 == pytest.approx(QWEN_7B.linear_weights * (4 - 1 - 4 / 256) / 64, rel=1e-3)


def test_an_adapter_of_rank_64_on_llama_8b_has_168_million_numbers():
    assert PAPER.adapter_parameters(LLAMA_8B) == 167_772_160
    assert adapter_bytes(LLAMA_8B, PAPER) == 4 * 167_772_160


@pytest.mark.parametrize(
    ("target", "names"),
    [
        ("q_proj,v_proj", {"q_proj", "v_proj"}),
        ("model.layers.0.self_attn.q_proj", {"q_proj"}),
        (" all ", {"q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"}),
        ("nothing", set()),
    ],
)
def test_targets(target, names):
    assert {linear.name for linear in dataclasses.replace(PAPER, target=target).targets(QWEN_7B)} == names


def test_the_loss_over_all_logits_is_the_paper_recipes_widest_moment_and_liger_removes_it():
    plain, fused = estimate_memory(QWEN_7B, PAPER), estimate_memory(QWEN_7B, dataclasses.replace(PAPER, liger=True))
    assert plain.phase == "loss backward"
    assert terms(QWEN_7B, PAPER)["logits"].bytes == 12 * 16 * 1024 * QWEN_7B.vocab_size
    assert fused.peak_allocated_bytes < plain.peak_allocated_bytes - 20 * GB


def test_one_micro_batch_an_update_keeps_no_gradients_at_the_loss():
    several, one = PAPER, dataclasses.replace(PAPER, accumulation=1)
    difference = (
        estimate_memory(QWEN_7B, several).peak_allocated_bytes - estimate_memory(QWEN_7B, one).peak_allocated_bytes
    )
    assert difference == 4 * PAPER.adapter_parameters(QWEN_7B)


@pytest.mark.parametrize(("stage", "shared"), [(2, {"gradients", "optimizer states"}), (3, {"base weights"})])
def test_zero_shares_what_its_stage_says_and_where_it_was_measured(stage, shared):
    two = dataclasses.replace(PAPER, world_size=2, zero_stage=stage, precision=Precision.PURE)
    eight = dataclasses.replace(two, world_size=8)
    for name in shared:
        small, large = terms(QWEN_7B, eight)[name], terms(QWEN_7B, two)[name]
        assert small.bytes == pytest.approx(large.bytes / 4, rel=1e-6)
        assert "two H200s" in small.holds


def test_zero_offload_takes_states_and_weights_off_the_gpu():
    sharded = dataclasses.replace(PAPER, world_size=2, zero_stage=3, precision=Precision.PURE)
    names = set(terms(QWEN_7B, dataclasses.replace(sharded, offload=True)))
    assert {"optimizer states", "base weights"} <= set(terms(QWEN_7B, sharded)) - names


def test_more_than_one_process_costs_buckets_and_nccl():
    single, double = terms(QWEN_7B, PAPER), terms(QWEN_7B, dataclasses.replace(PAPER, world_size=2))
    assert {"gradient buckets", "NCCL"} == set(double) - set(single)
    assert not double["NCCL"].in_peak


def test_gpus_without_fused_attention_hold_the_square():
    slow = dataclasses.replace(PAPER, fused_attention=False, liger=True)
    fast = dataclasses.replace(slow, fused_attention=True)
    difference = (
        estimate_memory(QWEN_7B, slow).peak_allocated_bytes - estimate_memory(QWEN_7B, fast).peak_allocated_bytes
    )
    assert difference >= 4 * 16 * 28 * 1024**2


def test_a_cpu_has_no_context():
    assert "CUDA context" not in terms(QWEN_7B, PAPER, DeviceKind.CPU)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, {"method": "lora", "rank": 8, "precision": Precision.FULL, "checkpointing": True, "liger": False}),
        ({"bf16": True, "lora_rank": 64}, {"rank": 64, "precision": Precision.MIXED}),
        ({"fp16": True}, {"precision": Precision.MIXED}),
        ({"pure_bf16": True}, {"precision": Precision.PURE}),
        ({"finetuning_type": "full", "bf16": True}, {"method": "full", "rank": 0, "residual_bytes": 4}),
        ({"disable_gradient_checkpointing": True}, {"checkpointing": False}),
        ({"packing": True, "neat_packing": True}, {"packing": True, "padded": False, "has_mask": True}),
        ({"lora_target": ["q_proj", "v_proj"]}, {"target": "q_proj,v_proj"}),
        ({"quantization_bit": 4, "bf16": True}, {"quantization_bit": 4, "casts_inputs": False}),
        ({"optim": "adamw_8bit"}, {"optimizer_bytes": 2.05}),
        ({"use_unsloth_gc": True}, {"offload_checkpoints": True}),
    ],
)
def test_the_engines_keys_are_read(values, expected):
    settings = read_settings(values, BatchPlan(2, 1, 1), 128)
    assert {name: getattr(settings, name) for name in expected} == expected


SMOLLM2 = dataclasses.replace(
    LLAMA_3B,
    name="SmolLM2-135M-Instruct",
    hidden_size=576,
    num_layers=30,
    num_heads=9,
    num_kv_heads=3,
    head_dim=64,
    intermediate_size=1536,
    vocab_size=49152,
    tied_embeddings=True,
    dtype="float32",
)
RECAST = TrainSettings(
    "lora", 16, 752, accumulation=8, rank=64, dropout=0.1, padded=True, checkpoint_bytes=4, is_recast=True
)
PACKED = {"micro_batch": 24, "accumulation": 1, "seq_len_tokens": 1104, "packing": True, "padded": False}


@pytest.mark.parametrize(
    ("changes", "peak_bytes"),
    [
        ({}, 8_941_690_880),
        ({**PACKED, "liger": True, "checkpointing": False}, 26_587_958_272),
        ({"micro_batch": 64, "accumulation": 2}, 32_759_726_080),
    ],
)
def test_an_fp32_checkpoint_takes_what_was_measured(changes, peak_bytes):
    """The real SmolLM2 on an H200: frozen weights and what passes between layers are fp32, products are not."""
    recast = dataclasses.replace(RECAST, optimizer="adamw_torch", **changes)
    assert estimate_memory(SMOLLM2, recast).peak_allocated_bytes == pytest.approx(peak_bytes, rel=0.01)
    held = dataclasses.replace(recast, checkpoint_bytes=2, is_recast=False)
    assert estimate_memory(SMOLLM2, held).peak_allocated_bytes < 0.95 * peak_bytes


@pytest.mark.parametrize(
    ("values", "checkpoint", "expected"),
    [
        ({"bf16": True}, "bfloat16", {"weight_bytes": 2, "residual_bytes": 2, "is_recast": False}),
        ({"bf16": True}, "float32", {"weight_bytes": 4, "residual_bytes": 4, "is_recast": True}),
        ({"bf16": True}, "float16", {"weight_bytes": 2, "residual_bytes": 4, "is_recast": True}),
        ({"fp16": True}, "float16", {"weight_bytes": 2, "residual_bytes": 2, "is_recast": False}),
        ({"fp16": True}, "bfloat16", {"weight_bytes": 2, "residual_bytes": 4, "is_recast": True}),
        ({}, "float32", {"weight_bytes": 4, "residual_bytes": 4, "precision": Precision.FULL}),
        ({}, "bfloat16", {"weight_bytes": 2, "precision": Precision.FULL}),
        ({"pure_bf16": True}, "bfloat16", {"weight_bytes": 2, "precision": Precision.PURE}),
        ({"pure_bf16": True}, "float32", {"weight_bytes": 4, "compute_bytes": 4, "precision": Precision.FULL}),
        ({"bf16": True, "finetuning_type": "full"}, "bfloat16", {"weight_bytes": 4, "residual_bytes": 4}),
        ({"bf16": True, "quantization_bit": 4}, "bfloat16", {"weight_bytes": 2, "linear_bytes": 2}),
        ({"bf16": True, "quantization_bit": 4}, "float32", {"weight_bytes": 4, "linear_bytes": 4}),
    ],
)
def test_frozen_weights_have_the_type_of_the_checkpoint(values, checkpoint, expected):
    settings = read_settings(values, BatchPlan(2, 1, 1), 128, checkpoint=checkpoint)
    assert {name: getattr(settings, name) for name in expected} == expected


def test_zero_2_casts_an_fp32_checkpoint_itself():
    settings = read_settings({"bf16": True}, BatchPlan(1, 1, 2), 8, zero_stage=2, checkpoint="float32")
    assert settings.weight_bytes == settings.residual_bytes == 2


def test_autocast_keeps_the_cast_weights_of_all_layers_and_the_extension_keeps_none():
    kept = dataclasses.replace(RECAST, checkpointing=False, liger=True)
    adapters = kept.adapter_parameters(SMOLLM2)
    tables = SMOLLM2.embedding_parameters
    copies = terms(SMOLLM2, kept)["16-bit copies of weights"].bytes
    assert copies == 2 * (adapters + SMOLLM2.linear_weights)
    extended = dataclasses.replace(kept, is_extended=True, is_padding_free=True)
    assert extended.fuses_adapters
    assert terms(SMOLLM2, extended)["16-bit copies of weights"].bytes in {2 * adapters, 2 * (adapters + tables)}
    once = terms(SMOLLM2, RECAST)["16-bit copies of weights"].bytes
    assert once == 2 * tables, "checkpointed, at the loss: the output layer's"


def test_what_bitsandbytes_gives_over_fp32_norms_is_fp32():
    bits = dataclasses.replace(RECAST, quantization_bit=4, checkpointing=False)
    held = dataclasses.replace(bits, checkpoint_bytes=2, is_recast=False)
    wide, narrow = layer_bytes(SMOLLM2, bits), layer_bytes(SMOLLM2, held)
    assert wide.mlp == 2 * narrow.mlp
    assert wide.inputs == narrow.inputs, "with dropout each adapter's own, in 16 bit, either way"
    rest = SMOLLM2.parameters - SMOLLM2.linear_weights
    assert weights_bytes(SMOLLM2, bits) - weights_bytes(SMOLLM2, held) == 2 * rest


def test_the_extension_stays_out_of_pure_bf16():
    """PEFT keeps the adapter in fp32 there, and computes in it."""
    assert not dataclasses.replace(EXTENDED, precision=Precision.PURE).fuses_adapters
    assert dataclasses.replace(EXTENDED, precision=Precision.PURE, zero_stage=2, world_size=2).fuses_adapters


def test_deepspeed_from_stage_2_on_holds_16_bit_models():
    settings = read_settings({"bf16": True}, BatchPlan(2, 1, 2), 128, zero_stage=2)
    assert settings.precision is Precision.PURE
    assert settings.optimizer_bytes == 12


def test_checkpoints_in_main_memory_leave_one_layers_input():
    kept = terms(QWEN_7B, dataclasses.replace(PAPER, offload_checkpoints=True))["kept layer inputs"].bytes
    assert kept * QWEN_7B.num_layers == terms(QWEN_7B, PAPER)["kept layer inputs"].bytes


def test_frozen_layers_stay_gathered_under_zero_3_and_trained_ones_do_not():
    sharded = dataclasses.replace(PAPER, world_size=2, zero_stage=3, precision=Precision.PURE, liger=True)
    assert terms(QWEN_7B, sharded)["gathered weights"].bytes == 2 * QWEN_7B.linear_weights
    full = dataclasses.replace(sharded, method="full", rank=0)
    phases = estimate_memory(QWEN_7B, full).phases
    assert phases["update"] - sum(term.bytes for term in persistent_terms(QWEN_7B, full)) == 6 * 10**9


def test_the_bucket_of_zero_2_comes_with_the_first_gradient():
    sharded = dataclasses.replace(PAPER, world_size=2, zero_stage=2, precision=Precision.PURE)
    assert "gradient bucket" not in terms(QWEN_7B, sharded)  # widest at the loss
    assert terms(QWEN_7B, dataclasses.replace(sharded, liger=True))["gradient bucket"].bytes == 10**9
