"""``lfwrap data stats``: what a data set holds, in figures."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import takes
from lfwrap.cli.options.dataset import DatasetArgs, choose_renderer, dataset_options
from lfwrap.cli.view import output
from lfwrap.cli.view.plain_text import printable
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.data.datasets.token_counts import TextTokens


@dataclass(frozen=True, slots=True)
class StatsArgs:
    """The command line of `lfwrap data stats`.

    Attributes:
        dataset: the data set, and what renders it.
        tokenizer: a tokenizer.json that counts tokens.
    """

    dataset: DatasetArgs
    tokenizer: Path | None


@click.command("stats")
@dataset_options
@click.option(
    "--tokenizer",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="The tokenizer.json that counts tokens, instead of --model's.",
)
@takes(StatsArgs)
def stats_command(args: StatsArgs) -> None:
    r"""Count what a data set holds: rows, turns, tools, calls, scripts, characters; and tokens.

    NAME stands in a dataset_info.json; FILE is what prepare-data wrote, or JSON lines of any row format. With --model
    or --tokenizer the tokens of the texts are counted, without the engine; with --rendered the engine renders every
    row, and what the template adds is counted, too.

    \b
    Example:
      lfwrap data stats law --dataset-dir data/law
      lfwrap data stats law --dataset-dir data/law --model models/Qwen2.5-7B-Instruct --rendered
    """
    from lfwrap.data.datasets.dataset import find_dataset
    from lfwrap.data.datasets.rendered import rendered_lengths
    from lfwrap.data.datasets.stats import count_rows, token_account
    from lfwrap.report.data_stats import stats_lines

    asked = args.dataset
    dataset = find_dataset(asked.name, asked.dataset_dir)
    if asked.rendered:
        engine, template, model = choose_renderer(dataset, asked)
        found = count_rows(dataset.rows())
        values = (row.value for row in dataset.rows() if row.value is not None)
        lengths = rendered_lengths(values, engine, template, model)
        found["tokens"] = token_account(lengths, f"rendered by the engine with the template {template}")
    else:
        found = count_rows(dataset.rows(), _token_counter(args))
    files = [str(path) for path in dataset.files]
    if asked.as_json:
        output.print_json("data-stats", {"name": dataset.name, "files": files, "template": dataset.template, **found})
        return
    output.result(f"{'data set':<20}{dataset.name} ({', '.join(files)})")
    for line in stats_lines(found):
        output.result(printable(line))


def _token_counter(args: StatsArgs) -> TextTokens | None:
    """What counts tokens, if anything does.

    Raises:
        UsageError: a template is named, which texts alone don't need.
    """
    from lfwrap.data.datasets.token_counts import TextTokens

    if args.dataset.template:
        raise UsageError("--template is for --rendered", hint="Add --rendered, or leave the template out.")
    place = args.tokenizer or (Path(args.dataset.model) if args.dataset.model else None)
    return TextTokens(place) if place else None
