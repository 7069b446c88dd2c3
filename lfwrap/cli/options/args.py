"""A command's values as one frozen object; options that many commands have, and groups of them."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Collection, Mapping
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

import click

_Args = TypeVar("_Args")
_Result = TypeVar("_Result")
_Command = TypeVar("_Command", bound=Callable[..., Any])

AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print one JSON object on stdout.")
RUNS_DIR = click.option(
    "--runs-dir", type=click.Path(path_type=Path), default=Path("runs"), show_default=True, help="Folder of the runs."
)
QUIET = click.option("-q", "--quiet", is_flag=True, help="Show no progress.")


def takes(kind: type[_Args]) -> Callable[[Callable[[_Args], _Result]], Callable[..., _Result]]:
    """Let a command take one object of this dataclass, instead of click's values by their names."""

    def decorate(command: Callable[[_Args], _Result]) -> Callable[..., _Result]:
        """Make a function of one arguments object a function of click's values."""

        @functools.wraps(command)
        def called_by_click(**values: Any) -> _Result:
            """Run the command with click's values, read."""
            return command(read_args(kind, values))

        return called_by_click

    return decorate


def read_args(kind: type[_Args], values: Mapping[str, Any]) -> _Args:
    """The dataclass filled by field name; a field whose type is a dataclass is filled from the same values.

    Raises:
        TypeError: a value has no field, or a field no value.
    """
    left = dict(values)
    filled = _fill(kind, left)
    if left:
        raise TypeError(f"{kind.__name__} has no field for {', '.join(left)}")
    return filled


def _fill(kind: type[_Args], left: dict[str, Any]) -> _Args:
    """Fill the fields, and take what they hold out of ``left``."""
    found: dict[str, Any] = {}
    for name, type_ in get_type_hints(kind).items():
        if isinstance(type_, type) and dataclasses.is_dataclass(type_):
            found[name] = _fill(type_, left)
        elif name in left:
            found[name] = left.pop(name)
    return kind(**found)


class OptionGroup:
    """Options that several commands share; as a decorator it adds them to a command, in their order."""

    def __init__(self, *options: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
        """Take decorators of click: `click.option(…)` and `click.argument(…)`."""
        self._options = options

    def __call__(self, command: _Command) -> _Command:
        """Add all of them to a command."""
        for option in reversed(self._options):
            option(command)  # notes the option in an attribute of the command, and returns the command
        return command

    @property
    def params(self) -> list[click.Parameter]:
        """The options as click knows them."""
        return click.command()(self(lambda: None)).params[:]

    def spell(self, args: object, *, without: Collection[str] = ()) -> list[str]:
        """The words of a command line that give these options the values that ``args`` has under their names.

        Args:
            args: has an attribute for each option.
            without: names of options to leave out.
        """
        words: list[str] = []
        for param in self.params:
            if isinstance(param, click.Option) and param.name and param.name not in without:
                words += _spell(param, getattr(args, param.name))
        return words


def _spell(option: click.Option, value: Any) -> list[str]:
    name = max(option.opts, key=len)
    if option.is_flag:
        off = option.secondary_opts[:1]
        return [name] if value else off if value is not None else []
    values = value if option.multiple else () if value is None else (value,)
    return [f"{name}={each}" for each in values]
