"""The workers by name, and how one is started: ``PYTHON lfwrap/worker NAME [ARGUMENT]…``."""

from __future__ import annotations

import importlib
import sys
from pathlib import Path

WORKERS = {
    "train": ("deepspeed_hosts", "train_engine", "train_ray", "tune_engine"),
    "inference": ("answer", "gguf_server", "parity", "score", "serve_api"),
    "export": (
        "checkpoint",
        "convert_gguf",
        "export_files",
        "merge_adapter",
        "push_model",
        "quantize_gguf",
        "quantize_gptq",
    ),
    "data": ("encode", "validation_split"),
    "facts": ("template_facts", "template_frames", "torch_facts", "weight_changes"),
}
"""Folder of this package → its modules that are workers. Each has a `main`, which finds its arguments in `sys.argv`."""

FOLDER = Path(__file__).resolve().parents[1]
"""What the interpreter is given to start a worker, and what has to be on its path to import one."""


def worker_command(name: str, *arguments: str) -> list[str]:
    """The command line that starts a worker from another one, with the same Python."""
    return [sys.executable, str(FOLDER), name, *arguments]


def main() -> int | None:
    """Run the worker that the command line names; returns its exit code, None for 0.

    The worker sees a command line of its own: the name is taken out. Its first element is a file of this folder, whose
    place Ray puts on the path of the processes that it starts.
    """
    places = {name: folder for folder, names in WORKERS.items() for name in names}
    name = sys.argv[1] if len(sys.argv) > 1 else ""
    if name not in places:
        print(f"usage: {FOLDER.name} NAME [ARGUMENT]...; NAME is one of {', '.join(sorted(places))}", file=sys.stderr)
        return 2
    sys.argv[:] = [str(FOLDER / "__main__.py"), *sys.argv[2:]]
    found: int | None = importlib.import_module(f"lfwrap_worker.{places[name]}.{name}").main()
    return found
