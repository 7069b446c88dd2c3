"""A run of the real command in this process, as the judge takes it."""

from __future__ import annotations

import gc
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from second_reader.files import tool_lists
from second_reader.judge import Offer, complaints
from second_reader.reading import rows_of
from second_reader.said import Row
from second_reader.schemas import tool_of
from second_reader.written import Outcome, read_outcome

from lfwrap.cli.app import app
from lfwrap.errors import LfwrapError


def run(sources: list[Path], out: Path, *options: Any) -> Outcome:
    """`lfwrap prepare-data` over sources, with any share of rejects allowed, and what it left."""
    words = ["--out", out, "--name", "x", "--max-rejects", "100%", "--no-engine-check", "--jobs", 1, *options]
    result = CliRunner().invoke(app, ["prepare-data", *map(str, sources), *map(str, words)])
    gc.unfreeze()
    if result.exception is None or isinstance(result.exception, SystemExit):
        assert result.exit_code == 0, result.output
        return read_outcome(out, "x")
    if not isinstance(result.exception, LfwrapError):
        raise result.exception
    error = result.exception
    found = " ".join(f"{finding.rule}: {finding.message}" for finding in error.findings)
    return read_outcome(out, "x", refused=f"{error.message} {error.hint or ''} {found}")


def judged(files: dict[Path, str], out: Path, *options: Any, encoding: str = "utf-8", **reading: Any) -> list[str]:
    """What is wrong with a run over files of known layouts (file → layout)."""
    tools, distractors = reading.pop("tools", []), reading.pop("distractors", 0)
    sources = {path: rows_of(path, layout, encoding, **reading) for path, layout in files.items()}
    words = [word for path in tools for word in ("--tools", path)]
    words += ["--distractors", distractors] if distractors else []
    words += [word for field, column in reading.get("columns", {}).items() for word in ("--map", f"{field}={column}")]
    offer = Offer({name: tool_of(tool) for name, tool in tool_lists(tools).items()}, distractors)
    return judged_rows(sources, out, *words, *options, offer=offer)


def judged_rows(sources: dict[Path, list[Row]], out: Path, *options: Any, offer: Offer | None = None) -> list[str]:
    """The same for rows that are read already."""
    template = options[options.index("--template") + 1] if "--template" in options else ""
    outcome = run(list(sources), out, *options)
    return complaints({str(path): rows for path, rows in sources.items()}, outcome, template=template, offer=offer)
