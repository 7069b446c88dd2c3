"""GPTQ files through the engine's own export, from the merged 16-bit model."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import orjson

from lfwrap.engine.arguments import worker_argv
from lfwrap.engine.commands import import_problem, run_logged
from lfwrap.engine.compat import GPTQ_DEPENDENCIES, GPTQ_PACKAGES
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine, package_version
from lfwrap.errors import PreflightError
from lfwrap.export.calibration_text import SAMPLES, calibration_samples
from lfwrap.export.job import ExportFormat, ExportJob
from lfwrap.export.options import ExportOptions
from lfwrap.files import write_bytes, write_json, write_text
from lfwrap.inference.parity import ParityComparison, Side, exported_side
from lfwrap.inference.target import Target
from lfwrap.model.folder import ModelFolder, read_json_object
from lfwrap.yaml_files import dump_yaml

_PINNED = tuple(f"{name}=={version}" for name, version in GPTQ_PACKAGES.items())
_INSTALL = "BUILD_CUDA_EXT=0 {python} -m pip install --no-deps --no-build-isolation " + " ".join(
    (*_PINNED, *GPTQ_DEPENDENCIES)
)
_IMPORT_TIMEOUT_S = 300.0
_MAX_TOKENS = 512


def check_gptq(engine: Engine, calibration: Path | None) -> None:
    """Find what the engine's GPTQ export needs, and see that it can be loaded at all.

    Raises:
        PreflightError: a package is missing, of another version or broken, or there is no text to calibrate on.
    """
    found = {name: package_version(engine, name) for name in (*GPTQ_PACKAGES, *GPTQ_DEPENDENCIES)}
    lacking = [name for name, version in found.items() if version is None]
    odd = [
        f"{name} {version} (needs {_series(name)})"
        for name, version in found.items()
        if version and name in GPTQ_PACKAGES and not version.startswith(f"{_series(name)}.")
    ]
    install = _INSTALL.format(python=engine.python)
    if lacking or odd:
        problems = ([f"{', '.join(lacking)} not installed"] if lacking else []) + odd
        raise PreflightError(
            f"{', '.join(problems)} for {engine.python}: the engine can't make GPTQ files", hint=install
        )
    if calibration is None:
        raise PreflightError(
            "GPTQ needs text to calibrate on", hint="--calibration FILE: text or rows like those of the training."
        )
    environment = engine_environment(model_is_local=True, runs_model=False)
    problem = import_problem(
        engine.python, ("optimum.gptq", "gptqmodel"), environment=environment, timeout_s=_IMPORT_TIMEOUT_S
    )
    if problem:
        raise PreflightError(f"gptqmodel can't be loaded by {engine.python}: {problem}", hint=install)


def _series(package: str) -> str:
    """The releases of a package that differ from the tried one in mended faults alone: ``1.2`` of 1.2.3."""
    return GPTQ_PACKAGES[package].rpartition(".")[0]


def write_gptq(
    engine: Engine, target: Target, model: Path, folder: Path, *, bits: int, calibration: Path, scratch: Path
) -> None:
    """Quantise a merged model into ``folder`` (made by the engine).

    Raises:
        DataError: the calibration file holds no usable text.
        EngineError: the engine failed.
    """
    samples = scratch / "calibration.jsonl"
    write_bytes(samples, b"".join(orjson.dumps({"text": text}) + b"\n" for text in calibration_samples(calibration)))
    arguments = target.engine_arguments(quantized=False, adapters=()) | {
        "model_name_or_path": str(model),
        "export_dir": str(folder),
        "export_device": "auto",
        "export_quantization_bit": bits,
        "export_quantization_dataset": str(samples),
        "export_quantization_maxlen": _MAX_TOKENS,
        "export_quantization_nsamples": SAMPLES,
    }
    recipe = scratch / "gptq.yaml"
    write_text(recipe, dump_yaml(arguments))
    run_logged(
        [str(engine.python), *worker_argv("quantize_gptq"), str(recipe)],
        scratch,
        environment=engine_environment(model_is_local=True),
        what="the engine's GPTQ export",
    )
    _forget_calibration(folder / "config.json")
    samples.unlink()


def _make(job: ExportJob) -> dict[str, Any]:
    options, folder = job.order.options, job.scratch / "gptq"
    assert options.calibration is not None  # noqa: S101 - checked before
    job.order.say(f"quantising to {options.gptq_bits} bits with GPTQ")
    write_gptq(
        job.order.engine, job.order.target, job.merged().folder, folder, bits=options.gptq_bits,
        calibration=options.calibration, scratch=job.scratch,
    )  # fmt: skip
    final = job.folder("gptq")
    job.finish(folder, final)
    return {"folder": job.relative(final), "bits": options.gptq_bits}


def _check(engine: Engine, _: Target, options: ExportOptions) -> None:
    check_gptq(engine, options.calibration)


def _size_bytes(weights_bytes_16bit: int, options: ExportOptions) -> int:
    return 2 * weights_bytes_16bit * options.gptq_bits // 16  # twice: scales, and layers that stay in 16 bits


def _side(job: ExportJob, on_gpu: bool) -> Side:
    final = job.folder("gptq")
    folder = final if on_gpu else readable_on_cpu(final, job.scratch / "gptq-cpu")
    return exported_side(job.order.target, str(folder), quantized=True)


def _judge(job: ExportJob, comparison: ParityComparison) -> dict[str, Any]:
    report = comparison.reports["gptq"]
    job.record.summary.append(f"gptq: {report.agreement.summary()}")
    return report.effect()


def readable_on_cpu(folder: Path, scratch: Path) -> Path:
    """The same model with the kernels named that a CPU has; by itself gptqmodel takes Triton's, which fail there.

    Only to compare: what ships leaves the choice to the machine that loads it.
    """
    scratch.mkdir(parents=True)
    for path in folder.iterdir():
        if path.name != "config.json":
            (scratch / path.name).symlink_to(path.resolve())
    values = ModelFolder(folder).config()
    values["quantization_config"] = {**values.get("quantization_config", {}), "backend": "torch"}
    write_json(scratch / "config.json", values)
    return scratch


def _forget_calibration(config: Path) -> None:
    """The engine writes the calibration text, as tokens, into the model's config: it stays at home."""
    values = read_json_object(config)
    quantization = values.get("quantization_config")
    if isinstance(quantization, dict):
        for key in ("dataset", "tokenizer"):
            quantization[key] = None
        write_json(config, values)


FORMAT = ExportFormat("gptq", _make, check=_check, size_bytes=_size_bytes, side=_side, judge=_judge)
