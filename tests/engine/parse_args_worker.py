"""Hand many YAML files to the engine's own parser in one process: parse_args_worker.py FILE... prints JSON results.

The machine that a recipe was rendered for is another one: bf16 support is assumed, and a single-process group stands in
for torchrun, without which the engine refuses DeepSpeed.
"""

import json
import os
import sys
import traceback

os.environ.update(
    {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": "29517"}
)

import transformers.training_args
from llamafactory.hparams import parser
from omegaconf import OmegaConf

KEPT = (
    "per_device_train_batch_size",
    "gradient_accumulation_steps",
    "learning_rate",
    "warmup_steps",
    "bf16",
    "fp16",
    "lora_rank",
    "template",
    "cutoff_len",
    "save_steps",
    "lora_target",
)


def parse(path):
    values = OmegaConf.to_container(OmegaConf.load(path))
    parsed = parser.get_train_args(values)
    return {key: getattr(each, key) for each in parsed for key in KEPT if hasattr(each, key)}


def main(paths):
    transformers.training_args.is_torch_bf16_gpu_available = lambda: True
    results = {}
    for path in paths:
        try:
            results[path] = {"parsed": parse(path)}
        except Exception as error:  # noqa: BLE001 - what the engine raises is the result
            results[path] = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
    print("RESULTS", json.dumps(results, default=str))


if __name__ == "__main__":
    main(sys.argv[1:])
