"""The options that name a run or a model, and how they become an engine and targets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import OptionGroup

if TYPE_CHECKING:
    from lfwrap.engine.locate import Engine
    from lfwrap.inference.candidates import ModelUnderTest
    from lfwrap.inference.target import Target

_PATH = click.Path(path_type=Path)

_MODEL_OPTIONS = (
    click.option("--runs-dir", type=_PATH, default=Path("runs"), show_default=True,
                 help="Where runs are looked for by name."),
    click.option("--base-model", metavar="DIR|ID", help="Use this base model, not the one that the adapter names."),
    click.option("--template", metavar="NAME", help="Use this template, not the one of the training."),
)  # fmt: skip

target_options = OptionGroup(click.argument("run", metavar="RUN"), *_MODEL_OPTIONS)
"""Adds the argument RUN and the options of `TargetArgs`."""

targets_options = OptionGroup(*_MODEL_OPTIONS)
"""Adds the options of `TargetsArgs`; each command has an argument TARGET of its own."""


@dataclass(frozen=True, slots=True)
class TargetArgs:
    """A run, a checkpoint, an adapter or a model, and how it is understood.

    Attributes:
        run: what it is, as typed.
        runs_dir: where runs are looked for by name.
        base_model: the base model, instead of the one that the adapter names.
        template: the chat template, instead of the training's.
    """

    run: str
    runs_dir: Path
    base_model: str | None
    template: str | None


def open_target(args: TargetArgs) -> tuple[Engine, Target]:
    """Find the engine, and what RUN means. Raises as `locate_engine` and `resolve_target` do."""
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import locate_engine
    from lfwrap.inference.target import resolve_target

    engine = locate_engine()
    facts = load_engine_facts(engine)
    target = resolve_target(args.run, facts, runs_dir=args.runs_dir, base_model=args.base_model, template=args.template)
    return engine, target


@dataclass(frozen=True, slots=True)
class TargetsArgs:
    """Several runs or models, and how they are understood.

    Attributes:
        targets: what they are, as typed, ``NAME=TARGET`` or ``TARGET``.
        runs_dir: where runs are looked for by name.
        base_model: the base model, instead of the one that an adapter names.
        template: the chat template, instead of each training's.
    """

    targets: tuple[str, ...]
    runs_dir: Path
    base_model: str | None
    template: str | None


def open_targets(args: TargetsArgs, further: Sequence[str] = ()) -> tuple[Engine, list[ModelUnderTest]]:
    """Find the engine, and what the targets and the further ones mean, each with its name.

    Raises as `locate_engine` and `resolve_candidates` do.
    """
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import locate_engine
    from lfwrap.inference.candidates import TargetOptions, resolve_candidates

    engine = locate_engine()
    common = TargetOptions(args.runs_dir, args.base_model, args.template)
    return engine, resolve_candidates([*args.targets, *further], load_engine_facts(engine), common)
