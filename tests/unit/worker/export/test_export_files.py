"""The worker of an export's files: the way without torch first, the whole engine where that fails."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from lfwrap_worker.export import export_files


@pytest.fixture
def worker(monkeypatch):
    """The worker's module, whose whole way is a mark."""
    whole = lambda job: {"event": "done", "way": "whole", "of": job["arguments"]}  # noqa: E731 - a stand-in of one line
    monkeypatch.setattr(export_files, "write_now", whole)
    return export_files


@pytest.fixture
def job(tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    return {"arguments": {"template": "qwen"}, "out": str(out), "text_only": True}


def _child(folder: Path, code: str) -> str:
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\nimport json, os, sys\n{code}")
    path.chmod(0o755)
    return str(path)


ANSWERS = """
job = json.loads(sys.stdin.readline())
assert sys.argv[2:] == ["export_files", "--text-only"]
open(os.path.join(job["out"], "tokenizer.json"), "w").write("{}")
print(json.dumps({"event": "done", "way": "quick", "of": job["arguments"]}))
"""


def test_the_quick_way_is_taken(worker, job, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", _child(tmp_path, ANSWERS))
    assert worker.write_files(job) == {"event": "done", "way": "quick", "of": {"template": "qwen"}}
    assert [path.name for path in Path(job["out"]).iterdir()] == ["tokenizer.json"]


@pytest.mark.parametrize(
    "code",
    [
        ANSWERS.replace('"event": "done"', '"event": "error", "message": "NameError: torch"'),
        ANSWERS.replace("print(", "os._exit(3) or print("),
        "sys.exit('broken')",
        ANSWERS.replace("open(", "os.makedirs(os.path.join(job['out'], 'additional')); raise KeyError; open("),
    ],
)
def test_what_fails_is_done_again_with_all_of_the_engine(worker, job, tmp_path, monkeypatch, code):
    monkeypatch.setattr(sys, "executable", _child(tmp_path, code))
    assert worker.write_files(job)["way"] == "whole"
    assert list(Path(job["out"]).iterdir()) == [], "what the quick way left is gone"


def test_models_with_a_processor_need_the_whole_engine(worker, job, tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "executable", _child(tmp_path, ANSWERS))
    assert worker.write_files({**job, "text_only": False})["way"] == "whole"
