"""The model card: what this is, how it was trained and evaluated, and whether it answers as what was trained."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson

from lfwrap import __version__
from lfwrap.bundled import render_template
from lfwrap.errors import DataError
from lfwrap.export.job import ExportOrder
from lfwrap.inference.target import Target
from lfwrap.masking import mask_secrets
from lfwrap.model.folder import read_json_object
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import load_run
from lfwrap.units import format_bytes
from lfwrap.yaml_files import dump_yaml, load_yaml

EVALUATION_SCHEMA = "lfwrap.eval/1"
_DATASET = "dataset:"
_SHOWN_DIGITS = 12
_LOCAL_PATH = re.compile(r"(?:~|\.{0,2})?/(?:[^\s/,]+/)+(?=[^\s/,]+)")


def render_card(
    order: ExportOrder,
    out: Path,
    *,
    base: str,
    products: Sequence[Mapping[str, Any]],
    parity: Sequence[str],
    notes: Sequence[str],
) -> str:
    """The card as Markdown; folders of this machine are left out.

    Args:
        order: what was to be exported, under which name, and the report of `lfwrap eval` to quote.
        out: the folder whose files are listed.
        base: the base's name for others.
        products: what was made, as in ``export.json``.
        parity: what the comparisons found, one line each.
        notes: what one should know.

    Raises:
        DataError: the evaluation is not a report of `lfwrap eval`.
    """
    target, evaluation = order.target, order.options.evaluation
    paths = _run_paths(target)
    is_adapter = [product["format"] for product in products] == ["adapter"]
    return render_template(
        "model_card.md.j2",
        title=order.name,
        what=_what(target, base, is_adapter=is_adapter),
        base_model=base if "/" in base and not Path(base).exists() else "",
        library="peft" if is_adapter else "transformers",
        facts=[*_facts(target, base, products), *(_training_facts(paths) if paths else ())],
        files=list(_files(out)),
        data=list(_data(paths)) if paths else [],
        recipe=_recipe(paths) if paths else "",
        evaluation=_evaluation(evaluation) if evaluation else None,
        parity=parity,
        notes=[_without_folders(note) for note in notes],
    )


def _facts(target: Target, base: str, products: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str]]:
    yield "base model", _without_folders(base)
    yield "formats", ", ".join(product["format"] for product in products)
    yield "chat template", f"LLaMA-Factory's `{target.template}`"
    yield "exported with", f"lfwrap {__version__}"


def _training_facts(paths: RunPaths) -> Iterator[tuple[str, str]]:
    """What the run's record says of the training."""
    record = load_run(paths.root).record
    loss = f"{record.first_loss:.4g} → {record.last_loss:.4g}" if record.first_loss and record.last_loss else ""
    yield "trained with", f"LLaMA-Factory {record.versions.get('llamafactory', '?')}, {record.finetuning_type}"
    yield "updates", f"{record.global_step} of {record.max_steps}"
    yield "training loss", loss or "not logged"
    if record.quantization_bit:
        yield "base while training", f"quantised to {record.quantization_bit} bits"


def _run_paths(target: Target) -> RunPaths | None:
    """The run's folder, found above the adapter or the model."""
    if target.run is None:
        return None
    start = target.adapter or Path(target.model)
    found = next((folder for folder in (start, *start.parents) if folder.name == target.run), None)
    return RunPaths(found) if found is not None and RunPaths(found).record.is_file() else None


def _what(target: Target, base: str, *, is_adapter: bool) -> str:
    named = _without_folders(base)
    if is_adapter:
        return f"A LoRA adapter for {named}."
    return f"{named} with an adapter merged into it." if target.adapter else f"{named}, rewritten."


def _without_folders(text: str) -> str:
    """Paths of this machine, cut to their last part."""
    return _LOCAL_PATH.sub("", text)


def _files(out: Path) -> Iterator[str]:
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.suffix in {".safetensors", ".gguf", ".bin"}:
            yield f"`{path.relative_to(out)}`, {format_bytes(path.stat().st_size)}"


def _data(paths: RunPaths) -> Iterator[dict[str, Any]]:
    """Each data set: rows as prepared, what they came from, and the hash of the file that was trained on."""
    files = read_json_object(paths.inputs).get("files", {}) if paths.inputs.is_file() else {}
    for what, entry in files.items():
        if not what.startswith(_DATASET):
            continue
        name, path = what.removeprefix(_DATASET), Path(entry["path"])
        report_path = path.with_suffix(".report.json")
        report = read_json_object(report_path) if report_path.is_file() else {}
        yield {
            "name": name,
            "rows": report.get("train_rows", report.get("rows_out", "not recorded")),
            "rows_in": report.get("rows_in", "not recorded"),
            "sha256": f"`{entry['sha256'][:_SHOWN_DIGITS]}…`",
        }


def _recipe(paths: RunPaths) -> str:
    if not paths.recipe.is_file():
        return ""
    values = mask_secrets(load_yaml(paths.recipe).values)
    return _without_folders(dump_yaml(values))


def load_evaluation(path: Path) -> dict[str, Any]:
    """A report of `lfwrap eval` (``report.json``). Raises DataError for anything else."""
    try:
        report = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError) as error:
        raise DataError(f"{path}: can't be read: {error}", hint="Name the report.json of `lfwrap eval`.") from error
    if not isinstance(report, dict) or report.get("schema") != EVALUATION_SCHEMA:
        raise DataError(f"{path}: not a report of lfwrap eval", hint=f'Its "schema" is "{EVALUATION_SCHEMA}".')
    return report


def _evaluation(path: Path) -> dict[str, Any]:
    """A table: one line a model, one column for each figure that any of them has."""
    models = load_evaluation(path).get("models", [])
    figures = [dict(_figures(model)) for model in models]
    columns = list(dict.fromkeys(key for row in figures for key in row))
    rows = [
        [str(model.get("name", "?")), *(_shown(row.get(column)) for column in columns)]
        for model, row in zip(models, figures, strict=True)
    ]
    return {"columns": columns, "rows": rows}


def _figures(value: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, float]]:
    """The plain numbers of a model's report, two levels deep."""
    for key, item in value.items():
        if isinstance(item, bool):
            continue
        if isinstance(item, int | float):
            yield f"{prefix}{key}", item
        elif isinstance(item, Mapping) and not prefix:
            yield from _figures(item, f"{key}.")


def _shown(value: float | None) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else str(value)
