"""The registry of formats: names, modules and detection agree."""

import json
from pathlib import Path

import pytest

from lfwrap.data import formats
from lfwrap.data.formats import FORMATS, WHOLE_FILE
from lfwrap.data.schema.columns import is_all_known


@pytest.mark.parametrize("name", list(FORMATS))
def test_every_format_stands_under_its_own_name(name: str) -> None:
    known = FORMATS[name]
    assert known.name == name
    assert (known.read is not None) == (name in WHOLE_FILE)
    assert known.evidence(json.loads(known.example))


def test_alpaca_is_asked_last_and_its_columns_are_nobody_elses() -> None:
    assert list(FORMATS)[-1] == "alpaca"
    others = [name for name in FORMATS if name != "alpaca"]
    assert not any(is_all_known(json.loads(FORMATS[name].example)) for name in others)


def test_every_module_with_a_format_is_listed() -> None:
    written = [
        path
        for path in Path(formats.__file__).parent.rglob("*.py")
        if "\nFORMAT = " in path.read_text(encoding="utf-8") or "\nFORMAT: " in path.read_text(encoding="utf-8")
    ]
    assert len(written) == len(FORMATS) >= 14
