"""``lfwrap recipe new`` and ``lfwrap recipe import``: recipes written from a few options, or from another file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import click

from lfwrap.cli.options.args import takes
from lfwrap.cli.view import output
from lfwrap.errors import UsageError


class RowCount(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions only
    """A number of rows, or ``auto``."""

    name = "rows"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int | Literal["auto"]:
        """The number or ``auto`` of a text; fails with click's error for anything else."""
        text = str(value)
        if text == "auto":
            return "auto"
        if not text.isdecimal() or int(text) < 1:
            self.fail(f"{text!r} is neither a whole number from 1 on nor auto.", param, ctx)
        return int(text)


@dataclass(frozen=True, slots=True)
class NewArgs:
    """The command line of `lfwrap recipe new`.

    Attributes:
        method: ``lora``, ``qlora``, ``qlora8`` or ``full``.
        model: hub id or folder.
        dataset: the data set's name.
        dataset_dir: the folder that registers it.
        hardware: the machine that the recipe is for.
        rank: the adapter's rank.
        cutoff_len: tokens of a row.
        effective_batch_size: rows of an update, or ``auto``.
        out: the file to write.
        force: replace it.
    """

    method: str
    model: str
    dataset: str
    dataset_dir: str | None
    hardware: str | None
    rank: int
    cutoff_len: int
    effective_batch_size: int | Literal["auto"]
    out: Path | None
    force: bool


@click.command("new")
@click.option(
    "--method",
    type=click.Choice(["lora", "qlora", "qlora8", "full"]),
    default="lora",
    show_default=True,
    help="What is trained: an adapter, one on 4-bit or 8-bit weights, or all weights.",
)
@click.option("--model", required=True, help="The model: a hub id or a folder.")
@click.option("--dataset", required=True, help="A registered data set; `lfwrap prepare-data` makes one.")
@click.option("--dataset-dir", help="The folder that registers it.")
@click.option("--hardware", metavar="NAME", help="The machine that the recipe is for.")
@click.option("--rank", type=click.IntRange(min=1), default=16, show_default=True, help="The adapter's rank.")
@click.option(
    "--cutoff-len", type=click.IntRange(min=1), default=1024, show_default=True, help="Tokens of a row, at most."
)
@click.option(
    "--effective-batch-size",
    "--batch",
    "effective_batch_size",
    metavar="ROWS|auto",
    type=RowCount(),
    default="auto",
    show_default=True,
    help="Rows of an update; auto takes batch, epochs and learning rate from the number of rows, when it trains.",
)
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it here instead of on stdout.")
@click.option("--force", is_flag=True, help="Replace the file.")
@takes(NewArgs)
def new_command(args: NewArgs) -> None:
    r"""Write a commented recipe to start from.

    \b
    Example:
      lfwrap recipe new --method qlora --model Qwen/Qwen2.5-3B-Instruct --dataset law --hardware t4 --out law.yaml
    """
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import find_engine
    from lfwrap.recipe.create import NewRecipe, create_recipe

    if args.hardware is not None:
        from lfwrap.hardware.load import load_hardware

        load_hardware(args.hardware)
    wanted = NewRecipe(
        method=args.method,
        model=args.model,
        dataset=args.dataset,
        dataset_dir=args.dataset_dir,
        hardware=args.hardware,
        rank=args.rank,
        cutoff_len=args.cutoff_len,
        effective_batch_size=args.effective_batch_size,
        file=str(args.out) if args.out else "recipe.yaml",
    )
    _write(create_recipe(wanted, load_engine_facts(find_engine())), args.out, force=args.force)


@click.command("import")
@click.argument("config", type=click.Path(path_type=Path))
@click.option("--out", type=click.Path(dir_okay=False, path_type=Path), help="Write it here instead of on stdout.")
@click.option("--force", is_flag=True, help="Replace the file.")
def import_command(*, config: Path, out: Path | None, force: bool) -> None:
    r"""Turn a PEFT- or TRL-style JSON configuration into a recipe; says what it could not carry over.

    \b
    Example:
      lfwrap recipe import train_config_lora.json --out lora.yaml
    """
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import find_engine
    from lfwrap.recipe.importer import import_config, load_config, recipe_text

    imported = import_config(load_config(config), load_engine_facts(find_engine()))
    _write(recipe_text(imported, config.name), out, force=force)
    for note in imported.notes:
        output.say(f"note: {note}")
    for key, why in imported.unmapped.items():
        output.say(f"not carried over: {key}: {why}")


def _write(text: str, out: Path | None, *, force: bool) -> None:
    """Print a recipe, or write it to a file that does not exist yet."""
    if out is None:
        output.result(text.rstrip())
        return
    if out.exists() and not force:
        raise UsageError(f"{out}: exists already.", hint="Name another file, or give --force to replace it.")
    from lfwrap.files import write_text

    write_text(out, text)
    output.say(f"wrote {out}")
