"""``lfwrap data stats``: what a data set holds, in figures."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.dataset import choose_renderer, stored_options
from lfwrap.cli.view import output
from lfwrap.cli.view.plain_text import printable
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.data.datasets.token_counts import TextTokens


@click.command("stats")
@stored_options
@click.option("--tokenizer", type=click.Path(path_type=Path), metavar="FILE", help="A tokenizer.json; or --model.")
def stats_command(name: str, dataset_dir: Path | None, *, as_json: bool, **options: Any) -> None:
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

    dataset = find_dataset(name, dataset_dir)
    if options["rendered"]:
        engine, template, model = choose_renderer(dataset, options["template"], options["model"])
        found = count_rows(dataset.rows())
        values = (row.value for row in dataset.rows() if row.value is not None)
        lengths = rendered_lengths(values, engine, template, model)
        found["tokens"] = token_account(lengths, f"rendered by the engine with the template {template}")
    else:
        found = count_rows(dataset.rows(), _tokens(**options))
    files = [str(path) for path in dataset.files]
    if as_json:
        output.print_json("data-stats", {"name": dataset.name, "files": files, "template": dataset.template, **found})
        return
    output.result(f"{'data set':<20}{dataset.name} ({', '.join(files)})")
    for line in stats_lines(found):
        output.result(printable(line))


def _tokens(*, model: str | None, tokenizer: Path | None, template: str | None, rendered: bool) -> TextTokens | None:
    """What counts tokens, if anything does.

    Raises:
        UsageError: a template is named, which texts alone don't need.
    """
    del rendered  # dealt with before
    from lfwrap.data.datasets.token_counts import TextTokens

    if template:
        raise UsageError("--template is for --rendered", hint="Add --rendered, or leave the template out.")
    place = tokenizer or (Path(model) if model else None)
    return TextTokens(place) if place else None
