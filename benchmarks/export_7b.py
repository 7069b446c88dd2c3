r"""Export of a 7B model with a LoRA adapter, timed against writing its bytes.

    python benchmarks/export_7b.py --work /tmp/export7b --rounds 3

Makes a Qwen2.5-7B-shaped model with random weights (15.2 GB in bf16) and a rank 64 adapter on all of its linear layers
once. Then, in turn on the same disk (A B A B): writing as many bytes to a file from memory, through the page cache as
`export` does, with an fsync at the end of both; and `lfwrap export --no-parity`, which keeps nothing from one time to
the next. Afterwards an export whose base has to be read from the disk (``export_unread``; its files are dropped from
the page cache), one with parity, and the engine's own `llamafactory-cli export` (``--merger engine``). Prints one JSON
object with the times and ratios, round by round and as medians, and for each export where its time went, as its
export.json says: seconds of cores and page faults of the merging processes, the wait for the tokenizer's, what is
spent outside. With ``--report FILE`` it is written anew after each step. Needs the engine, no network, 3 × the model on
the disk and about 40 GB of memory for the page cache; ``--layers 2`` tries it anywhere.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

_CHUNK_BYTES = 64 << 20

# Runs in the engine's Python. Weights are written one after the other, in files of 4 GB, as a model hub has them.
_MAKE_MODEL = """
import json, sys, torch
from pathlib import Path
from safetensors.torch import save_file
out, layers = Path(sys.argv[1]), int(sys.argv[2])
hidden, wide, kv, vocab = 3584, 18944, 512, 152064
torch.manual_seed(0)
device = "cuda" if torch.cuda.is_available() else "cpu"  # a GPU fills 15 GB in a second, a core takes minutes
def matrix(*shape): return torch.empty(shape, dtype=torch.bfloat16, device=device).normal_(0, 0.02).cpu()
def tensors():
    yield "model.embed_tokens.weight", matrix(vocab, hidden)
    for n in range(layers):
        p = f"model.layers.{n}."
        yield p + "input_layernorm.weight", torch.ones(hidden, dtype=torch.bfloat16)
        for name, rows, columns in (("q", hidden, hidden), ("k", kv, hidden), ("v", kv, hidden)):
            yield p + f"self_attn.{name}_proj.weight", matrix(rows, columns)
            yield p + f"self_attn.{name}_proj.bias", torch.zeros(rows, dtype=torch.bfloat16)
        yield p + "self_attn.o_proj.weight", matrix(hidden, hidden)
        yield p + "post_attention_layernorm.weight", torch.ones(hidden, dtype=torch.bfloat16)
        yield p + "mlp.gate_proj.weight", matrix(wide, hidden)
        yield p + "mlp.up_proj.weight", matrix(wide, hidden)
        yield p + "mlp.down_proj.weight", matrix(hidden, wide)
    yield "model.norm.weight", torch.ones(hidden, dtype=torch.bfloat16)
    yield "lm_head.weight", matrix(vocab, hidden)
part, size, number, index = {}, 0, 1, {}
def flush():
    global part, size, number
    name = f"model-{number:05}.safetensors"
    save_file(part, out / name, metadata={"format": "pt"})
    index.update({key: name for key in part})
    part, size, number = {}, 0, number + 1
for name, tensor in tensors():
    if part and size + tensor.nbytes > 4e9: flush()
    part[name] = tensor; size += tensor.nbytes
flush()
(out / "model.safetensors.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
config = dict(architectures=["Qwen2ForCausalLM"], model_type="qwen2", hidden_size=hidden, intermediate_size=wide,
    num_hidden_layers=layers, num_attention_heads=28, num_key_value_heads=4, vocab_size=vocab, rms_norm_eps=1e-6,
    max_position_embeddings=32768, rope_theta=1000000.0, tie_word_embeddings=False, torch_dtype="bfloat16",
    bos_token_id=0, eos_token_id=2, hidden_act="silu")
(out / "config.json").write_text(json.dumps(config))
(out / "generation_config.json").write_text('{"eos_token_id": 2}')
from tokenizers import Tokenizer, decoders, models, pre_tokenizers
from transformers import PreTrainedTokenizerFast
special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
words = special + sorted(pre_tokenizers.ByteLevel.alphabet())
tokenizer = Tokenizer(models.BPE(vocab={word: n for n, word in enumerate(words)}, merges=[]))
tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
tokenizer.decoder = decoders.ByteLevel()
tokenizer.add_special_tokens(special)
named = dict(eos_token="<|im_end|>", pad_token="<|endoftext|>")
PreTrainedTokenizerFast(tokenizer_object=tokenizer, **named).save_pretrained(out)
adapter = Path(sys.argv[3]); adapter.mkdir()
rank, pairs = 64, {}
shapes = {"self_attn.q_proj": (hidden, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
    "self_attn.o_proj": (hidden, hidden), "mlp.gate_proj": (wide, hidden), "mlp.up_proj": (wide, hidden),
    "mlp.down_proj": (hidden, wide)}
for n in range(layers):
    for name, (rows, columns) in shapes.items():
        stem = f"base_model.model.model.layers.{n}.{name}."
        pairs[stem + "lora_A.weight"] = torch.randn(rank, columns) * 0.01
        pairs[stem + "lora_B.weight"] = torch.randn(rows, rank) * 0.01
save_file(pairs, adapter / "adapter_model.safetensors")
targets = sorted(name.split(".")[1] for name in shapes)
settings = dict(peft_type="LORA", r=rank, lora_alpha=128, lora_dropout=0.0, target_modules=targets, bias="none",
    task_type="CAUSAL_LM", base_model_name_or_path=str(out.resolve()), inference_mode=True, fan_in_fan_out=False)
(adapter / "adapter_config.json").write_text(json.dumps(settings))
"""


def make_model(python: Path, work: Path, layers: int) -> tuple[Path, Path]:
    """The model and its adapter below ``work``; made once."""
    model, adapter = work / f"model-{layers}", work / f"adapter-{layers}"
    if not (adapter / "adapter_config.json").is_file():
        shutil.rmtree(adapter, ignore_errors=True)
        model.mkdir(parents=True, exist_ok=True)
        subprocess.run([str(python), "-c", _MAKE_MODEL, str(model), str(layers), str(adapter)], check=True)
    return model, adapter


def read_through(folder: Path) -> int:
    """Read every weight file once, so that all rounds find it in the page cache; returns the bytes."""
    total = 0
    for path in sorted(folder.glob("*.safetensors")):
        with path.open("rb", buffering=0) as source:
            while chunk := source.read(_CHUNK_BYTES):
                total += len(chunk)
    return total


def forget(*folders: Path) -> None:
    """Drop every weight file from the page cache, where nobody else holds it there."""
    for path in (path for folder in folders for path in folder.glob("*.safetensors")):
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def time_write(path: Path, size_bytes: int) -> float:
    """Seconds to write as many bytes to one file and have them on the disk."""
    chunk = memoryview(os.urandom(_CHUNK_BYTES))
    started_s = time.monotonic()
    with path.open("wb", buffering=0) as sink:
        left = size_bytes
        while left:
            left -= sink.write(chunk[: min(left, _CHUNK_BYTES)])
        os.fsync(sink.fileno())
    seconds = time.monotonic() - started_s
    path.unlink()
    return seconds


def time_export(adapter: Path, out: Path, *options: str) -> tuple[float, dict]:
    """Seconds of one `lfwrap export`, its files on the disk, and what it reports."""
    shutil.rmtree(out, ignore_errors=True)
    command = [sys.executable, "-m", "lfwrap", "export", str(adapter), "--template", "qwen", "--out", str(out)]
    started_s = time.monotonic()
    done = subprocess.run([*command, "--json", *options], check=True, stdout=subprocess.PIPE)
    for path in out.glob("*.safetensors"):
        with path.open("rb") as written:
            os.fsync(written.fileno())
    seconds = time.monotonic() - started_s
    shutil.rmtree(out)
    return seconds, json.loads(done.stdout)


class Report:
    """What was measured so far, on stdout at the end and in a file after each step."""

    def __init__(self, size_bytes: int, path: Path | None) -> None:
        self.size_bytes, self.path = size_bytes, path
        self.seconds: dict[str, list[float]] = {}
        self.details: list[dict] = []

    def add(self, what: str, seconds: float, export: dict | None = None) -> None:
        """One more time, and for an export what it says of itself."""
        self.seconds.setdefault(what, []).append(round(seconds, 2))
        if export is not None:
            timing = export["timing"]
            outside_s = round(seconds - timing["total_s"], 2)  # start of lfwrap, its checks, the fsync afterwards
            self.details.append({"what": what, "wall_s": round(seconds, 2), "outside_s": outside_s, "timing": timing})
            if export["parity"]:
                keys = ("passed", "same_answers", "questions", "device", "compute_dtype", "seconds")
                self.details[-1]["parity"] = {key: export["parity"][key] for key in keys}
        if self.path is not None:
            self.path.write_text(self.text(), encoding="utf-8")

    def text(self) -> str:
        """All of it as JSON."""
        medians = {name: statistics.median(values) for name, values in self.seconds.items()}
        result = {
            "weights_bytes": self.size_bytes,
            "cores": os.cpu_count(),
            "seconds": self.seconds,
            "write_bytes_per_s": round(self.size_bytes / medians["write"]),
            "ratios_in_turn": [
                round(export / write, 2)
                for write, export in zip(self.seconds["write"], self.seconds.get("export", []), strict=False)
            ],
            "ratio_to_writing": {name: round(value / medians["write"], 2) for name, value in medians.items()},
            "details": self.details,
        }
        return json.dumps(result, indent=1)


def main() -> None:
    """Time everything and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--layers", type=int, default=28)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=["cpu", "auto"], default="cpu", help="for the engine's own merge")
    parser.add_argument("--skip-engine", action="store_true")
    parser.add_argument("--skip-parity", action="store_true")
    parser.add_argument("--report", type=Path)
    asked = parser.parse_args()
    from lfwrap.engine.locate import locate_engine

    model, adapter = make_model(locate_engine().python, asked.work, asked.layers)
    size = read_through(model)
    report, out = Report(size, asked.report), asked.work / "out"
    for _ in range(asked.rounds):
        report.add("write", time_write(asked.work / "bytes", size))
        report.add("export", *time_export(adapter, out, "--no-parity"))
    forget(model, adapter)
    report.add("export_unread", *time_export(adapter, out, "--no-parity"))
    if not asked.skip_parity:
        report.add("export_with_parity", *time_export(adapter, out))
    if not asked.skip_engine:
        options = ("--no-parity", "--merger", "engine", "--device", asked.device)
        report.add("export_by_the_engine", *time_export(adapter, out, *options))
    print(report.text())


if __name__ == "__main__":
    main()
