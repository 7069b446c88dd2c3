"""lfwrap and its workers mean the same by a name: both sides have the same contract, and nothing stands beside it."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path
from typing import get_args

import pytest

import lfwrap
from lfwrap.engine import arguments, contract
from lfwrap.evaluate.metrics import RowLoss
from lfwrap.inference import parity
from lfwrap.inference.held_out_rows import LabelSettings
from lfwrap.inference.session import Answer
from lfwrap.run.folder.paths import AttemptPaths
from lfwrap_worker import contract as workers_contract
from lfwrap_worker import start

PACKAGE = Path(lfwrap.__file__).parent
WORKERS = arguments.FOLDER / "lfwrap_worker"
SIDES = {Path(contract.__file__), Path(workers_contract.__file__)}
VARIABLES = {value for name, value in vars(contract).items() if name.endswith("_VARIABLE") and isinstance(value, str)}
# What a person sets for lfwrap itself; each stands in one module.
SETTINGS = {"LFWRAP_API_KEY", "LFWRAP_CACHE", "LFWRAP_DEBUG", "LFWRAP_ENGINE_PYTHON"}


def literals(path: Path) -> Iterator[str]:
    """The texts of a module, docstrings left out."""
    tree = ast.parse(path.read_bytes())
    texts = {
        id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in texts:
            yield node.value


def test_it_is_the_same_file_on_both_sides():
    one, other = (path.read_bytes() for path in SIDES)
    assert one == other


def test_it_needs_nothing_but_the_standard_library():
    tree = ast.parse(Path(contract.__file__).read_bytes())
    names = {str(node.module) for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    assert names == {"__future__", "collections.abc", "dataclasses", "typing"}


def test_a_workers_variable_is_written_down_nowhere_else():
    assert len(VARIABLES) == 9
    name = re.compile(r"LFWRAP_[A-Z_]*")
    found = {
        (path, text)
        for path in PACKAGE.rglob("*.py")
        if path not in SIDES
        for literal in literals(path)
        for text in name.findall(literal)
    }
    assert {text for path, text in found if path.is_relative_to(WORKERS)} == set()
    # The prefix alone is a part of a pattern: which variables of the environment a run's record keeps.
    assert {text for _, text in found} <= SETTINGS | {contract.VARIABLE_PREFIX}


@pytest.mark.parametrize("name", [name for name in vars(contract) if name.startswith("RANK_")])
def test_a_ranks_file_is_named_by_the_contract_on_both_sides(name):
    readers = {path for path in PACKAGE.rglob("*.py") if path not in SIDES and f"{name}" in path.read_text("utf-8")}
    assert {path.is_relative_to(WORKERS) for path in readers} == {True, False}, "written on one side, read on the other"


def test_a_ranks_files_lie_where_lfwrap_looks_for_them(tmp_path):
    rank = AttemptPaths(tmp_path).rank(3)
    assert rank.root == tmp_path / contract.RANKS_FOLDER / "3"
    here = {name: value for name, value in vars(contract).items() if name.startswith("RANK_")}
    found = {getattr(rank, name.removeprefix("RANK_").lower()).name for name in here}
    assert found == set(here.values())


def test_every_name_of_a_worker_can_be_started_and_no_other():
    assert set(get_args(contract.Worker)) == {name for names in start.WORKERS.values() for name in names}


@pytest.mark.parametrize(
    ("kept", "told"),
    [
        (Answer, contract.AnswerEvent),
        (LabelSettings, contract.LabelOptions),
        (RowLoss, contract.LossEvent),
        (parity.ParityRow, contract.ParityFigures),
        (parity.ReferenceAnswer, contract.ReferenceAnswer),
        (parity.Side, contract.Side),
        (parity.TokenDifference, contract.TokenDifference),
    ],
    ids=lambda kind: kind.__name__,
)
def test_lfwrap_keeps_every_field_that_a_worker_tells(kept, told):
    assert {field.name for field in fields(kept)} == told.__annotations__.keys() - {"event"}


def test_a_restart_comes_back_from_its_variable():
    restart = contract.Restart(4, 32, "/runs/r/output")
    assert workers_contract.Restart.from_text(restart.to_text()) == workers_contract.Restart(4, 32, "/runs/r/output")
