"""A recipe: LLaMA-Factory's own keys plus an optional ``lfwrap:`` block, from a file and ``key=value`` overrides."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

from lfwrap.bundled import bundled_path, find_file
from lfwrap.engine.keys import MODEL_KEY, NO_IS_TEXT_KEYS
from lfwrap.errors import RecipeError, UsageError
from lfwrap.recipe.intent import BLOCK, Intent, IntentProblem, parse_intent
from lfwrap.suggest import nearest
from lfwrap.yaml_files import Document, load_yaml, parse_scalar

MODEL_PATH_VARIABLE = "MODEL_PATH"
_TASK_KEYS = ("do_train", "do_eval", "do_predict")


class Source(StrEnum):
    """Where a value comes from, the weakest first."""

    ENGINE = "engine default"
    TEMPLATE = "template"
    HARDWARE = "hardware"
    PLAN = "plan"
    DATA_SIZE = "data size"
    RECIPE = "recipe"
    MODEL_PATH = "MODEL_PATH"
    COMMAND_LINE = "command line"
    INTENT = "lfwrap block"
    LIMIT = "hardware limit"
    RUN = "run"


@dataclass(frozen=True)
class Recipe:
    """A recipe as it was asked for, not yet checked.

    Attributes:
        path: the file.
        document: its values with their places.
        engine_values: the engine's keys: the file's, then ``MODEL_PATH``, then the command line's.
        sources: key of ``engine_values`` → DATA_SIZE, RECIPE, MODEL_PATH or COMMAND_LINE.
        intent: the ``lfwrap:`` block; wrong values are left out of it and stand in ``intent_problems``.
        intent_problems: what is wrong in the block.
        has_intent: whether there is a block at all; without one lfwrap changes nothing that supervision does not need.
        overrides: ``key=value`` as they were given, parsed; nested keys are dotted.
        size_note: why the size of the data asks for its batch, epochs and learning rate; empty where it was not asked.
    """

    path: Path
    document: Document
    engine_values: Mapping[str, Any]
    sources: Mapping[str, Source]
    intent: Intent
    intent_problems: tuple[IntentProblem, ...]
    has_intent: bool
    overrides: Mapping[str, Any]
    size_note: str = ""

    @property
    def effective_batch(self) -> int | None:
        """Rows of an update as the block names them; None where it names none, or leaves them to the data's size."""
        size = self.intent.effective_batch_size
        return size if isinstance(size, int) else None

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem

    @property
    def model(self) -> str | None:
        """The model's hub id or folder, or None when nothing names one."""
        model = self.engine_values.get(MODEL_KEY)
        return model if isinstance(model, str) and model else None

    @property
    def datasets(self) -> tuple[str, ...]:
        """The names of the training and evaluation sets."""
        return split_names(self.engine_values.get("dataset")) + split_names(self.engine_values.get("eval_dataset"))

    @property
    def resolved(self) -> dict[str, Any]:
        """The recipe as one mapping: its own keys, overrides and ``MODEL_PATH`` included, and its block."""
        values = dict(self.engine_values)
        if self.has_intent:
            intent = dataclasses.asdict(self.intent)
            values[BLOCK] = {key: value for key, value in intent.items() if value is not None}
        return values

    @property
    def trains_unasked(self) -> bool:
        """Whether it names data and no task, as files that were started by other means do; the engine would do nothing.

        A block makes every recipe a training.
        """
        says_what = any(self.engine_values.get(key) is not None for key in _TASK_KEYS)
        return bool(split_names(self.engine_values.get("dataset"))) and not says_what and not self.has_intent


def split_names(value: Any) -> tuple[str, ...]:
    """``a, b`` or a list of texts as a tuple of names; empty for anything else."""
    parts = value.split(",") if isinstance(value, str) else value if isinstance(value, list) else []
    return tuple(part.strip() for part in parts if isinstance(part, str) and part.strip())


def load_recipe(path: str | Path, overrides: Sequence[str] = (), environ: Mapping[str, str] = os.environ) -> Recipe:
    """Read a recipe; the user's file, else the bundled one of that name.

    The model is named by ``model_name_or_path=…`` among the overrides, else by ``MODEL_PATH``, else by the recipe.

    Args:
        path: the YAML file.
        overrides: ``key=value``, values as YAML; ``lfwrap.effective_batch_size=64`` reaches into the block.
        environ: where ``MODEL_PATH`` is looked up.

    Raises:
        RecipeError: no such file, nothing in it, or not a valid YAML mapping.
        UsageError: an override is not of the form ``key=value``.
    """
    found = find_recipe(path)
    document = load_yaml(found)
    if not document.values:
        raise RecipeError(f"{found}: nothing in it", hint="`lfwrap recipe new` writes a recipe to start from.")
    return build_recipe(document, found, overrides, environ)


def find_recipe(path: str | Path) -> Path:
    """The user's file, else the bundled recipe of that name.

    Raises:
        RecipeError: neither is there; with the nearest bundled recipe.
    """
    found = find_file(path)
    if found.exists():
        return found
    bundled = {shipped.stem: f"recipes/{shipped.name}" for shipped in bundled_path("recipes").glob("*.yaml")}
    near = nearest(Path(path).stem, bundled)
    suggestion = f"Did you mean '{bundled[near[0]]}'? " if near else ""
    raise RecipeError(f"{path}: no such file", hint=f"{suggestion}`lfwrap recipe list` names the bundled recipes.")


def build_recipe(
    document: Document, path: Path, overrides: Sequence[str] = (), environ: Mapping[str, str] | None = None
) -> Recipe:
    """A recipe from a parsed document; see `load_recipe`.

    Raises:
        UsageError: an override is not of the form ``key=value``.
        RecipeError: an override's value is not valid YAML.
    """
    parsed = parse_overrides(overrides)
    values = dict(document.values)
    sources = dict.fromkeys(values, Source.RECIPE)
    model_path = (environ or {}).get(MODEL_PATH_VARIABLE)
    if model_path:
        values[MODEL_KEY] = model_path
        sources[MODEL_KEY] = Source.MODEL_PATH
    for key, value in parsed.items():
        _put(values, key.split("."), value)
        sources[key.split(".", 1)[0]] = Source.COMMAND_LINE
    block = values.pop(BLOCK, None)
    has_intent = BLOCK in document.values or BLOCK in sources
    sources.pop(BLOCK, None)
    intent, problems = parse_intent(block)
    return Recipe(path, document, values, sources, intent, tuple(problems), has_intent, parsed)


def parse_overrides(overrides: Sequence[str]) -> dict[str, Any]:
    """``key=value`` texts as a mapping; a later one wins.

    Values are YAML, but for ``no`` where it is one of the key's texts: a shell takes away the quotes that YAML wants.

    Raises:
        UsageError: one has no ``=``, no key, or dashes in front.
        RecipeError: a value is not valid YAML.

    >>> parse_overrides(["learning_rate=1e-4", "lfwrap.speed=max"])
    {'learning_rate': 0.0001, 'lfwrap.speed': 'max'}
    >>> parse_overrides(["eval_strategy=no", "bf16=no"])
    {'eval_strategy': 'no', 'bf16': False}
    """
    parsed: dict[str, Any] = {}
    for text in overrides:
        key, equals, value = text.partition("=")
        if text.startswith("-"):
            raise UsageError(f"{text}: no such option.", hint=f"Write overrides without dashes: {text.lstrip('-')}")
        if not equals or not all(key.split(".")):
            raise UsageError(f"{text}: expected key=value.", hint="For example learning_rate=1e-4.")
        if key in NO_IS_TEXT_KEYS and value.strip().lower() == "no":
            parsed[key] = "no"
            continue
        try:
            parsed[key] = parse_scalar(value)
        except RecipeError as error:
            hint = f"Correct it; a text has both kinds of quotes: {quoted_override(key, value)}."
            raise RecipeError(f"command line  {key}: {error.message}", hint=hint) from error
    return parsed


def quoted_override(key: str, text: str) -> str:
    """An override whose value is text for YAML, too, as it is typed in a shell: its quotes are in quotes themselves.

    >>> print(quoted_override("run_name", "2024"))
    "run_name='2024'"
    """
    inner = text.replace("'", "''")
    return f"\"{key}='{inner}'\""


def _put(values: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    """Set a nested value, copying the mappings on the way."""
    if len(keys) > 1:
        inner = values.get(keys[0])
        nested = dict(inner) if isinstance(inner, Mapping) else {}
        _put(nested, keys[1:], value)
        value = nested
    values[keys[0]] = value
