"""What tests on the real engine share: the real small model, a training of it on tool calls, the extension."""

from __future__ import annotations

import importlib
import json
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from lfwrap.bundled import bundled_path
from lfwrap.demo_model import ensure_demo_model
from lfwrap.engine.locate import locate_engine
from lfwrap.run.folder.record import Run, load_run

# Six updates are enough to learn how the calls of three small tools are written.
TOOL_RECIPE = """\
template: smollm2
stage: sft
finetuning_type: lora
lora_rank: 16
lora_alpha: 32
lora_dropout: 0.0
lora_target: all
dataset: mcp
eval_dataset: mcp_val
cutoff_len: 384
preprocessing_num_workers: 1
train_sampling_strategy: group_by_length
learning_rate: 2.0e-03
max_steps: 6
lr_scheduler_type: cosine
warmup_steps: 1
logging_steps: 1
save_strategy: "no"
report_to: none
seed: 42
lfwrap:
  effective_batch_size: 2
  max_micro_batch: 2
  hardware: cpu
"""
_TOOLS = frozenset({"shelf_list_loans", "shelf_suggest_purchase", "codepost_comment"})  # those of the fewest tokens


@pytest.fixture(scope="session")
def smollm2() -> Path:
    """SmolLM2-135M-Instruct as a checkpoint, made once and kept in the cache folder."""
    return ensure_demo_model(locate_engine(), lambda _: None)


@pytest.fixture(scope="session")
def tool_run(smollm2: Path, tmp_path_factory: pytest.TempPathFactory) -> Run:
    """SmolLM2 tuned for half a minute on 10 of the bundled tool calls, 4 kept back: a LoRA run of `lfwrap train`."""
    place = tmp_path_factory.mktemp("tools")
    lines = bundled_path("data/mcp/calls.jsonl").read_text(encoding="utf-8").splitlines(keepends=True)
    chosen = sorted((line for line in lines if json.loads(line)["tool"] in _TOOLS), key=len)
    (place / "calls.jsonl").write_text("".join(chosen), encoding="utf-8")
    (place / "tools.yaml").write_text(TOOL_RECIPE + f"model_name_or_path: {smollm2}\n", encoding="utf-8")
    tools = bundled_path("data/mcp/tools.json")
    _lfwrap(place, "prepare-data", "calls.jsonl", "--tools", tools, "--template", "smollm2", "--val-size",
            "4", "--out", "data", "--name", "mcp", "--no-engine-check")  # fmt: skip
    _lfwrap(place, "train", "tools.yaml", "dataset_dir=data")
    return load_run("latest", place / "runs")


@pytest.fixture(scope="module")
def speed() -> ModuleType:
    """The package of ``speed: max``, which imports torch."""
    return importlib.import_module("lfwrap_worker.speed")


def _lfwrap(cwd: Path, *arguments: str | Path) -> None:
    command = [sys.executable, "-m", "lfwrap", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, check=False, timeout=1200)
    assert done.returncode == 0, done.stderr
