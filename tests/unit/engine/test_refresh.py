"""Writing the engine's tables: which files change, and what is said."""

from __future__ import annotations

import pytest
from fake_engine import fake_engine

from lfwrap.engine import refresh
from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.errors import PreflightError

MADE = {"facts.json": b"{}\n", "tool_templates.json": b"[]\n"}


@pytest.fixture
def tables(tmp_path, monkeypatch):
    """The folder of the supported version's tables, with one table that is old and none of the other."""
    folder = tmp_path / "tables" / SUPPORTED_VERSION
    folder.mkdir(parents=True)
    (folder / "facts.json").write_bytes(b"old")
    monkeypatch.setattr(refresh, "TABLES", folder)
    monkeypatch.setattr(refresh, "make_tables", lambda _: MADE)
    monkeypatch.setattr(refresh, "locate_engine", fake_engine)
    return folder


def test_what_changed_is_written_and_named(tables, capsys):
    assert refresh.main() == 0
    assert {path.name: path.read_bytes() for path in tables.iterdir()} == MADE
    assert capsys.readouterr().out == f"{tables}: facts.json, tool_templates.json changed\n"
    assert refresh.main() == 0
    assert capsys.readouterr().out == f"{tables}: nothing changed\n"


def test_tables_of_another_version_lie_beside_and_are_not_read_yet(tables, capsys, monkeypatch):
    monkeypatch.setattr(refresh, "locate_engine", lambda: fake_engine(version="9.9"))
    assert refresh.main() == 0
    assert (tables.parent / "9.9" / "facts.json").read_bytes() == MADE["facts.json"]
    assert (tables / "facts.json").read_bytes() == b"old"
    assert "set SUPPORTED_VERSION in lfwrap/engine/compat.py" in capsys.readouterr().out


def test_without_an_engine_it_says_so(tables, capsys, monkeypatch):
    def nowhere():
        raise PreflightError("LLaMA-Factory is not installed.", hint="Install it.")

    monkeypatch.setattr(refresh, "locate_engine", nowhere)
    assert refresh.main() == 6
    assert capsys.readouterr().err == "LLaMA-Factory is not installed.\nInstall it.\n"
    assert (tables / "facts.json").read_bytes() == b"old"
