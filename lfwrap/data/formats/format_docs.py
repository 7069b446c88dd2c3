"""The documentation page of the input formats, made from what the formats say about themselves."""

from __future__ import annotations

import json

from lfwrap.data.formats import FORMATS

DOCS_PAGE = "docs/reference/data-formats.md"

_INTRODUCTION = """\
# Data formats

What `lfwrap prepare-data` reads. A file's format is detected in a sample of its rows, and shown with the reason;
`--format NAME` overrides it. CSV, TSV, XLSX, Parquet and Arrow [tables](../how-to/tables.md) are read as Alpaca by
their column names, unless they hold conversations.

Every format becomes the same conversation, and is then written in the one shape that every LLaMA-Factory
template takes: `conversations` (from/value texts), `system` and `tools`, all of them text. [Data
rules](data-rules.md) says what rejects a row.

## What happens on the way

- Call arguments become an object: text is parsed as JSON (twice if it was encoded twice), nothing becomes `{}`.
  A Python literal is read in Toucan's SFT set only.
- A number that the source spells otherwise than Python (`12.50`, `1E5`) keeps its value and is written as the
  engine writes it (12.5, 100000.0): `number-respelled`.
- Tools are unwrapped; `inputSchema` and `input_schema` become `parameters`; titles, icons, annotations, output
  schemas and metadata are not used; Python's type names become JSON Schema's, inside of schemas.
- MCP results become text: text parts joined by line breaks, or else `structuredContent` as JSON. Failures are
  written as `Error: …`. Images and sound become a placeholder and a warning.
- Fragments of one assistant turn are merged; results are put into the order of their calls by id, without ids
  by position where counts and names agree; turns after the assistant's last one are cut.
- JSON results lose their `\\u` escapes, for the engine would train on them.

Each of these is counted by its kind: [repairs](data-report.md#repairs) lists them. What the source holds besides is
named by its field, and not used: see [what lfwrap does with fields it does not know](../explanation/fields.md).

## What depends on the template

`--template NAME` (or `--model`) writes rows for one template. Several results of one turn become one
observation: joined by `</tool_response>` marks where the template wraps observations in them (Qwen and
its relatives), a JSON list of `name` and `content` elsewhere, always a JSON value for Mistral's. Without a template the
JSON list is written. A call beside text is `text`, a line break, and the call in the template's own marks. What
a template can't say (parallel calls with glm4, text beside a call with mistral) rejects the row. What each
template can say was measured with the engine (by the worker `template_facts`) and is held to it by a test.

The engine has no place for a user's words right after a result. Where one of its turns can hold both, so that the
model reads what its own chat template would write, that turn is written, counted as `user-after-result-joined`: for
ChatML an observation of the result, `<|im_end|>`, `<|im_start|>user` and the words; for Qwen a user's turn, which
its own template writes results into. Neither is trained; the answer after it is. Mistral's and Gemma's own
templates refuse such turns, GLM's since 4.5 and DeepSeek's write results otherwise than the engine, and LFM2's and
MiniMax's close a result with marks that the engine would write after the user's words: their rows are rejected by
`user-after-result`, and so are rows that no template is named for.

## MCP logs

A session (JSON-RPC messages, bare, in records or behind the prefix of a client's log) gives tools and pairs of
calls and results, of every protocol version from 2024-11-05 to 2026-07-28. What the user asked is not in it: give
it with `--instructions FILE`, JSON lines of

    {"session": "weather", "ids": [2, 3], "instruction": "Is it warmer in Rome or in Oslo?", "final_response": "Rome."}

`session` is the server's name in the log and may be left out; so may `id` or `ids`: then the next call in the
log is meant. Calls that overlap in time are made in one turn. What a client cut, what is broken and what could be
two calls' is rejected by name. A log is also a tools file for `--tools`.
[From MCP logs to a tuned model](../how-to/mcp-logs.md) shows what logs may look like.

## Tools files

`--tools FILE` or a folder of them: lists of tools, `tools/list` results, lists of such results, JSON-RPC
replies, wire logs. Of two different tools with one name neither is offered. `--distractors N` adds N other
tools to every row that the tools are looked up for, drawn with a seed made of the row itself. `--mcp-server
"command args"` asks a live server, started with a minimal environment; pass what it needs as `env NAME=VALUE
command args`.

## The formats
"""


def render_formats() -> str:
    """The documentation page of all formats, as Markdown."""
    parts = [_INTRODUCTION]
    for known in FORMATS.values():
        example = json.loads(known.example)
        reason = known.evidence(example)
        parts.append(
            f"\n### {known.name}\n\n{known.description}.\n\nRecognised by: {reason}.\n\n```json\n{known.example}\n```\n"
        )
    return "".join(parts)
