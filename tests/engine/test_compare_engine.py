"""compare, chat with a server's tools, and notebooks with the real engine: a tiny model, strong random adapters."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from lfwrap import load_run
from lfwrap.engine import arguments
from lfwrap.engine.contract import GenerationSettings
from lfwrap.engine.facts import load_engine_facts
from lfwrap.engine.locate import locate_engine
from lfwrap.errors import EngineError
from lfwrap.inference.questions import ask
from lfwrap.inference.session import AnswerSession
from lfwrap.inference.target import resolve_target

pytestmark = pytest.mark.engine

LFWRAP = [sys.executable, "-m", "lfwrap"]
SERVER = Path(__file__).parents[1] / "process" / "mcp_calling_server.py"
TEXTS = ["Hi", "What is a lien, and why?", "羊驼属于哪一类？", "x" * 300, "One more question.", "?"]


@pytest.fixture(scope="module")
def adapters(tiny_model, tmp_path_factory) -> list[Path]:
    """Two adapters on one base."""
    root = tmp_path_factory.mktemp("adapters")
    script = Path(__file__).with_name("make_adapter.py")
    making = [
        subprocess.Popen([sys.executable, script, tiny_model, root / f"a{seed}", str(seed)], stderr=subprocess.DEVNULL)
        for seed in (1, 2)
    ]
    assert [process.wait(120) for process in making] == [0, 0]
    return [root / "a1", root / "a2"]


def lfwrap(*arguments: object, cwd: Path, **options) -> subprocess.CompletedProcess[str]:
    command = [*LFWRAP, *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=120, check=True, **options)


def test_compare_loads_once_and_goes_on_where_it_was_broken_off(adapters, tmp_path):
    questions = tmp_path / "q.jsonl"
    rows = [{"question": text, "answer": "An answer.", "must_contain": ["e"]} for text in TEXTS]
    questions.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    arguments = ["compare", f"first={adapters[0]}", adapters[1], "--template", "qwen", "--questions", questions,
                 "--max-new-tokens", 12, "--batch-size", 2, "--out", "out"]  # fmt: skip
    report = json.loads(lfwrap(*arguments, "--json", cwd=tmp_path).stdout)
    assert [target["name"] for target in report["targets"]] == ["base", "first", "a2"]
    texts = [[row["answers"][name]["text"] for row in report["rows"]] for name in ("base", "first", "a2")]
    assert texts[0] != texts[1] != texts[2]

    kept = (tmp_path / "out" / "answers" / "first.jsonl").read_bytes().splitlines(keepends=True)
    (tmp_path / "out" / "answers" / "first.jsonl").write_bytes(b"".join(kept[:3]) + kept[3][:20])
    again = lfwrap(*arguments, cwd=tmp_path)
    assert "first: 2 of 6 answers were there already" in again.stderr
    assert again.stdout.strip() == "out/report.html"
    assert again.stderr.count("loading") == 1
    second = json.loads((tmp_path / "out" / "report.json").read_bytes())
    assert [row["answers"]["first"]["text"] for row in second["rows"]] == texts[1]
    assert {path.name for path in (tmp_path / "out").iterdir()} >= {"report.html", "report.md", "report.csv"}


def test_an_adapter_answers_to_the_last_bit_as_alone_whatever_stands_beside_it(tiny_model, tmp_path):
    """On a bf16 base, as a GPU has it: other ranks and layers, DoRA, whole layers saved, in any order."""
    script = Path(__file__).with_name("neighbours_worker.py")
    worker = arguments.FOLDER
    done = subprocess.run(
        [sys.executable, script, worker, tiny_model, tmp_path], capture_output=True, text=True, check=True, timeout=120
    )
    found = json.loads(done.stdout.splitlines()[-1])
    assert found == {"changed": [], "distinct": 8, "dtype": "bfloat16"}


def test_an_adapter_of_a_base_with_more_layers_is_refused_and_the_rest_stays(adapters, tiny_model, tmp_path):
    """Every layer that is there fits: without a look at the names it would answer, wrongly."""
    fewer = shutil.copytree(tiny_model, tmp_path / "fewer")
    config = json.loads((fewer / "config.json").read_bytes())
    (fewer / "config.json").write_text(json.dumps(config | {"num_hidden_layers": 3, "layer_types": None}))
    target = resolve_target(str(fewer), load_engine_facts(), template="qwen")
    with AnswerSession(locate_engine(), target) as session:
        answer = session.answer(ask("Hi", number=0), None).text
        with pytest.raises(EngineError, match=r"a1: trained on another base: 14 of its tensors .*layers\.3\."):
            session.attach("a1", adapters[0])
        wider = shutil.copytree(adapters[0], tmp_path / "wider")
        (wider / "adapter_config.json").write_text(
            (wider / "adapter_config.json").read_text().replace('"r": 8', '"r": 9')
        )
        with pytest.raises(EngineError, match=r"wider: trained on another base: .*lora_[AB].*shape") as caught:
            session.attach("wider", wider)
        assert "Resume" not in caught.value.hint
        assert session.answer(ask("Hi", number=0), None).text == answer


def test_a_batch_answers_as_one_by_one_also_when_it_samples(adapters):
    """Greedy in fp32: the same tokens. Sampled: an answer depends on seed and question, not on its neighbours."""
    target = resolve_target(str(adapters[0]), load_engine_facts(), template="qwen")
    questions = [ask(text, number=number) for number, text in enumerate(TEXTS)]
    with AnswerSession(locate_engine(), target) as session:
        for settings in (GenerationSettings(16), GenerationSettings(16, 1.5, 0.95, 7, 40)):
            session.settings = settings
            alone = {question.id: session.answer(question, "tuned").text for question in questions}
            for size in (2, 6):
                together = session.answer_all(questions, "tuned", batch_size=size)
                assert {answer.id: answer.text for answer in together} == alone
        session.settings = GenerationSettings(16, 1.5, 1.0, 8)
        assert session.answer(questions[0], "tuned").text != alone[0]
        session.attach("other", adapters[1])
        session.settings = GenerationSettings(16)
        assert session.answer(questions[0], "other").text != session.answer(questions[0], "tuned").text


def test_calls_are_read_in_the_templates_own_format(tiny_model):
    """What the worker makes of text that a model could have written, by the engine's own readers."""
    script = (
        "import sys, json; sys.path.insert(0, sys.argv[1])\n"
        "from lfwrap_worker.inference.engine_model import EngineModel\n"
        "found = {}\n"
        "for template, text in json.loads(sys.argv[3]).items():\n"
        "    model = EngineModel({'model_name_or_path': sys.argv[2], 'template': template}, {})\n"
        "    found[template] = model.calls(model.tokenizer.encode(text, add_special_tokens=False))\n"
        "print('\\n' + json.dumps(found))"
    )
    texts = {
        "qwen": '<tool_call>\n{"name": "add", "arguments": {"a": 1}}\n</tool_call>',
        "default": 'Action: add\nAction Input: {"a": 1}',
        "llama3": '{"name": "add", "parameters": {"a": 1}}',
        "mistral": "no call at all",
    }  # fmt: skip
    worker = arguments.FOLDER
    command = [sys.executable, "-c", script, str(worker), str(tiny_model), json.dumps(texts)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    call = [{"name": "add", "arguments": {"a": 1}}]
    assert json.loads(done.stdout.splitlines()[-1]) == {"qwen": call, "default": call, "llama3": call, "mistral": []}


def test_chat_offers_a_servers_tools_and_switches_adapters(adapters, tmp_path):
    lines = "Hi\n/adapter a2\nHi\n/base\nHi\n/exit\n"
    server = shlex.join([sys.executable, str(SERVER)])
    done = lfwrap("chat", adapters[0], "--adapter", adapters[1], "--template", "qwen", "--mcp-server", server,
                  "--max-new-tokens", 8, cwd=tmp_path, input=lines)  # fmt: skip
    assert "tools of the server: add, fail, exit" in done.stderr
    assert "a2 answers." in done.stderr
    assert "The base model answers." in done.stderr
    assert done.stdout.strip()


def test_a_run_in_a_notebook(adapters):
    with load_run(adapters[0], template="qwen", max_new_tokens=8) as run:
        one = run.generate("Hi")
        assert run.generate_batch(["Hi", "What?"])[0] == one == "".join(run.stream("Hi"))
        assert run.generate("Hi", base=True) != one
        chat = run.chat(system="Be brief.")
        chat("Hi")
        chat("And?")
        assert [turn["role"] for turn in chat.history] == ["user", "assistant"] * 2
        pid = run._session.pid
    with pytest.raises(ProcessLookupError):
        os.kill(pid, signal.SIG_DFL)
