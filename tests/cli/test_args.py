"""Click's options and the dataclasses that commands read them into: one to one, for all commands."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_type_hints

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.cli.app import COMMANDS, app
from lfwrap.cli.commands.recipe_write import RowCount
from lfwrap.cli.commands.runs_resume import ResumeArgs, resume_command
from lfwrap.cli.commands.train import TrainArgs
from lfwrap.cli.commands.train import command as train_command
from lfwrap.cli.commands.tune import Duration
from lfwrap.cli.options.args import OptionGroup, read_args, takes
from lfwrap.cli.options.supervision import SupervisionArgs, supervision_options
from lfwrap.run.launch.launchers.registry import LAUNCHERS

FEW = 3
"""A command with more parameters than this takes them as one dataclass."""
TYPES = {
    click.types.StringParamType: str,
    click.Choice: str,
    click.Path: Path,
    click.types.IntParamType: int,
    click.types.FloatParamType: float,
    click.types.BoolParamType: bool,
    Duration: float,
    RowCount: int | Literal["auto"],
}


def leaves(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if isinstance(command, click.Group):
        for child in command.commands:
            yield from leaves(command.commands[child], f"{name} {child}")
    else:
        yield name, command


ALL = dict(itertools.chain.from_iterable(leaves(app.get_command(click.Context(app), name), name) for name in COMMANDS))


def flat_types(kind: Any) -> dict[str, Any]:
    """Field → type; the fields of a nested dataclass stand beside the others."""
    found: dict[str, Any] = {}
    for name, type_ in get_type_hints(kind).items():
        if dataclasses.is_dataclass(type_):
            nested = flat_types(type_)
            assert not found.keys() & nested.keys()
            found |= nested
        else:
            assert name not in found
            found[name] = type_
    return found


def expected_type(param: click.Parameter) -> Any:
    """The type of the values that click gives for a parameter."""
    one = next(type_ for known, type_ in TYPES.items() if isinstance(param.type, known))
    if param.multiple or param.nargs == -1:
        return tuple[one, ...]
    if param.required:
        return one
    without = click.Command("x", params=[param]).make_context("x", []).params
    return one | None if without[param.name] is None else one


@pytest.mark.parametrize("name", ALL)
def test_every_option_has_a_field_of_its_type(name, monkeypatch):
    command = ALL[name]
    for variable in filter(None, (param.envvar for param in command.params)):
        monkeypatch.delenv(variable, raising=False)
    function = getattr(command.callback, "__wrapped__", command.callback)
    hints = get_type_hints(function)
    hints.pop("return")
    if len(command.params) > FEW:
        [kind] = hints.values()
        assert dataclasses.is_dataclass(kind)
        hints = flat_types(kind)
    assert hints == {param.name: expected_type(param) for param in command.params}


def test_a_value_without_a_field_and_a_field_without_a_value_are_errors():
    values = {"show_example": False, "detach": False, "stall_minutes": 1.0, "on_stall": "warn", "on_oom": "fail"}
    values |= {"on_divergence": "warn"}
    with pytest.raises(TypeError, match="no_probe"):
        read_args(SupervisionArgs, values)
    with pytest.raises(TypeError, match="SupervisionArgs has no field for loud"):
        read_args(SupervisionArgs, {**values, "no_probe": True, "no_verdict": False, "loud": True})


def value_of(option: click.Option) -> st.SearchStrategy[Any]:
    """Every value that an option takes."""
    if option.is_flag:
        return st.booleans()
    if isinstance(option.type, click.Choice):
        return st.sampled_from(option.type.choices)
    if isinstance(option.type, click.FloatRange):
        return st.floats(option.type.min, option.type.max, exclude_min=option.type.min_open)
    if isinstance(option.type, click.IntRange):
        return st.integers(option.type.min, option.type.max)
    return st.lists(st.text()).map(tuple) if option.multiple else st.text()


def values_of(group: OptionGroup) -> st.SearchStrategy[dict[str, Any]]:
    return st.fixed_dictionaries({option.name: value_of(option) for option in group.params})


@given(values_of(supervision_options))
def test_the_process_in_the_background_is_told_every_option(values):
    told = SupervisionArgs(**values)
    context = resume_command.make_context("resume", ["RUN", *told.words, "--quiet"])
    assert read_args(ResumeArgs, context.params).supervision == dataclasses.replace(told, detach=False)


KINDS = OptionGroup(
    click.option("--on/--off", "switch", default=None),
    click.option("-m", "--many", multiple=True),
    click.option("--text"),
    click.option("--count", "number", type=click.IntRange()),
)


@dataclasses.dataclass(frozen=True)
class Kinds:
    """One field for each kind of option."""

    switch: bool | None
    many: tuple[str, ...]
    text: str | None
    number: int | None


@given(values_of(KINDS), st.sets(st.sampled_from(["switch", "text", "number"])))
def test_a_spelled_command_line_is_read_as_the_same_object(values, left_out):
    given_ = Kinds(**values | dict.fromkeys(left_out))
    read: list[Kinds] = []
    command = click.command()(KINDS(takes(Kinds)(read.append)))
    command.main(KINDS.spell(given_), standalone_mode=False)
    assert read == [given_]


def test_every_launcher_is_offered_by_train_and_those_that_start_here_by_resume():
    assert [each.name for each in LAUNCHERS.values()] == [*LAUNCHERS]
    offered = {
        kind: {option.name: option for option in command.params}["launcher"].type.choices
        for kind, command in ((TrainArgs, train_command), (ResumeArgs, resume_command))
    }
    assert offered[TrainArgs] == ("auto", *LAUNCHERS)
    assert offered[ResumeArgs] == ("auto", *(name for name, each in LAUNCHERS.items() if not each.is_scheduler))
