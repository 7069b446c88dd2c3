"""lm-evaluation-harness through its own command, for the same targets: ``lm_eval --model hf --model_args …``.

It is not installed with lfwrap: the ``lm_eval`` beside the engine's Python is taken, else the one on PATH.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.commands import run_shown
from lfwrap.engine.environment import UTF8_VARIABLES
from lfwrap.engine.failure import ending
from lfwrap.engine.locate import Engine
from lfwrap.errors import EngineError, PreflightError
from lfwrap.files import write_json
from lfwrap.inference.candidates import weights_fingerprint
from lfwrap.inference.target import Target

PROGRAM = "lm_eval"
_COMMAND = "command.json"
_NEW_TOKENS = ("add_tokens", "add_special_tokens", "new_special_tokens", "resize_vocab")


@dataclass(frozen=True, slots=True)
class HarnessOptions:
    """The options of a run of lm-evaluation-harness.

    Attributes:
        tasks: the harness's names, separated by commas.
        batch_size: sequences at once, or ``auto``.
        limit: at most so many examples of each task.
        seed: of everything that is drawn.
        extra: further arguments, as they are.
    """

    tasks: str
    batch_size: str = "auto"
    limit: int | None = None
    seed: int = 42
    extra: tuple[str, ...] = ()


def find_harness(engine: Engine) -> str:
    """The program. Raises PreflightError where there is none."""
    beside = engine.python.parent / PROGRAM
    found = str(beside) if beside.is_file() else shutil.which(PROGRAM)
    if found is None:
        raise PreflightError(
            f"{PROGRAM}: there is no such command beside {engine.python} or on PATH",
            hint="pip install 'lfwrap[lm-eval]', or lm-eval with torch and peft in an environment that is on PATH.",
        )
    return found


def model_arguments(target: Target) -> str:
    """``pretrained=…,peft=…`` as the harness takes them.

    Raises:
        PreflightError: a path holds a comma, or other adapters were folded into the base before this one was trained.
    """
    if target.prior_adapters:
        raise PreflightError(
            f"{target.name}: was trained on top of other adapters, which lm_eval can't load",
            hint="Merge it first: lfwrap export.",
        )
    values: dict[str, Any] = {"pretrained": target.model}
    if target.adapter:
        values["peft"] = target.adapter
        if any(target.options.get(key) for key in _NEW_TOKENS):
            values["tokenizer"] = target.adapter
    values["dtype"] = "auto"
    bits = target.quantization.get("quantization_bit")
    if bits:
        values[f"load_in_{bits}bit"] = True
    for key, value in values.items():
        if "," in str(value):
            raise PreflightError(f"{value}: lm_eval takes no comma in {key}", hint="Move it to another folder.")
    return ",".join(f"{key}={value}" for key, value in values.items())


def harness_command(program: str, target: Target, options: HarnessOptions, out: Path) -> list[str]:
    """The exact command for one target; its results go below ``out``."""
    command = [program, "--model", "hf", "--model_args", model_arguments(target), "--tasks", options.tasks,
               "--batch_size", options.batch_size, "--seed", str(options.seed), "--output_path", str(out)]  # fmt: skip
    if options.limit is not None:
        command += ["--limit", str(options.limit)]
    if target.options.get("trust_remote_code"):
        command.append("--trust_remote_code")
    return [*command, *options.extra]


def run_harness(command: Sequence[str], target: Target, out: Path) -> dict[str, Any]:
    """Run the command with its own output on stderr; its results as `read_results` gives them.

    Raises:
        PreflightError: the folder is something else.
        EngineError: it failed, or left no results.
    """
    if out.exists():
        if not (out / _COMMAND).is_file():
            raise PreflightError(f"{out}: exists, and holds no results", hint="Name another folder: --out DIR.")
        shutil.rmtree(out)
    write_json(out / _COMMAND, _origin(command, target))
    exit_code = run_shown(command, environment={**os.environ, **UTF8_VARIABLES})
    if exit_code != 0:
        raise EngineError(f"{PROGRAM} {ending(exit_code)}", hint="Its own messages stand above.")
    found = read_results(out, command, target)
    if found is None:
        raise EngineError(f"{out}: {PROGRAM} left no results there", hint="Its own messages stand above.")
    return found


def read_results(out: Path, command: Sequence[str], target: Target) -> dict[str, Any] | None:
    """What this command, with these weights, left below a folder: task → metric → number; None for nothing."""
    files = sorted(out.glob("**/results_*.json"), key=lambda path: path.stat().st_mtime_ns)
    note = out / _COMMAND
    if not files or not note.is_file() or orjson.loads(note.read_bytes()) != _origin(command, target):
        return None
    results: dict[str, dict[str, Any]] = orjson.loads(files[-1].read_bytes())["results"]
    return {
        task: {
            metric.removesuffix(",none"): value
            for metric, value in metrics.items()
            if isinstance(value, int | float) and not isinstance(value, bool) and "_stderr" not in metric
            and metric not in {"alias", "sample_len"}
        }
        for task, metrics in results.items()
    }  # fmt: skip


def _origin(command: Sequence[str], target: Target) -> dict[str, Any]:
    return {"command": list(command), "weights": weights_fingerprint(target)}
