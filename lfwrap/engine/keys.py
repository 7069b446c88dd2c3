"""The engine's keys that lfwrap sets or reads by name, and the engine's defaults that it counts with.

They stand here so that nothing has to be loaded at the start; a test holds them to the shipped table of keys.
"""

from __future__ import annotations

MODEL_KEY = "model_name_or_path"
CUTOFF_KEY = "cutoff_len"
MICRO_KEY, ACCUMULATION_KEY = BATCH_KEYS = ("per_device_train_batch_size", "gradient_accumulation_steps")
EVAL_BATCH_KEY = "per_device_eval_batch_size"
EPOCHS_KEY = "num_train_epochs"
METHOD_KEY = "finetuning_type"
PRECISION_KEYS = ("bf16", "fp16", "pure_bf16")
LIGER_KEY = "enable_liger_kernel"
NO_CHECKPOINTING_KEY, OFFLOADED_CHECKPOINTS_KEY = "disable_gradient_checkpointing", "use_unsloth_gc"
COMPILE_KEY = "torch_compile"
TRAINERS_COMPILE_KEYS = ("torch_compile_backend", "torch_compile_mode")
"""With one of these the trainer compiles the whole model, whatever `torch_compile` says."""
LOADERS_KEY = "dataloader_num_workers"
SAMPLING_KEY = "train_sampling_strategy"
PACKING_KEYS = ("packing", "neat_packing")
NO_IS_TEXT_KEYS = ("logging_strategy", "eval_strategy", "save_strategy")
"""Texts of which one is ``no``, which YAML reads as false."""

DEFAULT_STAGE = "sft"
DEFAULT_METHOD = "lora"
DEFAULT_RANK = 8
DEFAULT_TARGET = "all"
DEFAULT_EPOCHS = 3.0
DEFAULT_LEARNING_RATE = 5e-5
DEFAULT_SCHEDULER = "linear"
DEFAULT_CUTOFF = 2048
"""Tokens after which a row is cut."""
DEFAULT_EVAL_BATCH = 8
DEFAULT_OPTIMIZER = "adamw_torch_fused"
DEFAULT_QUANTIZATION = "bnb"
DEFAULT_SEED = 42
DEFAULT_SERVING_CONTEXT = 4096
"""Tokens of the context that vLLM and SGLang get."""
