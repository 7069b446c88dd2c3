"""Compile Liger's kernels while the engine reads data and weights. Used by `train_engine`.

Triton compiles a kernel when it is first called, one after another: seconds of the first update wherever its cache is
empty, as in a fresh container. Here a thread calls them on a few numbers each, before the model is there. A kernel is
compiled for widths, types and whether lengths are multiples of 16, so those are the run's own.
"""

import atexit
import json
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

KNOWN = frozenset({"llama", "mistral", "qwen2", "qwen3"})
_MULTIPLE = 16  # what Triton asks of a number
_FEW = 2  # numbers of the side of a product that no kernel sees
_PATIENCE_S = 60


@dataclass(frozen=True, slots=True)
class Shapes:
    """What the kernels depend on.

    Attributes:
        hidden: numbers between layers.
        intermediate: numbers within an MLP.
        heads: of queries.
        kv_heads: of keys and values.
        head_dim: numbers of a head.
        vocabulary: logits of a token.
        has_head_norms: whether queries and keys are normed.
        rows: of a micro-batch.
        tokens: of a row, as far as it matters: a multiple of 16, or none.
        within_layers: whether layers use Liger, too, or its loss alone.
    """

    hidden: int
    intermediate: int
    heads: int
    kv_heads: int
    head_dim: int
    vocabulary: int
    has_head_norms: bool
    rows: int
    tokens: int
    within_layers: bool


def read_shapes(values: Mapping[str, Any], *, within_layers: bool) -> Shapes | None:
    """The shapes of a run; None where Liger's kernels are not used, or not known to be these.

    Args:
        values: the engine's.
        within_layers: whether layers use Liger, too.

    Raises:
        OSError, ValueError, KeyError: the model's config can't be read.
    """
    path = Path(str(values.get("model_name_or_path"))) / "config.json"
    is_half = bool(values.get("bf16") or values.get("fp16"))
    if not (values.get("enable_liger_kernel") and is_half and path.is_file()):
        return None
    config = json.loads(path.read_bytes())  # by transformers it might ask whether to trust code
    if config.get("model_type") not in KNOWN:
        return None
    heads = config["num_attention_heads"]
    is_multiple = int(values.get("cutoff_len") or 0) % _MULTIPLE == 0
    return Shapes(
        hidden=config["hidden_size"],
        intermediate=config["intermediate_size"],
        heads=heads,
        kv_heads=config.get("num_key_value_heads") or heads,
        head_dim=config.get("head_dim") or config["hidden_size"] // heads,
        vocabulary=config["vocab_size"],
        has_head_norms=config["model_type"] == "qwen3",
        rows=int(values.get("per_device_train_batch_size") or 1),
        tokens=_MULTIPLE if is_multiple else _MULTIPLE + _MULTIPLE // 2,
        within_layers=within_layers,
    )


def losses(shapes: Shapes, device: Any, dtype: Any) -> Iterator[Any]:
    """A number from each group of kernels; its gradient calls the others of the group.

    Functions, no modules: those are made otherwise while the engine makes its own (ZeRO-3 splits them, for one).
    """
    import torch
    from liger_kernel.ops import LigerRMSNormFunction, LigerSiLUMulFunction
    from liger_kernel.transformers import liger_rotary_pos_emb
    from liger_kernel.transformers.functional import liger_fused_linear_cross_entropy

    def numbers(*shape: int) -> Any:
        """A tensor of zeros of this shape that takes a gradient."""
        return torch.zeros(shape, device=device, dtype=dtype, requires_grad=True)  # no random state is touched

    target = torch.zeros(_MULTIPLE, device=device, dtype=torch.long)
    for vocabulary, hidden in ((shapes.vocabulary, _MULTIPLE), (_MULTIPLE, shapes.hidden)):
        weight = numbers(vocabulary, hidden).detach()
        yield liger_fused_linear_cross_entropy(numbers(_MULTIPLE, hidden), weight, target, reduction="sum") / _FEW
    if not shapes.within_layers:
        return
    for width in (shapes.hidden, *([shapes.head_dim] if shapes.has_head_norms else [])):
        norm = numbers(width).detach(), 1e-6, 0.0, "llama", True, None  # as LigerRMSNorm has it
        yield LigerRMSNormFunction.apply(numbers(1, _MULTIPLE, width) * 1, *norm).sum()
    gate, up = (numbers(1, _MULTIPLE, shapes.intermediate) for _ in range(2))
    yield LigerSiLUMulFunction.apply(gate, up, 1.0, 1.0).sum()
    for rows in sorted({1, shapes.rows}):  # positions are the same for all rows, or each row has its own
        angles = torch.zeros((rows, shapes.tokens, shapes.head_dim), device=device, dtype=dtype)
        queries = numbers(shapes.rows, shapes.tokens, shapes.heads, shapes.head_dim).transpose(1, 2)
        keys = numbers(shapes.rows, shapes.tokens, shapes.kv_heads, shapes.head_dim).transpose(1, 2)
        turned = liger_rotary_pos_emb(queries * 1, keys * 1, angles, angles)
        yield sum(each.sum() for each in turned)


def warm(shapes: Shapes, device: Any, dtype: Any) -> None:
    """Call every kernel once, forward and backward; a thread begins with the first GPU as its own."""
    import torch

    torch.cuda.set_device(device)
    for loss in losses(shapes, device, dtype):
        loss.backward()


class Warming:
    """Kernels being compiled beside what the engine does before it trains."""

    def __init__(self, shapes: Shapes, device: Any, dtype: Any) -> None:
        """Begin; Liger is imported before, by the thread that calls: two at once may find it half imported."""
        import liger_kernel.transformers.functional  # noqa: F401

        self._thread = threading.Thread(target=self._run, args=(shapes, device, dtype), daemon=True)
        self._thread.start()
        atexit.register(self.wait)  # a process that ends within a compiler's C++ may crash

    def _run(self, shapes: Shapes, device: Any, dtype: Any) -> None:
        began_s = time.monotonic()
        try:
            warm(shapes, device, dtype)
            said = f"Liger's kernels were ready after {time.monotonic() - began_s:.1f} s, beside the loading"
        except Exception as error:  # noqa: BLE001 - the training compiles them itself
            said = _later(error)
        print(f"lfwrap: {said}", flush=True)

    def wait(self) -> None:
        """Until they are ready: the training would compile the same ones a second time."""
        self._thread.join(_PATIENCE_S)


def _later(error: Exception) -> str:
    first_line = str(error).strip().partition("\n")[0]
    return f"Liger's kernels are compiled in the first update: {type(error).__name__}: {first_line}"


def begin(values: Mapping[str, Any], device_index: int, *, within_layers: bool) -> Warming | None:
    """Begin; None where there is nothing to compile, or it can't be: what is wrong then is for the engine to say.

    Args:
        values: the engine's.
        device_index: of the GPU that this process trains on.
        within_layers: whether layers use Liger, too.
    """
    import torch

    if not torch.cuda.is_available():
        return None
    try:
        shapes = read_shapes(values, within_layers=within_layers)
        dtype = torch.bfloat16 if values.get("bf16") else torch.float16
        return None if shapes is None else Warming(shapes, torch.device("cuda", device_index), dtype)
    except Exception as error:  # noqa: BLE001 - nothing in here is worth a training
        print(f"lfwrap: {_later(error)}", flush=True)
        return None


def make_callback(values: Mapping[str, Any], device_index: int, *, within_layers: bool) -> Any | None:
    """Begin, and a trainer callback that waits for the end; None where nothing has begun: see `begin`."""
    warming = begin(values, device_index, within_layers=within_layers)
    if warming is None:
        return None
    wait = warming.wait
    from transformers import TrainerCallback

    class WaitForKernels(TrainerCallback):  # type: ignore[misc]  # the engine has no types
        """Waits once, when all else is loaded."""

        def on_train_begin(self, *_: Any, **__: Any) -> None:
            """Wait until the kernels are compiled."""
            wait()

    return WaitForKernels()
