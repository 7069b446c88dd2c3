"""How far a training has moved a model's weights, from the files alone: a worker that needs no torch.

Reads one JSON object from stdin, a `WeightsJob`, and writes one JSON line: for each layer whether it moved and how
large the change is beside the base's weights, which tensors hold something that is no number, and which checkpoints
hold the very same weights.

The change that a LoRA adapter makes is ``ΔW = scale · B · A``; its size is known without forming it:
``‖BA‖² = trace((BᵀB)(AAᵀ))``, with matrices of rank × rank. An adapter that was trained further is held against the one
it began as: ``ΔW`` is the difference of both, written as one product of stacked matrices. The sizes of the base's
tensors, and the changes of whole models, are taken from samples spread evenly over each tensor.
"""

from __future__ import annotations

import json
import math
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypedDict

import numpy as np

from lfwrap_worker.channel import run_job
from lfwrap_worker.contract import EVENT_DONE, WeightsJob
from lfwrap_worker.export.tensor_arithmetic import Array, as_array, from_float32, to_float32
from lfwrap_worker.export.tensor_files import FLOATS, WIDTHS, Tensor, read_tensors

_ADAPTER_WEIGHTS = "adapter_model.safetensors"
_ADAPTER_CONFIG = "adapter_config.json"
_PREFIX = "base_model.model."
_PART = re.compile(
    r"^(?P<module>.+?)\.(?P<part>lora_A|lora_B|lora_embedding_A|lora_embedding_B|lora_magnitude_vector|oft_[rR])"
    r"(?:\.weight)?$"
)
_PIECES = 16
_PIECE_ELEMENTS = 8192


class LayerChange(TypedDict):
    """How far a layer moved: ``ratio`` is the norm of its change by that of the base's weights.

    None where something is not known.
    """

    name: str
    moved: bool | None
    finite: bool
    ratio: float | None


class Module(NamedTuple):
    """What an adapter holds for one module of the base, by part; ``whole`` for a tensor saved as it is."""

    name: str
    parts: Mapping[str, Tensor]


def read_all(tensor: Tensor) -> Array:
    """A tensor's numbers in fp64. Raises OSError, and ValueError for a type that is no floating point."""
    return _wide(tensor, 0, tensor.elements).reshape(tensor.shape)


def read_sample(tensor: Tensor) -> Array:
    """Numbers from all over a tensor, always from the same places; all of a small one. Raises as `read_all`."""
    if tensor.elements <= _PIECES * _PIECE_ELEMENTS:
        return _wide(tensor, 0, tensor.elements)
    last = tensor.elements - _PIECE_ELEMENTS
    return np.concatenate([_wide(tensor, last * number // (_PIECES - 1), _PIECE_ELEMENTS) for number in range(_PIECES)])


def _wide(tensor: Tensor, first: int, count: int) -> Array:
    if tensor.stored not in FLOATS:
        raise ValueError(f"{tensor.name} is stored as {tensor.stored}")
    width = WIDTHS[tensor.stored]
    with tensor.source.open("rb") as source:
        source.seek(tensor.start + first * width)
        content = source.read(count * width)
    if len(content) < count * width:
        raise OSError(f"{tensor.source}: ends in the middle of {tensor.name}")
    numbers = as_array(np.frombuffer(content, np.uint8), tensor.stored)
    if tensor.stored != "BF16":
        return numbers.astype(np.float64)
    return to_float32(numbers, "BF16", np.empty(count, np.float32)).astype(np.float64)


def rounded(values: Array, code: str) -> Array:
    """Numbers as they would stand in a file of another type, in fp64 again."""
    if code in {"F32", "F64"}:
        return values.astype(np.float32).astype(np.float64)
    narrow = values.astype(np.float32)
    out = np.empty(values.shape, np.uint16 if code == "BF16" else np.float16)
    from_float32(narrow, code, out, np.empty(values.shape, np.uint32))
    if code != "BF16":
        return out.astype(np.float64)
    return to_float32(out, "BF16", np.empty(values.shape, np.float32)).astype(np.float64)


def product_norm(up: Array, down: Array) -> float:
    """The Frobenius norm of ``up @ down``, by matrices of their inner dimension: (m, r) and (r, n)."""
    square = float(np.sum((up.T @ up) * (down @ down.T).T))
    return math.sqrt(max(0.0, square))


class Adapter:
    """The weights of an adapter by the module of the base that they change."""

    def __init__(self, folder: Path) -> None:
        self._config: dict[str, Any] = json.loads((folder / _ADAPTER_CONFIG).read_text(encoding="utf-8"))
        self.tensors = read_tensors(folder / _ADAPTER_WEIGHTS)
        grouped: dict[str, dict[str, Tensor]] = {}
        for tensor in self.tensors:
            name = tensor.name.removeprefix(_PREFIX)
            match = _PART.match(name)
            module, part = (match["module"], match["part"].replace("embedding_", "")) if match else (name, "whole")
            grouped.setdefault(module, {})[part] = tensor
        self.modules = {name: Module(name, parts) for name, parts in grouped.items()}

    def factors(self, module: str) -> tuple[Array, Array] | None:
        """``scale · B`` and ``A`` of a module, each a matrix; None where it holds no LoRA pair."""
        found = self.modules.get(module)
        if found is None or not {"lora_A", "lora_B"} <= found.parts.keys():
            return None
        down, up = read_all(found.parts["lora_A"]), read_all(found.parts["lora_B"])
        down, up = down.reshape(down.shape[0], -1), up.reshape(up.shape[0], -1)
        return up * self._scale(module, down.shape[0]), down

    def _scale(self, module: str, rank: int) -> float:
        alpha = next(
            (value for key, value in (self._config.get("alpha_pattern") or {}).items()
             if re.match(rf"(.*\.)?({key})$", module)),
            self._config.get("lora_alpha") or rank,
        )  # fmt: skip
        return float(alpha) / (math.sqrt(rank) if self._config.get("use_rslora") else rank)


class Base:
    """The tensors of a base model's folder; none where there is no folder, or it holds no safetensors."""

    def __init__(self, folder: Path | None) -> None:
        files = sorted(folder.glob("*.safetensors")) if folder else []
        self.tensors = {tensor.name: tensor for path in files for tensor in read_tensors(path)}
        self._by_end: dict[str, list[str]] = {}
        for name in self.tensors:
            self._by_end.setdefault(_end(name), []).append(name)

    def find(self, name: str) -> Tensor | None:
        """A tensor by its name in the model; a model that nests its layers otherwise in memory by the name's end."""
        found = self.tensors.get(name)
        if found is not None:
            return found
        alike = self._by_end.get(_end(name), ())
        return self.tensors[alike[0]] if len(alike) == 1 else None

    def norm(self, name: str) -> float | None:
        """The Frobenius norm of a tensor, from a sample; None where it is not known."""
        tensor = self.find(name)
        if tensor is None or tensor.stored not in FLOATS:
            return None
        sample = read_sample(tensor)
        return math.sqrt(float(np.mean(np.square(sample))) * tensor.elements) if sample.size else None


def _end(name: str) -> str:
    """What stands behind the last list of layers in a name: ``layers.3.mlp.up_proj.weight``."""
    match = re.search(r"[^.]+\.\d+\..*$", name)
    return match[0] if match else name


def adapter_changes(result: Adapter, start: Adapter | None, base: Base, deadline_s: float) -> Iterator[LayerChange]:
    """The change of each module that an adapter holds; after the deadline only whether it moved."""
    for module in result.modules.values():
        begun = start.modules.get(module.name) if start else None
        values = {part: read_all(tensor) for part, tensor in module.parts.items()}
        finite = all(bool(np.isfinite(value).all()) for value in values.values())
        moved = _moved(module, values, begun, base)
        delta = _adapter_delta(result, start, module.name) if moved and finite else 0.0
        ratio = None
        if delta is not None and finite and time.monotonic() < deadline_s:
            size = base.norm(f"{module.name}.weight")
            ratio = delta / size if size else None
        yield {"name": module.name, "moved": moved, "finite": finite, "ratio": ratio}


def _moved(module: Module, values: Mapping[str, Array], begun: Module | None, base: Base) -> bool | None:
    """Whether a module is another than at the start; None where that is not known."""
    if begun is not None:
        return begun.parts.keys() != module.parts.keys() or any(
            not np.array_equal(values[part], read_all(begun.parts[part])) for part in module.parts
        )
    if "lora_B" in values:  # it starts as zero, so that the product is zero
        return bool(np.any(values["lora_B"]))
    oft = next((values[part] for part in values if part.lower() == "oft_r"), None)
    if oft is not None:  # the generator of a rotation, zero where nothing is turned
        return bool(np.any(oft))
    if "whole" in values:
        tensor = base.find(module.name)
        if tensor is None or tensor.stored not in FLOATS or tensor.shape != module.parts["whole"].shape:
            return None
        return not np.array_equal(values["whole"], rounded(read_all(tensor), module.parts["whole"].stored))
    return None


def _adapter_delta(result: Adapter, start: Adapter | None, module: str) -> float | None:
    """The size of a module's change; None where it is no product of two matrices."""
    now = result.factors(module)
    if now is None:
        return None
    before = start.factors(module) if start else None
    if before is None:
        return product_norm(*now)
    return product_norm(np.hstack([now[0], -before[0]]), np.vstack([now[1], before[1]]))


def model_changes(result: Base, base: Base, deadline_s: float) -> Iterator[LayerChange]:
    """The change of each tensor of a whole model, from samples; none after the deadline."""
    for name, tensor in result.tensors.items():
        before = base.find(name)
        if time.monotonic() >= deadline_s:
            return
        if tensor.stored not in FLOATS or before is None or before.stored not in FLOATS or before.shape != tensor.shape:
            continue
        now = read_sample(tensor)
        finite = bool(np.isfinite(now).all())
        old = rounded(read_sample(before), tensor.stored)
        moved = not np.array_equal(now, old)
        size = float(np.linalg.norm(old))
        ratio = float(np.linalg.norm(now - old)) / size if finite and size else None
        yield {"name": name, "moved": moved, "finite": finite, "ratio": ratio}


def same_weights(one: Sequence[Tensor], other: Sequence[Tensor], *, whole: bool) -> bool:
    """Whether two lists of tensors hold the same numbers, all of them or in samples."""
    named = {tensor.name: tensor for tensor in other}
    if named.keys() != {tensor.name for tensor in one}:
        return False
    read = read_all if whole else read_sample
    return all(
        tensor.shape == named[tensor.name].shape
        and np.array_equal(read(tensor), read(named[tensor.name]), equal_nan=True)
        for tensor in one
    )


def measure(job: WeightsJob) -> dict[str, Any]:
    """Do it; returns the event. Raises OSError and ValueError for files that can't be read."""
    deadline_s = time.monotonic() + job["limit_s"]
    folder, base = Path(job["result"]), Base(Path(job["base"]) if job["base"] else None)
    if job["is_adapter"]:
        adapter = Adapter(folder)
        tensors = adapter.tensors
        start = Adapter(Path(job["start"])) if job["start"] else None
        layers = list(adapter_changes(adapter, start, base, deadline_s))
    else:
        model = Base(folder)
        tensors = list(model.tensors.values())
        layers = list(model_changes(model, base, deadline_s))
    equal = []
    for checkpoint in map(Path, job["checkpoints"]):
        other = _tensors_of(checkpoint, is_adapter=job["is_adapter"])
        if other and time.monotonic() < deadline_s and same_weights(tensors, other, whole=job["is_adapter"]):
            equal.append(checkpoint.name)
    return {"event": EVENT_DONE, "layers": layers, "equal_to": equal, "tensors": len(tensors)}


def _tensors_of(folder: Path, *, is_adapter: bool) -> list[Tensor]:
    """The tensors of a checkpoint; none where its files can't be read."""
    files = [folder / _ADAPTER_WEIGHTS] if is_adapter else sorted(folder.glob("*.safetensors"))
    try:
        return [tensor for path in files for tensor in read_tensors(path)]
    except (OSError, ValueError, KeyError):
        return []


def main() -> int:
    """Measure one training's result; returns the exit code."""
    return run_job(lambda requests: measure(next(requests)))
