#!/bin/sh
# A real out-of-memory on a real GPU: tests/gpu/oom_ladder.sh [FOLDER]
#
# A 0.5B shape with random weights; 511 rows of some 200 tokens and one of 1,536. Any ordinary micro-batch of 32 fits in
# 80 GB; the longest (32 x 1,536 tokens: 100 GB of logits alone) does not. Expected:
#   - attempt 0 fails at step 1 of 8, in the probe before the second update, with gpu-out-of-memory;
#   - lfwrap goes on by itself with 16 x 2, ... and ends succeeded, effective batch 32, micro-batch 16 or less;
#   - the batch found stands in engine.yaml and in the record; a last dry run shows the same;
#   - no process is left, and the GPU's memory is free again.
# Prints one JSON object and exits 0 when all of that holds. Takes about two minutes on an H100.
set -eu
here=$(cd "$(dirname "$0")/../.." && pwd)
folder=${1:-/tmp/oom-ladder}
python=${PYTHON:-python3}
mkdir -p "$folder/data"
cd "$folder"
"$python" "$here/benchmarks/memory/make_models.py" "$here/benchmarks/memory/cases.yaml" models qwen2.5-0.5b
"$python" - <<'PYTHON'
import json

long = "the quick brown fox jumps over the lazy dog " * 200
rows = [{"instruction": "Go on.", "input": "", "output": long if row == 300 else long[: 100 + row % 64]}
        for row in range(512)]
with open("data/rows.jsonl", "w", encoding="utf-8") as sink:
    sink.writelines(json.dumps(row) + "\n" for row in rows)
with open("data/dataset_info.json", "w", encoding="utf-8") as sink:
    json.dump({"rows": {"file_name": "rows.jsonl"}}, sink)
PYTHON
cat > ladder.yaml <<YAML
stage: sft
do_train: true
model_name_or_path: $folder/models/qwen2.5-0.5b
finetuning_type: lora
lora_rank: 16
lora_target: all
template: qwen
dataset: rows
dataset_dir: $folder/data
cutoff_len: 1536
per_device_train_batch_size: 32
gradient_accumulation_steps: 1
learning_rate: 1.0e-4
bf16: true
seed: 7
max_steps: 8
save_steps: 4
YAML
"$python" -m lfwrap train ladder.yaml --gpus 1 --runs-dir runs
"$python" - <<'PYTHON'
import json
import subprocess
from pathlib import Path

from lfwrap.hardware.usage import GpuMeter
from lfwrap.engine.child_process import run_processes
from lfwrap.run.folder.record import latest_run
from lfwrap.yaml_files import load_yaml

run = latest_run(Path("runs"))
record = run.record
exits = [json.loads(run.paths.attempt(number).exit.read_bytes()) for number in run.paths.attempt_numbers()]
pinned = load_yaml(run.paths.engine_yaml).values
usage = GpuMeter().read()
found = {
    "state": record.state,
    "attempts": [
        {"step": one["global_step"], "rule": (one["diagnosis"] or {}).get("rule"), "probe": one["probe"],
         "duration_s": round(one["duration_s"], 1), "evidence": (one["diagnosis"] or {}).get("evidence", "")[:200]}
        for one in exits
    ],
    "batch": [record.micro_batch_size, record.gradient_accumulation_steps, record.effective_batch_size],
    "pinned": [pinned["per_device_train_batch_size"], pinned["gradient_accumulation_steps"]],
    "left": [process.cmdline() for process in run_processes(str(run.paths.root))],
    "gpu_used_bytes": usage.used_bytes if usage else None,
    "reasons": [json.loads(line).get("reason") for line in run.paths.events.read_text().splitlines()
                if "memory-lowered" in line],
}
print(json.dumps(found, indent=2))
assert found["state"] == "succeeded"
assert found["attempts"][0]["rule"] == "gpu-out-of-memory"
assert found["attempts"][0]["step"] == 1, "the probe, not the training, must meet it"
assert found["batch"][2] == 32
assert found["batch"][0] <= 16
assert found["pinned"] == found["batch"][:2]
assert found["left"] == []
assert found["gpu_used_bytes"] is not None
assert found["gpu_used_bytes"] < 2 << 30
PYTHON
