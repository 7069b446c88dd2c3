"""Which target each backend of `lfwrap serve` can serve, and the engine's keys for it."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest
from fake_engine import runnable_engine

from lfwrap.errors import PreflightError
from lfwrap.inference.serving.backends import check_backend
from lfwrap.inference.serving.serve import serve_arguments
from lfwrap.inference.target import resolve_target


@pytest.fixture
def engine(tmp_path):
    """An engine beside which vllm 0.11.0 and sglang 0.5 are installed, by their metadata."""
    site = tmp_path / "site"
    (site / "transformers").mkdir(parents=True)
    install(site, "vllm", "0.11.0")
    install(site, "sglang", "0.5.3.post1")
    return runnable_engine(site / "llamafactory")


def install(site: Path, name: str, version: str) -> None:
    for old in site.glob(f"{name}-*"):
        (old / "METADATA").unlink()
        old.rmdir()
    folder = site / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def target(build, facts, tmp_path):
    return resolve_target(str(build.adapter(tmp_path / "adapter", build.model())), facts)


def state(target, **keys):
    """Change the adapter's own settings."""
    path = target.adapter / "adapter_config.json"
    path.write_text(json.dumps(json.loads(path.read_bytes()) | keys))


def test_what_is_not_installed_is_told_before_loading(engine, target):
    elsewhere = dataclasses.replace(engine, package=Path("/nowhere/llamafactory"), python=Path("/nowhere/bin/python"))
    check_backend(elsewhere, target, "huggingface")
    with pytest.raises(PreflightError, match="vllm is not installed for /nowhere/bin/python"):
        check_backend(elsewhere, target, "vllm")


def test_a_vllm_that_the_engine_refuses_is_told_before_loading(engine, target):
    check_backend(engine, target, "vllm")
    install(engine.package.parent, "vllm", "0.11.1rc2")
    with pytest.raises(PreflightError, match=r"versions up to 0\.11\.0"):
        check_backend(engine, target, "vllm")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        ({"use_dora": True}, "DoRA"),
        ({"modules_to_save": ["lm_head"]}, "whole layers"),
        ({"bias": "all"}, "biases"),
        ({"r": 1024}, "rank is above 512"),
    ],
)
def test_an_adapter_that_vllm_can_not_load_is_refused(engine, target, keys, said):
    state(target, **keys)
    check_backend(engine, target, "huggingface")
    with pytest.raises(PreflightError, match=said) as error:
        check_backend(engine, target, "vllm")
    assert "lfwrap export" in error.value.hint


@pytest.mark.parametrize("backend", ["vllm", "sglang"])
@pytest.mark.parametrize(
    ("changes", "said"),
    [({"quantization": {"quantization_bit": 4}}, "bitsandbytes"), ({"prior_adapters": ("/a",)}, "the first alone")],
)
def test_a_target_that_the_engine_would_load_otherwise_is_refused(engine, target, backend, changes, said):
    with pytest.raises(PreflightError, match=said):
        check_backend(engine, dataclasses.replace(target, **changes), backend)


def test_sglang_serves_whole_models_only(engine, target, facts):
    with pytest.raises(PreflightError, match="the base alone would answer"):
        check_backend(engine, target, "sglang")
    check_backend(engine, resolve_target(target.model, facts, template="qwen"), "sglang")


@pytest.mark.parametrize(("rank", "largest"), [(4, 8), (64, 64), (65, 128), (300, 320)])
def test_vllm_is_told_the_adapter_s_rank(target, rank, largest):
    state(target, r=rank)
    arguments = serve_arguments(target, "vllm")
    assert (arguments["infer_backend"], arguments["vllm_max_lora_rank"]) == ("vllm", largest)
    assert arguments["adapter_name_or_path"] == str(target.adapter)
    assert "vllm_max_lora_rank" not in serve_arguments(target, "huggingface")


@pytest.mark.parametrize(("longest", "told"), [(2048, 2048), (4096, None), (32768, None)])
def test_the_context_is_no_longer_than_the_model_s(target, longest, told):
    config = Path(target.model) / "config.json"
    config.write_text(json.dumps(json.loads(config.read_bytes()) | {"max_position_embeddings": longest}))
    assert serve_arguments(target, "vllm").get("vllm_maxlen") == told
    assert serve_arguments(target, "sglang").get("sglang_maxlen") == told


def test_a_qlora_run_is_served_on_the_base_it_was_trained_on(build, facts):
    paths = build.run(build.model("base"), engine_yaml="template: qwen\nquantization_bit: 4\n")
    arguments = serve_arguments(resolve_target(str(paths.root), facts), "huggingface")
    assert arguments["quantization_bit"] == 4
    assert (arguments["adapter_name_or_path"], arguments["infer_backend"]) == (str(paths.output), "huggingface")
