"""The bundled sets as the engine's own loader reads them: each row, and in full."""

from __future__ import annotations

import csv
import importlib.util
import json
import subprocess

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import locate_engine

pytestmark = [
    pytest.mark.engine,
    pytest.mark.timeout(300),
    pytest.mark.skipif(importlib.util.find_spec("llamafactory") is None, reason="the engine is not installed"),
]
LOAD = """
import json, sys
from llamafactory.data.loader import _load_single_dataset
from llamafactory.data.parser import get_dataset_list
from llamafactory.hparams import DataArguments, ModelArguments
from transformers import Seq2SeqTrainingArguments
folder, name, out = sys.argv[1:]
data = DataArguments(dataset=name, dataset_dir=folder, template="smollm2")
found = get_dataset_list([name], folder)[0]
rows = _load_single_dataset(found, ModelArguments(model_name_or_path="none"), data, Seq2SeqTrainingArguments(out))
print("ROWS " + json.dumps([[row["_prompt"], row["_response"]] for row in rows]))
"""


def test_the_engine_reads_the_legal_questions_from_their_csv_file(tmp_path):
    command = [locate_engine().python, "-c", LOAD, str(bundled_path("data")), "law_zh", str(tmp_path)]
    environment = engine_environment(model_is_local=True) | {"HF_DATASETS_CACHE": str(tmp_path)}
    done = subprocess.run(command, check=False, capture_output=True, text=True, env=environment, timeout=240)
    assert done.returncode == 0, done.stderr
    read = json.loads(next(line for line in done.stdout.splitlines() if line.startswith("ROWS "))[5:])
    with bundled_path("data/law_zh.csv").open(encoding="utf-8", newline="") as source:
        rows = list(csv.DictReader(source))
    assert len(rows) == len(read) == 120
    for row, (prompt, response) in zip(rows, read, strict=True):
        assert prompt == [{"role": "user", "content": row["instruction"]}]
        assert response == [{"role": "assistant", "content": row["output"]}]
