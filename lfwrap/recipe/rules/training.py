"""Rules about the run itself: steps, evaluation, saving, precision, DeepSpeed, keys without effect."""

from __future__ import annotations

from collections.abc import Iterator

from lfwrap.errors import Finding
from lfwrap.recipe.rules.view import View

# key → (least value, whether the least itself is allowed, greatest value or None)
_RANGES: dict[str, tuple[float, bool, float | None]] = {
    "learning_rate": (0, False, None),
    "num_train_epochs": (0, False, None),
    "per_device_train_batch_size": (1, True, None),
    "per_device_eval_batch_size": (1, True, None),
    "gradient_accumulation_steps": (1, True, None),
    "lora_rank": (1, True, None),
    "lora_alpha": (1, True, None),
    "lora_dropout": (0, True, 1),
    "cutoff_len": (1, True, None),
    "warmup_ratio": (0, True, 1),
    "warmup_steps": (0, True, None),
    "weight_decay": (0, True, None),
    "val_size": (0, True, None),
    "logging_steps": (0, False, None),
    "save_steps": (0, False, None),
    "eval_steps": (0, False, None),
    "save_total_limit": (1, True, None),
    "max_samples": (1, True, None),
    "max_grad_norm": (0, True, None),
    "preprocessing_num_workers": (1, True, None),
}
_HIGH_LEARNING_RATE = 0.01


def ranges(view: View) -> Iterator[Finding]:
    """Numbers that are out of their range."""
    for key, (least, least_allowed, greatest) in _RANGES.items():
        value = view.get(key)
        if not view.has(key) or isinstance(value, bool) or not isinstance(value, int | float):
            continue
        if value < least or (value == least and not least_allowed) or (greatest is not None and value > greatest):
            limits = f"at least {least:g}" if least_allowed else f"more than {least:g}"
            limits += f", at most {greatest:g}" if greatest is not None else ""
            yield view.error("out-of-range", key, f"{key}: {value} is out of range.", f"It is {limits}.")


def learning_rate(view: View) -> Iterator[Finding]:
    """A learning rate with a mistaken exponent."""
    if view.number("learning_rate") > _HIGH_LEARNING_RATE and view.has("learning_rate"):
        message = f"learning_rate: {view.get('learning_rate')} is far above what tunes a language model."
        yield view.warning("learning-rate-high", "learning_rate", message, "1.0e-04 to 2.0e-04 suits LoRA.")


def nothing_to_do(view: View) -> Iterator[Finding]:
    """Without do_train the engine loads the model and ends with exit 0; lfwrap switches the training on."""
    if view.recipe.trains_unasked:
        message = "do_train: is not written; `lfwrap train` trains all the same."
        yield view.info("do-train-added", "do_train", message, "Write `do_train: true` to use the file without lfwrap.")
    elif not view.trains and not view.on("do_eval") and not view.on("do_predict"):
        message = "do_train: is not on; LLaMA-Factory would load the model and end."
        yield view.warning("nothing-to-do", "do_train", message, "Write `do_train: true`.")


def steps_and_epochs(view: View) -> Iterator[Finding]:
    """Either the number of steps or the number of epochs decides."""
    if view.number("max_steps", -1) > 0 and view.has("num_train_epochs"):
        message = f"num_train_epochs: has no effect, max_steps: {view.get('max_steps')} decides."
        yield view.warning("steps-and-epochs", "num_train_epochs", message, "Keep one of them.")
    if view.number("max_steps", -1) > 0 and view.intent.checkpoint_every_epoch_frac is not None:
        message = "lfwrap.checkpoint_every_epoch_frac: max_steps leaves the length of an epoch open."
        hint = "Write `save_steps: N`, or num_train_epochs instead of max_steps."
        yield view.error("frac-and-steps", "lfwrap.checkpoint_every_epoch_frac", message, hint)


def evaluation(view: View) -> Iterator[Finding]:
    """Evaluating needs rows that are held out, and held-out rows want to be used."""
    strategy = view.text("eval_strategy")
    has_rows = view.number("val_size") > 0 or view.on("eval_dataset")
    evaluates = strategy in {"steps", "epoch"} or view.on("do_eval")
    if evaluates and not has_rows:
        key = "eval_strategy" if strategy != "no" else "do_eval"
        message = f"{key}: there is nothing to evaluate on."
        yield view.error("eval-without-split", key, message, "Write `val_size: 0.1`, or name an eval_dataset.")
    wants = evaluates or view.on("do_predict") or view.intent.checkpoint_every_epoch_frac is not None
    if has_rows and not wants and view.trains:
        key = "val_size" if view.number("val_size") > 0 else "eval_dataset"
        message = f"{key}: rows are held out and never evaluated."
        yield view.warning("split-without-eval", key, message, "Write `eval_strategy: epoch`, or leave it out.")


def best_model(view: View) -> Iterator[Finding]:
    """The best checkpoint can only be one that was both saved and evaluated."""
    if not view.on("load_best_model_at_end") or view.intent.checkpoint_every_epoch_frac is not None:
        return
    save, evaluate = view.text("save_strategy"), view.text("eval_strategy")
    if save not in {evaluate, "best"}:
        message = f"load_best_model_at_end: saves by {save} and evaluates by {evaluate}."
        hint = "Write the same for save_strategy and eval_strategy."
        yield view.error("best-strategies", "load_best_model_at_end", message, hint)
    elif save == "steps" and _uneven(
        view.number("save_steps", 500), view.number("eval_steps", view.number("logging_steps"))
    ):
        message = f"save_steps: {view.get('save_steps')} is not a multiple of eval_steps."
        yield view.error("best-steps", "save_steps", message, "Save at a multiple of the steps between evaluations.")


def _uneven(save_steps: float, eval_steps: float) -> bool:
    if eval_steps < 1 or save_steps < 1:
        return (eval_steps < 1) != (save_steps < 1)
    return save_steps % eval_steps != 0


def prediction(view: View) -> Iterator[Finding]:
    """Prediction of a data set has needs of its own."""
    if view.on("do_predict") and view.stage == "sft" and not view.on("predict_with_generate"):
        message = "do_predict: needs predict_with_generate in stage sft."
        yield view.error("predict-generates", "do_predict", message, "Write `predict_with_generate: true`.")
    if view.on("predict_with_generate") and view.on("compute_accuracy"):
        message = "compute_accuracy: not together with predict_with_generate."
        yield view.error("predict-accuracy", "compute_accuracy", message, "Keep one of them.")


def precision(view: View) -> Iterator[Finding]:
    """Only one 16-bit type can be in use."""
    if view.on("bf16") and view.on("fp16"):
        yield view.error("two-precisions", "fp16", "fp16: not together with bf16.", "Keep bf16 where the GPU has it.")
    if view.on("pure_bf16") and view.on("fp16"):
        yield view.error("two-precisions", "fp16", "fp16: not together with pure_bf16.", "Keep one of them.")


def warmup(view: View) -> Iterator[Finding]:
    """The ratio silently replaces the steps; transformers 5 wants the ratio written as steps below 1."""
    if not view.has("warmup_ratio"):
        return
    if view.has("warmup_steps"):
        message = "warmup_steps: has no effect, warmup_ratio decides."
        yield view.warning("warmup-twice", "warmup_steps", message, "Keep one of them.")
    message = "warmup_ratio: deprecated in transformers 5."
    hint = f"`warmup_steps: {view.get('warmup_ratio')}` means the same: below 1 it is a part of all steps."
    yield view.info("deprecated-key", "warmup_ratio", message, hint)


def checkpointing(view: View) -> Iterator[Finding]:
    """Two switches that contradict each other."""
    if view.on("gradient_checkpointing") and view.on("disable_gradient_checkpointing"):
        message = "gradient_checkpointing: contradicts disable_gradient_checkpointing."
        yield view.warning("checkpointing-twice", "gradient_checkpointing", message, "Keep one of them.")


def deepspeed(view: View) -> Iterator[Finding]:
    """Only one of lfwrap, a file and FSDP configures sharding."""
    if view.on("deepspeed") and view.intent.zero_stage is not None:
        message = "deepspeed: lfwrap.zero_stage renders a configuration of its own."
        yield view.error("two-deepspeed", "deepspeed", message, "Keep one of them.")
    if view.on("deepspeed") and view.on("fsdp"):
        yield view.error("deepspeed-and-fsdp", "fsdp", "fsdp: not together with deepspeed.", "Keep one of them.")
    if view.intent.offload and not view.intent.zero_stage:
        message = "lfwrap.offload: needs ZeRO-2 or ZeRO-3."
        yield view.error("offload-without-zero", "lfwrap.offload", message, "Write `zero_stage: 2`.")


def output_folder(view: View) -> Iterator[Finding]:
    """Every run gets a folder of its own."""
    if view.on("overwrite_output_dir"):
        message = "overwrite_output_dir: keeps old checkpoint-* folders, from which a later resume would go on."
        hint = "Leave it out: every run gets a new folder."
        yield view.warning("overwrite-output-dir", "overwrite_output_dir", message, hint)


def export_keys(view: View) -> Iterator[Finding]:
    """Keys of the export have no effect on training."""
    for key in view.recipe.engine_values:
        if key.startswith("export_") and view.trains:
            message = f"{key}: has no effect on training."
            yield view.warning("export-key", key, message, "`lfwrap export RUN --out DIR` exports.")


RULES = (
    ranges,
    learning_rate,
    nothing_to_do,
    steps_and_epochs,
    evaluation,
    best_model,
    prediction,
    precision,
    warmup,
    checkpointing,
    deepspeed,
    output_folder,
    export_keys,
)
