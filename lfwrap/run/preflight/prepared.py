"""Data sets that were prepared for another template than the run's, where that changes what the model reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.chat_templates import after_result
from lfwrap.errors import Finding
from lfwrap.run.preflight.context import PreflightContext
from lfwrap.units import plural

_JOINED = "user-after-result-joined"


def check_prepared(context: PreflightContext, key: str, name: str, folder: Path) -> Iterator[Finding]:
    """A finding where rows hold marks of their template within a turn, and the run's template writes other marks.

    Args:
        context: the run.
        key: the key of the recipe that names the data set.
        name: the data set.
        folder: where it is registered, and its report lies.
    """
    report = _report(folder / f"{name.removesuffix('_val')}.report.json")
    repairs, options = report.get("repairs"), report.get("options")
    template = context.values.get("template")
    if not isinstance(repairs, Mapping) or not isinstance(options, Mapping) or not isinstance(template, str):
        return
    turns, prepared_for = repairs.get(_JOINED), options.get("template")
    if not turns or not template or after_result(prepared_for) == after_result(template):
        return
    message = (
        f"{name}: it was prepared for {prepared_for}, and {plural(int(turns), 'turn')} of it in which the user speaks"
        f" right after a tool's result hold its marks, which the template {template} does not have."
    )
    hint = f"Prepare the data again, with `--template {template}`, or train with `template: {prepared_for}`."
    yield context.finding("data-template", key, message, hint)


def _report(path: Path) -> Mapping[str, Any]:
    """What prepare-data wrote beside a data set; empty where it did not."""
    try:
        report = orjson.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return report if isinstance(report, dict) else {}
