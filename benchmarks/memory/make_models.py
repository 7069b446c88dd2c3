"""Write checkpoints of real shapes with random weights, without a GPU and without a download.

    python make_models.py cases.yaml OUT_DIR [NAME...]

Memory and speed depend on shapes, not on the values, so such a checkpoint stands in for the real one. Weights are one
block of normal numbers, repeated: a 7B is written as fast as the disk takes it. Each finished folder gets a `.done`
file.
The tokenizer has one token a byte plus ChatML's, so a text of n ASCII characters has exactly n tokens.
"""

from __future__ import annotations

import fcntl
import json
import shutil
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import yaml

_SHARD_BYTES = 4 << 30
_BLOCK_ELEMENTS = 1 << 25
_SPARE_BYTES = 3 << 30
_CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


def random_block() -> bytes:
    """32 Mi bf16 numbers, normal with deviation 0.02: what the engine's own initialisation gives."""
    values = np.random.default_rng(0).standard_normal(_BLOCK_ELEMENTS, dtype=np.float32) * np.float32(0.02)
    return (values.view(np.uint32) >> 16).astype(np.uint16).tobytes()


def tensor_shapes(config: dict[str, Any]) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the checkpoint, from the architecture's own code on the meta device."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        model = AutoModelForCausalLM.from_config(AutoConfig.for_model(**config), dtype=torch.bfloat16)
    tied = set(model.all_tied_weights_keys)
    return {name: tuple(tensor.shape) for name, tensor in model.state_dict().items() if name not in tied}


def write_shard(path: Path, shapes: dict[str, tuple[int, ...]], block: bytes) -> None:
    """One safetensors file: eight bytes of length, a JSON header, the data."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}  # type: ignore[assignment]
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb", buffering=0) as sink:
        sink.write(len(text).to_bytes(8, "little") + text)
        view = memoryview(block)
        while offset > 0:
            offset -= sink.write(view[: min(offset, len(block))])


def shards(shapes: dict[str, tuple[int, ...]]) -> list[dict[str, tuple[int, ...]]]:
    """Tensors in order, about 4 GiB a file."""
    parts: list[dict[str, tuple[int, ...]]] = [{}]
    size = 0
    for name, shape in shapes.items():
        bytes_ = 2 * int(np.prod(shape))
        if size + bytes_ > _SHARD_BYTES and parts[-1]:
            parts.append({})
            size = 0
        parts[-1][name] = shape
        size += bytes_
    return parts


def write_tokenizer(folder: Path) -> None:
    """A byte-level tokenizer without merges, with ChatML's special tokens."""
    from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE(vocab={piece: index for index, piece in enumerate(alphabet)}, merges=[]))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(
        [AddedToken(text, special=True) for text in ("<|endoftext|>", "<|im_start|>", "<|im_end|>")]
    )
    specials = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, chat_template=_CHATML, **specials).save_pretrained(folder)


def wait_for_disk(folder: Path, size_bytes: int) -> None:
    """Return once the disk has room: measure.py deletes checkpoints that it needs no more."""
    while shutil.disk_usage(folder).free < size_bytes + _SPARE_BYTES:
        time.sleep(1)


def write_model(name: str, config: dict[str, Any], out: Path, block: bytes) -> None:
    """One checkpoint folder; another program that writes the same one is waited for."""
    started = time.monotonic()
    folder = out / name
    folder.mkdir(parents=True, exist_ok=True)
    with (out / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / ".done").exists():
            _fill(config, folder, block)
            print(f"{name}: {time.monotonic() - started:.1f} s", flush=True)


def _fill(config: dict[str, Any], folder: Path, block: bytes) -> None:
    """Configuration, weights, tokenizer, and the mark of completeness."""
    from transformers import AutoConfig

    ids = {"bos_token_id": 256, "eos_token_id": 258, "pad_token_id": 256}
    hf_config = AutoConfig.for_model(**config, **ids)
    hf_config.dtype = "bfloat16"
    hf_config.save_pretrained(folder)
    parts = shards(tensor_shapes({**config, **ids}))
    wait_for_disk(folder, sum(2 * int(np.prod(shape)) for part in parts for shape in part.values()))
    index: dict[str, str] = {}
    for number, part in enumerate(parts, 1):
        file = f"model-{number:05d}-of-{len(parts):05d}.safetensors"
        write_shard(folder / file, part, block)
        index.update(dict.fromkeys(part, file))
    total = sum((folder / file).stat().st_size for file in set(index.values()))
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}), encoding="utf-8"
    )
    write_tokenizer(folder)
    (folder / ".done").touch()


def main() -> None:
    """Write the models named, or all, in the order of the file."""
    spec = yaml.safe_load(Path(sys.argv[1]).read_text(encoding="utf-8"))
    out, wanted = Path(sys.argv[2]), sys.argv[3:]
    block = random_block()
    for name, config in spec["models"].items():
        if (not wanted or name in wanted) and not (out / name / ".done").exists():
            write_model(name, config, out, block)


if __name__ == "__main__":
    main()
