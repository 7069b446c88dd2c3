"""`lfwrap chat` and `lfwrap export` as typed, with a stand-in for the loaded model."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar, Self

import pytest

from lfwrap.cli.app import run
from lfwrap.cli.commands import chat, export
from lfwrap.export import export as exporting
from lfwrap.inference import session
from lfwrap.inference.parity import DEFAULT_QUESTIONS, ParityReport, ParityRow
from lfwrap.inference.session import Answer

ROW = ParityRow("How?", "So.", "So.", True, True, 3, 0.001, 0.002)


class StandIn:
    """Answers each question with its text in capitals."""

    made: ClassVar[list[StandIn]] = []
    finish: ClassVar[str] = "stop"
    context_tokens: ClassVar[int | None] = 4096

    def __init__(self, _engine: Any, target: Any, *, adapters: Any, settings: session.GenerationSettings) -> None:
        self.adapters = tuple(adapters)
        self.target, self.settings = target, settings
        facts = {"dtype": "float32", "device": "cpu", "context_tokens": self.context_tokens}
        self.ready = {"seconds": 1.2, **facts}
        self.asked: list[tuple[str, str | None, str | None]] = []
        self.made.append(self)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def default_adapter(self) -> str | None:
        return self.adapters[0] if self.adapters else None

    def answer(self, question: Any, adapter: str | None) -> Answer:
        self.asked.append((question.text, question.system, adapter))
        return Answer(question.id, question.text.upper(), 7, 2, self.finish, 0.5)

    def stream(self, question: Any, adapter: str | None):
        answer = self.answer(question, adapter)
        yield answer.text[:2]
        yield answer.text[2:]
        yield answer

    def answer_all(self, questions: list[Any], adapter: str | None, *, batch_size: int):
        self.batch_size = batch_size
        for question in sorted(questions, key=lambda each: -len(each.text)):
            yield self.answer(question, adapter)


@pytest.fixture
def sessions(monkeypatch: pytest.MonkeyPatch) -> list[StandIn]:
    target = SimpleNamespace(model="base/model", adapter=Path("runs/a/output"), template="qwen")
    monkeypatch.setattr(StandIn, "made", [])
    monkeypatch.setattr(session, "AnswerSession", StandIn)
    monkeypatch.setattr(chat, "open_target", lambda *_: ("engine", target))
    return StandIn.made


def lfwrap(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    code = run(list(arguments))
    captured = capsys.readouterr()
    return code, captured.out, captured.err


def test_one_question_is_answered_on_stdout(sessions, capsys):
    code, out, err = lfwrap(capsys, "chat", "latest", "--prompt", "why?")
    assert (code, out) == (0, "WHY?\n")
    assert "loading base/model + runs/a/output (template qwen)" in err
    assert "loaded in 1 s: float32 on cpu" in err
    assert sessions[0].asked == [("why?", None, "tuned")]


def test_an_answer_that_is_cut_or_beyond_the_model_s_context_says_so(sessions, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(StandIn, "finish", "length")
    monkeypatch.setattr(StandIn, "context_tokens", 8)
    _, out, err = lfwrap(capsys, "chat", "latest", "--ask", "why?")
    assert out == "WHY?\n"
    assert "cut after 2 tokens: --max-new-tokens allows more" in err
    assert "9 tokens with its answer, the model was made for 8" in err
    (tmp_path / "q.txt").write_text("a\n")
    _, _, err = lfwrap(capsys, "chat", "latest", "--file", str(tmp_path / "q.txt"))
    assert "question 1: 9 tokens with its answer, the model was made for 8" in err
    monkeypatch.setattr(StandIn, "context_tokens", None)
    assert "made for" not in lfwrap(capsys, "chat", "latest", "--ask", "why?")[2]


def test_one_answer_as_json(sessions, capsys):
    _, out, _ = lfwrap(capsys, "chat", "latest", "--prompt", "why?", "--json")
    assert json.loads(out) == {
        "schema": "lfwrap.answer/1",
        "id": 0,
        "question": "why?",
        "answer": "WHY?",
        "finish": "stop",
        "prompt_tokens": 7,
        "answer_tokens": 2,
        "seconds": 0.5,
    }


def test_options_reach_the_model(sessions, capsys):
    options = (
        "--max-new-tokens",
        "9",
        "--temperature",
        "0.7",
        "--top-p",
        "0.9",
        "--seed",
        "1",
        "--top-k",
        "5",
        "--system",
        "be brief",
    )
    _, _, err = lfwrap(capsys, "chat", "latest", "--prompt", "a", "--base", *options)
    assert sessions[0].settings == session.GenerationSettings(
        max_new_tokens=9, temperature=0.7, top_p=0.9, seed=1, top_k=5
    )
    assert sessions[0].asked == [("a", "be brief", None)]
    assert "loading base/model (template qwen)" in err


def test_the_prompt_may_come_from_stdin(sessions, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("line one\nline two\n"))
    lfwrap(capsys, "chat", "latest", "--prompt", "-")
    assert sessions[0].asked[0][0] == "line one\nline two"
    monkeypatch.setattr(sys, "stdin", io.StringIO("  \n"))
    code, _, err = lfwrap(capsys, "chat", "latest", "--prompt", "-")
    assert code == 2
    assert "--ask: empty" in err


def test_a_file_is_answered_in_order_as_lines_or_as_one_object(sessions, capsys, tmp_path):
    rows = [{"instruction": "a", "output": "the reference"}, {"instruction": "longer"}]
    file = tmp_path / "q.jsonl"
    file.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    _, out, err = lfwrap(capsys, "chat", "latest", "--file", str(file), "--batch-size", "3")
    lines = [json.loads(line) for line in out.splitlines()]
    assert [(line["id"], line["answer"], line.get("reference")) for line in lines] == [
        (0, "A", "the reference"),
        (1, "LONGER", None),
    ]
    assert sessions[0].batch_size == 3
    assert "2/2 answered" in err
    value = json.loads(lfwrap(capsys, "chat", "latest", "--file", str(file), "--json")[1])
    assert value == {"schema": "lfwrap.answers/1", "answers": lines}


def test_a_conversation_through_a_pipe(sessions, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n\n/system be brief\ntwo\n/exit\nthree\n"))
    code, out, err = lfwrap(capsys, "chat", "latest")
    assert (code, out) == (0, "ONE\nTWO\n")
    assert "/system TEXT   sets the system prompt" in err
    assert [asked[1] for asked in sessions[0].asked] == [None, "be brief"]


def test_a_conversation_ends_with_its_input(sessions, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", io.StringIO("one\n"))
    assert lfwrap(capsys, "chat", "latest")[:2] == (0, "ONE\n")


@pytest.fixture
def exported(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[tuple[Path, exporting.ExportOptions]]:
    """What `export_model` was asked for; the export it gives is made up."""
    asked = []
    target = SimpleNamespace(template="qwen", to_json=lambda: {"model": "base/model"})

    def stand_in(_engine: Any, _target: Any, out: Path, options: exporting.ExportOptions, say: Any):
        asked.append((out, options))
        say("merging")
        parity = ParityReport(options.dtype, "float32", "cpu", (ROW,), 1.0) if options.parity else None
        return exporting.Export(out, target, options.dtype, 3 << 20, ("config.json",), parity, ("a note",), 2.04)

    monkeypatch.setattr(export, "open_target", lambda *_: ("engine", target))
    monkeypatch.setattr(exporting, "export_model", stand_in)
    return asked


def test_export_gives_the_folder_on_stdout_and_the_comparison_on_stderr(exported, capsys):
    code, out, err = lfwrap(capsys, "export", "latest", "--out", "models/law")
    assert (code, out) == (0, "models/law\n")
    assert "1 of 1 greedy answers are the same token for token" in err
    assert "3.0 MiB of weights, merged as bfloat16 in 2 s" in err
    options = exporting.ExportOptions(dtype="bfloat16", shard_gb=5, device="cpu", questions=DEFAULT_QUESTIONS)
    assert exported == [(Path("models/law"), options)]


def test_export_as_json(exported, capsys):
    value = json.loads(lfwrap(capsys, "export", "latest", "--out", "m", "--json", "--dtype", "fp32")[1])
    assert value["schema"] == "lfwrap.export/1"
    assert value["parity"]["passed"] is True
    expected = {"out": "m", "dtype": "float32", "weights_bytes": 3 << 20, "notes": ["a note"], "seconds": 2.0}
    assert expected.items() <= value.items()
    assert value["source"] == {"model": "base/model"}


def test_export_options_reach_the_export(exported, capsys, tmp_path):
    questions = tmp_path / "q.txt"
    questions.write_text("one?\ntwo?\n", encoding="utf-8")
    options = ("--dtype", "fp16", "--shard-size", "2", "--device", "auto", "--questions", str(questions), "--force")
    lfwrap(capsys, "export", "latest", "--out", "m", *options)
    lfwrap(capsys, "export", "latest", "--out", "m", "--no-parity")
    assert exported[0][1] == exporting.ExportOptions(
        dtype="float16", shard_gb=2, device="auto", questions=("one?", "two?"), force=True
    )
    assert exported[1][1].parity is False
