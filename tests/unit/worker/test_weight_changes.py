"""How far weights moved is told from files alone, and is what forming the whole product gives."""

from __future__ import annotations

import json
import struct
from pathlib import Path

import pytest

np = pytest.importorskip("numpy")

from lfwrap_worker.facts.weight_changes import measure  # noqa: E402

MODULE = "model.layers.0.self_attn.q_proj"
RANDOM = np.random.default_rng(7)


def write(path: Path, tensors: dict, code: str = "F32") -> None:
    header, content = {}, b""
    for name, values in tensors.items():
        data = values.astype(np.float32)
        raw = data.tobytes() if code == "F32" else (data.view(np.uint32) >> 16).astype(np.uint16).tobytes()
        kind = "U8" if values.dtype == np.uint8 else code
        raw = values.tobytes() if kind == "U8" else raw
        header[name] = {
            "dtype": kind, "shape": list(values.shape), "data_offsets": [len(content), len(content) + len(raw)]
        }  # fmt: skip
        content += raw
    text = json.dumps(header).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(text)) + text + content)


def adapter(folder: Path, down, up, module: str = MODULE, **config) -> Path:
    pair = {f"base_model.model.{module}.lora_A.weight": down, f"base_model.model.{module}.lora_B.weight": up}
    write(folder / "adapter_model.safetensors", pair)
    (folder / "adapter_config.json").write_text(json.dumps({"r": down.shape[0], "lora_alpha": 16, **config}))
    return folder


def job(result: Path, base: Path | None = None, start: Path | None = None, *, is_adapter=True, checkpoints=()):
    return {
        "result": str(result), "is_adapter": is_adapter, "start": str(start) if start else None,
        "base": str(base) if base else None, "checkpoints": [str(one) for one in checkpoints], "limit_s": 60.0,
    }  # fmt: skip


@pytest.fixture
def base(tmp_path):
    weight = RANDOM.normal(size=(48, 32))
    write(tmp_path / "base" / "model.safetensors", {f"{MODULE}.weight": weight})
    return tmp_path / "base", weight.astype(np.float32).astype(np.float64)


@pytest.mark.parametrize(
    ("config", "scale"),
    [
        ({}, 2.0),
        ({"use_rslora": True}, 16 / 8**0.5),
        ({"alpha_pattern": {"q_proj": 4}}, 0.5),
        ({"lora_alpha": 64}, 8.0),
    ],
)
def test_the_size_of_a_change_is_that_of_the_product(tmp_path, base, config, scale):
    down, up = RANDOM.normal(size=(8, 32)), RANDOM.normal(size=(48, 8))
    found = measure(job(adapter(tmp_path / "a", down, up, **config), base[0]))
    (layer,) = found["layers"]
    wanted = np.linalg.norm(up @ down) * scale / np.linalg.norm(base[1])
    assert layer["ratio"] == pytest.approx(wanted, rel=1e-5)
    assert (layer["name"], layer["moved"], layer["finite"]) == (MODULE, True, True)


def test_an_adapter_that_was_trained_further_is_held_against_what_it_began_as(tmp_path, base):
    down, up = RANDOM.normal(size=(8, 32)), RANDOM.normal(size=(48, 8))
    start = adapter(tmp_path / "start", down, up)
    (same,) = measure(job(adapter(tmp_path / "same", down, up), base[0], start))["layers"]
    assert (same["moved"], same["ratio"]) == (False, 0.0)
    (other,) = measure(job(adapter(tmp_path / "other", down, up * 1.5), base[0], start))["layers"]
    wanted = np.linalg.norm(up @ down) * 0.5 * 2 / np.linalg.norm(base[1])
    assert other["moved"]
    assert other["ratio"] == pytest.approx(wanted, rel=1e-4)


def test_zeros_have_not_moved_and_what_is_no_number_is_named(tmp_path, base):
    down, up = RANDOM.normal(size=(4, 32)), np.zeros((48, 4))
    (layer,) = measure(job(adapter(tmp_path / "zero", down, up), base[0]))["layers"]
    assert (layer["moved"], layer["finite"], layer["ratio"]) == (False, True, 0.0)
    up[3, 1] = np.nan
    (layer,) = measure(job(adapter(tmp_path / "nan", down, up), base[0]))["layers"]
    assert (layer["moved"], layer["finite"], layer["ratio"]) == (True, False, None)


def test_without_the_base_or_with_a_quantised_one_it_is_known_that_it_moved_but_not_how_far(tmp_path):
    down, up = RANDOM.normal(size=(4, 32)), RANDOM.normal(size=(48, 4))
    made = adapter(tmp_path / "a", down, up)
    write(tmp_path / "packed" / "model.safetensors", {f"{MODULE}.weight": np.zeros((48, 16), np.uint8)})
    for place in (None, tmp_path / "packed", tmp_path / "nothing"):
        (layer,) = measure(job(made, place))["layers"]
        assert (layer["moved"], layer["ratio"]) == (True, None)


def test_an_adapter_without_tensors_has_no_layer(tmp_path):
    (tmp_path / "a").mkdir()
    write(tmp_path / "a" / "adapter_model.safetensors", {})
    (tmp_path / "a" / "adapter_config.json").write_text("{}")
    assert measure(job(tmp_path / "a"))["layers"] == []


def test_a_base_that_nests_its_layers_otherwise_is_found_by_the_end_of_the_name(tmp_path):
    weight = RANDOM.normal(size=(48, 32))
    write(tmp_path / "base" / "model.safetensors", {"language_model.model.layers.0.self_attn.q_proj.weight": weight})
    made = adapter(tmp_path / "a", RANDOM.normal(size=(4, 32)), RANDOM.normal(size=(48, 4)))
    assert measure(job(made, tmp_path / "base"))["layers"][0]["ratio"] > 0


def test_the_checkpoint_with_the_same_weights_is_named(tmp_path):
    down, up = RANDOM.normal(size=(4, 32)), RANDOM.normal(size=(48, 4))
    made = adapter(tmp_path / "out", down, up)
    places = [adapter(tmp_path / "checkpoint-1", down, up * 2), adapter(tmp_path / "checkpoint-2", down, up)]
    assert measure(job(made, checkpoints=[*places, tmp_path / "checkpoint-3"]))["equal_to"] == ["checkpoint-2"]


@pytest.mark.parametrize("code", ["F32", "BF16"])
def test_a_whole_model_is_held_against_its_base_in_its_own_type(tmp_path, code):
    """What rounding alone does is no change: the base is in fp32, the result in bf16."""
    old = (RANDOM.normal(size=(40, 30)).astype(np.float32).view(np.uint32) & 0xFFFF0000).view(np.float32)
    write(tmp_path / "base" / "model.safetensors", {"a.weight": old, "b.weight": old})
    write(tmp_path / "out" / "model.safetensors", {"a.weight": old, "b.weight": old * 2}, code)
    found = {one["name"]: one for one in measure(job(tmp_path / "out", tmp_path / "base", is_adapter=False))["layers"]}
    assert (found["a.weight"]["moved"], found["a.weight"]["ratio"]) == (False, 0.0)
    assert found["b.weight"]["ratio"] == pytest.approx(1.0, rel=1e-2)
