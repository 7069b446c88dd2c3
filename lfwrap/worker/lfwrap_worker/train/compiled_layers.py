"""Compile each decoder layer by itself, where a recipe says ``torch_compile: true``. Used by `train_engine`.

The trainer's own way compiles the model as one: a graph of all layers, each written out, which takes minutes. Decoder
layers are alike: one graph serves them all, and a second the first of them, whose input needs no gradient. Liger's
kernels can't be looked into by the compiler, which makes norms, rotations and MLP products fast itself: with both, of
Liger only the fused loss is left.
"""

import contextlib
import functools
import importlib
import inspect
import os
from collections.abc import Iterator, Mapping
from typing import Any

from lfwrap_worker.contract import COMPILE_LAYERS, COMPILE_VARIABLE

ENGINE_KEY = "torch_compile"
# After the YAML on the command line: the trainer's own way stays out of it.
ENGINE_OVERRIDE = f"{ENGINE_KEY}=false"
# Liger's kernels within a layer, by the names of its functions' arguments.
_WITHIN_LAYERS = frozenset({"rope", "rms_norm", "swiglu", "geglu", "layer_norm"})
_LIGER_PREFIX = "apply_liger_kernel_to_"
_MOST_SHAPES = 2  # a layer is compiled up to four times for each (with and without gradients), and eight in all


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process is to compile its layers."""
    return environ.get(COMPILE_VARIABLE) == COMPILE_LAYERS


def install() -> Any:
    """Leave the layers to the compiler; returns the trainer callback that compiles them once the model is there."""
    from transformers import TrainerCallback

    with contextlib.suppress(Exception):  # a Liger that can't be imported is for the engine to name, if it is wanted
        keep_liger_out(importlib.import_module("liger_kernel.transformers"))

    class CompileLayers(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Compiles nothing yet: a layer is compiled when the first micro-batch passes through it."""

        def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
            """Compile the layers of the model that is trained."""
            print(f"lfwrap: {compile_layers(model)} layers are compiled in the first update", flush=True)

    return CompileLayers()


def keep_liger_out(package: Any) -> None:
    """Have Liger's functions that patch a model leave out what lies within its layers.

    Args:
        package: ``liger_kernel.transformers``, from which the engine takes them by name.
    """
    source = importlib.import_module(f"{package.__name__}.monkey_patch")
    for name, function in list(vars(source).items()):
        if name.startswith(_LIGER_PREFIX) and callable(function):
            within = _WITHIN_LAYERS & inspect.signature(function).parameters.keys()
            setattr(package, name, functools.partial(function, **dict.fromkeys(within, False)))


def decoder_layers(model: Any) -> Iterator[Any]:
    """The blocks that a model must not be split within, as it says itself; of one that sees or hears, the text's."""
    whole = {name for module in model.modules() for name in getattr(type(module), "_no_split_modules", None) or ()}
    text = model.get_decoder() if hasattr(model, "get_decoder") else model
    return (module for module in text.modules() if type(module).__name__ in whole)


def compile_layers(model: Any) -> int:
    """Have a model's decoder layers compiled; returns how many they are."""
    import torch

    torch._dynamo.config.optimize_ddp = False  # noqa: SLF001 - it would split each layer's graph, as if it were a model
    shapes, layers = CompiledShapes(), list(decoder_layers(model))
    for layer in layers:
        compile_layer(layer, shapes)
    return len(layers)


class CompiledShapes:
    """Which micro-batches are compiled: those of the first shape, and of one that is larger.

    Where nearly all have one shape, that is theirs, whichever comes first after a resume. A shape takes half a minute:
    others, such as the last of an epoch, run as before.
    """

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._shapes: list[Any] = []
        self._failed = False

    def covers(self, shape: Any) -> bool:
        """Whether micro-batches of this shape are compiled."""
        if self._failed or shape in self._shapes:
            return not self._failed
        is_larger = not self._shapes or shape.numel() > self._shapes[-1].numel()
        if is_larger and len(self._shapes) < _MOST_SHAPES:
            self._shapes.append(shape)
        return shape in self._shapes

    def give_up(self, error: Exception) -> None:
        """Compile no more layers from now on."""
        self._failed = True
        cause = getattr(error, "inner_exception", error)
        first_line = str(cause).strip().partition("\n")[0]
        print(f"lfwrap: layers run uncompiled: {type(cause).__name__}: {first_line}", flush=True)


def compile_layer(layer: Any, shapes: CompiledShapes) -> None:
    """Compile a layer's forward pass for these shapes; other shapes, and evaluation, run as before.

    Args:
        layer: the layer.
        shapes: shared by all layers, which share their graphs.
    """
    import torch
    from torch._dynamo.exc import TorchDynamoException

    plain = layer.forward
    compiled = torch.compile(plain, dynamic=False)

    @functools.wraps(plain)
    def forward(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        """The compiled layer for shapes that it was compiled for, else the layer as it is."""
        if layer.training and shapes.covers(hidden_states.shape):
            try:
                return compiled(hidden_states, *args, **kwargs)
            except TorchDynamoException as error:
                shapes.give_up(error)
        return plain(hidden_states, *args, **kwargs)

    layer.forward = forward
