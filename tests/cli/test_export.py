"""`lfwrap export`: what it refuses before the engine starts."""

from __future__ import annotations

import pytest

from lfwrap.cli.app import run


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["x"], 2, "Missing option '--out'"),
        (["x", "--out", "o", "--dtype", "int8"], 2, "'int8' is not one of"),
        (["x", "--out", "o", "--shard-size", "0"], 2, "not in the range"),
        (["x", "--out", "o", "--questions", "/no/such/file"], 4, "can't be read"),
    ],
)
def test_usage(arguments, code, message, capsys):
    assert run(["export", *arguments]) == code
    assert message in capsys.readouterr().err


def test_help_has_an_example(capsys):
    assert run(["export", "--help"]) == 0
    assert "lfwrap export latest --out models/law" in capsys.readouterr().out
