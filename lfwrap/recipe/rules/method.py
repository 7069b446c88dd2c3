"""Rules about the method: adapters, quantisation, optimizers that replace them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from lfwrap.errors import Finding
from lfwrap.recipe.rules.view import View

_BITS: Mapping[str, tuple[int, ...]] = {"bnb": (4, 8), "hqq": (1, 2, 3, 4, 5, 6, 8), "eetq": (8,)}
_ZERO3 = 3


def quantized_method(view: View) -> Iterator[Finding]:
    """Quantised weights can't be trained themselves."""
    if view.on("quantization_bit") and view.text("finetuning_type") not in {"lora", "oft"}:
        method = view.text("finetuning_type")
        message = f"quantization_bit: quantised weights can't be trained by finetuning_type: {method}."
        hint = "Use `finetuning_type: lora` (QLoRA), or leave quantization_bit out."
        yield view.error("quantized-full", "quantization_bit", message, hint)


def quantization_bits(view: View) -> Iterator[Finding]:
    """Each quantisation library takes only some widths."""
    method, bits = view.text("quantization_method"), view.get("quantization_bit")
    allowed = _BITS.get(method)
    if bits is not None and allowed and bits not in allowed:
        message = f"quantization_bit: {method} does not take {bits}."
        yield view.error("quantization-bits", "quantization_bit", message, f"It takes {', '.join(map(str, allowed))}.")


def quantized_zero3(view: View) -> Iterator[Finding]:
    """ZeRO-3 would have to split quantised weights."""
    if not view.on("quantization_bit") or view.zero_stage != _ZERO3:
        return
    key = "lfwrap.zero_stage" if view.intent.zero_stage is not None else "deepspeed"
    message = "ZeRO-3 does not split quantised weights: LLaMA-Factory refuses 8-bit and hqq, and 4-bit saves nothing."
    yield view.error("zero3-quantized", key, message, "Use zero_stage: 0 or 2, or leave quantization_bit out.")


def quantized_adapters(view: View) -> Iterator[Finding]:
    """Keys that can't be combined with a quantised base model."""
    if not view.on("quantization_bit"):
        return
    for key in ("pissa_init", "resize_vocab"):
        if view.on(key):
            message = f"{key}: not possible on a quantised model."
            yield view.error("quantized-incompatible", key, message, "Leave it out, or leave quantization_bit out.")
    if view.on("adapter_name_or_path") and view.on("create_new_adapter"):
        message = "create_new_adapter: a new adapter can't be put upon a quantised model with an adapter."
        yield view.error("quantized-incompatible", "create_new_adapter", message, "Merge the first adapter before.")
    if "," in view.text("adapter_name_or_path"):
        message = "adapter_name_or_path: a quantised model takes one adapter."
        yield view.error("quantized-incompatible", "adapter_name_or_path", message, "Merge them first.")
    if view.on("fp8"):
        yield view.error("quantized-incompatible", "fp8", "fp8: not with quantised weights.", "Leave one of them out.")


def lora_only(view: View) -> Iterator[Finding]:
    """Keys that have a meaning only for LoRA."""
    method = view.text("finetuning_type")
    if method == "lora":
        return
    for key in ("loraplus_lr_ratio", "use_rslora", "use_dora", "pissa_init", "adapter_name_or_path"):
        if view.on(key):
            message = f"{key}: only for finetuning_type: lora, not {method}."
            yield view.error("lora-only", key, message, "Leave it out, or train by LoRA.")
    for key in ("lora_rank", "lora_alpha", "lora_dropout", "lora_target"):
        if view.has(key):
            message = f"{key}: has no effect with finetuning_type: {method}."
            yield view.warning("lora-unused", key, message, "Leave it out, or train by LoRA.")


def replacing_optimizers(view: View) -> Iterator[Finding]:
    """GaLore, APOLLO and BAdam train all weights: only one of them, and not with LoRA or DeepSpeed."""
    chosen = [key for key in ("use_galore", "use_apollo", "use_badam") if view.on(key)]
    if not chosen:
        return
    key = chosen[0]
    if view.text("finetuning_type") == "lora":
        yield view.error("galore-lora", key, f"{key}: not together with LoRA.", "Write `finetuning_type: full`.")
    if len(chosen) > 1:
        yield view.error("galore-twice", chosen[1], f"{chosen[1]}: not together with {key}.", "Keep one of them.")
    if key != "use_badam" and (view.on("deepspeed") or view.intent.zero_stage):
        yield view.error("galore-deepspeed", key, f"{key}: not under DeepSpeed.", "Leave DeepSpeed out.")


def llama_pro(view: View) -> Iterator[Finding]:
    """LLaMA Pro trains added blocks and freezes all others."""
    if view.on("use_llama_pro") and view.text("finetuning_type") == "full":
        message = "use_llama_pro: only for freeze or LoRA training."
        yield view.error("llama-pro-full", "use_llama_pro", message, "Write `finetuning_type: freeze`.")


def unsloth_dropout(view: View) -> Iterator[Finding]:
    """Any dropout disables Unsloth's fast kernels (Unsloth issue 2319)."""
    if view.on("use_unsloth") and view.number("lora_dropout") > 0:
        message = f"lora_dropout: {view.get('lora_dropout')} turns off Unsloth's fast kernels."
        hint = "Write `lora_dropout: 0.0` for their speed, or leave use_unsloth out."
        yield view.warning("unsloth-dropout", "lora_dropout", message, hint)


def zero3_incompatible(view: View) -> Iterator[Finding]:
    """Keys that the engine refuses under ZeRO-3."""
    if view.zero_stage != _ZERO3:
        return
    for key in ("use_unsloth", "use_kt", "pissa_init", "pure_bf16", "predict_with_generate"):
        if view.on(key):
            yield view.error("zero3-incompatible", key, f"{key}: not under ZeRO-3.", "Use zero_stage: 2 or 0.")


def stage_needs(view: View) -> Iterator[Finding]:
    """Stages other than supervised fine-tuning have needs and limits of their own."""
    stage = view.stage
    if stage == "ppo" and not view.on("reward_model"):
        message = "reward_model: PPO needs one."
        yield view.error("reward-model-missing", "stage", message, "Write `reward_model: <folder>`.")
    if stage == "dpo" and view.text("pref_loss") != "sigmoid" and view.number("dpo_label_smoothing") > 0:
        message = "dpo_label_smoothing: only for pref_loss: sigmoid."
        yield view.error("dpo-smoothing", "dpo_label_smoothing", message, "Leave it out.")
    if stage in {"rm", "ppo"} and view.on("load_best_model_at_end"):
        message = f"load_best_model_at_end: not in stage {stage}."
        yield view.error("stage-load-best", "load_best_model_at_end", message, "Leave it out.")
    for key in ("predict_with_generate", "neat_packing", "train_on_prompt", "mask_history"):
        if stage != "sft" and view.on(key):
            yield view.error("sft-only", key, f"{key}: only in stage sft, not {stage}.", "Leave it out.")


RULES = (
    quantized_method,
    quantization_bits,
    quantized_zero3,
    quantized_adapters,
    lora_only,
    replacing_optimizers,
    llama_pro,
    unsloth_dropout,
    zero3_incompatible,
    stage_needs,
)
