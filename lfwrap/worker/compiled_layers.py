"""Compile each decoder layer by itself, where a recipe says ``torch_compile: true``. Imported by train_engine.py.

The trainer's own way compiles the model as one: a graph of all layers, each written out, which takes minutes. Decoder
layers are alike: one graph serves them all, and a second the first of them, whose input needs no gradient. Liger's
kernels can't be looked into by the compiler, which makes norms, rotations and MLP products fast itself: with both, of
Liger only the fused loss is left.
"""

import functools
import importlib
import importlib.util
import inspect
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any

VARIABLE = "LFWRAP_COMPILE"
LAYERS = "layers"
ENGINE_KEY = "torch_compile"
# After the YAML on the command line: the trainer's own way stays out of it.
ENGINE_OVERRIDE = f"{ENGINE_KEY}=false"
# Liger's kernels within a layer, by the names of its functions' arguments.
_WITHIN_LAYERS = frozenset({"rope", "rms_norm", "swiglu", "geglu", "layer_norm"})
_LIGER_PREFIX = "apply_liger_kernel_to_"


def is_wanted(environ: Mapping[str, str] = os.environ) -> bool:
    """Whether this process shall compile its layers."""
    return environ.get(VARIABLE) == LAYERS


def install() -> Any:
    """Leave the layers to the compiler; returns the trainer callback that compiles them once the model is there."""
    import torch._dynamo
    from transformers import TrainerCallback

    torch._dynamo.config.suppress_errors = True  # noqa: SLF001 - a layer that can't be compiled runs as it is
    if importlib.util.find_spec("liger_kernel"):
        keep_liger_out(importlib.import_module("liger_kernel.transformers"))

    class CompileLayers(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Compiles nothing yet: a layer is compiled when the first micro-batch passes through it."""

        def on_train_begin(self, *_: Any, model: Any, **__: Any) -> None:
            layers = list(decoder_layers(model))
            for layer in layers:
                compile_layer(layer)
            print(f"lfwrap: {len(layers)} layers are compiled in the first update", flush=True)

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
    """The blocks that a model must not be split within, as it says itself."""
    whole = {name for module in model.modules() for name in getattr(type(module), "_no_split_modules", None) or ()}
    return (module for module in model.modules() if type(module).__name__ in whole)


def compile_layer(layer: Any) -> None:
    """Compile a layer's forward pass for the shape in which it first trains; other shapes, and evaluation, run as ever.

    A micro-batch of another shape, such as the last of an epoch, would be compiled anew, for half a minute.
    """
    import torch

    plain = layer.forward
    compiled = torch.compile(plain, dynamic=False)
    usual: list[Any] = []

    @functools.wraps(plain)
    def forward(hidden_states: Any, *args: Any, **kwargs: Any) -> Any:
        run: Callable[..., Any] = plain
        if layer.training:
            usual[:] = usual or [hidden_states.shape]
            run = compiled if hidden_states.shape == usual[0] else plain
        return run(hidden_states, *args, **kwargs)

    layer.forward = forward
