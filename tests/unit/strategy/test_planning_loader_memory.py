"""Processes that make micro-batches ahead need shared memory, which a container may not have."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from lfwrap.engine.keys import LOADERS_KEY
from lfwrap.hardware.load import load_hardware
from lfwrap.strategy.planning import find_machine
from lfwrap.units import GIB, MIB


@pytest.mark.parametrize(
    ("free_bytes", "is_here", "missing"), [(64 * MIB, True, True), (64 * MIB, False, False), (8 * GIB, True, False)]
)
def test_a_small_shared_memory_is_seen(
    monkeypatch: pytest.MonkeyPatch, free_bytes: int, is_here: bool, missing: bool
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda _: SimpleNamespace(f_bavail=free_bytes // 4096, f_frsize=4096))
    machine = find_machine(load_hardware("h100-80gb"), 1, None, None, is_here=is_here)
    assert (LOADERS_KEY in machine.unavailable) == missing


def test_where_there_is_no_such_folder_nothing_is_made_ahead(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(_: object) -> object:
        raise FileNotFoundError

    monkeypatch.setattr(os, "statvfs", missing)
    assert LOADERS_KEY in find_machine(load_hardware("h100-80gb"), 1, None, None, is_here=True).unavailable
