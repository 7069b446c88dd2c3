"""`lfwrap export`: a model in the formats others run, checked to answer as its adapter does."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.options.target import open_target, target_options
from lfwrap.cli.view import output
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.export.export import Export, ExportOptions

_FORMATS = click.Choice(["merged", "adapter", "gguf", "ollama", "gptq", "awq"])


@click.command("export")
@target_options
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder of the exported model.")
@click.option(
    "--format",
    "formats",
    type=_FORMATS,
    multiple=True,
    help="What to write; several times for several. Without it merged, or gguf where --gguf is given.",
)
@click.option(
    "--dtype",
    type=click.Choice(["bf16", "fp16", "fp32"]),
    default="bf16",
    show_default=True,
    help="Type of the merged weights.",
)
@click.option("--shard-size", type=click.IntRange(1), default=5, show_default=True, metavar="GB", help="Largest file.")
@click.option(
    "--device", type=click.Choice(["cpu", "auto"]), default="cpu", show_default=True, help="Where to merge; auto: GPU."
)
@click.option(
    "--merger",
    type=click.Choice(["auto", "engine"]),
    default="auto",
    show_default=True,
    help="auto merges a plain LoRA adapter tensor by tensor; engine always through the engine's own export.",
)
@click.option("--gguf", metavar="TYPE,…", help="GGUF types in one go: f16,q8_0,q5_k_m,q4_k_m. Without it q8_0.")
@click.option(
    "--bits", type=click.Choice(["2", "3", "4", "8"]), default="4", show_default=True, help="Of GPTQ weights."
)
@click.option("--calibration", type=click.Path(path_type=Path), metavar="FILE", help="Text that GPTQ is calibrated on.")
@click.option("--name", metavar="NAME", help="Of the model, in GGUF files, Ollama and the card. Without it OUT's.")
@click.option("--base-name", metavar="ORG/MODEL", help="The base model's name for others.")
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
    help="What --parity asks; without it, three of ours.",
)
@click.option("--force", is_flag=True, help="Replace an earlier export in that folder.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object on stdout.")
def command(  # the options are the command line's
    *, run: str, runs_dir: Path, base_model: str | None, template: str | None, out: Path, as_json: bool, **wishes: Any
) -> None:
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

    options = _options(**wishes)
    engine, target = open_target(run, runs_dir, base_model, template)
    export = export_model(engine, target, out, options, output.say)
    if as_json:
        output.print_json("export", export.to_json())
    else:
        show_export(export)


def _options(
    *,
    formats: tuple[str, ...],
    gguf: str | None,
    questions: Path | None,
    push: str | None,
    public: bool,
    dtype: str,
    bits: str,
    shard_size: int,
    **same: Any,
) -> ExportOptions:
    """The command line as `ExportOptions`. Raises UsageError for what does not go together."""
    from lfwrap.export.export import DTYPES, ExportOptions
    from lfwrap.export.formats.gguf import DEFAULT_KINDS, parse_kinds
    from lfwrap.export.hub import Push
    from lfwrap.inference.parity import DEFAULT_QUESTIONS
    from lfwrap.inference.questions import load_questions

    kinds = parse_kinds(gguf) if gguf else DEFAULT_KINDS
    chosen = tuple(dict.fromkeys(formats)) or (("gguf",) if gguf else ("merged",))
    if gguf and not {"gguf", "ollama"} & set(chosen):
        raise UsageError(f"--gguf {gguf} without --format gguf", hint="Add --format gguf, or leave --format out.")
    if public and not push:
        raise UsageError("--public without --push", hint="Name the repository: --push ORG/NAME.")
    return ExportOptions(
        dtype=DTYPES[dtype],
        shard_gb=shard_size,
        questions=tuple(question.text for question in load_questions(questions)) if questions else DEFAULT_QUESTIONS,
        formats=chosen,
        gguf=kinds,
        gptq_bits=int(bits),
        push=Push(push, private=not public, replace=same["force"]) if push else None,
        **same,
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
