"""GPTQ: what is missing or broken is told before anything starts; what it is calibrated on; what a CPU can read."""

from __future__ import annotations

import json
import stat
import sys
from pathlib import Path

import pytest
from fake_engine import fake_engine

from lfwrap.engine.locate import Engine
from lfwrap.errors import PreflightError
from lfwrap.export.formats.gptq import check_gptq, readable_on_cpu

SET = {"gptqmodel": "5.8.0", "optimum": "2.1.0", "torchao": "0.16.0", "device-smi": "1", "tokenicer": "1",
       "logbar": "1", "defuser": "1", "threadpoolctl": "3", "random_word": "1", "pypcre": "1"}  # fmt: skip


@pytest.fixture
def engine(tmp_path):
    """Makes an engine with these packages, whose Python ends as the given code does."""

    def make(packages: dict[str, str], code: str = "") -> Engine:
        site = tmp_path / "site"
        (site / "transformers").mkdir(parents=True)
        for name, version in packages.items():
            info = site / f"{name.replace('-', '_')}-{version}.dist-info"
            info.mkdir()
            (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        python = tmp_path / "python"
        python.write_text(f"#!{sys.executable}\n{code}")
        python.chmod(python.stat().st_mode | stat.S_IXUSR)
        return fake_engine(python=python, package=site / "llamafactory")

    return make


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"gptqmodel": None, "pypcre": None}, "gptqmodel, pypcre not installed"),
        ({"gptqmodel": "7.1.0"}, r"gptqmodel 7\.1\.0 \(needs 5\.8\)"),
        ({"optimum": "1.27.0", "torchao": None}, r"torchao not installed, optimum 1\.27\.0 \(needs 2\.1\)"),
    ],
)
def test_a_set_that_does_not_work_together_is_refused_with_one_that_does(engine, changed, words):
    packages = {name: version for name, version in {**SET, **changed}.items() if version}
    with pytest.raises(PreflightError, match=words) as caught:
        check_gptq(engine(packages), Path("text"))
    assert "gptqmodel==5.8.0 optimum==2.1.0 torchao==0.16.0" in caught.value.hint


def test_packages_that_do_not_load_are_refused_in_their_own_words(engine):
    broken = engine(SET, "import sys; sys.exit('ImportError: libcudart.so.12')")
    with pytest.raises(PreflightError, match=r"can't be loaded by .*libcudart\.so\.12"):
        check_gptq(broken, Path("text"))


def test_a_whole_set_passes_and_text_is_asked_for(engine):
    whole = engine(SET)
    check_gptq(whole, Path("text"))
    with pytest.raises(PreflightError, match="needs text to calibrate on"):
        check_gptq(whole, None)


def test_a_cpu_reads_it_with_its_own_kernels_and_what_ships_stays(tmp_path):
    shipped = tmp_path / "gptq"
    shipped.mkdir()
    config = {"quantization_config": {"bits": 4, "backend": "auto"}, "vocab_size": 3}
    (shipped / "config.json").write_text(json.dumps(config))
    (shipped / "model.safetensors").write_bytes(b"weights")
    copy = readable_on_cpu(shipped, tmp_path / "copy")
    assert json.loads((copy / "config.json").read_text())["quantization_config"] == {"bits": 4, "backend": "torch"}
    assert (copy / "model.safetensors").read_bytes() == b"weights"
    assert json.loads((shipped / "config.json").read_text()) == config
