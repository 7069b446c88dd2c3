"""Load data sets as the engine's training does, and say what became of them: a worker.

Reads one JSON object, a line of stdin: ``dataset_dir``, ``names``, ``template`` (or empty), ``tokenizer`` (a model's
folder or hub id, or null), ``cutoff_len`` and ``render``, how many rows to give back as the template renders them.
Writes one JSON line. Without a tokenizer only the engine's loader and converter are used; with one also its template,
whose tokens are counted and cut as `SupervisedDatasetProcessor` cuts them.
"""

from __future__ import annotations

import json
import sys
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from lfwrap_worker.channel import take_stdout, write_event
from lfwrap_worker.contract import EVENT_DONE, EncodeJob
from lfwrap_worker.data.read_back import (
    CallReader,
    OwnFaultError,
    RefusedError,
    Verdict,
    blaming,
    in_words,
    is_own_fault,
)

ROLES = {"human": "user", "gpt": "assistant", "observation": "observation", "function_call": "function"}


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


class RowFindings:
    """What is found about the rows of one data set; row numbers count from 1."""

    def __init__(self, encoder: Encoder | None, reader: CallReader | None) -> None:
        self.encoder = encoder
        self.reader = reader
        self.numbers: dict[str, list[int]] = {"dropped": [], "different": [], "calls_unread": []}
        self.errors: dict[str, list[tuple[int, str]]] = {"refused": [], "parser_errors": [], "own_faults": []}
        self.counts: list[dict[str, Any] | None] = []

    def look_at(self, number: int, row: dict[str, Any], written: dict[str, Any]) -> None:
        """Find out what becomes of a row, whatever goes wrong with it."""
        self.counts.append(None)
        try:
            with blaming():
                self._look_at(number, row, written)
        except RefusedError as error:
            self.errors["refused"].append((number, str(error)))
        except OwnFaultError as error:
            self.errors["own_faults"].append((number, str(error)))

    def _look_at(self, number: int, row: dict[str, Any], written: dict[str, Any]) -> None:
        if not row["_response"]:
            self.numbers["dropped"].append(number)
            return
        verdicts: list[Verdict] = []
        if self.reader is not None:
            self.reader.print_tools(row["_tools"])
            turns = row["_prompt"] + row["_response"]
            verdicts = [self.reader.look(turn["content"]) for turn in turns if turn["role"] == "function"]
        if not same(row, written) or any(verdict.changed for verdict in verdicts):
            self.numbers["different"].append(number)
        if any(verdict.unread for verdict in verdicts):
            self.numbers["calls_unread"].append(number)
        self.errors["parser_errors"] += [(number, verdict.error) for verdict in verdicts if verdict.error][:1]
        if self.encoder is not None:
            self.counts[-1] = self.encoder.count(row)


def check_set(
    job: EncodeJob, name: str, encoder: Encoder | None, reader: CallReader | None, cache: str
) -> dict[str, Any]:
    """Everything about one data set."""
    rows, written = load_rows(job, name, cache), expected_rows(job, name)
    findings = RowFindings(encoder, reader)
    for number, (row, expected) in enumerate(zip(rows, written, strict=False), 1):
        findings.look_at(number, row, expected)
    result: dict[str, Any] = {
        "name": name,
        "rows_written": len(written),
        "rows_loaded": len(rows),
        **findings.numbers,
        **findings.errors,
    }
    if encoder is not None:
        result["counts"] = findings.counts
        if job["render"] and not (findings.numbers["dropped"] or findings.errors["refused"]):
            result["rendered"] = [encoder.render(row) for row in rows[: job["render"]]]
    return result


def check_sets(job: EncodeJob) -> list[dict[str, Any]]:
    """Everything about the data sets of a job."""
    encoder = Encoder(job) if job["tokenizer"] else None
    template = encoder.template if encoder else None
    if template is None and job["template"]:
        from llamafactory.data.template import TEMPLATES

        template = TEMPLATES[job["template"]]
    reader = CallReader(template) if template is not None else None
    with tempfile.TemporaryDirectory() as cache:
        return [check_set(job, name, encoder, reader, cache) for name in job["names"]]


def main() -> None:
    """Answer the job on stdin's first line; a fault of this worker's own is told apart from the engine's."""
    channel = take_stdout()
    job: EncodeJob = json.loads(sys.stdin.readline())
    try:
        event: dict[str, Any] = {"event": EVENT_DONE, "sets": check_sets(job)}
    except Exception as error:
        if not is_own_fault(error):
            raise
        traceback.print_exc()
        event = {"event": EVENT_DONE, "sets": [], "own_fault": in_words(error)}
    write_event(channel, event)
