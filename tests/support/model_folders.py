"""Folders that look like runs, adapters and models, a few bytes each."""

from __future__ import annotations

import json
import struct
from pathlib import Path

from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import RunRecord, RunState, prepare_record

HIDDEN = 8
Q_PROJ = "model.layers.0.self_attn.q_proj.weight"


def write_safetensors(path: Path, shapes: dict[str, tuple[int, ...]]) -> None:
    """A whole file of fp32 zeros."""
    header, offset = {}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))


class Builder:
    """Makes the folders of one test."""

    def __init__(self, root: Path) -> None:
        self.root = root

    weights = staticmethod(write_safetensors)

    def model(self, name: str = "SmolLM2-135M-Instruct", hidden: int = HIDDEN, **config: object) -> Path:
        folder = self.root / name
        folder.mkdir(parents=True)
        values = {"model_type": "llama", "hidden_size": hidden, "dtype": "float32", **config}
        (folder / "config.json").write_text(json.dumps(values))
        (folder / "tokenizer.json").write_text("{}")
        write_safetensors(folder / "model.safetensors", {Q_PROJ: (hidden, hidden)})
        return folder

    def adapter(self, folder: Path, base: str | Path | None, hidden: int = HIDDEN) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        config = {"base_model_name_or_path": str(base)} if base else {}
        (folder / "adapter_config.json").write_text(json.dumps(config))
        stem = "base_model.model.model.layers.0.self_attn.q_proj"
        shapes = {f"{stem}.lora_A.weight": (2, hidden), f"{stem}.lora_B.weight": (hidden, 2)}
        write_safetensors(folder / "adapter_model.safetensors", shapes)
        return folder

    def run(
        self, base: str | Path, *, state: RunState = RunState.SUCCEEDED, adapter: bool = True, engine_yaml: str = ""
    ) -> RunPaths:
        paths = RunPaths(self.root / "runs" / "20260101T000000Z-law-00000000")
        paths.output.mkdir(parents=True)
        now = "2026-01-01T00:00:00.000Z"
        record = RunRecord(
            paths.name, state, "law", now, now, str(base), "lora", "sft", "qwen", global_step=3, max_steps=9
        )
        prepare_record(paths, record)
        paths.engine_yaml.write_text(engine_yaml or "template: qwen\n")
        if adapter:
            self.adapter(paths.output, base)
        return paths
