"""``lfwrap data show``: rows of a data set, as they stand in it or as the model sees them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.args import takes
from lfwrap.cli.options.dataset import DatasetArgs, choose_renderer, dataset_options
from lfwrap.cli.view import output
from lfwrap.cli.view.plain_text import printable
from lfwrap.errors import DataError

if TYPE_CHECKING:
    from lfwrap.data.datasets.dataset import DatasetRow
    from lfwrap.data.datasets.rendered import Piece


@dataclass(frozen=True, slots=True)
class ShowArgs:
    """The command line of `lfwrap data show`.

    Attributes:
        dataset: the data set, and what renders it.
        count: number of rows to show.
        first: number of the first of them, from 1.
    """

    dataset: DatasetArgs
    count: int
    first: int


@click.command("show")
@dataset_options
@click.option("-n", "count", type=click.IntRange(min=1), default=3, show_default=True, help="Number of rows to show.")
@click.option(
    "--row", "first", type=click.IntRange(min=1), default=1, show_default=True, help="Number of the first row to show."
)
@takes(ShowArgs)
def show_command(args: ShowArgs) -> None:
    r"""Show rows of a data set; with --rendered as the model sees them, the trained part between ⟦ and ⟧.

    \b
    Example:
      lfwrap data show law -n 1 --dataset-dir data/law
      lfwrap data show law --row 17 -n 1 --dataset-dir data/law --rendered --model models/Qwen2.5-7B-Instruct
    """
    from lfwrap.data.datasets.dataset import find_dataset
    from lfwrap.data.datasets.rendered import render_rows

    asked = args.dataset
    dataset = find_dataset(asked.name, asked.dataset_dir)
    rows = list(itertools.islice(dataset.rows(), args.first - 1, args.first - 1 + args.count))
    if not rows:
        raise DataError(
            f"{asked.name}: there is no row {args.first}", hint="`lfwrap data stats` says how many there are."
        )
    readable = [row.value for row in rows if row.value is not None]
    pieces: list[list[Piece]] | None = None
    if asked.rendered and readable:
        engine, template, model = choose_renderer(dataset, asked)
        pieces = render_rows(readable, engine, template, model)
    if asked.as_json:
        output.print_json("data-rows", {"name": dataset.name, "rows": _to_json(rows, pieces)})
        return
    rendered = iter(pieces or [])
    for row in rows:
        output.result(click.style(f"── {dataset.name} row {row.number} ──", bold=True))
        if row.value is None:
            output.result(f"unreadable: {printable(row.reason)}\n")
        elif pieces is None:
            output.result("\n".join(_fields(row.value)) + "\n")
        else:
            output.result(
                "".join(_marked(text) if trained else printable(text) for text, trained in next(rendered)) + "\n"
            )


def _to_json(rows: Sequence[DatasetRow], pieces: Sequence[Sequence[Piece]] | None) -> list[dict[str, Any]]:
    rendered = iter(pieces or [])
    values = []
    for row in rows:
        value: dict[str, Any] = {"row": row.number, **(row.value or {"unreadable": row.reason})}
        if pieces is not None and row.value is not None:
            value["rendered"] = [{"text": text, "trained": trained} for text, trained in next(rendered)]
        values.append(value)
    return values


def _marked(text: str) -> str:
    """What is trained: marked in any case, and green on a terminal."""
    return click.style(f"⟦{printable(text)}⟧", fg="green")


def _fields(row: Mapping[str, Any]) -> list[str]:
    fields = [("system", row["system"])] if row["system"] else []
    if row["tools"]:
        fields.append(("tools", _tool_names(row["tools"])))
    fields += [(turn["from"], turn["value"]) for turn in row["conversations"]]
    return [f"{click.style(name, fg='cyan')}: {printable(text)}" for name, text in fields]


def _tool_names(text: str) -> str:
    """The names alone: whole schemas hide the rest; ``--json`` has them."""
    try:
        return ", ".join(str(tool.get("function", tool).get("name")) for tool in json.loads(text))
    except (ValueError, AttributeError, RecursionError):
        return text
