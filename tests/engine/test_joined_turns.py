"""A user's words after a result: what the engine reads is what chat templates write, to the token, and not trained.

The chat templates here are small ones with the structure of the models' own. Published ones are compared, too, where
LFWRAP_CHAT_TEMPLATES names a folder of them: files ``TEMPLATE@NAME.jinja``, or folders ``TEMPLATE@NAME`` with a
tokenizer, TEMPLATE being the engine's name for it.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from lfwrap.data.convert.record_path import Conversion, convert_record
from lfwrap.data.formats.base import ConvertOptions, RowNotes
from lfwrap.engine.chat_templates import ObservationStyle, chat_template
from lfwrap.engine.joined_turns import JOINED_TURNS

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(600),
    pytest.mark.skipif(importlib.util.find_spec("llamafactory") is None, reason="the engine is not installed"),
]

HERE = Path(__file__).parent
PUBLISHED = os.environ.get("LFWRAP_CHAT_TEMPLATES", "")
TOOL = {
    "type": "function",
    "function": {
        "name": "berths",
        "description": "Free berths of a port",
        "parameters": {"type": "object", "properties": {"port": {"type": "string", "description": "Its name"}}},
    },
}

_ROLE_NAMED = (
    "{{% for turn in messages %}}{{{{ '{before}' + turn['role'] + '{after}' + (turn['content'] or '') + '{end}' }}}}"
    "{{% endfor %}}{{% if add_generation_prompt %}}{{{{ '{before}assistant{after}' }}}}{{% endif %}}"
)
CHATML = _ROLE_NAMED.format(before="<|im_start|>", after="\\n", end="<|im_end|>\\n")
GLM = _ROLE_NAMED.format(before="<|", after="|>\\n", end="").replace("assistant|>\\n'", "assistant|>'")
LLAMA3 = _ROLE_NAMED.format(before="<|start_header_id|>", after="<|end_header_id|>\\n\\n", end="<|eot_id|>")
LLAMA4 = _ROLE_NAMED.format(before="<|header_start|>", after="<|header_end|>\\n\\n", end="<|eot|>")
QWEN = (
    "{% for message in messages %}{% if message['role'] == 'tool' %}"
    "{% if messages[loop.index0 - 1]['role'] != 'tool' %}{{ '<|im_start|>user' }}{% endif %}"
    "{{ '\\n<tool_response>\\n' + message['content'] + '\\n</tool_response>' }}"
    "{% if loop.last or messages[loop.index0 + 1]['role'] != 'tool' %}{{ '<|im_end|>\\n' }}{% endif %}"
    "{% else %}{{ '<|im_start|>' + message['role'] + '\\n' + (message['content'] or '') + '<|im_end|>\\n' }}{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
OWN = {"chatml": CHATML, "cpm4": CHATML, "falcon_h1": CHATML, "glm4": GLM, "llama3": LLAMA3, "mllama": LLAMA3,
       "llama4": LLAMA4}  # fmt: skip

SAID = ("And in Moss?", "Nur heute, bitte 🙏\n\n  zwei Zeilen ", "<system-reminder>\nBe brief.\n</system-reminder>")
RESULT = '{"free": 2, "Hafen": "Børgen"}'


def record(said: str | None, count: int = 1) -> dict[str, Any]:
    calls = [
        {"id": f"call0000{number}", "type": "function", "function": {"name": "berths", "arguments": {"port": "Moss"}}}
        for number in range(count)
    ]
    results = [
        {"role": "tool", "name": "berths", "tool_call_id": call["id"], "content": f"{RESULT} {number}"}
        for number, call in enumerate(calls)
    ]
    said_then = [{"role": "user", "content": said}] if said is not None else []
    return {
        "messages": [
            {"role": "user", "content": "Free berths?"},
            {"role": "assistant", "content": "", "tool_calls": calls},
            *results,
            *said_then,
            {"role": "assistant", "content": "Two of them."},
        ],
        "tools": [TOOL],
    }


def job(template: str, said: str | None, *, count: int = 1, text: str = "", tokenizer: str = "") -> dict[str, Any]:
    given = record(said, count)
    line, _ = convert_record(given, Conversion("openai", ConvertOptions(), template), RowNotes())
    conversation = {"messages": given["messages"], "tools": given["tools"]}
    return {
        "template": template,
        "row": json.loads(line),
        "chat_template": text,
        "tokenizer": tokenizer,
        **conversation,
    }


def judged(jobs: list[dict[str, Any]], folder: Path) -> list[dict[str, Any]]:
    (folder / "jobs.json").write_text(json.dumps(jobs), encoding="utf-8")
    files = [str(folder / "jobs.json"), str(folder / "out.json")]
    command = [sys.executable, str(HERE / "judge_joined_turns.py"), *files]
    done = subprocess.run(command, capture_output=True, text=True, timeout=500, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: list[dict[str, Any]] = json.loads((folder / "out.json").read_text(encoding="utf-8"))
    return found


@pytest.fixture(scope="module")
def own(tmp_path_factory) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """(job, judgement) of every template with a form, each with several texts; of several results where they join."""
    jobs = [job(name, said, text=OWN.get(name, QWEN)) for name in JOINED_TURNS for said in (None, *SAID)]
    joining = [name for name in JOINED_TURNS if chat_template(name).observation is ObservationStyle.JOIN]
    jobs += [job(name, SAID[0], count=3, text=QWEN) for name in joining]
    return list(zip(jobs, judged(jobs, tmp_path_factory.mktemp("own")), strict=True))


def test_what_the_engine_reads_is_what_a_chat_template_writes(own):
    for given, found in own:
        assert not found["dropped"], given["template"]
        assert found["same_text"], (given["template"], found)
        assert found["same_tokens"], (given["template"], found)
        assert len(set(found["tokens"])) == 1


def test_result_and_words_are_read_and_the_answers_trained(own):
    for given, found in own:
        said = given["messages"][-2]["content"]
        assert RESULT in found["read"]
        assert said in found["read"]
        assert found["trained_in_turn"] == ""
        assert "Two of them." in found["trained"]
        assert '"Moss"' in found["trained"] or "Moss" in found["trained"]
        assert RESULT not in found["trained"]
        assert said not in found["trained"]


def published() -> list[tuple[str, Path]]:
    found = sorted(Path(PUBLISHED).iterdir()) if PUBLISHED else []
    return [(path.name.partition("@")[0], path) for path in found if "@" in path.name]


@pytest.mark.skipif(not PUBLISHED, reason="LFWRAP_CHAT_TEMPLATES names no folder of published chat templates")
def test_published_chat_templates_write_what_the_engine_reads(tmp_path):
    """All that lie there for templates with a form; results that a template quotes as JSON are compared unquoted."""
    jobs, names = [], []
    for name, path in published():
        if name in JOINED_TURNS:
            text = "" if path.is_dir() else unquoted(path.read_text(encoding="utf-8"))
            folder = str(path) if path.is_dir() else ""
            jobs += [job(name, said, text=text, tokenizer=folder) for said in (None, SAID[0], SAID[2])]
            names += [path.name] * 3
    assert jobs
    found = judged(jobs, tmp_path)
    wrong = {
        name: (result["read"], result["rendered"])
        for name, result in zip(names, found, strict=True)
        if not (result["same_text"] and result["same_tokens"])
    }
    assert wrong == {}


def unquoted(text: str) -> str:
    return text.replace("{{- message.content | tojson }}", "{{- message.content }}")
