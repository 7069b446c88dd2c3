"""Write rows as the engine's training sees them: token ids, and which are learned; run by the engine's Python.

Reads one JSON object from stdin: ``dataset_dir``, ``names``, ``model``, ``max_samples``, ``arguments`` (the engine's
for data) and ``out``, a JSONL file. Writes one JSON line: the rows' lengths.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.append(str(Path(__file__).resolve().parents[3] / "lfwrap" / "worker"))

IGNORED = -100
COLUMNS = ("_prompt", "_response", "_system", "_tools", "_images", "_videos", "_audios")


def make_processor(job: dict[str, Any]) -> Any:
    """What the engine prepares supervised rows with."""
    from llamafactory.data.processor import SupervisedDatasetProcessor
    from llamafactory.data.template import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments
    from transformers import AutoTokenizer

    tokenizer, arguments = AutoTokenizer.from_pretrained(job["model"]), DataArguments(**job["arguments"])
    template = get_template_and_fix_tokenizer(tokenizer, arguments)
    return SupervisedDatasetProcessor(template=template, tokenizer=tokenizer, processor=None, data_args=arguments)


def encoded(job: dict[str, Any], processor: Any) -> Iterator[tuple[list[int], list[int]]]:
    """Token ids and labels of each row that the engine keeps."""
    from lfwrap_worker.data.encode import load_rows

    with tempfile.TemporaryDirectory() as cache:
        for name in job["names"]:
            rows = load_rows(job, name, cache)[: job["max_samples"]]
            made = processor.preprocess_dataset({key: [row.get(key) for row in rows] for key in COLUMNS})
            yield from zip(made["input_ids"], made["labels"], strict=True)


def main() -> None:
    """Answer the job on stdin."""
    answer, sys.stdout = sys.stdout, sys.stderr
    job = json.load(sys.stdin)
    processor = make_processor(job)
    lengths = []
    with Path(job["out"]).open("w", encoding="utf-8") as sink:
        for ids, labels in encoded(job, processor):
            learned = [int(label != IGNORED) for label in labels]
            sink.write(json.dumps({"input_ids": ids, "completion_mask": learned}) + "\n")
            lengths.append(len(ids))
    print(json.dumps(lengths), file=answer, flush=True)


if __name__ == "__main__":
    main()
