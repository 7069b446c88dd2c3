"""Rules about the data: names, splits, packing, mixing, streaming."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import PurePosixPath

from lfwrap.errors import Finding
from lfwrap.recipe.recipe import split_names
from lfwrap.recipe.rules.view import View

_DATA_SUFFIXES = {".json", ".jsonl", ".csv", ".tsv", ".parquet", ".txt", ".xlsx", ".arrow"}


def is_path(name: str) -> bool:
    """Whether the name of a data set looks like a file or a folder.

    Example:
        >>> is_path("data/law.csv"), is_path("law_zh")
        (True, False)
    """
    path = name.replace("\\", "/")
    return "/" in path or PurePosixPath(path).suffix.lower() in _DATA_SUFFIXES


def dataset_missing(view: View) -> Iterator[Finding]:
    """Training needs a data set with rows."""
    if view.trains and not split_names(view.get("dataset")):
        hint = "Write `dataset: NAME`; `lfwrap prepare-data FILE --out DIR --name NAME` makes one."
        yield view.error("dataset-missing", "dataset", "dataset: no data set is named.", hint)


def dataset_is_path(view: View) -> Iterator[Finding]:
    """The key takes the names of registered data sets, not files (LLaMA-Factory issue 5341)."""
    online = view.text("dataset_dir") == "ONLINE"
    for key in ("dataset", "eval_dataset"):
        for name in split_names(view.get(key)):
            if is_path(name) and not online:
                message = f"{key}: {name!r} is a path; the key takes the name of a registered data set."
                hint = f"`lfwrap prepare-data {name} --out DIR --name NAME`, then `{key}: NAME`, `dataset_dir: DIR`."
                yield view.error("dataset-is-path", key, message, hint)


def splits(view: View) -> Iterator[Finding]:
    """A validation split and an evaluation data set exclude each other."""
    if view.number("val_size") > 0 and view.on("eval_dataset"):
        message = "val_size: not together with eval_dataset."
        yield view.error("two-evaluation-sets", "val_size", message, "Keep one of them.")
    if view.text("mix_strategy") == "concat" and view.on("interleave_probs"):
        message = "interleave_probs: has a meaning only when data sets are interleaved."
        hint = "Write `mix_strategy: interleave_under` (or interleave_over)."
        yield view.error("probabilities-unused", "interleave_probs", message, hint)


def mixture(view: View) -> Iterator[Finding]:
    """Each data set needs one probability, which is a number."""
    raw, names = view.get("interleave_probs"), split_names(view.get("dataset"))
    parts = raw.split(",") if isinstance(raw, str) else raw if isinstance(raw, list) else []
    if not parts or not names:
        return
    if len(parts) != len(names):
        message = f"interleave_probs: {len(parts)} for {len(names)} data sets."
        yield view.error("probabilities-count", "interleave_probs", message, "Write one for each, in their order.")
    if not all(_is_number(part) for part in parts):
        message = "interleave_probs: not all of them are numbers."
        yield view.error("probabilities-count", "interleave_probs", message, "For example `0.7,0.3`.")


def _is_number(value: object) -> bool:
    try:
        float(str(value))
    except ValueError:
        return False
    return True


def packing(view: View) -> Iterator[Finding]:
    """Packed rows see each other unless attention is masked between them."""
    if view.on("packing") and not view.on("neat_packing"):
        message = "packing: rows in one pack attend to each other."
        yield view.warning("packing-contaminates", "packing", message, "Write `neat_packing: true` to keep them apart.")
    packed = view.on("packing") or view.on("neat_packing")
    if packed and view.intent.effective_batch_size is not None:
        message = "lfwrap.effective_batch_size: counts packs, not rows, while packing is on: an update sees more rows."
        hint = "Divide it by the rows in a pack; `lfwrap plan` says how many."
        yield view.warning("packed-batch", "lfwrap.effective_batch_size", message, hint)
    if view.on("neat_packing") and view.text("flash_attn") == "disabled":
        message = "neat_packing: slow and large with flash_attn: disabled, which writes out every mask."
        yield view.warning("packing-attention", "flash_attn", message, "Write `flash_attn: sdpa` or fa2.")


def streaming(view: View) -> Iterator[Finding]:
    """A stream of rows has no known length."""
    if not view.on("streaming"):
        return
    if view.number("max_steps", -1) <= 0:
        message = "streaming: a stream has no epochs."
        yield view.error("streaming-steps", "streaming", message, "Write `max_steps: N`.")
    if 0 < view.number("val_size") < 1:
        message = "val_size: a part of a stream is unknown."
        yield view.error("streaming-split", "val_size", message, "Write a number of rows.")
    if view.has("max_samples"):
        yield view.error("streaming-samples", "max_samples", "max_samples: not with streaming.", "Use max_steps.")


def masks(view: View) -> Iterator[Finding]:
    """Two contradicting ways to choose which tokens are learnt."""
    if view.on("mask_history") and view.on("train_on_prompt"):
        message = "mask_history: not together with train_on_prompt."
        yield view.error("masks-conflict", "mask_history", message, "Keep one of them.")


RULES = (dataset_missing, dataset_is_path, splits, mixture, packing, streaming, masks)
