"""What every command that takes a RUN shares: its options, and how it becomes an engine and a target."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from lfwrap.engine.locate import Engine
    from lfwrap.inference.target import Target

_OPTIONS = (
    click.option("--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True,
                 help="Where runs are looked for by name."),
    click.option("--base-model", metavar="DIR|ID", help="Use this base model, not the one the adapter names."),
    click.option("--template", metavar="NAME", help="Use this template, not the one of the training."),
)  # fmt: skip


def target_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument RUN and the options ``--runs-dir``, ``--base-model`` and ``--template``."""
    for option in reversed(_OPTIONS):
        command = option(command)
    return click.argument("run", metavar="RUN")(command)


def open_target(run: str, runs_dir: Path, base_model: str | None, template: str | None) -> tuple[Engine, Target]:
    """Find the engine, and what RUN means. Raises as `locate_engine` and `resolve_target` do."""
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import locate_engine
    from lfwrap.inference.target import resolve_target

    engine = locate_engine()
    facts = load_engine_facts(engine)
    return engine, resolve_target(run, facts, runs_dir=runs_dir, base_model=base_model, template=template)
