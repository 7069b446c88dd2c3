"""MCP logs through the whole preparation: encodings, long beginnings, several logs with one file of instructions."""

from __future__ import annotations

import json

import pytest

from lfwrap.data.prepare import prepare
from lfwrap.data.request import ConvertOptions, Request

TOOL = {"name": "get", "inputSchema": {"type": "object"}}


def log_of(server, city, said):
    def line(sender, message):
        body = json.dumps({"jsonrpc": "2.0", **message}, ensure_ascii=False)
        return f"2026-02-03T04:05:06.007Z [{server}] [info] Message from {sender}: {body} {{ metadata: undefined }}\n"

    called = {"name": "get", "arguments": {"city": city}}
    return "".join(
        [
            line("client", {"id": 1, "method": "tools/list"}),
            line("server", {"id": 1, "result": {"tools": [TOOL]}}),
            line("client", {"id": 2, "method": "tools/call", "params": called}),
            line("server", {"id": 2, "result": {"content": [{"type": "text", "text": said}]}}),
        ]
    )


def prepared(folder, logs, instructions):
    (folder / "logs").mkdir()
    for name, content in logs.items():
        (folder / "logs" / name).write_bytes(content)
    wanted = folder / "asked.jsonl"
    wanted.write_text("\n".join(map(json.dumps, instructions)), encoding="utf-8")
    options = ConvertOptions(instructions=wanted)
    report = prepare(Request((str(folder / "logs"),), folder / "out", "x", options=options, jobs=1))
    rows = [json.loads(line) for line in (folder / "out" / "x.jsonl").read_text(encoding="utf-8").splitlines()]
    return report, [[turn["value"] for turn in row["conversations"]] for row in rows]


def texts(rows):
    return sorted((row[0], row[2], row[-1]) for row in rows)


@pytest.mark.parametrize("noise", [0, 9000])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "gb18030"])
def test_a_log_in_any_encoding_after_a_long_beginning(tmp_path, encoding, noise):
    text = "npm warn deprecated a-package\n" * noise + log_of("weather", "北京", "今天晴，微风，二十度")
    asked = [{"session": "weather", "id": 2, "instruction": "天气?", "final_response": "晴。"}]
    report, rows = prepared(tmp_path, {"w.log": text.encode(encoding)}, asked)
    assert report.files[0].format == "mcp-wire"
    assert texts(rows) == [("天气?", "今天晴，微风，二十度", "晴。")]


def test_each_instruction_goes_to_its_own_log(tmp_path):
    logs = {f"mcp-server-{name}.log": log_of(name, name, f"in {name}").encode() for name in "abc"}
    logs["mcp.log"] = b"".join(logs.values())
    asked = [{"session": name, "id": 2, "instruction": f"{name}?", "final_response": name} for name in "cab"]
    report, rows = prepared(tmp_path, logs, asked)
    assert (report.rows_in, report.rejected) == (3, 0)
    assert texts(rows) == [(f"{name}?", f"in {name}", name) for name in "abc"]


def test_an_instruction_that_no_log_can_use_is_rejected_once(tmp_path):
    logs = {f"{name}.log": log_of(name, name, f"in {name}").encode() for name in "ab"}
    asked = [{"session": "a", "id": 2, "instruction": "a?", "answer": "A"}]
    asked.append({"session": "z", "id": 2, "instruction": "z?"})
    report, rows = prepared(tmp_path, logs, asked)
    assert texts(rows) == [("a?", "in a", "A")]
    assert dict(report.rejects) == {"unmatched-result": 1, "needs-instructions": 1}
