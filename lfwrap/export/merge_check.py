"""Does the adapter belong to the base it is to be merged into? Read from the files' headers, with nothing loaded."""

from __future__ import annotations

from pathlib import Path

from lfwrap.errors import PreflightError
from lfwrap.inference.target import Target
from lfwrap.model.folder import ModelFolder

# Keys of config.json that may differ between two copies of one model.
_INCIDENTAL = frozenset(
    {"transformers_version", "_name_or_path", "_model_name_or_path", "torch_dtype", "dtype", "use_cache"}
)


def check_merge(target: Target) -> tuple[str, ...]:
    """See that a merge can give what was trained; returns what one should know about it.

    Raises:
        PreflightError: the base is quantised, is another model than the adapter's, or has other shapes.
    """
    if target.adapter is None:
        return ()
    _check_not_quantized(target)
    notes = []
    if not _same_model(target.model, target.stated_base):
        _check_configs(target)
        notes.append(
            f"the adapter names {target.stated_base} as its base; merging into {target.model}, whose shapes fit: "
            "only you can know that it is the same model"
        )
    _check_shapes(target)
    if target.quantization:
        bits = target.quantization.get("quantization_bit")
        notes.append(
            f"trained on a base quantised to {bits} bits; merged into the 16-bit base, which answers a little "
            "differently from the quantised one that the adapter has seen"
        )
    return tuple(notes)


def _check_not_quantized(target: Target) -> None:
    quantization = target.base.config().get("quantization_config") if target.base else None
    if quantization:
        method = quantization.get("quant_method", "quantised") if isinstance(quantization, dict) else "quantised"
        raise PreflightError(
            f"{target.model}: a quantised base ({method}): nothing can be merged into it",
            hint="Name the 16-bit model that it was made from: --base-model DIR.",
        )


def _same_model(model: str, stated: str | None) -> bool:
    if stated is None or model == stated:
        return True
    one, other = Path(model).expanduser(), Path(stated).expanduser()
    return one.exists() and other.exists() and one.samefile(other)


def _check_configs(target: Target) -> None:
    """Where both bases can be looked at, they must describe the same model."""
    here, there = target.base, ModelFolder.find(target.stated_base or "")
    if here is None or there is None:
        return
    one, other = here.config(), there.config()
    differing = sorted(key for key in (one.keys() | other.keys()) - _INCIDENTAL if one.get(key) != other.get(key))
    if differing:
        raise PreflightError(
            f"{target.model}: not the base of this adapter, which is {target.stated_base}: "
            f"{', '.join(differing[:5])} differ",
            hint="Merge into the base that it was trained on, or leave --base-model out.",
        )


def _check_shapes(target: Target) -> None:
    """The adapter's matrices must fit the base's: the first that does not is named.

    Modules that have another name in the file than in memory (experts, towers of images) can't be held against it; a
    base of another depth shows in its attention layers.
    """
    adapter = target.adapter_folder
    if adapter is None or not adapter.weights_file.is_file() or target.base is None:
        return
    base, inputs = target.base.shapes(), adapter.input_widths()
    some_match = any(module in base for module in inputs)
    for module, width in inputs.items():
        found = base.get(module)
        if found is not None and found[-1] != width:
            raise _another_base(target, f"{module} takes {found[-1]} inputs, the adapter's {width}")
        if found is None and some_match and ".self_attn." in module:
            raise _another_base(target, f"{module} is not in it")


def _another_base(target: Target, reason: str) -> PreflightError:
    return PreflightError(
        f"{target.model}: not the base of this adapter: {reason}",
        hint=f"Merge into the base that it was trained on: {target.stated_base or 'its name is not recorded'}.",
    )
