"""`lfwrap export`: a model in the formats others run, checked to answer as its adapter does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import AS_JSON, takes
from lfwrap.cli.options.target import TargetArgs, open_target, target_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError
from lfwrap.export.formats.table import FORMATS

if TYPE_CHECKING:
    from lfwrap.export.export import Export, ExportOptions


@dataclass(frozen=True, slots=True)
class ExportArgs:
    """The command line of `lfwrap export`.

    Attributes:
        target: what is exported.
        out: the folder of the exported model.
        formats: what to write; none stands for the usual one.
        dtype: type of the merged weights: ``bf16``, ``fp16`` or ``fp32``.
        shard_size: GB of the largest file.
        device: where to merge, ``cpu`` or ``auto``.
        merger: ``auto``, or ``engine`` to merge through the engine's own export.
        gguf: types of the GGUF files, as typed.
        bits: of GPTQ's weights.
        calibration: text that GPTQ is calibrated on.
        name: the model's name for others.
        base_name: the base model's name for others.
        evaluation: a report of `lfwrap eval` for the model card.
        push: the hub's repository to upload to.
        public: make that repository public.
        parity: compare what was written with base + adapter.
        questions: a file of questions for that.
        force: replace an earlier export.
        as_json: print one JSON object.
    """

    target: TargetArgs
    out: Path
    formats: tuple[str, ...]
    dtype: str
    shard_size: int
    device: str
    merger: str
    gguf: str | None
    bits: str
    calibration: Path | None
    name: str | None
    base_name: str | None
    evaluation: Path | None
    push: str | None
    public: bool
    parity: bool
    questions: Path | None
    force: bool
    as_json: bool


@click.command("export")
@target_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the exported model.")
@click.option(
    "--format",
    "formats",
    type=click.Choice(list(FORMATS)),
    multiple=True,
    help="What to write; repeatable. By default merged, or gguf where --gguf is given.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bf16", "fp16", "fp32"]),
    default="bf16",
    show_default=True,
    help="Type of the merged weights.",
)
@click.option(
    "--shard-size", type=click.IntRange(1), default=5, show_default=True, metavar="GB", help="Size of the largest file."
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "auto"]),
    default="cpu",
    show_default=True,
    help="Where to merge; auto takes a GPU.",
)
@click.option(
    "--merger",
    type=click.Choice(["auto", "engine"]),
    default="auto",
    show_default=True,
    help="auto merges a plain LoRA adapter tensor by tensor; engine always merges through the engine's own export.",
)
@click.option("--gguf", metavar="TYPE,…", help="Types of the GGUF files: f16,q8_0,q5_k_m,q4_k_m; by default q8_0.")
@click.option(
    "--bits", type=click.Choice(["2", "3", "4", "8"]), default="4", show_default=True, help="Bits of GPTQ's weights."
)
@click.option("--calibration", type=click.Path(path_type=Path), metavar="FILE", help="Text that GPTQ is calibrated on.")
@click.option(
    "--name", metavar="NAME", help="Name of the model in GGUF files, Ollama and the card; by default that of OUT."
)
@click.option("--base-name", metavar="ORG/MODEL", help="Name of the base model for others.")
@click.option(
    "--evaluation",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="report.json of `lfwrap eval`, for the model card.",
)
@click.option("--push", metavar="ORG/NAME", help="Upload to the model hub; the token comes from the environment.")
@click.option("--public", is_flag=True, help="Make the uploaded repository public.")
@click.option("--parity/--no-parity", default=True, show_default=True, help="Compare with base + adapter afterwards.")
@click.option(
    "--questions",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Questions that --parity asks; by default three short ones.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export in that folder.")
@AS_JSON
@takes(ExportArgs)
def command(args: ExportArgs) -> None:
    r"""Write a model in the formats others run: merged safetensors, adapter, GGUF, Ollama, GPTQ.

    RUN is a run (folder or name), a checkpoint or an adapter folder; a whole model is only rewritten in another type.
    What was written is compared with base + adapter before it gets its name: same greedy answers, same logits within
    what rounding to the type explains; a GGUF file answers in llama.cpp itself. The figures stand in OUT/export.json
    and in the model card, OUT/README.md.

    \b
    Example:
      lfwrap export latest --out models/law
      lfwrap export latest --out models/law-gguf --gguf f16,q8_0,q4_k_m
      lfwrap export runs/my-run/output/checkpoint-138 --out models/law-138 --dtype fp16
    """
    from lfwrap.export.export import export_model

    options = _options(args)
    engine, target = open_target(args.target)
    export = export_model(engine, target, args.out, options, output.say)
    if args.as_json:
        output.print_json("export", export.to_json())
    else:
        show_export(export)


def _options(args: ExportArgs) -> ExportOptions:
    """The command line as `ExportOptions`. Raises UsageError for what does not go together."""
    from lfwrap.export.export import DEFAULT_GGUF, DTYPES, ExportOptions, Push, parse_kinds
    from lfwrap.inference.parity import DEFAULT_QUESTIONS
    from lfwrap.inference.questions import load_questions

    kinds = parse_kinds(args.gguf) if args.gguf else DEFAULT_GGUF
    formats = tuple(dict.fromkeys(args.formats)) or (("gguf",) if args.gguf else ("merged",))
    if args.gguf and not {"gguf", "ollama"} & set(formats):
        raise UsageError(f"--gguf {args.gguf} without --format gguf", hint="Add --format gguf, or leave --format out.")
    if args.public and not args.push:
        raise UsageError("--public without --push", hint="Name the repository: --push ORG/NAME.")
    return ExportOptions(
        dtype=DTYPES[args.dtype],
        shard_gb=args.shard_size,
        device=args.device,
        parity=args.parity,
        questions=tuple(asked.text for asked in load_questions(args.questions))
        if args.questions
        else DEFAULT_QUESTIONS,
        force=args.force,
        formats=formats,
        gguf=kinds,
        name=args.name,
        base_name=args.base_name,
        merger=args.merger,
        gptq_bits=int(args.bits),
        calibration=args.calibration,
        evaluation=args.evaluation,
        push=Push(args.push, private=not args.public, replace=args.force) if args.push else None,
    )


def show_export(export: Export) -> None:
    """The result for a person: the comparison on stderr, the folder on stdout."""
    from lfwrap.units import format_bytes

    if export.parity is not None:
        output.say(export.parity.summary())
    for line in export.details.get("summary", ()):
        if not line.startswith("merged: "):
            output.say(line)
    for note in export.notes:
        output.say(f"note: {note}")
    merged = f", merged as {export.dtype} in {export.seconds:.0f} s" if export.seconds else ""
    output.say(f"{format_bytes(export.weights_bytes)} of weights{merged}")
    output.result(str(export.out))
