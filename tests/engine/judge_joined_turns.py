"""Hold joined turns against chat templates: judge_joined_turns.py JOBS OUT, both JSON; runs in the engine's Python.

JOBS is a list of ``{"template", "row", "messages", "tools", "chat_template", "tokenizer"}``: a row for the engine, the
same conversation as chat templates take it, and a chat template with a tokenizer, or the folder of one that has both.
OUT holds for each how the engine reads the turn after the call, whether a rendering of the chat template up to the
answer ends with it, as text and as tokens, and what of the row is trained.
"""

from __future__ import annotations

import copy
import itertools
import json
import logging
import re
import sys
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

from jinja2.exceptions import TemplateError
from llamafactory.data.converter import SharegptDatasetConverter
from llamafactory.data.parser import DatasetAttr
from llamafactory.data.processor.supervised import SupervisedDatasetProcessor
from llamafactory.data.template import TEMPLATES, get_template_and_fix_tokenizer
from llamafactory.hparams import DataArguments
from render_rows import byte_tokenizer, dataset_attr
from transformers import AutoTokenizer

MARKS = re.compile(r"<\|[^|<>]{1,40}\|>|</?[a-z_]+>|\[gMASK\]|<sop>")
# How the role of a result is called, and what an answer may begin with that is no part of the question.
ROLES = ("tool", "ipython", "observation")
THOUGHTS = ("", "<think>\n", "<think>\n\n</think>\n\n", "\n")
IGNORED = -100


def tokenizer_of(job: dict[str, Any]) -> Any:
    if job["tokenizer"]:
        return AutoTokenizer.from_pretrained(job["tokenizer"])
    tokenizer = byte_tokenizer()
    tokenizer.add_tokens(sorted(set(MARKS.findall(repr(TEMPLATES[job["template"]])))), special_tokens=True)
    return tokenizer


def renderings(job: dict[str, Any], tokenizer: Any) -> list[str]:
    """What the chat template writes before the answer, in each way of naming a result and giving arguments."""
    found = []
    for role, as_text, tools in itertools.product(ROLES, (False, True), (job["tools"], None)):
        messages = copy.deepcopy(job["messages"])[:-1]
        for message in messages:
            message["role"] = role if message["role"] == "tool" else message["role"]
            for call in message.get("tool_calls", ()):
                if as_text:
                    call["function"]["arguments"] = json.dumps(call["function"]["arguments"])
        more = {"chat_template": job["chat_template"]} if job["chat_template"] else {}
        if tokenizer.bos_token is None:
            more["bos_token"] = ""
        try:
            text = tokenizer.apply_chat_template(
                messages, tools=tools, tokenize=False, add_generation_prompt=True, **more
            )
        except (TemplateError, TypeError, ValueError):
            continue
        found += [text.removesuffix(thought) for thought in THOUGHTS if text.endswith(thought)]
    return found


def judge(job: dict[str, Any]) -> dict[str, Any]:
    tokenizer = tokenizer_of(job)
    arguments = DataArguments(template=job["template"], cutoff_len=1 << 20)
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    attributes: DatasetAttr = dataset_attr()
    example = SharegptDatasetConverter(attributes, arguments)(job["row"])
    turns = example["_prompt"] + example["_response"]
    if not turns:
        return {"dropped": True}
    pairs = template.encode_multiturn(tokenizer, turns, example["_system"], example["_tools"])
    source = list(pairs[1][0])
    read = tokenizer.decode(source)
    texts = renderings(job, tokenizer)
    # Templates for images want something that would read them.
    processor = SupervisedDatasetProcessor(template, tokenizer, MagicMock(), arguments)
    parts = (example["_prompt"], example["_response"], example["_system"], example["_tools"])
    ids, labels = processor._encode_data_example(*parts, [], [], [])
    trained = [label for label in labels if label != IGNORED]
    start = len(pairs[0][0]) + len(pairs[0][1])
    own = labels[start : start + len(source)]
    return {
        "dropped": False,
        "read": read,
        "rendered": texts[:1],
        "same_text": any(text.endswith(read) for text in texts),
        "same_tokens": any(
            tokenizer.encode(text, add_special_tokens=False)[-len(source) :] == source for text in texts
        ),
        "trained": tokenizer.decode(trained),
        "trained_in_turn": tokenizer.decode([label for label in own[1:] if label != IGNORED]),
        "tokens": [len(ids), len(labels)],
    }


def main(source: str, target: str) -> None:
    logging.disable(logging.WARNING)
    jobs = json.loads(Path(source).read_text(encoding="utf-8"))
    Path(target).write_text(json.dumps([judge(job) for job in jobs]), encoding="utf-8")


if __name__ == "__main__":
    main(*sys.argv[1:])
