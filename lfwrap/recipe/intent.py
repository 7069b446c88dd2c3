"""The ``lfwrap:`` block of a recipe: what the user wants, independent of the machine."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from lfwrap.suggest import did_you_mean

BLOCK = "lfwrap"
AUTO = "auto"


@dataclass(frozen=True, slots=True)
class IntentField:
    """One key of the block: what it takes and what it means.

    Attributes:
        name: the key.
        types: int, float (takes int too), bool or str.
        help: what it means, in a sentence or two.
        choices: the values it takes; empty when any will do.
        words: the texts it takes beside numbers.
        minimum: the least value, where there is one.
        maximum: the greatest value, where there is one.
    """

    name: str
    types: tuple[str, ...]
    help: str
    choices: tuple[Any, ...] = ()
    words: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None


FIELDS: tuple[IntentField, ...] = (
    IntentField(
        "effective_batch_size",
        ("int", "str"),
        "Rows an optimizer update sees: micro-batch × accumulation × GPUs, kept exactly on any machine. auto: what"
        " suits the number of rows, and with it the epochs and the learning rate that the recipe leaves open.",
        words=(AUTO,),
        minimum=1,
    ),
    IntentField(
        "max_micro_batch",
        ("int",),
        "The largest micro-batch to choose where the recipe fixes none and no plan was made.",
        minimum=1,
    ),
    IntentField(
        "zero_stage",
        ("int",),
        "DeepSpeed ZeRO stage: 0 shares nothing (as DDP), 2 shares gradients and optimizer, 3 the weights too.",
        choices=(0, 2, 3),
    ),
    IntentField("offload", ("bool",), "Keep optimizer states (ZeRO-2, ZeRO-3) and weights (ZeRO-3) in main memory."),
    IntentField(
        "speed",
        ("str",),
        "What the plan may change for speed. auto: anything that fits, packing, kernels and compiled layers included,"
        " at the same rows an update (2% off at most under packing); max: that, with lfwrap's own extension of the"
        " engine instead of compiled layers; exact, the default: what leaves the numbers as they are (micro-batch ×"
        " accumulation, recomputation); none: nothing.",
        choices=("auto", "max", "exact", "none"),
    ),
    IntentField(
        "checkpoint_every_epoch_frac",
        ("float",),
        "Save, and evaluate where there is an evaluation set, each time this part of an epoch is done; 0.1 is ten a"
        " epoch.",
        minimum=0.001,
        maximum=1.0,
    ),
    IntentField(
        "verdict",
        ("bool",),
        "Look at the result after the training, and say whether the model has learned; true unless it says false.",
    ),
    IntentField("hardware", ("str",), "The machine the recipe was written for, as `lfwrap hardware list` names it."),
)
FIELD_NAMES = tuple(field.name for field in FIELDS)


@dataclass(frozen=True, slots=True)
class Intent:
    """The block's values; None (or the default) where it says nothing. `FIELDS` says what each means."""

    effective_batch_size: int | Literal["auto"] | None = None
    max_micro_batch: int | None = None
    zero_stage: int | None = None
    offload: bool = False
    speed: str = "exact"
    checkpoint_every_epoch_frac: float | None = None
    verdict: bool = True
    hardware: str | None = None


@dataclass(frozen=True, slots=True)
class IntentProblem:
    """Something wrong in the block: the rule, the key (None: the block itself), what, and the remedy."""

    rule: str
    key: str | None
    message: str
    hint: str


def parse_intent(raw: Any) -> tuple[Intent, list[IntentProblem]]:
    """The values of the block, and its problems; a wrong value is left at its default.

    >>> intent, problems = parse_intent({"effective_batch_size": 16, "sped": "max"})
    >>> intent.effective_batch_size, [problem.hint for problem in problems]
    (16, ["Did you mean 'speed'?"])
    """
    if raw is None:
        return Intent(), []
    if not isinstance(raw, Mapping):
        message = f"{BLOCK}: expected `key: value` lines, found {type(raw).__name__}."
        return Intent(), [IntentProblem("wrong-type", None, message, f"Its keys: {', '.join(FIELD_NAMES)}.")]
    problems: list[IntentProblem] = []
    values: dict[str, Any] = {}
    known = {field.name: field for field in FIELDS}
    for key, value in raw.items():
        name = str(key)
        field = known.get(name)
        problem = _unknown(name) if field is None else _problem(field, value)
        if problem is not None:
            problems.append(problem)
        elif value is not None:
            values[name] = value
    return Intent(**values), problems


def _unknown(name: str) -> IntentProblem:
    hint = did_you_mean(name, FIELD_NAMES, otherwise=f"Its keys: {', '.join(FIELD_NAMES)}.")
    return IntentProblem("unknown-key", name, f"{BLOCK}.{name}: unknown key.", hint)


def _problem(field: IntentField, value: Any) -> IntentProblem | None:
    """What is wrong with a value, or None."""
    if value is None:
        return None
    name = f"{BLOCK}.{field.name}"
    if not _has_type(value, field.types):
        found = f"{type(value).__name__} {value!r}"
        return IntentProblem("wrong-type", field.name, f"{name}: {found}, expected {field.types[0]}.", field.help)
    if field.choices and value not in field.choices:
        choices = ", ".join(map(str, field.choices))
        return IntentProblem("bad-choice", field.name, f"{name}: {value!r} is not one of {choices}.", field.help)
    if isinstance(value, str) and field.words:
        if value in field.words:
            return None
        expected = " or ".join([field.types[0], *field.words])
        return IntentProblem("wrong-type", field.name, f"{name}: str {value!r}, expected {expected}.", field.help)
    too_small = field.minimum is not None and value < field.minimum
    if too_small or (field.maximum is not None and value > field.maximum):
        limits = f"{field.minimum} to {field.maximum}" if field.maximum is not None else f"at least {field.minimum}"
        return IntentProblem("out-of-range", field.name, f"{name}: {value} is out of range ({limits}).", field.help)
    return None


def _has_type(value: Any, types: tuple[str, ...]) -> bool:
    if isinstance(value, bool):
        return "bool" in types
    return type(value).__name__ in types or (isinstance(value, int) and "float" in types)
