"""Load data sets as the engine's training does, and say what became of them: a worker.

Reads one JSON object, a line of stdin: ``dataset_dir``, ``names``, ``template`` (or empty), ``tokenizer`` (a model's
folder or hub id, or null), ``cutoff_len`` and ``render``, how many rows to give back as the template renders them.
Writes one JSON line. Without a tokenizer only the engine's loader and converter are used; with one also its template,
whose tokens are counted and cut as `SupervisedDatasetProcessor` cuts them.
"""

from __future__ import annotations

import json
import re
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lfwrap_worker.channel import take_stdout, write_event
from lfwrap_worker.contract import EVENT_DONE, EncodeJob

ROLES = {"human": "user", "gpt": "assistant", "observation": "observation", "function_call": "function"}
CALL = re.compile(r"<tool_call>(.*?)</tool_call>", re.DOTALL)
THOUGHT = re.compile(r"^<think>\n.*?\n</think>\n\n", re.DOTALL)


def load_rows(job: EncodeJob, name: str, cache: str) -> list[dict[str, Any]]:
    """One data set as the engine's converter gives it."""
    from llamafactory.data.loader import _load_single_dataset
    from llamafactory.data.parser import get_dataset_list
    from llamafactory.hparams import DataArguments, ModelArguments

    [attributes] = get_dataset_list([name], job["dataset_dir"])
    data_arguments = DataArguments(dataset_dir=job["dataset_dir"], overwrite_cache=True)
    model_arguments = ModelArguments(model_name_or_path="none", cache_dir=cache)
    training_arguments = SimpleNamespace(local_process_index=0)
    return list(_load_single_dataset(attributes, model_arguments, data_arguments, training_arguments))


def expected_rows(job: EncodeJob, name: str) -> list[dict[str, Any]]:
    """The rows of a data set's file, as written."""
    with (Path(job["dataset_dir"]) / f"{name}.jsonl").open(encoding="utf-8") as source:
        return [json.loads(line) for line in source]


def same(row: dict[str, Any], written: dict[str, Any]) -> bool:
    """Whether the converter gave back every text and role."""
    turns = [{"role": ROLES[turn["from"]], "content": turn["value"]} for turn in written["conversations"]]
    found = [{"role": turn["role"], "content": turn["content"]} for turn in row["_prompt"] + row["_response"]]
    return found == turns and row["_system"] == written["system"] and row["_tools"] == written["tools"]


def calls_of(content: str) -> list[Any]:
    """The calls that a function_call turn holds: name and arguments."""
    content = THOUGHT.sub("", content)
    match = CALL.search(content)
    calls = json.loads(match.group(1) if match else content)
    return [[call["name"], call["arguments"]] for call in (calls if isinstance(calls, list) else [calls])]


def calls_come_back(template: Any, content: str) -> bool:
    """Whether the engine's extractor finds the calls that were written in the turn as it is rendered.

    The turn's end tokens are left out, as they are when an answer is decoded.
    """
    words = {"thought_words": template.thought_words, "tool_call_words": template.tool_call_words}
    slots = template.format_function.slots
    try:
        template.format_function.slots = ["{{content}}"]
        text = str(template.format_function.apply(content=content, **words)[0])
    finally:
        template.format_function.slots = slots
    try:
        found = template.extract_tool(text)
    except Exception:  # noqa: BLE001 - extractors fail in many ways on what they can't read
        return False
    if isinstance(found, str):
        return False
    return [[name, json.loads(arguments)] for name, arguments in found] == calls_of(content)


class Encoder:
    """The engine's tokenizer and template, and its way of cutting."""

    def __init__(self, job: EncodeJob) -> None:
        from llamafactory.data.processor.processor_utils import infer_seqlen
        from llamafactory.data.template import get_template_and_fix_tokenizer
        from llamafactory.hparams import DataArguments
        from transformers import AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(job["tokenizer"])
        arguments = DataArguments(template=job["template"] or None)
        self.template = get_template_and_fix_tokenizer(self.tokenizer, arguments)
        self.cutoff_len = job["cutoff_len"]
        self._infer_seqlen = infer_seqlen

    def pairs(self, row: dict[str, Any]) -> list[tuple[list[int], list[int]]]:
        """Token ids of what is read and of what is trained, turn by turn."""
        turns = row["_prompt"] + row["_response"]
        pairs: list[tuple[list[int], list[int]]] = self.template.encode_multiturn(
            self.tokenizer, turns, row["_system"], row["_tools"]
        )
        return pairs

    def count(self, row: dict[str, Any]) -> dict[str, Any]:
        """Tokens in total and supervised, and what the cut does to the row."""
        pairs = self.pairs(row)
        eos = 1 if self.template.efficient_eos else 0
        total, kept, cut = eos, 0, False
        for source, target in pairs:
            if total >= self.cutoff_len:
                cut = True
                break
            source_len, target_len = self._infer_seqlen(len(source), len(target), self.cutoff_len - total)
            cut = cut or source_len < len(source)
            total += source_len + target_len
            kept += target_len
        return {
            "tokens": sum(len(source) + len(target) for source, target in pairs) + eos,
            "supervised": sum(len(target) for _, target in pairs) + eos,
            "unsupervised_after_cut": kept == 0,
            "question_cut": cut,
        }

    def render(self, row: dict[str, Any]) -> list[list[Any]]:
        """Pieces of text, each with whether it is trained."""
        return [
            [self.tokenizer.decode(ids), trained]
            for pair in self.pairs(row)
            for ids, trained in zip(pair, (False, True), strict=True)
        ]


def check_set(job: EncodeJob, name: str, encoder: Encoder | None, template: Any, cache: str) -> dict[str, Any]:
    """Everything about one data set; row numbers count from 1."""
    rows, written = load_rows(job, name, cache), expected_rows(job, name)
    dropped = [number for number, row in enumerate(rows, 1) if not row["_response"]]
    different = [
        number
        for number, (row, expected) in enumerate(zip(rows, written, strict=False), 1)
        if row["_response"] and not same(row, expected)
    ]
    unread = [
        number
        for number, row in enumerate(rows, 1)
        if template is not None
        and not all(
            calls_come_back(template, turn["content"])
            for turn in row["_prompt"] + row["_response"]
            if turn["role"] == "function"
        )
    ]
    result: dict[str, Any] = {
        "name": name,
        "rows_written": len(written),
        "rows_loaded": len(rows),
        "dropped": dropped,
        "different": different,
        "calls_unread": unread,
    }
    if encoder is not None:
        result["counts"] = [encoder.count(row) for row in rows if row["_response"]]
        result["rendered"] = [encoder.render(row) for row in rows[: job["render"]]]
    return result


def main() -> None:
    """Answer the job on stdin's first line."""
    channel = take_stdout()
    job: EncodeJob = json.loads(sys.stdin.readline())
    encoder = Encoder(job) if job["tokenizer"] else None
    template = encoder.template if encoder else None
    if template is None and job["template"]:
        from llamafactory.data.template import TEMPLATES

        template = TEMPLATES[job["template"]]
    with tempfile.TemporaryDirectory() as cache:
        sets = [check_set(job, name, encoder, template, cache) for name in job["names"]]
    write_event(channel, {"event": EVENT_DONE, "sets": sets})
