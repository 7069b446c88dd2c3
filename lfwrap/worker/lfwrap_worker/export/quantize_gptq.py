"""The engine's own export with GPTQ: a worker, ``quantize_gptq SETTINGS.yaml``.

With everything on one device transformers sets no ``hf_device_map`` on the model, and optimum, which packs the weights
last, asks for it: on a CPU the engine's export fails after all the work is done. The model gets the map it would have.
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
import yaml
from llamafactory.train.tuner import export_model
from transformers import PreTrainedModel


def export(path: Path) -> None:
    """Export as the settings say."""
    device = "cpu" if not torch.cuda.is_available() else 0
    if not hasattr(PreTrainedModel, "hf_device_map"):
        PreTrainedModel.hf_device_map = {"": device}
    export_model(yaml.safe_load(path.read_text(encoding="utf-8")))


def main() -> None:
    """Export as the file that the command line names says."""
    export(Path(sys.argv[1]))
