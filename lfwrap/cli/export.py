"""`lfwrap export`: a merged model, checked to answer as its adapter does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli import output
from lfwrap.cli.target_options import open_target, target_options

if TYPE_CHECKING:
    from lfwrap.results.export import Export


@click.command("export")
@target_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the merged model.")
@click.option(
    "--dtype",
    type=click.Choice(["bf16", "fp16", "fp32"]),
    default="bf16",
    show_default=True,
    help="Type of the weights.",
)
@click.option("--shard-size", type=click.IntRange(1), default=5, show_default=True, metavar="GB", help="Largest file.")
@click.option(
    "--device", type=click.Choice(["cpu", "auto"]), default="cpu", show_default=True, help="Where to merge; auto: GPU."
)
@click.option("--parity/--no-parity", default=True, show_default=True, help="Compare with base + adapter afterwards.")
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="What --parity asks; without it, three of ours.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export in that folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(
    *,
    run: str,
    runs_dir: Path,
    base_model: str | None,
    template: str | None,
    out: Path,
    dtype: str,
    shard_size: int,
    device: str,
    parity: bool,
    questions: Path | None,
    force: bool,
    as_json: bool,
) -> None:
    r"""Merge an adapter into its base model and write it as safetensors.

    RUN is a run (folder or name), a checkpoint or an adapter folder; a whole model is only rewritten in another type.
    What was written is compared with base + adapter before it gets its name: same greedy answers, same logits within
    what rounding to the type explains. The figures stand in OUT/export.json.

    \b
    Example:
      lfwrap export latest --out models/law
      lfwrap export runs/my-run/output/checkpoint-138 --out models/law-138 --dtype fp16
    """
    from lfwrap.results.export import DTYPES, ExportOptions, export_model
    from lfwrap.results.parity import DEFAULT_QUESTIONS
    from lfwrap.results.questions import load_questions

    asked = tuple(question.text for question in load_questions(questions)) if questions else DEFAULT_QUESTIONS
    engine, target = open_target(run, runs_dir, base_model, template)
    options = ExportOptions(DTYPES[dtype], shard_size, device, parity, asked, force)
    export = export_model(engine, target, out, options, output.say)
    if as_json:
        output.print_json("export", export.to_json())
    else:
        show_export(export)


def show_export(export: Export) -> None:
    """The result for a person: the comparison on stderr, the folder on stdout."""
    from lfwrap.units import format_bytes

    if export.parity is not None:
        output.say(export.parity.summary())
    output.say(f"{format_bytes(export.weights_bytes)} of {export.dtype} weights, merged in {export.seconds:.0f} s")
    output.result(str(export.out))
