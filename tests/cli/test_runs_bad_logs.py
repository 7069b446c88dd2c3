"""`lfwrap runs` on logs as a full disk, a diverged training or a stranger leaves them: shown as far as they go."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from lfwrap.cli.app import run
from lfwrap.run.folder.paths import RunPaths

LOGS = {
    "nan": ['{"current_steps": 41, "total_steps": 90, "loss": NaN, "lr": NaN, "epoch": 1.0, "eval_loss": Infinity}']
    * 3,
    "text": ['{"current_steps": 41, "total_steps": 90, "loss": "high", "lr": {}, "eval_loss": [1], "epoch": "x"}'] * 3,
    "cut": ['{"current_steps": 41, "total_steps": 90, "lo'],
    "no steps": [
        '{"current_steps": "many", "loss": 1}',
        '{"current_steps": null}',
        '{"current_steps": 1e400}',
        "[]",
        "3",
    ],
    "huge": ['{"current_steps": 41, "total_steps": 90, "x": "' + "y" * 3_000_000 + '"}', "[" * 300_000],
    "back": [f'{{"current_steps": {n}, "total_steps": 40, "loss": 1.5, "epoch": 1.0}}' for n in (38, 39, 3, 4, 40, 1)],
    "bytes": ["\x00\x00\x00", "\ufffd\udc80"],
    "numbers": ['{"current_steps": 41, "total_steps": 40, "loss": 1e308, "lr": -1e308, "total_tokens": 1e400}'] * 3,
    "floods": ['{"step": 5, "loss": 1, "grad_norm": 1e308, "rss_bytes": 1e300, "memory_bytes": -5}'] * 3000,
}
EVENTS = [
    {"event": "warning"},
    {"event": "warning", "rule": "loss-spike", "step": "x", "message": None, "figures": 3},
    {"event": "warning", "rule": "of-later", "step": 4, "message": "m", "remedy": "r"},
]


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, old_runs: Callable[[Path], Path]) -> Path:
    folder = old_runs(tmp_path)
    monkeypatch.chdir(tmp_path)
    return folder


@pytest.mark.parametrize("kind", LOGS)
@pytest.mark.parametrize("instead", [False, True], ids=["after good lines", "alone"])
def test_runs_are_listed_shown_and_reported_whatever_their_logs_hold(runs, capsys, kind, instead):
    text = "\n".join(LOGS[kind]) + "\n"
    for root in runs.iterdir():
        paths = RunPaths(root)
        for path in (paths.trainer_log, paths.health, paths.root / "output" / "trainer_state.json"):
            before = path.read_bytes() if path.exists() and not instead else b""
            path.write_bytes(before + text.encode("utf-8", errors="surrogateescape"))
        with paths.events.open("a", encoding="utf-8") as sink:
            sink.writelines(json.dumps(event) + "\n" for event in EVENTS)
    for command in (["list"], ["list", "--json"], ["show"], ["show", "--json"], ["report"], ["report", "--json"]):
        arguments = ["runs", *command, *(["through"] if command[0] != "list" else []), "--runs-dir", str(runs)]
        assert run(arguments) == 0, (command, capsys.readouterr().err)
        assert "Traceback" not in capsys.readouterr().err
