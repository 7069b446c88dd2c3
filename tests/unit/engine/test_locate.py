"""Where the engine is looked for, with made-up installations."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from fake_engine import runnable_engine

from lfwrap.engine import locate
from lfwrap.engine.locate import find_engine, locate_engine, package_version
from lfwrap.errors import PreflightError

pytestmark = pytest.mark.skipif(os.name != "posix", reason="makes POSIX installations")


def install(prefix: Path, version: str = "0.9.5", *, shebang: bool = False) -> Path:
    """A Python with a `llamafactory` that says nothing but its version; returns the folder of its commands."""
    site = prefix / "site"
    (site / "llamafactory").mkdir(parents=True)
    (site / "llamafactory" / "__init__.py").write_text("raise SystemExit('imported')\n", encoding="utf-8")
    metadata = site / f"llamafactory-{version}.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: llamafactory\nVersion: {version}\n", encoding="utf-8"
    )
    commands = prefix / "bin"
    commands.mkdir()
    python = (prefix / "own" if shebang else commands) / "python3"
    python.parent.mkdir(exist_ok=True)
    # -I ignores PYTHONPATH, so the script puts the folder on the path by other means.
    code = f'import sys; sys.path.insert(0, "{site}"); exec(sys.argv[-1])'
    python.write_text(f"#!/bin/sh\nexec {sys.executable} -c '{code}' \"$3\"\n", encoding="utf-8")
    python.chmod(0o755)
    cli = commands / "llamafactory-cli"
    cli.write_text(f"#!{python}\n", encoding="utf-8")
    cli.chmod(0o755)
    return commands


@pytest.fixture
def no_engine_here(monkeypatch):
    monkeypatch.setattr(locate.importlib.util, "find_spec", lambda _: None)


@pytest.mark.usefixtures("no_engine_here")
@pytest.mark.parametrize("shebang", [False, True])
def test_on_the_path(tmp_path, shebang):
    commands = install(tmp_path / "a", "0.9.4", shebang=shebang)
    engine = find_engine({"PATH": str(commands)})
    assert engine is not None
    assert (engine.version, engine.cli) == ("0.9.4", commands / "llamafactory-cli")
    assert engine.package == tmp_path / "a" / "site" / "llamafactory"


def test_the_named_python_comes_first(tmp_path):
    named = install(tmp_path / "named", "0.9.9")
    other = install(tmp_path / "other", "0.9.1")
    engine = find_engine({"PATH": str(other), "LFWRAP_ENGINE_PYTHON": str(named / "python3")})
    assert engine is not None
    assert engine.version == "0.9.9"


@pytest.mark.usefixtures("no_engine_here")
def test_none_says_how_to_install_it(tmp_path):
    assert find_engine({"PATH": str(tmp_path)}) is None
    with pytest.raises(PreflightError) as caught:
        locate_engine({"PATH": str(tmp_path)})
    assert "pip install 'lfwrap[train]'" in caught.value.hint


def test_a_named_python_without_it_is_not_passed_over(tmp_path):
    environ = {"PATH": str(install(tmp_path / "other")), "LFWRAP_ENGINE_PYTHON": str(tmp_path / "nowhere" / "python")}
    assert find_engine(environ) is None
    with pytest.raises(PreflightError, match="LFWRAP_ENGINE_PYTHON="):
        locate_engine(environ)


def test_a_python_that_fails_has_no_engine(tmp_path):
    commands = install(tmp_path / "a")
    (commands / "python3").write_text("#!/bin/sh\nexit 3\n", encoding="utf-8")
    assert find_engine({"LFWRAP_ENGINE_PYTHON": str(commands / "python3")}) is None


def test_versions_of_dependencies_come_from_metadata(tmp_path):
    install(tmp_path / "a", "0.9.5")
    site = tmp_path / "a" / "site"
    (site / "transformers").mkdir()
    engine = runnable_engine(site / "llamafactory")
    assert package_version(engine, "llamafactory") == "0.9.5"
    assert package_version(engine, "nobody-made-this") is None


@pytest.mark.parametrize("kind", ["a folder", "a text file", "nothing"])
def test_a_named_python_that_can_not_be_run_is_said_to_be_one(tmp_path, kind):
    path = tmp_path / "python"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a text file":
        path.write_text("hello", encoding="utf-8")
    with pytest.raises(PreflightError, match="not a program that can be run") as caught:
        locate_engine({"LFWRAP_ENGINE_PYTHON": str(path)})
    assert "pip install" not in caught.value.hint
