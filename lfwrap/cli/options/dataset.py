"""What commands on a stored data set share: how it is named, and what its rows are rendered with."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.data.datasets.dataset import Dataset
    from lfwrap.engine.locate import Engine


def stored_options(command: Callable[..., Any]) -> Callable[..., Any]:
    """Add the argument NAME|FILE and the options that say where it is and what renders it."""
    options = (
        click.argument("name", metavar="NAME|FILE"),
        click.option("--dataset-dir", type=click.Path(path_type=Path, file_okay=False),
                     help="Folder of the dataset_info.json; ./data, . and the bundled data by default."),
        click.option("--model", metavar="DIR|ID", help="Model whose tokenizer is used."),
        click.option("--rendered", is_flag=True, help="As the engine's template renders the rows; needs --model."),
        click.option("--template", metavar="NAME", help="Template for --rendered; the one that the data was prepared "
                     "for, else the model's, by default."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


def choose_renderer(found: Dataset, template: str | None, model: str | None) -> tuple[Engine, str, str]:
    """Engine, template and model to render rows with.

    Raises:
        UsageError: no model is named, its template isn't known, or the engine has no template of that name.
        PreflightError: there is no engine.
    """
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import locate_engine
    from lfwrap.engine.model_template import find_model_template

    if not model:
        raise UsageError("--rendered needs a tokenizer", hint="Name the model: --model FOLDER")
    engine = locate_engine()
    chosen = find_model_template([model], load_engine_facts(engine), stated=template or found.template)
    if chosen is None:
        raise UsageError(f"--model {model}: its template isn't known", hint="Name it: --template qwen, for example.")
    output.say(f"rendered by LLaMA-Factory {engine.version}: template {chosen.name}, tokenizer of {model} …")
    return engine, chosen.name, model
