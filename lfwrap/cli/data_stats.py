"""``lfwrap data stats`` and ``lfwrap data show``: what a written data set holds."""

from __future__ import annotations

import itertools
import json
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import click

from lfwrap.cli import output

_CUTOFFS = (1024, 2048, 4096, 8192, 16384)
_BAR_COLUMNS = 40


def _dataset(command: Callable[..., Any]) -> Callable[..., Any]:
    """The argument NAME and the options that both commands share."""
    options = (
        click.argument("name"),
        click.option("--dir", "folder", type=click.Path(path_type=Path, file_okay=False), default=Path("data"),
                     show_default=True, help="Data folder."),
        click.option("--tokenizer", metavar="DIR|ID", help="Model whose tokenizer counts tokens (needs the engine)."),
        click.option("--template", default="", help="Chat template that rows are rendered with."),
        click.option("--json", "as_json", is_flag=True, help="Print one JSON object."),
    )  # fmt: skip
    for option in reversed(options):
        command = option(command)
    return command


@click.command("stats")
@_dataset
def stats_command(name: str, folder: Path, tokenizer: str | None, template: str, as_json: bool) -> None:
    r"""Count what a data set holds: rows, turns, tools, calls, languages, lengths.

    With --tokenizer the engine's own template and tokenizer count tokens, in total and trained ones.

    \b
    Example:
      lfwrap data stats law --dir data/law --tokenizer models/qwen2.5-7b --template qwen
    """
    from lfwrap.data.stats import count_rows, dataset_file, histogram, quantiles, read_rows

    found = count_rows(read_rows(dataset_file(folder, name)))
    if tokenizer:
        [encoded] = _encode(folder, name, tokenizer, template, render=0)
        lengths = [count["tokens"] for count in encoded["counts"]]
        found |= {
            "tokens": quantiles(lengths),
            "supervised_tokens": quantiles([count["supervised"] for count in encoded["counts"]]),
            "over_cutoff": {str(cutoff): sum(length > cutoff for length in lengths) for cutoff in _CUTOFFS},
            "histogram": histogram(lengths),
        }
    if as_json:
        output.print_json("data-stats", {"name": name, **found})
    else:
        _print_stats(found)


def _print_stats(found: Mapping[str, Any]) -> None:
    unit = "tokens" if "tokens" in found else "characters"
    for key in ("rows", "with_system", "with_tools", "with_thoughts", "tools"):
        output.result(f"{key.replace('_', ' '):>18}  {found[key]:,}")
    for key in ("turns", "languages", "calls", "characters", "tokens", "supervised_tokens", "over_cutoff"):
        if found.get(key):
            shown = "  ".join(f"{part} {count:,}" for part, count in itertools.islice(found[key].items(), 12))
            output.result(f"{key.replace('_', ' '):>18}  {shown}")
    most = max((count for _, _, count in found["histogram"]), default=0)
    for start, _, count in found["histogram"]:
        bar = "█" * -(-count * _BAR_COLUMNS // most)
        output.result(f"{start:>9,} {unit[:8]}  {bar} {count:,}")


@click.command("show")
@_dataset
@click.option("-n", "count", default=3, show_default=True, help="How many rows.")
@click.option("--rendered", is_flag=True, help="As the template renders them, the trained part marked.")
def show_command(
    *, name: str, folder: Path, tokenizer: str | None, template: str, as_json: bool, count: int, rendered: bool
) -> None:
    r"""Show the first rows of a data set; with --rendered as the model sees them.

    The trained part stands between ⟦ and ⟧, and is coloured on a terminal.

    \b
    Example:
      lfwrap data show law -n 1 --dir data/law --rendered --tokenizer models/qwen2.5-7b --template qwen
    """
    from lfwrap.data.stats import dataset_file, read_rows
    from lfwrap.errors import UsageError

    path = dataset_file(folder, name)
    if rendered:
        if not tokenizer:
            raise UsageError("--rendered needs --tokenizer", hint="Name the model's folder, and --template.")
        [encoded] = _encode(folder, name, tokenizer, template, render=count)
        pieces = encoded["rendered"]
        if as_json:
            output.print_json("data-show", {"name": name, "rows": pieces})
            return
        for row in pieces:
            output.result("".join(_marked(text) if trained else text for text, trained in row) + "\n")
        return
    rows = list(itertools.islice(read_rows(path), count))
    if as_json:
        output.print_json("data-show", {"name": name, "rows": rows})
        return
    for row in rows:
        output.result(_readable(row))


def _marked(text: str) -> str:
    return click.style(f"⟦{text}⟧", fg="green")


def _readable(row: Mapping[str, Any]) -> str:
    parts = [f"system: {row['system']}"] if row["system"] else []
    if row["tools"]:
        parts.append(
            f"tools: {', '.join(str(tool.get('function', tool)['name']) for tool in json.loads(row['tools']))}"
        )
    parts += [f"{turn['from']}: {turn['value']}" for turn in row["conversations"]]
    return "\n".join([*parts, ""])


def _encode(folder: Path, name: str, tokenizer: str, template: str, *, render: int) -> list[dict[str, Any]]:
    """The engine's account of a data set; when rows are only to be rendered, of its first ones."""
    from lfwrap.data.engine_check import EngineCheck, run_encoder
    from lfwrap.data.registry import FILE_NAME, dataset_entry
    from lfwrap.data.stats import dataset_file
    from lfwrap.engine.locate import locate_engine

    output.say("the engine loads the data set …")
    path = dataset_file(folder, name)
    with tempfile.TemporaryDirectory() as place, path.open("rb") as source:
        copy = Path(place) / f"{name}.jsonl"
        copy.write_bytes(b"".join(itertools.islice(source, render or None)))
        (Path(place) / FILE_NAME).write_text(json.dumps({name: dataset_entry(copy.name)}))
        return run_encoder(EngineCheck(locate_engine(), template, tokenizer), Path(place), [name], render=render)
