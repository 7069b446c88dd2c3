"""``lfwrap recipe``: list, show, check, explain, schema, new, import."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from lfwrap.cli.commands.recipe_write import import_command, new_command
from lfwrap.cli.options.args import AS_JSON, takes
from lfwrap.cli.view import output
from lfwrap.errors import RecipeError, Severity

if TYPE_CHECKING:
    from lfwrap.engine.facts import EngineFacts
    from lfwrap.errors import Finding
    from lfwrap.hardware.profile import HardwareProfile
    from lfwrap.recipe.layers import Value
    from lfwrap.recipe.recipe import Recipe
    from lfwrap.strategy.render import Rendered

_OVERRIDES = click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")


@click.group()
def command() -> None:
    r"""List, check and explain recipes; print their schema.

    \b
    Example:
      lfwrap recipe list
      lfwrap recipe check my.yaml
      lfwrap recipe explain recipes/paper.yaml --hardware 4x-h100-80gb
    """


command.add_command(new_command)
command.add_command(import_command)


@command.command("list")
@AS_JSON
def list_recipes(as_json: bool) -> None:
    r"""List the bundled recipes; every command takes their names.

    \b
    Example:
      lfwrap recipe list
    """
    from lfwrap.engine.keys import DEFAULT_METHOD, METHOD_KEY
    from lfwrap.recipe.library import bundled_recipes

    entries = [
        {
            "name": entry.name,
            "title": entry.title,
            "model": entry.recipe.model,
            "method": entry.recipe.engine_values.get(METHOD_KEY, DEFAULT_METHOD),
            "hardware": entry.recipe.intent.hardware,
        }
        for entry in bundled_recipes()
    ]
    if as_json:
        output.print_json("recipe-list", {"recipes": entries})
        return
    width = max(len(str(entry["name"])) for entry in entries)
    for entry in entries:
        output.result(f"{entry['name']:<{width}}  {entry['title']}")


@command.command("show")
@click.argument("recipe")
def show(recipe: str) -> None:
    r"""Print a recipe, comments included: a start for one of your own.

    \b
    Example:
      lfwrap recipe show recipes/paper.yaml > my.yaml
    """
    from lfwrap.recipe.recipe import find_recipe
    from lfwrap.yaml_files import load_yaml

    path = find_recipe(recipe)
    load_yaml(path)
    output.result(path.read_text(encoding="utf-8").rstrip())


@dataclass(frozen=True, slots=True)
class CheckArgs:
    """The command line of `lfwrap recipe check`.

    Attributes:
        recipe: path or bundled name of the recipe.
        overrides: ``KEY=VALUE`` texts.
        hardware: the machine to check it against, as `load_hardware` takes it.
        as_json: print one JSON object.
    """

    recipe: str
    overrides: tuple[str, ...]
    hardware: str | None
    as_json: bool


@command.command("check")
@click.argument("recipe")
@_OVERRIDES
@click.option("--hardware", metavar="NAME|FILE|auto", help="Check it against this machine, too.")
@AS_JSON
@takes(CheckArgs)
def check(args: CheckArgs) -> int:
    r"""Find everything that is wrong in a recipe, without starting the engine.

    Exit code 3 when there are errors; warnings alone pass.

    \b
    Example:
      lfwrap recipe check my.yaml learning_rate=1e-4 --hardware t4
    """
    from lfwrap.units import plural

    loaded, facts, machine = _load(args.recipe, args.overrides, args.hardware)
    findings = _all_findings(loaded, facts, machine)
    errors = [finding for finding in findings if finding.severity is Severity.ERROR]
    if args.as_json:
        values = {"recipe": str(loaded.path), "engine": facts.version, "errors": len(errors)}
        output.print_json("recipe-check", {**values, "findings": [finding.to_json() for finding in findings]})
    else:
        for finding in findings:
            output.result(f"{finding.severity}: {finding}")
        output.say(f"{plural(len(errors), 'error')}, {plural(len(findings) - len(errors), 'remark')} in {loaded.path}")
    return RecipeError.exit_code if errors else 0


@dataclass(frozen=True, slots=True)
class ExplainArgs:
    """The command line of `lfwrap recipe explain`.

    Attributes:
        recipe: path or bundled name of the recipe.
        overrides: ``KEY=VALUE`` texts.
        hardware: the machine, as `load_hardware` takes it.
        world_size: processes; None takes one for each GPU.
        show_all: show the engine's defaults as well.
        as_json: print one JSON object.
    """

    recipe: str
    overrides: tuple[str, ...]
    hardware: str
    world_size: int | None
    show_all: bool
    as_json: bool


@command.command("explain")
@click.argument("recipe")
@_OVERRIDES
@click.option(
    "--hardware", metavar="NAME|FILE|auto", default="auto", show_default=True, help="The machine to explain it for."
)
@click.option(
    "--gpus", "world_size", type=click.IntRange(min=1), help="Number of processes; by default one for each GPU."
)
@click.option("--all", "show_all", is_flag=True, help="Show the keys left at LLaMA-Factory's defaults as well.")
@AS_JSON
@takes(ExplainArgs)
def explain(args: ExplainArgs) -> None:
    r"""Print every value, where it comes from and why.

    \b
    Example:
      lfwrap recipe explain recipes/paper.yaml --hardware 4x-h100-80gb learning_rate=1e-4
    """
    from lfwrap.engine.locate import find_engine
    from lfwrap.hardware.profile import choose_world_size
    from lfwrap.invocation import Invocation
    from lfwrap.recipe.check import require_valid
    from lfwrap.recipe.values import resolve_values
    from lfwrap.strategy.planning import dataset_folder, find_machine
    from lfwrap.strategy.render import render
    from lfwrap.strategy.strategy import choose_strategy

    loaded, facts, profile = _load(args.recipe, args.overrides, args.hardware, args.world_size)
    if profile is None:
        raise click.BadParameter("names no machine", param_hint="--hardware")
    require_valid(loaded, _all_findings(loaded, facts, profile))
    folder, processes = dataset_folder(loaded), choose_world_size(args.world_size, profile)
    machine = find_machine(profile, processes, find_engine(), folder, is_here=args.hardware == "auto")
    resolved = resolve_values(loaded, facts, profile, processes)
    strategy = choose_strategy(resolved, machine, Invocation(Path.cwd(), os.environ))
    rendered = render(resolved, strategy, output_dir="RUN/output", dataset_dir=str(folder) if folder else None)
    defaults = _defaults(rendered, facts) if args.show_all else []
    values = [value.without_secret() for value in (*rendered.values, *defaults)]
    if args.as_json:
        output.print_json("recipe-explain", _explain_json(loaded, profile, rendered, values))
        return
    _print_values(values, facts)
    if rendered.batch is not None:
        output.result(f"\nmicro-batch × accumulation × processes: {rendered.batch}")
    for note in (*rendered.notes, *strategy.notes):
        output.say(f"note: {note}")


@command.command("schema")
@click.option("--engine", "from_engine", is_flag=True, help="Read the installed engine, whatever its version.")
def schema(from_engine: bool) -> None:
    r"""Print the JSON Schema of recipes, for editors that complete and check YAML.

    \b
    Example:
      lfwrap recipe schema > lfwrap.schema.json
      # then, as the first line of a recipe:
      # yaml-language-server: $schema=lfwrap.schema.json
    """
    import orjson

    from lfwrap.engine.facts import load_engine_facts, read_engine_facts
    from lfwrap.engine.locate import locate_engine
    from lfwrap.recipe.schema import recipe_schema

    facts = read_engine_facts(locate_engine()) if from_engine else load_engine_facts()
    output.result(orjson.dumps(recipe_schema(facts), option=orjson.OPT_INDENT_2).decode())


def _load(
    name: str, overrides: Sequence[str], hardware: str | None, gpus: int | None = None
) -> tuple[Recipe, EngineFacts, HardwareProfile | None]:
    """The recipe, the facts of the installed engine (else of the shipped version), and the machine asked for."""
    from lfwrap.engine.facts import load_engine_facts
    from lfwrap.engine.locate import find_engine
    from lfwrap.recipe.inputs.data_size import settle_size
    from lfwrap.recipe.recipe import load_recipe

    machine, processes = None, 1
    if hardware is not None:
        from lfwrap.hardware.load import load_hardware
        from lfwrap.hardware.profile import choose_world_size

        machine = load_hardware(hardware)
        processes = choose_world_size(gpus, machine)
    recipe = settle_size(load_recipe(name, overrides), Path.cwd(), lambda: processes)
    return recipe, load_engine_facts(find_engine()), machine


def _all_findings(recipe: Recipe, facts: EngineFacts, machine: HardwareProfile | None) -> list[Finding]:
    from lfwrap.recipe.check import check_recipe
    from lfwrap.recipe.inputs.datasets import find_dataset_dir

    return [*check_recipe(recipe, facts, machine), *find_dataset_dir(recipe, Path.cwd()).findings]


def _defaults(rendered: Rendered, facts: EngineFacts) -> list[Value]:
    from lfwrap.recipe.layers import Value
    from lfwrap.recipe.recipe import Source

    return [
        Value(name, fact.default, Source.ENGINE, fact.help)
        for name, fact in facts.keys.items()
        if name not in rendered.engine
    ]


def _explain_json(
    recipe: Recipe, machine: HardwareProfile, rendered: Rendered, values: Sequence[Value]
) -> dict[str, Any]:
    batch = rendered.batch
    return {
        "recipe": str(recipe.path),
        "hardware": machine.name,
        "world_size": rendered.world_size,
        "effective_batch_size": batch.effective if batch else None,
        "values": [value.to_json() for value in values],
        "deepspeed": rendered.deepspeed,
        "notes": list(rendered.notes),
    }


def _print_values(values: Sequence[Value], facts: EngineFacts) -> None:
    from lfwrap.recipe.keys import show as show_value

    keys = max(len(value.key) for value in values)
    texts = [show_value(value.value) for value in values]
    width = min(40, max(map(len, texts)))
    for value, text in zip(values, texts, strict=True):
        fact = facts.keys.get(value.key)
        reason = value.reason or (fact.help if fact else "")
        replaced = "" if value.instead_of is None else f" (instead of {show_value(value.instead_of)})"
        output.result(f"{value.key:<{keys}}  {text:<{width}}  {value.source:<14}  {reason}{replaced}")
