"""Everything that can be known to go wrong before the engine starts, found at once, each with its place and remedy."""

from __future__ import annotations

from lfwrap.run.preflight.context import PreflightContext, PreflightReport
from lfwrap.run.preflight.data import check_data
from lfwrap.run.preflight.machine import preflight_machine
from lfwrap.run.preflight.model import check_model


def check_preflight(context: PreflightContext) -> PreflightReport:
    """Check data, model and machine for a run; the recipe itself is `lfwrap.recipe.check`'s.

    Reads the data sets and the headers of the model's files; changes nothing, asks no network.
    """
    return PreflightReport(
        data=tuple(check_data(context)), machine=(*check_model(context), *preflight_machine(context))
    )
