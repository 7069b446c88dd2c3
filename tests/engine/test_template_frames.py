"""Tokens counted without the engine, against the engine's own template and processor."""

from __future__ import annotations

from pathlib import Path

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.data.datasets.dataset import find_dataset
from lfwrap.data.datasets.rendered import rendered_lengths
from lfwrap.engine.locate import locate_engine
from lfwrap.recipe.inputs.datasets import measure_rows
from lfwrap.recipe.recipe import build_recipe
from lfwrap.yaml_files import parse_yaml

pytestmark = pytest.mark.engine


def test_lengths_are_those_of_the_engine(smollm2, tmp_path):
    """Every row of the bundled English set, to the token."""
    text = f"model_name_or_path: {smollm2}\ndataset: harbour_en\n"
    recipe = build_recipe(parse_yaml(text, "r.yaml"), Path("r.yaml"))
    rows = measure_rows(recipe, bundled_path("data"), "smollm2", {"XDG_CACHE_HOME": str(tmp_path)})
    stored = [row.value for row in find_dataset("harbour_en", bundled_path("data")).rows() if row.value]
    engine = rendered_lengths(stored, locate_engine(), "smollm2", str(smollm2))
    assert list(rows.lengths) == engine.total
    assert rows.is_exact
