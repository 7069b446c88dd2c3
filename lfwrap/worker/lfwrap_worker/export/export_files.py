"""Write what an exported model needs beside its weights: a worker.

Reads a `FilesJob` from stdin: ``arguments`` (engine keys that name the model and the template) and ``out``, a folder.
Writes the tokenizer there, as the engine's own export does, and the processor where there is one, with the chat
template that says best what the training's template says. Writes one JSON line: how the chat templates compare, and
what other runtimes ask about the template. No weights are read.

With ``text_only`` (the model is a folder without a processor, and runs no code of its own) a child of this process does
it first without torch and the rest of what the engine imports, in a quarter of the time; where that fails, for whatever
reason, it is done again with all of it.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from lfwrap_worker.channel import run_job
from lfwrap_worker.contract import EVENT_DONE, EVENT_ERROR, FilesJob
from lfwrap_worker.start import worker_command

_TEXT_ONLY = "--text-only"


def write_files(job: FilesJob) -> dict[str, Any]:
    """Do it, the quick way first where it may do; returns the event."""
    event = _ask_child(job) if job["text_only"] else None
    if event is not None:
        return event
    for path in Path(job["out"]).iterdir():
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return write_now(job)


def _ask_child(job: FilesJob) -> dict[str, Any] | None:
    """The event of the quick way, which gets a process of its own: what it imports is of no use to the other."""
    line = b""
    command = worker_command("export_files", _TEXT_ONLY)
    with (
        contextlib.suppress(OSError),  # it may be gone before it has read
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0) as child,
    ):
        assert child.stdin is not None  # noqa: S101 - a pipe was asked for
        assert child.stdout is not None  # noqa: S101 - a pipe was asked for
        child.stdin.write(json.dumps(job).encode() + b"\n")
        line = child.stdout.readline()
    event: dict[str, Any] = json.loads(line) if line else {"event": EVENT_ERROR}
    return event if event["event"] == EVENT_DONE else None


def write_without_torch(job: FilesJob) -> dict[str, Any]:
    """`write_now` in a process that imports no torch. Raises whatever the engine does when it misses something."""
    from lfwrap_worker.export.hollow_imports import leave_out

    leave_out()
    return write_now(job)


def write_now(job: FilesJob) -> dict[str, Any]:
    """Write the files with what this process can import; returns the event."""
    started_s = time.monotonic()
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.hparams import get_infer_args
    from llamafactory.model import load_tokenizer

    from lfwrap_worker.export import chat_template, ollama_template

    imported_s = time.monotonic()
    model_args, data_args, _, _ = get_infer_args(job["arguments"])
    module = load_tokenizer(model_args)
    tokenizer, processor = module["tokenizer"], module["processor"]
    base = tokenizer.chat_template
    template = get_template_and_fix_tokenizer(tokenizer, data_args)
    verdict = chat_template.choose(template, tokenizer, base, job["after_result"])
    tokenizer.chat_template = verdict.text
    tokenizer.padding_side = "left"  # as the engine leaves it: batches are answered so
    tokenizer.init_kwargs["padding_side"] = "left"
    tokenizer.save_pretrained(job["out"])
    if processor is not None:
        processor.chat_template = verdict.text
        processor.save_pretrained(job["out"])
    stop_ids = sorted(template.get_stop_token_ids(tokenizer))
    ollama = ollama_template.build(template, tokenizer)
    return {
        "event": EVENT_DONE,
        "chat_template": verdict.to_json(),
        "stop_ids": stop_ids,
        "stop_words": tokenizer.convert_ids_to_tokens(stop_ids),
        "default_system": template.default_system,
        "timing": {
            "import_s": round(imported_s - started_s, 2),
            "work_s": round(time.monotonic() - imported_s, 2),
        },
        "ollama": {"template": ollama.text, "has_tools": ollama.has_tools},
    }


def main() -> int:
    """Write the files of one job; returns the exit code."""
    work = write_without_torch if _TEXT_ONLY in sys.argv else write_files
    return run_job(lambda requests: work(next(requests)))
