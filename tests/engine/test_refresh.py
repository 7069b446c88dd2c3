"""The shipped tables, against what the installed engine gives."""

from __future__ import annotations

import pytest

from lfwrap.engine.compat import TABLES
from lfwrap.engine.locate import locate_engine
from lfwrap.engine.refresh import make_tables

pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def made() -> dict[str, bytes]:
    return make_tables(locate_engine())


@pytest.mark.parametrize("name", ["facts.json", "tool_templates.json", "template_tokens.json"])
def test_a_shipped_table_is_what_the_engine_gives(made, name):
    """`just engine-tables` would change nothing."""
    assert made[name] == (TABLES / name).read_bytes()


def test_every_shipped_table_has_a_maker(made):
    assert sorted(made) == sorted(path.name for path in TABLES.iterdir())
