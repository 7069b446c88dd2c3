"""A new recipe with comments, made from the few values that differ between recipes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from lfwrap.bundled import render_template
from lfwrap.engine.facts import EngineFacts
from lfwrap.recipe.intent import AUTO
from lfwrap.recipe.keys import show

METHODS = ("lora", "qlora", "qlora8", "full")
_BITS = {"qlora": 4, "qlora8": 8}
_LEARNING_RATES = {"lora": 1e-4, "qlora": 2e-4, "qlora8": 2e-4, "full": 1e-5}
_EPOCHS = 3.0


@dataclass(frozen=True, slots=True)
class NewRecipe:
    """The values of a new recipe.

    Attributes:
        method: one of `METHODS`.
        model: hub id or folder of the model.
        dataset: the name under which the data set is registered.
        dataset_dir: the folder that registers it; None where lfwrap looks for it.
        hardware: the machine that it is for; None leaves it out.
        rank: rank of the adapter.
        cutoff_len: tokens at which rows are cut.
        effective_batch_size: rows of one update; ``auto`` leaves batch, epochs and learning rate to the number of rows.
        file: the file name in its comments.
    """

    method: str
    model: str
    dataset: str
    dataset_dir: str | None = None
    hardware: str | None = None
    rank: int = 16
    cutoff_len: int = 1024
    effective_batch_size: int | Literal["auto"] = "auto"
    file: str = "recipe.yaml"


def create_recipe(new: NewRecipe, facts: EngineFacts) -> str:
    """The YAML text of a new recipe; the chat template comes from the engine's own map."""
    name = new.model.replace("\\", "/").rstrip("/").rsplit("/", 1)[-1]
    machine = f" on {new.hardware}" if new.hardware else ""
    return render_template(
        "recipe.yaml.j2",
        title=f"{name}: {new.method} on {new.dataset}{machine}".replace("\n", " "),
        file=new.file,
        model=show(new.model),
        template=facts.template_for(new.model),
        method=new.method,
        bits=_BITS.get(new.method),
        rank=new.rank,
        dataset=show(new.dataset),
        dataset_dir=show(new.dataset_dir) if new.dataset_dir else None,
        cutoff_len=new.cutoff_len,
        learning_rate=show(_LEARNING_RATES[new.method]),
        epochs=_EPOCHS,
        is_auto=new.effective_batch_size == AUTO,
        effective=new.effective_batch_size,
        hardware=show(new.hardware) if new.hardware else None,
    )
