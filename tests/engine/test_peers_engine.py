"""Rows for peers are the engine's own, and TRL's own command trains on them."""

from __future__ import annotations

import importlib.util
import itertools
import json
import sys
from pathlib import Path

import pytest
from tokenizers import Tokenizer

from lfwrap.data.datasets.dataset import find_dataset
from lfwrap.engine.locate import locate_engine

pytestmark = pytest.mark.engine
ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))
try:
    from peers.commands import Job
    from peers.rows import encode_rows
    from peers.run import Peer, find_peer, run_peer
    from peers.setting import read_setting
finally:
    sys.path.remove(str(ROOT / "benchmarks"))


@pytest.fixture(scope="module")
def tiny_model(tmp_path_factory):
    spec = importlib.util.spec_from_file_location("make_tiny_model", ROOT / "tests/engine/make_tiny_model.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    place = tmp_path_factory.mktemp("tiny")
    module.main(str(place))
    return place


def learned_text(tokenizer, row):
    """The pieces of a row that are learned."""
    pairs = zip(row["input_ids"], row["completion_mask"], strict=True)
    pieces = itertools.groupby(pairs, key=lambda pair: pair[1])
    return [
        tokenizer.decode([token for token, _ in piece], skip_special_tokens=False)
        for learned, piece in pieces
        if learned
    ]


@pytest.mark.timeout(300)
def test_trl_trains_on_the_rows_that_the_engine_makes(tiny_model, tmp_path):
    values = {
        "model_name_or_path": str(tiny_model), "template": "chatml", "dataset": "harbour_en",
        "dataset_dir": str(ROOT / "data"), "max_samples": 4, "cutoff_len": 2048, "lora_rank": 4, "lora_dropout": 0.1,
        "use_cpu": True, "report_to": "none",
    }  # fmt: skip
    python = str(locate_engine().python)
    rows = encode_rows(values, tmp_path / "rows", python)
    written = [json.loads(line) for line in (tmp_path / "rows/train.jsonl").read_text().splitlines()]
    stored = [row.value for row in find_dataset("harbour_en", ROOT / "data").rows()][:4]
    tokenizer = Tokenizer.from_file(str(tiny_model / "tokenizer.json"))
    assert rows.lengths == tuple(len(row["input_ids"]) for row in written)
    assert [learned_text(tokenizer, row) for row in written] == [
        [turn["value"] + "<|im_end|>\n" for turn in row["conversations"] if turn["from"] == "gpt"] for row in stored
    ]

    peer = find_peer(Peer("trl", python))
    job = Job(read_setting(values, 2, updates=2), rows, tmp_path / "trl", tmp_path / "trl/result.json", peer.versions)
    found = run_peer(peer, job, 200)
    assert found["status"] == "ok", found
    assert sum(update["tokens"] for update in found["updates"]) == sum(rows.lengths)
    assert sum(update["supervised_tokens"] for update in found["updates"]) == sum(
        sum(row["completion_mask"]) for row in written
    )
    assert [epoch for epoch, _ in found["losses"]] == [0.5, 1.0]
    assert "trl" in found["versions"]
