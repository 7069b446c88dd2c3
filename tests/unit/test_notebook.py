"""`load_run` without an engine: what it hands on, and that nothing heavy is imported before it is needed."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import pytest
from fake_engine import fake_engine
from model_folders import Builder

import lfwrap
from lfwrap import load_run
from lfwrap.errors import RunStateError, UsageError
from lfwrap.export import export
from lfwrap.inference import session
from lfwrap.inference.session import Answer

ROOT = Path(__file__).resolve().parents[2]


class StandIn:
    """Answers in capitals, with who answered and what was said."""

    opened: ClassVar[list[StandIn]] = []

    def __init__(self, _engine: Any, target: Any, *, settings: Any) -> None:
        self.target, self.settings, self.closed = target, settings, False
        self.opened.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.closed = True

    def default_adapter(self) -> str | None:
        return "tuned" if self.target.adapter else None

    def answer(self, question: Any, adapter: str | None) -> Answer:
        said = "/".join(turn["content"] for turn in question.messages).upper()
        return Answer(question.id, f"{adapter or 'base'}: {said}", 1, 2, "stop", 0.1)

    def stream(self, question: Any, adapter: str | None):
        yield from self.answer(question, adapter).text.split(" ")
        yield self.answer(question, adapter)

    def answer_all(self, questions: list[Any], adapter: str | None, *, batch_size: int):
        for question in reversed(questions):
            yield self.answer(question, adapter)


@pytest.fixture
def folder(tmp_path, monkeypatch, use_engine) -> Path:
    """A finished run of two logged steps."""
    monkeypatch.setattr(StandIn, "opened", [])
    monkeypatch.setattr(session, "AnswerSession", StandIn)
    use_engine(fake_engine())
    build = Builder(tmp_path)
    run = build.run(build.model())
    lines = [{"current_steps": step, "total_steps": 2, "loss": 2.0 / step} for step in (1, 2)]
    run.trainer_log.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return run.root


def test_nothing_is_loaded_before_the_first_question_and_nothing_is_left(folder):
    with load_run(folder, max_new_tokens=9) as run:
        assert StandIn.opened == []
        assert run.generate("hi") == "tuned: HI"
        assert run.generate("hi", base=True) == "base: HI"
        assert run.generate_batch(["a", "b"], batch_size=1) == ["tuned: A", "tuned: B"]
        assert list(run.stream("a b")) == ["tuned:", "A", "B"]
        assert len(StandIn.opened) == 1
    assert StandIn.opened[0].closed
    assert StandIn.opened[0].settings.max_new_tokens == 9


def test_a_conversation_remembers(folder):
    with load_run(folder) as run:
        chat = run.chat()
        chat("one")
        assert chat("two") == "tuned: ONE/TUNED: ONE/TWO"
        chat.reset()
        assert chat("three") == "tuned: THREE"


def test_losses_and_record_come_from_the_run(folder):
    run = load_run(folder.name, runs_dir=folder.parent)
    assert run.loss_curve() == [(1, 2.0), (2, 1.0)]
    assert run.record["state"] == "succeeded"
    assert folder.name in repr(run)


def test_an_adapter_alone_has_no_losses(folder, tmp_path):
    (tmp_path / "copy").mkdir()
    for file in (folder / "output").iterdir():
        if file.is_file():
            (tmp_path / "copy" / file.name).write_bytes(file.read_bytes())
    run = load_run(tmp_path / "copy")
    assert run.record is None
    with pytest.raises(UsageError, match="not a run"):
        run.loss_curve()


def test_export_takes_the_options_of_the_command(folder, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(export, "export_model", lambda *given: asked.append(given) or SimpleNamespace(out=given[2]))
    assert load_run(folder).export(tmp_path / "merged", dtype="float32", parity=False).out == tmp_path / "merged"
    assert (asked[0][3].dtype, asked[0][3].parity) == ("float32", False)


def test_what_is_not_there_is_said(folder):
    with pytest.raises(RunStateError):
        load_run("nope", runs_dir=folder.parent)
    with pytest.raises(UsageError, match="no setting max_tokens") as caught:
        load_run(folder, max_tokens=3)
    assert "max_new_tokens" in caught.value.hint


def test_importing_lfwrap_stays_light():
    script = "import sys, lfwrap; print([n for n in sys.modules if n.startswith('lfwrap') or n in ('orjson', 'rich')])"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['lfwrap']"
    with pytest.raises(AttributeError, match="nope"):
        _ = lfwrap.nope


def test_the_example_of_the_documentation_runs_as_it_stands(folder, monkeypatch, capsys):
    """Every Python block of docs/how-to/python.md, one after the other, on a run that is called latest."""
    monkeypatch.chdir(folder.parents[1])
    monkeypatch.setattr(export, "export_model", lambda *given: SimpleNamespace(out=given[2], parity=None))
    page = (ROOT / "docs" / "how-to" / "python.md").read_text(encoding="utf-8")
    blocks = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    assert len(blocks) >= 3
    names: dict[str, Any] = {}
    for block in blocks:
        exec(block, names)  # noqa: S102 - our own documentation
    assert "tuned: WHAT IS A LIEN?" in capsys.readouterr().out
    assert all(opened.closed for opened in StandIn.opened)
