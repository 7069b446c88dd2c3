"""The shipped facts, and what `ast` reads, against the engine that is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap.engine.compat import SUPPORTED_VERSION
from lfwrap.engine.facts import EngineFacts, load_engine_facts, read_engine_facts
from lfwrap.engine.locate import Engine, find_engine

pytestmark = [pytest.mark.engine, pytest.mark.timeout(300)]
WORKER = Path(__file__).with_name("engine_facts_worker.py")


@pytest.fixture(scope="module")
def engine() -> Engine:
    found = find_engine()
    if found is None:
        pytest.skip("the engine is not installed")
    return found


@pytest.fixture(scope="module")
def truth(engine):
    """What the engine's own classes hold, imported in a child."""
    answer = subprocess.run([engine.python, str(WORKER)], capture_output=True, text=True, check=True, timeout=120)
    return json.loads(answer.stdout)


@pytest.fixture(scope="module")
def read(engine) -> EngineFacts:
    return read_engine_facts(engine)


def test_the_shipped_facts_are_those_of_the_installed_engine(engine, read):
    assert engine.version == SUPPORTED_VERSION
    assert read == load_engine_facts()


def test_keys_are_the_parsers_own(read, truth):
    assert set(read.keys) == set(truth["fields"])
    assert len(read.keys) == 346


def test_defaults_are_the_parsers_own(read, truth):
    unequal = {
        name: (fact.default, truth["fields"][name])
        for name, fact in read.keys.items()
        if fact.default != truth["fields"][name]
    }
    assert unequal == {}


def test_choices_hold_each_default(read):
    outside = {name for name, fact in read.keys.items() if fact.choices and fact.default not in (*fact.choices, None)}
    assert outside == set()


def test_templates_are_the_registered_ones(read, truth):
    assert sorted(read.templates) == truth["templates"]


def test_model_templates_are_the_engines_map(read, truth):
    """A path that stands under a tuned and an untuned name keeps the tuned one's template."""
    wanted = {path: template for path, template in truth["models"].items() if template}
    assert {path: read.model_templates[path] for path in wanted} == wanted
    assert len(wanted) > 500


def test_engine_is_found_without_importing_it():
    code = "import sys; from lfwrap.engine.locate import locate_engine; locate_engine(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert answer.stdout.strip() == "False"
