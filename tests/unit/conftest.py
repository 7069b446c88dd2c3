"""What unit tests share: folders that look like runs, adapters and models, and the engine's facts."""

from __future__ import annotations

from pathlib import Path

import pytest
from model_folders import Builder

from lfwrap.engine.facts import EngineFacts, load_engine_facts


@pytest.fixture
def build(tmp_path: Path) -> Builder:
    """A maker of folders below the test's own."""
    return Builder(tmp_path)


@pytest.fixture(scope="session")
def facts() -> EngineFacts:
    """The shipped snapshot of the engine."""
    return load_engine_facts()
