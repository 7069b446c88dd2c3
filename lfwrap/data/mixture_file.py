"""``sources.yaml``: a whole preparation in one file, and the lock that says what went into it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import orjson

from lfwrap import files
from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.output.data_report import DataReport
from lfwrap.data.output.mix import Shaping
from lfwrap.data.output.split import parse_share, parse_val_size
from lfwrap.data.prepare import files_of
from lfwrap.data.readers.archives import on_disk
from lfwrap.data.readers.sources import Part, parse_part
from lfwrap.data.readers.streams import is_stream
from lfwrap.data.request import Request
from lfwrap.data.schema.columns import FIELDS
from lfwrap.data.tools.catalogue import ToolCatalogue, load_catalogue
from lfwrap.data.tools.tool_lists import tools_files
from lfwrap.errors import DataError, Finding, RecipeError
from lfwrap.yaml_files import Document, load_yaml

_TOP = ("name", "out", "template", "seed", "val_size", "near_dedup", "test", "last_exchange", "strict", "max_rejects",
        "ignore", "tools", "distractors", "instructions")  # fmt: skip
_PART = ("path", "rows", "weight", "format", "map", "encoding", "delimiter", "member")
_TYPES: dict[str, tuple[type, ...]] = {
    "rows": (int,),
    "weight": (int, float),
    "seed": (int,),
    "near_dedup": (int, float),
    "last_exchange": (bool,),
    "strict": (bool,),
    "map": (dict,),
    "val_size": (int, float, str),
    "max_rejects": (int, float, str),
    "test": (str, list),
    "ignore": (str, list),
    "tools": (str, list),
    "distractors": (int,),
}


@dataclass(frozen=True, slots=True)
class MixtureFile:
    """A preparation as a file describes it.

    Attributes:
        path: the file.
        request: what it asks for; paths in it are relative to its folder.
        findings: warnings about its tools.
    """

    path: Path
    request: Request
    findings: tuple[Finding, ...] = ()

    @property
    def lock_path(self) -> Path:
        """The lock beside the file."""
        return self.path.with_suffix(".lock.json")


def load_mixture(path: Path, request: Request) -> MixtureFile:
    """Read and check a ``sources.yaml``.

    Args:
        path: the file.
        request: what the command line says; the file fills in what that leaves out.

    Raises:
        RecipeError: unknown keys, wrong types, no sources; all at once, with their lines.
        UsageError: a share or size that can't be read.
    """
    document = load_yaml(path)
    findings = _check(document)
    if findings:
        raise RecipeError(f"{path}: {len(findings)} keys or values are wrong", findings=findings)
    values, folder = document.values, path.parent
    shaping = Shaping(
        near_duplicates=values.get("near_dedup", request.shaping.near_duplicates),
        test_files=(*request.shaping.test_files, *map(str, _paths(values, "test", folder))),
        last_exchange=values.get("last_exchange", False) or request.shaping.last_exchange,
    )
    tools = load_catalogue(_paths(values, "tools", folder))
    limit = values.get("max_rejects")
    filled = replace(
        request,
        sources=(),
        parts=tuple(_part(part, folder) for part in values["sources"]),
        name=request.name or values.get("name", path.stem),
        out=folder / values.get("out", ".") if request.out == Path() else request.out,
        template=request.template or values.get("template", ""),
        options=_options(request.options, values, tools, folder),
        beside=(*request.beside, *_paths(values, "tools", folder), *_paths(values, "instructions", folder)),
        val_size=request.val_size or parse_val_size(str(values.get("val_size", 0))),
        strict=request.strict or values.get("strict", False),
        max_rejects=request.max_rejects if limit is None else parse_share(str(limit), "max_rejects"),
        shaping=shaping,
    )
    streams = [part.path for part in filled.parts if is_stream(part.path)]
    if streams:
        raise RecipeError(f"{path}: {streams[0]} is no file: a mixture that can be repeated reads files only")
    check = filled.engine_check
    complete = replace(filled, engine_check=check and replace(check, template=filled.template))
    return MixtureFile(path, complete, tools.findings)


def _names(value: str | list[Any]) -> frozenset[str]:
    return frozenset([value] if isinstance(value, str) else map(str, value))


def _options(options: ConvertOptions, values: Mapping[str, Any], found: ToolCatalogue, folder: Path) -> ConvertOptions:
    instructions = _paths(values, "instructions", folder)
    return replace(
        options,
        seed=values.get("seed", options.seed),
        ignore=options.ignore | _names(values.get("ignore", [])),
        tools={**found.tools, **options.tools},
        distractors=options.distractors or values.get("distractors", 0),
        instructions=options.instructions or (instructions[0] if instructions else None),
    )


def _paths(values: Mapping[str, Any], key: str, folder: Path) -> list[Path]:
    """The path or paths of a key, as seen from the file's folder."""
    named = values.get(key, [])
    return [folder / each for each in ([named] if isinstance(named, str) else named)]


def _part(value: Mapping[str, Any], folder: Path) -> Part:
    return Part(
        str(folder / value["path"]),
        rows=value.get("rows"),
        weight=value.get("weight"),
        format=value.get("format"),
        columns=value.get("map", {}),
        encoding=value.get("encoding"),
        delimiter=value.get("delimiter"),
        member=value.get("member", ""),
    )


def _check(document: Document) -> list[Finding]:
    findings = [
        finding
        for key, value in document.values.items()
        if key != "sources" and (finding := _check_value(document, (key,), value, _TOP))
    ]
    sources = document.values.get("sources")
    if not isinstance(sources, list) or not sources:
        findings.append(_finding(document, ("sources",), "sources: expected a list of sources, each with a path"))
        return findings
    for number, part in enumerate(sources):
        place: tuple[str | int, ...] = ("sources", number)
        if not isinstance(part, dict) or "path" not in part:
            findings.append(_finding(document, place, f"source {number + 1}: expected at least a path"))
            continue
        findings += [
            finding for key, value in part.items() if (finding := _check_value(document, (*place, key), value, _PART))
        ]
    return findings


def _check_value(
    document: Document, place: tuple[str | int, ...], value: Any, known: tuple[str, ...]
) -> Finding | None:
    key = str(place[-1])
    if key not in known:
        return _finding(document, place, f"{key}: unknown key; known are {', '.join(known)}")
    kinds = _TYPES.get(key, (str,))
    if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
        return _finding(
            document, place, f"{key}: expected {' or '.join(kind.__name__ for kind in kinds)}, found {value!r}"
        )
    if isinstance(value, dict) and not value.keys() <= set(FIELDS):
        return _finding(document, place, f"map: expected fields out of {', '.join(FIELDS)}")
    if key in {"rows", "weight"} and isinstance(value, int | float) and value <= 0:
        return _finding(document, place, f"{key}: expected more than 0")
    return None


def _finding(document: Document, place: tuple[str | int, ...], message: str) -> Finding:
    position = document.value_position(*place) or document.key_position(*place)
    return Finding(
        "sources-file",
        message,
        file=document.name,
        line=position.line if position else None,
        column=position.column if position else None,
        hint="docs/how-to/prepare-data.md has an example.",
    )


def lock_of(mixture: MixtureFile) -> dict[str, Any]:
    """What goes into a preparation: the hash of the file itself and of every input."""
    request = mixture.request
    beside = [str(file) for path in request.beside for file in tools_files(path)]
    sources = (str(on_disk(file.name).path) for file in files_of(request.parts, request.beside))
    tests = (parse_part(text).path for text in request.shaping.test_files)
    inputs = [*sources, *tests, *beside]
    folder = mixture.path.parent
    return {
        "schema": "lfwrap.sources-lock/1",
        "sources": files.sha256_file(mixture.path),
        "inputs": {_relative(name, folder): files.sha256_file(Path(name)) for name in inputs},
    }


def _relative(name: str, folder: Path) -> str:
    path = Path(name)
    return str(path.relative_to(folder)) if path.is_relative_to(folder) else name


def check_frozen(mixture: MixtureFile) -> None:
    """Hold the inputs against the lock.

    Raises:
        DataError: there is no lock, or anything differs; names all of it.
    """
    try:
        locked = orjson.loads(mixture.lock_path.read_bytes())
    except (OSError, ValueError) as error:
        raise DataError(
            f"{mixture.lock_path}: no readable lock: {error}", hint="Run once without --frozen, and keep the lock."
        ) from error
    now = lock_of(mixture)
    before, after = locked.get("inputs", {}), now["inputs"]
    changes = [f"{mixture.path.name} itself has changed"] if locked.get("sources") != now["sources"] else []
    changes += [f"{name} is gone" for name in before if name not in after]
    changes += [f"{name} is new" for name in after if name not in before]
    changes += [f"{name} has changed" for name in after if name in before and before[name] != after[name]]
    if changes:
        raise DataError(
            f"--frozen: {'; '.join(changes)}", hint="Restore the inputs, or run without --frozen to lock what is there."
        )


def write_lock(mixture: MixtureFile, report: DataReport) -> None:
    """Write down what went in and what came out."""
    outputs = {name: files.sha256_file(Path(path)) for name, path in report.outputs.items()}
    files.write_json(mixture.lock_path, lock_of(mixture) | {"outputs": outputs})
