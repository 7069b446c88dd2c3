"""An engine whose Python is broken in any way is one clear error with a hint, whoever starts it; real children."""

from __future__ import annotations

import contextlib
import stat
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from lfwrap.data.datasets import engine_check
from lfwrap.data.datasets.engine_check import EngineCheck, run_encoder
from lfwrap.demo_model import convert_gguf
from lfwrap.doctor.machine_facts import probe_torch
from lfwrap.engine.locate import Engine, find_engine
from lfwrap.errors import EngineError, LfwrapError, PreflightError
from lfwrap.evaluate.lm_harness import run_harness
from lfwrap.export.files import FilesJob
from lfwrap.export.formats import gptq
from lfwrap.export.formats.gguf import GgufTools, write_gguf
from lfwrap.export.formats.gptq import check_gptq
from lfwrap.export.hub import Push, push_folder
from lfwrap.export.merging import write_merged
from lfwrap.export.options import ExportOptions
from lfwrap.inference import held_out_rows
from lfwrap.inference.held_out_rows import validation_rows
from lfwrap.inference.parity import compare_sides
from lfwrap.inference.serving.llama_server import serve_gguf
from lfwrap.inference.serving.serve import ServeOptions, Server
from lfwrap.inference.serving.webchat import run_web_chat
from lfwrap.inference.session import AnswerSession
from lfwrap.inference.target import Target, TargetKind
from lfwrap.run.folder.paths import RunPaths
from lfwrap.run.folder.record import RunRecord, RunState, load_run, prepare_record

NOT_STARTED = {
    "missing": lambda path: None,
    "a folder": lambda path: path.mkdir(),
    "not executable": lambda path: path.write_text("#!/bin/sh\n"),
    "no program": lambda path: _executable(path, "\0\0\0"),
    "its interpreter is gone": lambda path: _executable(path, "#!/no/such/python\n"),
}
STARTED = {
    "ends at once": "pass",
    "fails": "raise ValueError('no such thing')",
    "prints no JSON": "print('Warning: something else')",
    "prints bytes that are no text": "import os; os.write(1, b'\\xff\\xfe\\n')",
    "prints JSON that is no object": "print([1, 2]); print(3); print('null')",
    "prints half an object": "print('{\"rows\": [', end='')",
    "prints an object of another form": 'print(\'{"level": "warning"}\')',
    "is killed": "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    "is killed by a signal without a name": "import os, signal; os.kill(os.getpid(), signal.SIGRTMIN + 5)",
    "closes its stdin": "import os, time; os.close(0); time.sleep(0.3)",
    "fails after garbage": "import sys; print('hello'); sys.exit(3)",
}
FAILING = {"fails", "is killed", "is killed by a signal without a name", "fails after garbage"}
HANGS = {
    "hangs": "import time; time.sleep(60)",
    "hangs after garbage": "import time; print('hello', flush=True); time.sleep(60)",
    "hangs without its stdin": "import os, time; os.close(0); time.sleep(60)",
    "closes its stdout and hangs": "import os, time; os.close(1); time.sleep(60)",
}


def _executable(path: Path, text: str) -> None:
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


@pytest.fixture
def broken(tmp_path: Path) -> Callable[[str], Engine]:
    """broken(way): an engine whose Python and whose command are broken in that way; its packages are all there."""
    site = tmp_path / "site"
    for name in ("gptqmodel-5.8.0", "optimum-2.1.0", "torchao-0.16.0", "device_smi-1", "tokenicer-1", "logbar-1",
                 "defuser-1", "threadpoolctl-3", "random_word-1", "pypcre-1", "xllamacpp-1", "gradio-5"):  # fmt: skip
        info = site / f"{name}.dist-info"
        info.mkdir(parents=True)
        package, _, version = name.partition("-")
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: {version}\n")
    (site / "transformers").mkdir()

    def make(way: str) -> Engine:
        python = tmp_path / "bin" / "python"
        python.parent.mkdir()
        if way in NOT_STARTED:
            NOT_STARTED[way](python)
        else:
            _executable(python, f"#!{sys.executable}\n{STARTED.get(way) or HANGS[way]}\n")
        return Engine(python, python, site / "llamafactory", "0.9.5")

    return make


def _encode(engine: Engine, tmp_path: Path) -> None:
    run_encoder(EngineCheck(engine), tmp_path, ["x"])


def _split(engine: Engine, tmp_path: Path) -> None:
    paths = RunPaths(tmp_path / "runs" / "20260101T000000Z-law-00000000")
    paths.output.mkdir(parents=True)
    now = "2026-01-01T00:00:00.000Z"
    prepare_record(paths, RunRecord(paths.name, RunState.SUCCEEDED, "law", now, now, "m", "lora", "sft", "qwen"))
    paths.engine_yaml.write_text("template: qwen\nval_size: 0.1\ndataset: x\n")
    validation_rows(load_run(paths.root), engine)


def _torch(engine: Engine, _: Path) -> None:
    """The doctor tells what it finds: the error is a finding of its own."""
    facts = probe_torch(engine.python, timeout_s=1.0)
    raise EngineError(facts["error"], hint="a finding")


def _gptq(engine: Engine, tmp_path: Path) -> None:
    check_gptq(engine, tmp_path / "text")


def _target(tmp_path: Path) -> Target:
    model = tmp_path / "model"
    model.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}')
    return Target("law", TargetKind.MODEL, str(model), None, "qwen")


def _answer(engine: Engine, tmp_path: Path) -> None:
    with AnswerSession(engine, _target(tmp_path)):
        pass


def _merge(engine: Engine, tmp_path: Path) -> None:
    write_merged(engine, _target(tmp_path), tmp_path / "stage", ExportOptions("bfloat16", 5), tmp_path)


def _gguf(engine: Engine, tmp_path: Path) -> None:
    tools = GgufTools(engine, None, None)
    write_gguf(tools, tmp_path, tmp_path / "out", "law", ("f16",), scratch=tmp_path)


def _files(engine: Engine, tmp_path: Path) -> None:
    with FilesJob(engine, _target(tmp_path), tmp_path / "files") as job:
        job.result()


def _push(engine: Engine, tmp_path: Path) -> None:
    push_folder(engine, tmp_path, Push("me/law"))


def _parity(engine: Engine, tmp_path: Path) -> None:
    compare_sides(engine, _target(tmp_path), {}, "bfloat16")


def _serve(engine: Engine, tmp_path: Path) -> None:
    with Server(engine, _target(tmp_path), ServeOptions(port=0)):
        pass


def _llama_server(engine: Engine, tmp_path: Path) -> None:
    with serve_gguf(engine, tmp_path / "x.gguf", context_tokens=64):
        pass


def _web_chat(engine: Engine, tmp_path: Path) -> None:
    run_web_chat(engine, _target(tmp_path), port=0, ready=lambda _: None)


def _checkpoint(engine: Engine, tmp_path: Path) -> None:
    convert_gguf(engine, tmp_path / "x.gguf", tmp_path)


def _harness(engine: Engine, tmp_path: Path) -> None:
    run_harness([str(engine.python)], _target(tmp_path), tmp_path / "out")


Caller = Callable[[Engine, Path], None]
WITH_TIMEOUT: tuple[Caller, ...] = (_encode, _split, _torch, _gptq)
CALLERS: tuple[Caller, ...] = (
    *WITH_TIMEOUT,
    _web_chat,
    _answer,
    _merge,
    _gguf,
    _files,
    _push,
    _parity,
    _serve,
    _llama_server,
    _checkpoint,
    _harness,
)
SILENT_IS_WELL = {_gptq, _gguf, _harness, _merge, _web_chat}
"""They go by the exit code alone, or by the files that were left."""


@pytest.fixture(autouse=True)
def _short_timeouts(monkeypatch):
    monkeypatch.setattr(engine_check, "_TIMEOUT_S", 1.0)
    monkeypatch.setattr(held_out_rows, "_SPLIT_TIMEOUT_S", 1.0)
    monkeypatch.setattr(gptq, "_IMPORT_TIMEOUT_S", 1.0)


@pytest.mark.parametrize("way", NOT_STARTED)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_python_that_can_not_be_started(broken, tmp_path, caller, way):
    engine = broken(way)
    with pytest.raises(LfwrapError, match="can't be started") as caught:
        caller(engine, tmp_path)
    assert isinstance(caught.value, PreflightError) or caller is _torch
    assert str(engine.python) in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("way", STARTED)
@pytest.mark.parametrize("caller", CALLERS)
def test_a_python_that_does_not_do_its_work(broken, tmp_path, caller, way):
    engine = broken(way)
    if caller in SILENT_IS_WELL and way not in FAILING:
        with contextlib.suppress(LfwrapError):
            caller(engine, tmp_path)
        return
    with pytest.raises(LfwrapError) as caught:
        caller(engine, tmp_path)
    assert caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize("way", HANGS)
@pytest.mark.parametrize("caller", WITH_TIMEOUT)
def test_a_python_that_hangs_where_there_is_a_limit(broken, tmp_path, caller, way):
    engine = broken(way)
    with pytest.raises(LfwrapError) as caught:
        caller(engine, tmp_path)
    assert caught.value.hint


@pytest.mark.parametrize("way", [*NOT_STARTED, *STARTED])
def test_a_python_that_is_asked_for_the_engine_and_has_none(broken, way):
    python = broken(way).python
    python.with_name("llamafactory-cli").write_text("")
    assert find_engine({"LFWRAP_ENGINE_PYTHON": str(python)}) is None


@pytest.mark.parametrize("said", ["1", "null", "[]", "[1, 2]", '[["x"], "0.9.5"]', "[null, null]", '{"a": 1, "b": 2}'])
def test_an_answer_of_another_form_is_no_engine(tmp_path, said):
    python = tmp_path / "python"
    _executable(python, f"#!/bin/sh\necho '{said}'\n")
    python.with_name("llamafactory-cli").write_text("")
    assert find_engine({"LFWRAP_ENGINE_PYTHON": str(python)}) is None
