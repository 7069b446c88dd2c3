"""A recipe's data sets: the folder that registers them, and how many tokens their rows have."""

from __future__ import annotations

import contextlib
import itertools
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import xxhash

from lfwrap.bundled import bundled_path
from lfwrap.data.datasets.dataset import Dataset, find_dataset
from lfwrap.data.datasets.token_counts import TRAINED, TextTokens
from lfwrap.dirs import row_lengths_dir
from lfwrap.engine.chat_templates import chat_template, chat_template_names
from lfwrap.errors import Finding, LfwrapError
from lfwrap.files import write_bytes
from lfwrap.model.folder import ModelFolder
from lfwrap.plan.inputs.row_lengths import RowLengths
from lfwrap.recipe.keys import place
from lfwrap.recipe.recipe import Recipe, split_names
from lfwrap.recipe.rules.data import is_path
from lfwrap.suggest import did_you_mean
from lfwrap.units import plural

_TOKENIZER = "tokenizer.json"
_MOST_CHARACTERS = 100_000_000
_CHUNK_ROWS = 2048
_WHOLE_FILE_BYTES = 1 << 28
# Characters of a token, assumed where there is no tokenizer: in usual texts, and in the longest row.
_ASCII_USUAL, _ASCII_DENSE, _OTHER_USUAL, _OTHER_DENSE = 4.2, 2.5, 1.5, 0.8
_FRAME_GUESS_TOKENS, _TURN_GUESS_TOKENS = 24, 5

REGISTRY = "dataset_info.json"
# Values of dataset_dir that are not a folder: the engine loads from a hub.
_REMOTE = ("ONLINE", "REMOTE:")


@dataclass(frozen=True, slots=True)
class DatasetDir:
    """The folder of a recipe's data sets, and how it was found.

    Attributes:
        path: the folder, absolute; None when the engine loads from a hub, or when nothing was found.
        reason: how it was found, a sentence.
        findings: problems: a data set that is not registered, or a registry that can't be read.
    """

    path: str | None
    reason: str
    findings: tuple[Finding, ...] = ()


def find_dataset_dir(recipe: Recipe, cwd: Path) -> DatasetDir:
    """The folder to hand to the engine as ``dataset_dir``, absolute, so that the working directory does not matter.

    A ``dataset_dir`` of the recipe or the command line is taken as it is; a relative one is looked for in ``cwd``, then
    beside the recipe, then among the files that ship with lfwrap. Without one, the first of these folders that
    registers all of the recipe's data sets is taken: ``./data``, ``.``, the recipe's folder, its ``data``, the bundled
    ``data``.
    """
    own = recipe.engine_values.get("dataset_dir")
    if isinstance(own, str) and own.startswith(_REMOTE):
        return DatasetDir(None, f"dataset_dir: {own} loads from a hub.")
    if isinstance(own, str) and own:
        folders = [cwd / Path(own).expanduser(), recipe.path.parent / own, bundled_path(own)]
        folder = next((each for each in folders if (each / REGISTRY).is_file()), folders[0])
        return _checked(recipe, folder.absolute(), "The recipe's own dataset_dir.")
    folders = [cwd / "data", cwd, recipe.path.parent, recipe.path.parent / "data", bundled_path("data")]
    names = set(recipe.datasets)
    for folder in folders:
        if names and names <= set(_registered(folder)):
            return DatasetDir(str(folder.absolute()), f"The first folder that registers {', '.join(sorted(names))}.")
    if not names:
        return DatasetDir(None, "The recipe names no data set.")
    return DatasetDir(None, "Registered nowhere.", tuple(_unregistered(recipe, folders)))


def _checked(recipe: Recipe, folder: Path, reason: str) -> DatasetDir:
    """The folder that the recipe names, with findings about it."""
    if not (folder / REGISTRY).is_file():
        finding = Finding(
            "dataset-dir",
            f"dataset_dir: {folder} holds no {REGISTRY}.",
            hint="`lfwrap prepare-data FILE --out DIR --name NAME` writes one.",
            **place(recipe, "dataset_dir"),
        )
        return DatasetDir(str(folder), reason, (finding,))
    return DatasetDir(str(folder), reason, tuple(_unregistered(recipe, [folder])))


def _unregistered(recipe: Recipe, folders: list[Path]) -> Iterator[Finding]:
    known = [name for folder in folders for name in _registered(folder)]
    unique = list(dict.fromkeys(str(folder) for folder in folders))
    where = ("any of " if len(unique) > 1 else "") + ", ".join(unique)
    for name in recipe.datasets:
        if name not in known and not is_path(name):  # a path has a finding of its own
            otherwise = "`lfwrap prepare-data FILE --out DIR --name NAME` registers one."
            hint = did_you_mean(name, known, otherwise=otherwise)
            key = "dataset" if name in str(recipe.engine_values.get("dataset")) else "eval_dataset"
            message = f"{key}: {name!r} is not registered in {where}."
            yield Finding("unknown-dataset", message, hint=hint, **place(recipe, key))


def _registered(folder: Path) -> list[str]:
    """The names that a folder registers; none when its registry is missing or unreadable."""
    try:
        registry = json.loads((folder / REGISTRY).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return []
    return [str(name) for name in registry] if isinstance(registry, dict) else []


def measure_rows(
    recipe: Recipe, dataset_dir: Path | None, template: str, environ: Mapping[str, str] = os.environ
) -> RowLengths | None:
    """The lengths of the rows that the recipe trains on, not yet cut; None where the data can't be read here.

    They are counted once and kept in the cache folder, under a hash of the data's content.

    Args:
        recipe: the recipe.
        dataset_dir: the folder that registers its data sets.
        template: the chat template, whose own tokens count, too.
        environ: environment variables, which may name the cache folder.
    """
    names = split_names(recipe.engine_values.get("dataset"))
    if dataset_dir is None or not names or recipe.engine_values.get("streaming"):
        return None
    try:
        sets = [find_dataset(name, dataset_dir) for name in names]
        tokenizer = _find_tokenizer(recipe.model)
        counted = [_count_set(dataset, tokenizer, template, environ) for dataset in sets]
    except (LfwrapError, OSError):
        return None
    return _join(counted, recipe)


def _join(counted: list[dict[str, Any]], recipe: Recipe) -> RowLengths | None:
    """The lengths of all data sets together, without the rows that are kept for evaluation."""
    lengths: list[int] = []
    count = 0
    most = recipe.engine_values.get("max_samples")
    for found in counted:
        rows = found["lengths"][:most] if isinstance(most, int) else found["lengths"]
        lengths += rows
        count += min(found["rows"], most) if isinstance(most, int) else found["rows"]
    if not lengths:
        return None
    is_whole = all(found["is_whole"] for found in counted)
    longest = max(found["longest"] for found in counted)
    is_counted = all(found["is_counted"] for found in counted)
    how = "counted with the model's tokenizer" if is_counted else "estimated from characters: no tokenizer is here"
    basis = f"{plural(len(lengths), 'row')} {how}" + (
        "" if is_whole else ", the first of more: the longest is not known"
    )
    return RowLengths(
        longest_tokens=longest if is_whole else 1 << 40,
        mean_tokens=sum(lengths) / len(lengths),
        count=_trained_rows(count, recipe.engine_values.get("val_size")),
        lengths=tuple(lengths),
        basis=basis,
        is_exact=is_counted,
        trained_tokens=sum(found["trained"] for found in counted)
        / max(1, sum(len(each["lengths"]) for each in counted)),
    )


def _trained_rows(count: int, val_size: Any) -> int:
    if not isinstance(val_size, int | float) or val_size <= 0:
        return count
    return max(1, count - int(val_size if val_size >= 1 else val_size * count))


def _find_tokenizer(model: str | None) -> Path | None:
    """The tokenizer.json of a local model, or of a model in the hub's cache."""
    folder = ModelFolder.find(model) if model else None
    path = folder.path / _TOKENIZER if folder else None
    return path if path is not None and path.is_file() else None


def _count_set(dataset: Dataset, tokenizer: Path | None, template: str, environ: Mapping[str, str]) -> dict[str, Any]:
    """The lengths of one data set, from the cache or counted now."""
    place = row_lengths_dir(environ) / f"{_content_key(dataset, tokenizer, template)}.json"
    try:
        found: dict[str, Any] = orjson.loads(place.read_bytes())
        return found
    except (OSError, ValueError):
        found = _count_now(dataset, tokenizer, template)
    with contextlib.suppress(OSError):  # a read-only home: counted again next time
        place.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(place, orjson.dumps(found))
    return found


def _content_key(dataset: Dataset, tokenizer: Path | None, template: str) -> str:
    digest = xxhash.xxh3_128(f"3 {template} {dataset.format} {orjson.dumps(dict(dataset.entry)).decode()}".encode())
    for path in (*dataset.files, *([tokenizer] if tokenizer else [])):
        status = path.stat()
        if status.st_size > _WHOLE_FILE_BYTES:  # hashing it all would take seconds
            digest.update(f"{path.resolve()} {status.st_size} {status.st_mtime_ns}".encode())
        else:
            digest.update(path.read_bytes())
    return digest.hexdigest()


def _count_now(dataset: Dataset, tokenizer: Path | None, template: str) -> dict[str, Any]:
    rows = (row.value for row in dataset.rows() if row.value is not None)
    tokens = TextTokens(tokenizer) if tokenizer else None
    known = chat_template(template) if template in chat_template_names() else None
    frames = known.added_tokens(lambda text: _text_tokens(tokens, text)) if tokens and known else None
    if tokens is None or frames is None:
        return _estimated(rows)
    lengths: list[int] = []
    characters = trained = 0
    for chunk in _chunks(rows):
        added = [frames.of_row(row) for row in chunk]
        counted = tokens.count(chunk)
        lengths += [own + more for (own, _), more in zip(counted, added, strict=True)]
        trained += sum(answered for _, answered in counted)
        characters += sum(_row_characters(row)[0] + _row_characters(row)[1] for row in chunk)
        if characters > _MOST_CHARACTERS:
            rest = sum(1 for _ in rows)
            return _found(lengths, len(lengths) + rest, trained, is_whole=not rest)
    return _found(lengths, len(lengths), trained, is_whole=True)


def _found(
    lengths: list[int], rows: int, trained: float, *, is_whole: bool, longest: int | None = None
) -> dict[str, Any]:
    """The values that the cache keeps of a data set; ``longest`` is set where the lengths are estimates."""
    return {
        "lengths": lengths,
        "trained": trained,
        "rows": rows,
        "is_whole": is_whole,
        "is_counted": longest is None,
        "longest": max(lengths, default=0) if longest is None else longest,
    }


def _estimated(rows: Iterable[dict[str, Any]]) -> dict[str, Any]:
    """Lengths estimated from characters: usual ones, and a generous longest one."""
    usual, longest, trained = [], 0, 0.0
    for row in rows:
        ascii_count, others = _row_characters(row)
        turns = _FRAME_GUESS_TOKENS + _TURN_GUESS_TOKENS * len(row["conversations"])
        usual.append(int(ascii_count / _ASCII_USUAL + others / _OTHER_USUAL) + turns)
        longest = max(longest, int(ascii_count / _ASCII_DENSE + others / _OTHER_DENSE) + 2 * turns)
        trained += _usual_tokens(turn["value"] for turn in row["conversations"] if turn["from"] in TRAINED)
    return _found(usual, len(usual), trained, is_whole=True, longest=longest)


def _usual_tokens(texts: Iterable[str]) -> float:
    ascii_count, others = _characters(texts)
    return ascii_count / _ASCII_USUAL + others / _OTHER_USUAL


def _row_characters(row: Mapping[str, Any]) -> tuple[int, int]:
    """The numbers of ASCII characters and of other characters in a row's texts."""
    return _characters([row["system"], row["tools"], *(turn["value"] for turn in row["conversations"])])


def _characters(texts: Iterable[str]) -> tuple[int, int]:
    texts = list(texts)
    total = sum(map(len, texts))
    encoded = sum(len(text.encode("ascii", "ignore")) for text in texts)
    return encoded, total - encoded


def _text_tokens(tokens: TextTokens, text: str) -> int:
    return tokens.count([{"system": text, "tools": "", "conversations": []}])[0][0]


def _chunks(rows: Iterator[dict[str, Any]]) -> Iterator[list[dict[str, Any]]]:
    while chunk := list(itertools.islice(rows, _CHUNK_ROWS)):
        yield chunk
