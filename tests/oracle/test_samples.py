"""Real and hand-made samples, where they lie beside the checkout: each row right, refused for a reason, or counted."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from oracle_run import judged, judged_rows, run
from second_reader.files import lines
from second_reader.layouts import mcp_log
from second_reader.reading import row_of, rows_of

SAMPLES = Path(__file__).parents[2].parent / "shared" / "samples"
pytestmark = pytest.mark.skipif(not SAMPLES.is_dir(), reason="the samples folder ../shared/samples is absent")

# File → layout, and how many of its rows the reader understands.
FILES = {
    "alpaca/alpaca_en_demo.json": ("alpaca", 999),
    "alpaca/alpaca_zh_demo.json": ("alpaca", 1000),
    "alpaca/identity.json": ("alpaca", 91),
    "formats/anthropic.jsonl": ("anthropic", 1),
    "formats/csv_utf8.csv": ("alpaca", 3),
    "formats/csv_utf8_bom_crlf.csv": ("alpaca", 3),
    "formats/csv_ragged_shift.csv": ("alpaca", 1),
    "formats/glaive_v2_raw.jsonl": ("glaive", 1),
    "formats/openai_parallel.jsonl": ("openai", 1),
    "formats/toolace_raw.jsonl": ("toolace", 1),
    "formats/toucan_sft_pyrepr.jsonl": ("toucan", 1),
    "formats/toucan_teacher.jsonl": ("toucan", 1),
    "formats/xlam_raw.jsonl": ("xlam", 1),
    "llamafactory/dpo_zh_demo.json": ("sharegpt", 300),
    "llamafactory/kto_en_demo.json": ("openai", 150),
    "llamafactory/mllm_audio_demo.json": ("openai", 0),
    "llamafactory/mllm_demo.json": ("openai", 0),
    "llamafactory/mllm_video_demo.json": ("openai", 0),
    "llamafactory/v1_dpo_demo.jsonl": ("openai", 0),
    "openai/nemo_gym_xlam_fc_responses_example.jsonl": ("openai-responses", 5),
    "tool_calling/glaive_toolcall_en_demo.json": ("sharegpt", 300),
    "tool_calling/glaive_toolcall_zh_demo.json": ("sharegpt", 298),  # two observations answer no call
    "tool_calling/reason_tool_use_demo_50.jsonl": ("openai", 50),
}
# Tables: encoding, delimiter, and columns that the user has to name.
TABLES: dict[str, dict[str, Any]] = {
    "formats/csv_gb18030.csv": {"encoding": "gb18030"},
    "formats/csv_semicolon_cn_header.csv": {"delimiter": ";"},
    "formats/csv_utf16_tab.csv": {"encoding": "utf-16", "delimiter": "\t"},
    "csv/toyhom_internal_med_sample.csv": {
        "encoding": "gbk", "columns": {"instruction": "ask", "output": "answer"},
    },
}  # fmt: skip


@pytest.mark.parametrize("name", FILES)
def test_a_sample(tmp_path: Path, name: str) -> None:
    layout, understood = FILES[name]
    assert sum(row.told is not None for row in rows_of(SAMPLES / name, layout)) == understood
    assert judged({SAMPLES / name: layout}, tmp_path / "out") == []


@pytest.mark.parametrize("name", ["tool_calling/glaive_toolcall_en_demo.json", "formats/openai_parallel.jsonl"])
def test_a_sample_for_one_template_by_two_processes(tmp_path: Path, name: str) -> None:
    files = {SAMPLES / name: FILES[name][0]}
    assert judged(files, tmp_path / "out", "--template", "qwen", "--jobs", 2) == []


@pytest.mark.parametrize("name", TABLES)
def test_a_table(tmp_path: Path, name: str) -> None:
    assert judged({SAMPLES / name: "alpaca"}, tmp_path / "out", **TABLES[name]) == []


def test_cases_with_accepted_answers(tmp_path: Path) -> None:
    path = SAMPLES / "bfcl" / "BFCL_v4_simple_python.jsonl"
    cases = lines(path.read_text(encoding="utf-8"))
    answers = lines(path.with_suffix(".possible_answer.jsonl").read_text(encoding="utf-8"))
    truth = {answer.value["id"]: answer.value["ground_truth"] for answer in answers}
    for case in cases:
        case.value["ground_truth"] = truth.get(case.value["id"])
    rows = [row_of(case, "bfcl") for case in cases]
    assert sum(row.told is not None for row in rows) == 400
    assert judged_rows({path: rows}, tmp_path / "out") == []


@pytest.mark.parametrize("name", ["claude_desktop_mcp.log", "mcp_session_2024-11-05.jsonl"])
def test_a_log(tmp_path: Path, name: str) -> None:
    path, instructions = SAMPLES / "formats" / name, tmp_path / "asked.jsonl"
    instructions.write_text('{"id": 2, "instruction": "Weather?", "final_response": "Fine."}\n', encoding="utf-8")
    asked = instructions.read_text(encoding="utf-8")
    rows = mcp_log.rows(path.read_text(encoding="utf-8"), asked)
    assert rows[0].told is not None
    assert judged_rows({path: rows}, tmp_path / "out", "--instructions", instructions) == []


# LLaMA-Factory's demo data of other kinds: the words that name the kind where it is refused.
KINDS = {
    "c4_demo_first40.jsonl": "pretraining",
    "dpo_zh_demo.json": "preference",
    "kto_en_demo.json": "labelled-bad",
    "mllm_audio_demo.json": "media",
    "mllm_demo.json": "media",
    "mllm_video_demo.json": "media",
    "v1_dpo_demo.jsonl": "preference",
    "wiki_demo_beginning.txt": "pretraining",
}


@pytest.mark.parametrize("name", KINDS)
def test_data_of_another_kind_is_refused_by_its_name(tmp_path: Path, name: str) -> None:
    outcome = run([SAMPLES / "llamafactory" / name], tmp_path / "out")
    rules = {reject["rule"] for reject in outcome.rejects}
    assert rules == {KINDS[name]} if rules else KINDS[name] in outcome.refused
    assert all(outcome.train for _ in [name] if name == "kto_en_demo.json")
