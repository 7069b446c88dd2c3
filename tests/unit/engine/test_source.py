"""Dataclasses read from source text."""

from __future__ import annotations

from lfwrap.engine.source import SourceModules

SOURCE = """
from dataclasses import dataclass, field
from enum import Enum

class Colour(str, Enum):
    RED = "red"
    BLUE = "blue"

@dataclass
class Base:
    size: int = field(default=16 * 16, metadata={"help": "How %% large."})
    kept: str | None = field(default=None, metadata={"help": ("In " "two parts.")})

@dataclass
class Child(Base):
    best = "plain"
    if True:
        if True:
            best = "fused"
    size: float = field(default=2.5)
    optim: Colour | str = field(default=best)
    colour: Colour = field(default=Colour.BLUE)
    mode: Literal["a", "b"] | None = None
    names: str = field(default="all")
    label: Optional[list[str]] = field(default_factory=list)
    either: Union[bool, str] = True
    hidden: int = field(default=0, init=False)

    def __post_init__(self):
        def split_arg(arg):
            return arg.split(",")
        self.names = split_arg(self.names)
"""


def modules(tmp_path):
    path = tmp_path / "arguments.py"
    path.write_text(SOURCE, encoding="utf-8")
    return SourceModules([path])


def test_fields(tmp_path):
    fields = modules(tmp_path).fields("Child")
    assert {name: (field.types, field.default, field.choices) for name, field in fields.items()} == {
        "size": (("float",), 2.5, ()),
        "kept": (("str", "null"), None, ()),
        "optim": (("str",), "fused", ("red", "blue")),
        "colour": (("str",), "blue", ("red", "blue")),
        "mode": (("str", "null"), None, ("a", "b")),
        "names": (("str",), "all", ()),
        "label": (("list", "null"), [], ()),
        "either": (("bool", "str"), True, ()),
    }


def test_help_and_constant_expressions(tmp_path):
    base = modules(tmp_path).fields("Base")
    assert (base["size"].default, base["size"].help, base["kept"].help) == (256, "How % large.", "In two parts.")


def test_fields_that_are_split_at_commas(tmp_path):
    assert modules(tmp_path).split_lists("Child") == {"names"}


def test_an_unknown_class_has_no_fields(tmp_path):
    assert modules(tmp_path).fields("Nobody") == {}
