"""`lfwrap serve` with the real engine, asked by the real openai client; and nothing of it left after a signal."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

openai = pytest.importorskip("openai")
pytestmark = [pytest.mark.engine, pytest.mark.timeout(600)]
KEY = "a key of the tests"
ASK = {"role": "user", "content": "Hi"}
TOOL = {"type": "function", "function": {"name": "get_weather", "parameters": {"type": "object", "properties": {}}}}


def _start(adapter: Path, *options: str) -> tuple[subprocess.Popen, dict]:
    command = [sys.executable, "-m", "lfwrap", "serve", str(adapter), "--template", "qwen", "--port", "0", "--json"]
    process = subprocess.Popen(
        [*command, *options],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"LFWRAP_API_KEY": KEY},
    )
    lines = []
    for line in process.stdout:
        lines.append(line)
        if line == "}\n":
            break
    return process, json.loads("".join(lines))


@pytest.fixture(scope="module")
def adapter(tiny_model, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("adapter") / "law"
    command = [sys.executable, Path(__file__).with_name("make_adapter.py"), tiny_model, out, "1"]
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return out


@pytest.fixture(scope="module")
def server(adapter):
    process, ready = _start(adapter, "--parity")
    children = psutil.Process(process.pid).children(recursive=True)
    yield ready
    process.send_signal(signal.SIGTERM)
    errors = process.communicate(timeout=60)[1]
    assert process.returncode == 143, errors
    assert psutil.wait_procs(children, timeout=20)[1] == []


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server["address"], api_key=KEY, max_retries=0)


def test_it_answers_over_http_as_base_and_adapter(server):
    assert server["parity"] == {"passed": True, "same_answers": 3, "questions": 3}
    assert server["address"].startswith("http://127.0.0.1:")
    assert "api_key" not in server


def test_answers_and_streams_say_the_same(client, server):
    assert [model.id for model in client.models.list()] == ["law"]
    wish = {"model": server["model"], "messages": [ASK], "temperature": 0, "max_completion_tokens": 8}
    whole = client.chat.completions.create(**wish, presence_penalty=0)
    assert (whole.usage.completion_tokens, whole.choices[0].finish_reason) == (8, "length")
    pieces = [chunk.choices[0].delta.content or "" for chunk in client.chat.completions.create(**wish, stream=True)]
    assert len(pieces) > 2
    assert "".join(pieces) == whole.choices[0].message.content


def test_calls_and_results_reach_the_prompt_as_in_training(client):
    """Two calls and their results; the prompt is as long as the engine's template makes it."""
    calls = [
        {"id": name, "type": "function", "function": {"name": "get_weather", "arguments": '{"city": "北京"}'}}
        for name in ("1", "2")
    ]
    results = [{"role": "tool", "tool_call_id": name, "content": "21"} for name in ("1", "2")]
    messages = [ASK, {"role": "assistant", "content": None, "tool_calls": calls}, *results]
    wish = {"model": "law", "messages": messages, "tools": [TOOL], "temperature": 0, "max_tokens": 4}
    whole = client.chat.completions.create(**wish)
    # In JSON text the arguments would be escaped: two more backslashes a quote, and longer by eight tokens a call.
    plain = client.chat.completions.create(**{**wish, "messages": [ASK]})
    said = (
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call>\n'
        '<tool_call>\n{"name": "get_weather", "arguments": {"city": "北京"}}\n</tool_call><|im_end|>\n'
        "<|im_start|>user\n<tool_response>\n21\n</tool_response>\n<tool_response>\n21\n</tool_response><|im_end|>\n"
        "<|im_start|>assistant\n"
    )  # fmt: skip
    special = said.count("<|im_start|>") + said.count("<|im_end|>")
    letters = len(said.replace("<|im_start|>", "").replace("<|im_end|>", "").encode())
    assert whole.usage.prompt_tokens - plain.usage.prompt_tokens == letters + special
    reminded = client.chat.completions.create(
        **{**wish, "messages": [*messages, {"role": "user", "content": "Brief!"}]}
    )
    # A turn of its own, which ends as the results' turn did: nothing else is said twice.
    more = "<|im_start|>user\nBrief!<|im_end|>\n"
    assert reminded.usage.prompt_tokens - whole.usage.prompt_tokens == 2 + len(more) - len("<|im_start|><|im_end|>")
    *_, last = client.chat.completions.create(**wish, stream=True)
    assert last.choices[0].finish_reason == whole.choices[0].finish_reason


def test_the_wrong_key_and_local_files_are_refused(client, server):
    with pytest.raises(openai.AuthenticationError):
        openai.OpenAI(base_url=server["address"], api_key="wrong", max_retries=0).models.list()
    picture = {"type": "image_url", "image_url": {"url": "/etc/passwd"}}
    with pytest.raises(openai.PermissionDeniedError):
        client.chat.completions.create(model="law", messages=[{"role": "user", "content": [picture]}])


@pytest.mark.parametrize("body", [{"messages": []}, {"messages": [{"role": "assistant", "content": "x"}]}])
def test_a_broken_request_is_a_400_and_the_server_goes_on(client, body):
    with pytest.raises(openai.BadRequestError):
        client.chat.completions.create(model="law", **body)
    assert client.models.list().data


def test_nothing_outlives_a_killed_lfwrap(adapter):
    process, _ = _start(adapter)
    children = psutil.Process(process.pid).children(recursive=True)
    assert children
    process.kill()
    process.communicate(timeout=30)
    assert psutil.wait_procs(children, timeout=20)[1] == []
