"""Which files the sources that the user named are: paths, folders, globs and archives; and which are passed over."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lfwrap.data.readers.archives import ARCHIVE_SUFFIXES, archive_members, on_disk
from lfwrap.data.readers.sources import FOREIGN_SUFFIXES, TABLE_SUFFIXES, TEXT_SUFFIXES, suffix_of
from lfwrap.data.readers.streams import is_stream
from lfwrap.data.schema.held_out import is_held_out_file
from lfwrap.errors import DataError

_OWN_ENDS = (".report.json", ".rejects.jsonl", ".lock.json")
_DESCRIPTIONS = {"dataset_info.json", "dataset_infos.json"}


@dataclass(frozen=True, slots=True)
class PassedOver:
    """A file of a folder or an archive that is not read, and why."""

    file: str
    why: str


@dataclass(slots=True)
class Listing:
    """The files that were found, each once, in order, and those that were passed over."""

    names: dict[str, None] = field(default_factory=dict)
    passed_over: dict[str, PassedOver] = field(default_factory=dict)

    def pass_over(self, file: str, why: str) -> None:
        """Note that a file is not read."""
        self.passed_over.setdefault(file, PassedOver(file, why))


def list_sources(sources: Sequence[str]) -> Listing:
    """Files named by paths, folders (all data files below, sorted), globs and ``.zip`` archives.

    Raises:
        DataError: a path or pattern without a file, a folder or an archive without data files, no permission.
    """
    listing = Listing()
    for source in sources:
        before = len(listing.passed_over)
        try:
            names = list(_expand(source, listing))
        except OSError as error:
            raise DataError(
                f"{error.filename or source}: can't be read: {error.strerror or error}", hint="Check the permissions."
            ) from error
        if not names:
            raise _nothing_found(source, list(listing.passed_over.values())[before:])
        _refuse_mixture(source, names)
        listing.names.update(dict.fromkeys(names))
    return listing


def _refuse_mixture(source: str, names: Sequence[str]) -> None:
    """Files that a folder, pattern or archive brings along are not trained on where their names say otherwise."""
    held_out = [name for name in names if name != source and is_held_out_file(name.removeprefix(source))]
    if held_out and len(held_out) < len(names):
        training = next(name for name in names if name not in held_out)
        raise DataError(
            f"{source}: the rows of {', '.join(held_out[:_SHOWN])} are there to validate or test on: "
            "they are not mixed with others",
            hint=f"Name the files to train on ({training} …); the others with --test FILE, or as a set NAME_val.",
        )


def _expand(source: str, listing: Listing) -> Iterator[str]:
    path = Path(source)
    if is_stream(source) or (path.is_file() and not _is_zip(source)) or on_disk(source).member:
        yield source
    elif path.is_file():
        yield from _members(source, listing)
    elif path.is_dir():
        from lfwrap.data.readers.tables.saved_dataset import saved_dataset_files

        saved = saved_dataset_files(path, source)
        yield from _below(path, listing) if saved is None else saved
    else:
        yield from _matches(source, listing)


def _matches(pattern: str, listing: Listing) -> Iterator[str]:
    import glob

    for match in sorted(glob.glob(pattern, recursive=True)):  # noqa: PTH207 - keeps what was typed
        if Path(match).is_file():
            yield from _members(match, listing) if _is_zip(match) else [match]
        elif not pattern.endswith("**"):
            listing.pass_over(match, "a folder" if Path(match).is_dir() else "no file")


def _below(root: Path, listing: Listing) -> Iterator[str]:
    """The data files below a folder, sorted by their whole paths."""
    found: list[Path] = []
    for folder, inner, names in os.walk(root, onerror=lambda error: _unreadable(error, listing)):
        here = Path(folder)
        for name in [*inner]:
            why = "hidden" if name.startswith(".") else "a link to a folder" if (here / name).is_symlink() else ""
            if why:
                inner.remove(name)
                listing.pass_over(f"{here / name}{os.sep}", why)
        for name in names:
            why = _why_not(here / name)
            if why:
                listing.pass_over(str(here / name), why)
            else:
                found.append(here / name)
    answers = _answers(found) if len(found) > 1 else {}
    for file in sorted(found, key=str):
        if file in answers:
            listing.pass_over(str(file), f"the accepted answers of {answers[file].name}")
            continue
        yield from _members(str(file), listing) if _is_zip(file.name) else [str(file)]


def _answers(found: Sequence[Path]) -> dict[Path, Path]:
    """Files of answers → the file of the cases that they are about."""
    from lfwrap.data.formats.bfcl import answers_file

    pairs = [(answers_file(file), file) for file in found]
    return {answers: file for answers, file in pairs if answers is not None and answers in found}


def _unreadable(error: OSError, listing: Listing) -> None:
    listing.pass_over(f"{error.filename}{os.sep}", f"can't be opened: {error.strerror}")


def _why_not(file: Path) -> str:
    """Why a file of a folder is not read; empty for one that is."""
    if file.name.startswith("."):
        return "hidden"
    if not file.exists():
        return "a link to nothing"
    if not file.is_file():
        return "no regular file"
    return "" if _is_zip(file.name) else why_no_data(file.name)


def why_no_data(name: str) -> str:
    """Why a file of this name is taken for something else than data; empty for one that may be data.

    >>> why_no_data("a.jsonl.gz"), why_no_data("README.md"), why_no_data("LICENSE")
    ('', '.md is no suffix of data', 'it has no suffix')
    """
    lower = name.lower()
    suffix = suffix_of(lower)
    if lower in _DESCRIPTIONS:
        return "it describes data sets"
    if lower.endswith(_OWN_ENDS):
        return "written by lfwrap"
    if suffix in ARCHIVE_SUFFIXES:
        return "an archive of a kind that is not read; unpack it"
    if suffix in FOREIGN_SUFFIXES:
        return f"{FOREIGN_SUFFIXES[suffix]} is not read"
    if suffix in TEXT_SUFFIXES | TABLE_SUFFIXES:
        return ""
    return f"{suffix} is no suffix of data" if suffix else "it has no suffix"


def _is_zip(name: str) -> bool:
    return name.lower().endswith(".zip")


def _members(archive: str, listing: Listing) -> Iterator[str]:
    """The data files in a ZIP archive, as ``ARCHIVE!MEMBER``."""
    for member in archive_members(archive):
        base = member.rpartition("/")[2]
        hidden = any(part.startswith((".", "__MACOSX")) for part in member.split("/"))
        why = "hidden" if hidden else why_no_data(base)
        if not why and _is_zip(base):
            why = "an archive within an archive; unpack it"
        if why:
            listing.pass_over(f"{archive}!{member}", why)
        else:
            yield f"{archive}!{member}"


def _nothing_found(source: str, passed_over: Sequence[PassedOver]) -> DataError:
    kinds = "Data files end in .json, .jsonl, .csv, .tsv, .xlsx, .parquet, .arrow or .log, perhaps with .gz or alike."
    if not passed_over:
        empty = Path(source).is_dir() or Path(source).is_file()
        what = "no data files in it" if empty else "no such file, and no file matches it"
        return DataError(f"{source}: {what}", hint=kinds if empty else "Check the path; quote a pattern.")
    shown = ", ".join(f"{Path(each.file).name} ({each.why})" for each in passed_over[:_SHOWN])
    more = f" and {len(passed_over) - _SHOWN:,} more" if len(passed_over) > _SHOWN else ""
    return DataError(f"{source}: no data files in it, only {shown}{more}", hint=kinds)


_SHOWN = 5
