"""Values in layers, each with where it comes from and why, and the layers that lfwrap adds on a given machine."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from lfwrap.engine.facts import EngineFacts
from lfwrap.engine.keys import DEFAULT_EPOCHS, EPOCHS_KEY, PRECISION_KEYS
from lfwrap.engine.model_template import find_model_template
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.masking import MASK, is_secret
from lfwrap.plan.request import Setting
from lfwrap.recipe.intent import Intent
from lfwrap.recipe.recipe import Recipe, Source

_BY_HAND = frozenset({Source.RECIPE, Source.MODEL_PATH, Source.COMMAND_LINE})


@dataclass(frozen=True, slots=True)
class Value:
    """The value of one key, and where it comes from.

    Attributes:
        key: the engine's key.
        value: what it is set to.
        source: the layer it comes from.
        reason: why, a sentence; empty where the source says it all.
        instead_of: the value of the layer below that it replaces, where that one was set by hand.
    """

    key: str
    value: Any
    source: Source
    reason: str = ""
    instead_of: Any = None

    def to_json(self) -> dict[str, Any]:
        """The value as ``--json`` prints it."""
        return {
            "key": self.key,
            "value": self.value,
            "source": str(self.source),
            "reason": self.reason,
            "instead_of": self.instead_of,
        }

    def without_secret(self) -> Value:
        """The value as it may be shown: a text under a key that is named like a secret is masked."""
        if not is_secret(self.key):
            return self
        value, below = (MASK if isinstance(text, str) and text else text for text in (self.value, self.instead_of))
        return replace(self, value=value, instead_of=below)


class Layers:
    """Layers of values, from the weakest to the strongest; never changed, only copied with a layer more."""

    def __init__(self, layers: Iterable[tuple[Source, Mapping[str, Setting]]] = ()) -> None:
        """Lay these layers, the weakest first."""
        self._layers = tuple(layers)
        self._values: dict[str, Value] = {}
        for source, settings in self._layers:
            for key, (value, reason) in settings.items():
                below = self._values.get(key)
                is_changed = below is not None and below.source in _BY_HAND and below.value != value
                self._values[key] = Value(key, value, source, reason, below.value if below and is_changed else None)

    def with_layer(self, source: Source, settings: Mapping[str, Setting], *, below: Source | None = None) -> Layers:
        """These layers and one more: on top, or just below the first layer of another source."""
        sources = [own for own, _ in self._layers]
        place = len(sources) if below is None else sources.index(below)
        return Layers((*self._layers[:place], (source, settings), *self._layers[place:]))

    def get(self, key: str, default: Any = None) -> Any:
        """The value of the strongest layer that has the key.

        >>> layers = Layers([(Source.RECIPE, {"bf16": Setting(True, "")})])
        >>> layers.with_layer(Source.LIMIT, {"bf16": Setting(False, "no GPU")}).get("bf16")
        False
        """
        found = self._values.get(key)
        return default if found is None else found.value

    def values(self) -> dict[str, Value]:
        """All values, in the order in which their keys first came."""
        return dict(self._values)


def template_layer(recipe: Recipe, facts: EngineFacts) -> dict[str, Setting]:
    """What every training of lfwrap starts from, and the chat template that the engine's own map gives the model."""
    layer: dict[str, Setting] = {
        "stage": Setting("sft", "Supervised tuning unless the recipe says otherwise."),
        "do_train": Setting(True, "A recipe trains."),
    }
    template = find_model_template([recipe.model], facts)
    if template is not None:
        layer["template"] = Setting(template.name, f"LLaMA-Factory's own map gives it to {template.model}.")
    return layer


def hardware_layer(recipe: Recipe, hardware: HardwareProfile) -> dict[str, Setting]:
    """Precision and device, where the recipe leaves them open."""
    layer: dict[str, Setting] = {}
    if hardware.is_cpu:
        layer["use_cpu"] = Setting(True, f"{hardware.name} has no GPU.")
    if any(recipe.engine_values.get(key) for key in PRECISION_KEYS):
        return layer
    if hardware.supports_bf16 and hardware.kind is not DeviceKind.MPS:
        layer["bf16"] = Setting(True, f"{hardware.name} computes in bf16: the range of fp32, half the memory.")
    elif hardware.kind in {DeviceKind.CUDA, DeviceKind.ROCM}:
        layer["fp16"] = Setting(True, f"{hardware.name} has no bf16 (compute capability 8.0 and up has).")
    return layer


def limit_layer(layers: Layers, hardware: HardwareProfile) -> dict[str, Setting]:
    """What the recipe asks for and the machine can't do, replaced by the nearest that it can."""
    layer: dict[str, Setting] = {}
    if hardware.is_cpu and not layers.get("use_cpu"):
        layer["use_cpu"] = Setting(True, f"{hardware.name} has no GPU.")
    if hardware.is_cpu or hardware.kind is DeviceKind.MPS:
        for key in PRECISION_KEYS:
            if layers.get(key):
                layer[key] = Setting(False, f"No mixed precision on {hardware.name}: it is slower or unsafe there.")
    elif not hardware.supports_bf16 and (layers.get("bf16") or layers.get("pure_bf16")):
        reason = f"{hardware.name} has no bf16: fp16 with loss scaling instead."
        layer |= {key: Setting(False, reason) for key in ("bf16", "pure_bf16") if layers.get(key)}
        layer["fp16"] = Setting(True, reason)
    return layer


def checkpoint_layer(intent: Intent, layers: Layers) -> dict[str, Setting]:
    """Saving (and evaluating) each part of an epoch, as the share of all steps that the engine understands."""
    part = intent.checkpoint_every_epoch_frac
    if part is None:
        return {}
    epochs = layers.get(EPOCHS_KEY, DEFAULT_EPOCHS)
    share = round(part / epochs, 6) if isinstance(epochs, int | float) and epochs > 0 else 1.0
    reason = f"lfwrap.checkpoint_every_epoch_frac: {part} of {epochs:g} epochs."
    has_evaluation = bool(layers.get("eval_dataset") or layers.get("val_size"))
    layer: dict[str, Setting] = {}
    for name in ("save", "eval") if has_evaluation else ("save",):
        if share < 1:
            layer |= {f"{name}_strategy": Setting("steps", reason), f"{name}_steps": Setting(share, reason)}
        else:
            layer[f"{name}_strategy"] = Setting("epoch", reason)
    return layer


def needs_deepspeed(stage: int | None, layers: Layers, processes: int, hardware: HardwareProfile) -> bool:
    """Whether a ZeRO stage is asked for, and DeepSpeed would do something with it.

    Stage 0 shares nothing: on one process it is plain training. With fp16 it is left to DDP, which is the same
    arithmetic and scales the loss as the engine's own trainer does.
    """
    if stage is None or hardware.kind is DeviceKind.MPS:
        return False
    return stage > 0 or (processes > 1 and not layers.get("fp16"))


def hardware_notes(layers: Layers, hardware: HardwareProfile, stage: int | None, *, uses_deepspeed: bool) -> list[str]:
    """What the machine means for the training.

    Args:
        layers: the values.
        hardware: the machine.
        stage: the ZeRO stage that is asked for.
        uses_deepspeed: whether lfwrap writes a DeepSpeed configuration for it.
    """
    notes: list[str] = []
    if stage == 0 and not (uses_deepspeed or layers.get("deepspeed")):
        notes.append(
            "zero_stage: 0 shares nothing between processes: trained without DeepSpeed, by the same arithmetic."
        )
    if layers.get("fp16"):
        notes.append(
            f"{hardware.name} has no bf16: training in fp16 with loss scaling. A few first updates may be skipped while"
            " the scale settles; if the loss turns NaN, lower the learning rate."
        )
    if hardware.is_cpu:
        notes.append("No GPU: training in fp32 on the CPU, which suits models up to about 0.5 B parameters.")
    if hardware.is_mixed:
        notes.append(f"{hardware.name} mixes GPUs: the slowest sets the pace, the smallest the limit.")
    return notes


def change_notes(values: Sequence[Value]) -> list[str]:
    """One line for each value set by hand that was replaced."""
    return [
        f"{value.key}: {value.value} instead of {value.instead_of}. {value.reason}"
        for value in values
        if value.instead_of is not None and value.source in {Source.PLAN, Source.INTENT, Source.LIMIT}
    ]
