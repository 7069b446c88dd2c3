"""`lfwrap prepare-data`: source files in, an exact data set of the engine out."""

from __future__ import annotations

import gc
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from lfwrap.cli.options.args import takes
from lfwrap.cli.view import output, preparation
from lfwrap.engine.keys import DEFAULT_CUTOFF
from lfwrap.errors import UsageError

if TYPE_CHECKING:
    from lfwrap.data.datasets.engine_check import EngineCheck
    from lfwrap.data.mixture_file import MixtureFile
    from lfwrap.data.request import Request
    from lfwrap.data.schema.conversation import Tool
    from lfwrap.errors import Finding


@dataclass(frozen=True, slots=True)
class PrepareArgs:
    """The command line of `lfwrap prepare-data`.

    Attributes:
        sources: files, folders and globs, or one sources.yaml.
        out: the data folder.
        name: the data set's name.
        format_name: the input format; None detects it.
        mapping: ``FIELD=COLUMN`` texts.
        encoding: the text encoding; None detects it.
        delimiter: CSV's delimiter; None detects it.
        template: the chat template to write for; empty takes the model's.
        model: the model to write for.
        tool_files: files and folders of tools that rows name.
        mcp_servers: commands that start MCP servers with such tools.
        distractors: tools to offer beside the called ones.
        instructions: what the user asked, for MCP logs.
        val_size: a share or a number of rows for validation.
        seed: of the split and every other choice.
        near_dedup: the share of likeness from which a row is left out.
        test_files: test sets whose rows are left out.
        last_exchange: keep only the last user turn and what follows.
        frozen: fail if an input differs from the lock of the sources.yaml.
        ignore: fields that may be left out: names, or paths such as ``messages[].weight``.
        strict: any rejected row, and any field that is not used, is an error.
        max_rejects: the largest share of rejected rows.
        jobs: processes; 0 takes one for each CPU.
        force: replace a data set of this name.
        engine_check: have the engine load the result; None where it is installed.
        tokenizer: the model whose tokenizer counts tokens.
        cutoff_len: rows with more tokens are counted.
        as_json: print the report as JSON.
    """

    sources: tuple[str, ...]
    out: Path | None
    name: str
    format_name: str | None
    mapping: tuple[str, ...]
    encoding: str | None
    delimiter: str | None
    template: str
    model: str | None
    tool_files: tuple[Path, ...]
    mcp_servers: tuple[str, ...]
    distractors: int
    instructions: Path | None
    val_size: str
    seed: int
    near_dedup: str | None
    test_files: tuple[str, ...]
    last_exchange: bool
    frozen: bool
    ignore: tuple[str, ...]
    strict: bool
    max_rejects: str | None
    jobs: int
    force: bool
    engine_check: bool | None
    tokenizer: str | None
    cutoff_len: int
    as_json: bool


@click.command("prepare-data")
@click.argument("sources", nargs=-1, required=True, metavar="SOURCE...")
@click.option("--out", type=click.Path(path_type=Path, file_okay=False), help="Data folder.")
@click.option("--name", default="", help="Name of the data set, as recipes call it.")
@click.option("--format", "format_name", metavar="FORMAT", help="Input format; by default it is detected.")
@click.option(
    "--map",
    "mapping",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="Which column holds a field: output=reply; repeatable.",
)
@click.option("--encoding", help="Text encoding; by default it is detected.")
@click.option("--delimiter", metavar="CHAR", help="CSV delimiter; by default it is detected.")
@click.option("--template", default="", help="Chat template to write for, such as qwen.")
@click.option("--model", metavar="DIR|ID", help="Model to write for: its template is used.")
@click.option(
    "--tools",
    "tool_files",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE|DIR",
    help="Tools that the rows name: tool lists, tools/list results, logs.",
)
@click.option("--mcp-server", "mcp_servers", multiple=True, metavar="COMMAND", help="Take the tools of a live server.")
@click.option(
    "--distractors",
    default=0,
    type=click.IntRange(min=0),
    help="Number of other tools to offer beside the called ones.",
)
@click.option(
    "--instructions",
    type=click.Path(path_type=Path, dir_okay=False, exists=True),
    metavar="FILE",
    help="File of what the user asked, for MCP logs.",
)
@click.option(
    "--val-size", default="0", show_default=True, help="Rows kept for validation: a share such as 5%, or a number."
)
@click.option("--seed", default=42, show_default=True, help="Seed of the split and of every other random choice.")
@click.option(
    "--near-dedup", metavar="SHARE", help="Leave out rows that are this similar to an earlier row, such as 85%."
)
@click.option(
    "--test",
    "test_files",
    multiple=True,
    metavar="FILE",
    help="Leave out rows whose question is also in this test set; repeatable.",
)
@click.option("--last-exchange", is_flag=True, help="Keep only the last user turn and what follows it.")
@click.option("--frozen", is_flag=True, help="With a sources.yaml: fail if any input differs from its lock file.")
@click.option(
    "--ignore",
    multiple=True,
    metavar="FIELD",
    help="A field that may be left out, such as source or messages[].weight; repeatable.",
)
@click.option("--strict", is_flag=True, help="Any rejected row, and any field that is not used, is an error.")
@click.option("--max-rejects", metavar="SHARE", help="Largest share of rejected rows, such as 1%.")
@click.option(
    "--jobs", "-j", type=click.IntRange(min=0), default=0, help="Number of processes; 0 takes one for each CPU."
)
@click.option("--force", is_flag=True, help="Replace a data set of this name.")
@click.option(
    "--engine-check/--no-engine-check",
    default=None,
    help="Have the engine load the result with its own loader and template; by default where it is installed.",
)
@click.option("--tokenizer", metavar="DIR|ID", help="Model whose tokenizer counts tokens in the engine check.")
@click.option(
    "--cutoff-len",
    type=click.IntRange(min=1),
    default=DEFAULT_CUTOFF,
    show_default=True,
    help="Count rows longer than this many tokens.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")  # fmt: skip
@takes(PrepareArgs)
def command(args: PrepareArgs) -> None:
    r"""Turn source files into a data set that LLaMA-Factory loads row for row.

    Sources are files, folders, globs, ZIP archives and standard input (-) in any of the formats that `lfwrap data
    formats` lists; FILE#500 takes 500 rows, FILE#train one list or sheet. Every row is written, rejected with a
    reason, or counted as a duplicate. A sources.yaml describes a mixture.

    \b
    Example:
      lfwrap prepare-data questions.csv --out data/law --name law --map output=reply --val-size 5%
      lfwrap prepare-data sources.yaml --frozen
    """
    from lfwrap.data.prepare import prepare

    mixture = _mixture(args)
    request = mixture.request if mixture else _complete(_request(args))
    if request.options.distractors and not request.options.tools:
        raise UsageError("--distractors: there are no tools to choose from", hint="Name them: --tools FILE")
    if args.frozen:
        if mixture is None:
            raise click.UsageError("--frozen needs a sources.yaml")
        from lfwrap.data.mixture_file import check_frozen

        check_frozen(mixture)
    with preparation.listener() as listener:
        report = prepare(request, listener)
    if mixture is not None:
        from lfwrap.data.mixture_file import write_lock

        write_lock(mixture, report)
    if args.as_json:
        output.print_json("data-report", report.to_json())
    else:
        for name, path in report.outputs.items():
            output.result(f"{name}\t{path}")
    preparation.summarise(report, request)
    gc.freeze()  # at its end, Python would look through everything once more


def _mixture(args: PrepareArgs) -> MixtureFile | None:
    """The sources.yaml, when that is what was named."""
    if len(args.sources) != 1 or not args.sources[0].endswith((".yaml", ".yml")):
        return None
    from lfwrap.data.mixture_file import load_mixture

    mixture = load_mixture(Path(args.sources[0]), _request(args))
    _warn(mixture.findings)
    return mixture


def _complete(request: Request) -> Request:
    if request.out == Path() or not request.name:
        raise click.UsageError("--out and --name are needed")
    return request


def _request(args: PrepareArgs) -> Request:
    from lfwrap.data.request import ConvertOptions, Request, Shaping, parse_mapping, parse_share, parse_val_size

    template = _template(args.template, args.model)
    return Request(
        sources=args.sources,
        out=args.out or Path(),
        name=args.name,
        options=ConvertOptions(
            columns=parse_mapping(args.mapping),
            tools=_tools(args.tool_files, args.mcp_servers),
            distractors=args.distractors,
            instructions=args.instructions,
            seed=args.seed,
            ignore=frozenset(args.ignore),
        ),
        format=args.format_name,
        encoding=args.encoding,
        delimiter=_delimiter(args.delimiter) if args.delimiter else None,
        template=template,
        val_size=parse_val_size(args.val_size),
        strict=args.strict,
        max_rejects=parse_share(args.max_rejects, "--max-rejects") if args.max_rejects else None,
        force=args.force,
        jobs=args.jobs,
        beside=(*args.tool_files, *([args.instructions] if args.instructions else [])),
        engine_check=_engine_check(args, template),
        shaping=Shaping(
            near_duplicates=parse_share(args.near_dedup, "--near-dedup") if args.near_dedup else None,
            test_files=args.test_files,
            last_exchange=args.last_exchange,
        ),
    )


def _delimiter(text: str) -> str:
    from lfwrap.data.request import parse_delimiter

    return parse_delimiter(text)


def _engine_check(args: PrepareArgs, template: str) -> EngineCheck | None:
    """What to check with; None where the engine isn't installed or no check is wanted.

    Raises:
        PreflightError: a check is asked for, but there is no engine.
    """
    if args.engine_check is False:
        return None
    from lfwrap.data.datasets.engine_check import EngineCheck
    from lfwrap.engine.locate import locate_engine
    from lfwrap.errors import PreflightError

    tokenizer = args.tokenizer or (args.model if args.model and Path(args.model).is_dir() else None)
    try:
        return EngineCheck(locate_engine(), template, tokenizer, args.cutoff_len)
    except PreflightError:
        if args.engine_check or args.tokenizer:
            raise
        return None


def _tools(files: tuple[Path, ...], servers: tuple[str, ...]) -> Mapping[str, Tool]:
    """Tools by name; what is left out is said."""
    if not files and not servers:
        return {}
    from lfwrap.data.tools.catalogue import load_catalogue

    catalogue = load_catalogue(files, servers)
    _warn(catalogue.findings)
    return catalogue.tools


def _warn(findings: Iterable[Finding]) -> None:
    for finding in findings:
        output.say(f"warning: {finding}")


def _template(template: str, model: str | None) -> str:
    """The template given, or that of the model; empty where neither is named.

    Raises:
        UsageError: there is no such template, or the model's isn't known.
    """
    from lfwrap.engine.model_template import TemplateSource, find_model_template

    if not template and not model:
        return ""
    found = find_model_template([model], stated=template)
    if found is None:
        raise UsageError(f"--model {model}: its template isn't known", hint="Name it: --template qwen, for example.")
    if found.source is TemplateSource.MAPPED:
        output.say(f"template of {model}: {found.name}")
    return found.name
