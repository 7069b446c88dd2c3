"""Kernels compiled beside the loading: for which runs, in which shapes, and that nothing of it can end a training."""

from __future__ import annotations

import json
import sys
import threading
from types import ModuleType, SimpleNamespace

import pytest

from lfwrap_worker.train import warm_kernels

QWEN = {
    "model_type": "qwen2", "hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28,
    "num_key_value_heads": 4, "vocab_size": 152064,
}  # fmt: skip
VALUES = {"enable_liger_kernel": True, "bf16": True, "cutoff_len": 4096, "per_device_train_batch_size": 8}


@pytest.fixture
def model(tmp_path):
    """model(**config): the values of a run on a model of this config."""

    def make(**config):
        (tmp_path / "config.json").write_text(json.dumps(QWEN | config), encoding="utf-8")
        return {**VALUES, "model_name_or_path": str(tmp_path)}

    return make


@pytest.fixture
def gpu(monkeypatch):
    """A torch that has GPUs, and a Liger."""
    torch = ModuleType("torch")
    torch.cuda = SimpleNamespace(is_available=lambda: True)
    torch.bfloat16, torch.float16, torch.device = "bf16", "fp16", lambda *which: which
    monkeypatch.setitem(sys.modules, "torch", torch)
    for name in ("liger_kernel", "liger_kernel.transformers", "liger_kernel.transformers.functional"):
        monkeypatch.setitem(sys.modules, name, ModuleType(name))
    return torch


@pytest.fixture
def warmed(monkeypatch):
    """What the thread was given."""
    found = []
    monkeypatch.setattr(warm_kernels, "warm", lambda *given: found.append(given))
    return found


def test_the_shapes_are_the_models(model):
    shapes = warm_kernels.read_shapes(model(), within_layers=True)
    assert (shapes.hidden, shapes.intermediate, shapes.vocabulary) == (3584, 18944, 152064)
    assert (shapes.heads, shapes.kv_heads, shapes.head_dim) == (28, 4, 128)
    assert (shapes.rows, shapes.tokens, shapes.within_layers, shapes.has_head_norms) == (8, 16, True, False)


@pytest.mark.parametrize(
    ("config", "changes", "attribute", "expected"),
    [
        ({"model_type": "qwen3", "head_dim": 64}, {}, "head_dim", 64),
        ({"model_type": "qwen3"}, {}, "has_head_norms", True),
        ({"head_dim": None}, {}, "head_dim", 128),
        ({"num_key_value_heads": None}, {}, "kv_heads", 28),
        ({}, {"cutoff_len": 1000}, "tokens", 24),
        ({}, {"per_device_train_batch_size": None}, "rows", 1),
    ],
)
def test_what_configs_leave_out(model, config, changes, attribute, expected):
    shapes = warm_kernels.read_shapes(model(**config) | changes, within_layers=False)
    assert getattr(shapes, attribute) == expected


@pytest.mark.parametrize(
    ("config", "changes"),
    [
        ({}, {"enable_liger_kernel": False}),
        ({}, {"bf16": False}),
        ({}, {"model_name_or_path": "Qwen/Qwen2.5-7B"}),
        ({}, {"model_name_or_path": None}),
        ({"model_type": "gemma2"}, {}),
        ({"model_type": None}, {}),
    ],
)
def test_other_runs_compile_nothing(gpu, warmed, model, config, changes):
    assert warm_kernels.begin(model(**config) | changes, 0, within_layers=True) is None
    assert not warmed


def test_nothing_begins_without_a_gpu(gpu, warmed, model):
    gpu.cuda.is_available = lambda: False
    assert warm_kernels.begin(model(), 0, within_layers=True) is None
    assert not warmed


@pytest.mark.parametrize(("half", "dtype"), [({"bf16": True}, "bf16"), ({"bf16": False, "fp16": True}, "fp16")])
def test_a_rank_takes_its_own_gpu_and_its_type(gpu, warmed, model, capsys, half, dtype):  # noqa: PLR0917
    warm_kernels.begin(model() | half, 3, within_layers=True).wait()
    [(shapes, device, given)] = warmed
    assert (shapes.hidden, device, given) == (3584, ("cuda", 3), dtype)
    assert "Liger's kernels were ready after 0.0 s, beside the loading" in capsys.readouterr().out


def test_the_thread_sets_its_gpu_before_it_calls_a_kernel(gpu, monkeypatch):
    calls = []
    gpu.cuda.set_device = calls.append
    loss = SimpleNamespace(backward=lambda: calls.append("backward"))
    monkeypatch.setattr(warm_kernels, "losses", lambda *_: iter([loss, loss]))
    warm_kernels.warm(None, ("cuda", 3), "bf16")
    assert calls == [("cuda", 3), "backward", "backward"]


def test_a_failure_in_the_thread_is_one_line(gpu, model, monkeypatch, capsys):
    def fail(*_):
        raise RuntimeError("out of registers\nand a long story")

    monkeypatch.setattr(warm_kernels, "warm", fail)
    warm_kernels.begin(model(), 0, within_layers=True).wait()
    line = "lfwrap: Liger's kernels are compiled in the first update: RuntimeError: out of registers\n"
    assert capsys.readouterr().out == line


@pytest.mark.parametrize("content", ["", "[]", "{", '{"model_type": "qwen2"}', "\xff"])
def test_a_broken_config_is_left_for_the_engine_to_name(gpu, warmed, model, tmp_path, capsys, content):  # noqa: PLR0917
    values = model()
    (tmp_path / "config.json").write_text(content, encoding="latin-1")
    assert warm_kernels.begin(values, 0, within_layers=True) is None
    assert not warmed
    assert capsys.readouterr().out.count("\n") == 1


def test_a_missing_liger_is_left_for_the_engine_to_name(gpu, warmed, model, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "liger_kernel.transformers.functional", None)
    assert warm_kernels.begin(model(), 0, within_layers=True) is None
    assert "compiled in the first update: ModuleNotFoundError" in capsys.readouterr().out


def test_the_training_waits_for_the_kernels_but_not_for_ever(gpu, model, monkeypatch):
    may_end, steps = threading.Event(), []

    def work(*_):
        may_end.wait(10)
        steps.append("kernels")

    monkeypatch.setattr(warm_kernels, "warm", work)
    warming = warm_kernels.begin(model(), 0, within_layers=True)
    monkeypatch.setattr(warm_kernels, "_PATIENCE_S", 0.01)
    warming.wait()
    steps.append("impatient")
    monkeypatch.setattr(warm_kernels, "_PATIENCE_S", 10)
    may_end.set()
    warming.wait()
    steps.append("training")
    assert steps == ["impatient", "kernels", "training"]
