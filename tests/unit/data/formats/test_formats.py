"""The registry of formats: names, modules and detection agree."""

import json

import pytest

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
