"""The options that name a stored data set, and what its rows are rendered with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import AS_JSON, OptionGroup
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.data.datasets.dataset import Dataset
    from lfwrap.engine.locate import Engine


dataset_options = OptionGroup(
    click.argument("name", metavar="NAME|FILE"),
    click.option("--dataset-dir", type=click.Path(path_type=Path, file_okay=False),
                 help="Folder of the dataset_info.json; by default ./data, . and the bundled data."),
    click.option("--model", metavar="DIR|ID", help="The model whose tokenizer is used."),
    click.option("--rendered", is_flag=True,
                 help="Take the rows as the engine's template renders them; needs --model."),
    click.option("--template", metavar="NAME",
                 help="Template for --rendered; by default the one that the data was prepared for, else the model's."),
    AS_JSON,
)  # fmt: skip
"""Adds the argument NAME|FILE and the options of `DatasetArgs`."""


@dataclass(frozen=True, slots=True)
class DatasetArgs:
    """A stored data set, and what its rows are rendered with.

    Attributes:
        name: its name in a dataset_info.json, or its file.
        dataset_dir: the folder of the dataset_info.json.
        model: the model whose tokenizer is used.
        rendered: whether rows are taken as the engine's template renders them.
        template: the chat template to render with.
        as_json: print one JSON object.
    """

    name: str
    dataset_dir: Path | None
    model: str | None
    rendered: bool
    template: str | None
    as_json: bool


def choose_renderer(found: Dataset, args: DatasetArgs) -> tuple[Engine, str, str]:
    """Engine, template and model to render rows with.

    Raises:
        UsageError: no model is named, its template isn't known, or the engine has no template of that name.
        PreflightError: there is no engine.
    """
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import locate_engine
    from lfwrap.engine.model_template import find_model_template

    model = args.model
    if not model:
        raise UsageError("--rendered needs a tokenizer", hint="Name the model: --model FOLDER")
    engine = locate_engine()
    chosen = find_model_template([model], load_engine_facts(engine), stated=args.template or found.template)
    if chosen is None:
        raise UsageError(f"--model {model}: its template isn't known", hint="Name it: --template qwen, for example.")
    output.say(f"rendered by LLaMA-Factory {engine.version}: template {chosen.name}, tokenizer of {model} …")
    return engine, chosen.name, model
