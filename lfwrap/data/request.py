"""What to prepare, and how: a request, and the option texts of the command line as its values."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from lfwrap.data.formats.base import ConvertOptions
from lfwrap.data.output.mix import Shaping
from lfwrap.data.output.split import ValSize, parse_share, parse_val_size
from lfwrap.data.readers.chunk_plan import CHUNK_BYTES
from lfwrap.data.readers.sources import Part, parse_part
from lfwrap.data.schema.columns import parse_mapping
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.data.datasets.engine_check import EngineCheck

__all__ = [
    "ConvertOptions", "Part", "Request", "Shaping", "ValSize", "parse_delimiter", "parse_mapping", "parse_part",
    "parse_share", "parse_val_size",
]  # fmt: skip

_SPELLED = {"tab": "\t", "\\t": "\t", "comma": ",", "semicolon": ";", "bar": "|", "pipe": "|"}


@dataclass(frozen=True, slots=True)
class Request:
    """What to prepare, and how.

    Attributes:
        sources: files, folders and globs, with ``#N`` for N rows of them.
        out: the data folder.
        name: the data set's name.
        options: what was said about the conversion.
        format: the input format, or None to detect it.
        encoding: the text encoding, or None to detect it.
        delimiter: CSV's delimiter, or None to detect it.
        template: the chat template to write for, or empty.
        val_size: what to keep for validation, or None.
        strict: any reject, and any field that is not used, is an error.
        max_rejects: largest share of rejects, or None for any.
        force: replace a data set of this name.
        jobs: processes; 0 for as many as there are CPUs.
        start_method: how processes start, or None for the platform's quickest.
        chunk_bytes: how much one process takes at once.
        engine_check: what to check the result with, or None for no check.
        parts: a mixture, instead of ``sources``.
        shaping: what to leave out of the good rows.
        beside: tools files and instructions; where they lie in a source folder, they are not read as sources.
    """

    sources: tuple[str, ...]
    out: Path
    name: str
    options: ConvertOptions = field(default_factory=ConvertOptions)
    format: str | None = None
    encoding: str | None = None
    delimiter: str | None = None
    template: str = ""
    val_size: ValSize | None = None
    strict: bool = False
    max_rejects: float | None = None
    force: bool = False
    jobs: int = 0
    start_method: str | None = None
    chunk_bytes: int = CHUNK_BYTES
    engine_check: EngineCheck | None = None
    parts: tuple[Part, ...] = ()
    shaping: Shaping = field(default_factory=Shaping)
    beside: tuple[Path, ...] = ()

    @property
    def mixture(self) -> tuple[Part, ...]:
        """The sources as parts."""
        return self.parts or tuple(parse_part(source) for source in self.sources)

    def is_choosing(self, parts: Sequence[Part]) -> bool:
        """Whether good rows are left out or counted, which takes a second pass over what was written."""
        shaped = self.shaping.near_duplicates is not None or bool(self.shaping.test_files)
        counted = self.val_size is not None and self.val_size.count > 0
        return shaped or counted or any(part.rows is not None or part.weight is not None for part in parts)


def parse_delimiter(text: str) -> str:
    r"""A delimiter as the user writes it: one character, or a name such as ``tab`` or ``semicolon``.

    Raises:
        UsageError: more than one character.

    >>> parse_delimiter("tab"), parse_delimiter(";")
    ('\t', ';')
    """
    delimiter = _SPELLED.get(text, text)
    if len(delimiter) != 1:
        raise UsageError(f"--delimiter {text}: expected one character, or tab", hint="For example: --delimiter ';'")
    return delimiter
