"""All formats of an export: to add one, write its module, with a ``FORMAT`` in it, and name it here."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lfwrap.export.job import ExportFormat
    from lfwrap.export.options import ExportOptions

FORMATS = ("merged", "adapter", "gptq", "awq", "gguf", "ollama")
"""Names, each that of its module, in the order in which they are made; the first that was asked for takes the folder
itself. The modules are imported when they are used: `lfwrap export --help` needs the names alone."""


def load_format(name: str) -> ExportFormat:
    """The format of a name in `FORMATS`."""
    found: ExportFormat = importlib.import_module(f"lfwrap.export.formats.{name}").FORMAT
    return found


def chosen_formats(options: ExportOptions) -> list[ExportFormat]:
    """The formats that were asked for, in the order in which they are made."""
    return [load_format(name) for name in FORMATS if name in options.formats]


def written_formats(options: ExportOptions) -> list[ExportFormat]:
    """The formats whose files are written: an Ollama model brings GGUF files.

    >>> from lfwrap.export.options import ExportOptions
    >>> [one.name for one in written_formats(ExportOptions(formats=("ollama", "adapter")))]
    ['adapter', 'gguf']
    """
    return [load_format(name) for name in dict.fromkeys(one.files_of or one.name for one in chosen_formats(options))]
