"""What ``speed: max`` adds to the engine's training; loaded by train_engine.py, off unless a recipe asks for it.

Its parts, each of which leaves what is computed as it is and changes how:

- ``adapters``: the LoRA branch of a linear layer as one autograd function;
- ``dropout`` and ``kernels``: its dropout, whose mask is made where it is needed, in every pass anew;
- ``attention`` and ``batches``: rows without padding, each of which attends to itself;
- ``loss``: logits for supervised tokens alone.

``casting`` knows the type that products are computed in. Each part looks at what it finds (types, versions, devices)
and stays out where it does not know its way: what was done and what was not is said in one line on stdout.
"""

from __future__ import annotations

import json
from typing import Any

from . import adapters, attention, batches, casting, loss

__all__ = ["apply"]


def apply() -> None:
    """Hook into the engine's supervised fine-tuning: called before ``run_exp``, acts once the model is loaded."""
    from llamafactory.train.sft import workflow

    load_model = workflow.load_model

    def load_and_speed_up(tokenizer: Any, model_args: Any, finetuning_args: Any, is_trainable: bool = False) -> Any:
        autocast = casting.asked_type(model_args, finetuning_args)
        model = load_model(tokenizer, model_args, finetuning_args, is_trainable)
        if is_trainable:
            print("lfwrap: extended for speed:", json.dumps(speed_up(model, workflow, autocast)), flush=True)
        return model

    workflow.load_model = load_and_speed_up


def speed_up(model: Any, workflow: Any, autocast: Any = None) -> dict[str, Any]:
    """Apply every part to a loaded model; returns what was done, and why what was not.

    Args:
        model: as the engine loaded it.
        workflow: the engine's module of supervised fine-tuning.
        autocast: the type that autocast will compute in; None for training without it.
    """
    report: dict[str, Any] = {"adapters": adapters.install(model, autocast)}
    reason = attention.install(model, autocast)
    if reason is None:
        batches.install(workflow)
    report["padding_free"] = reason or "on"
    report["loss"] = loss.install(model)
    return report
