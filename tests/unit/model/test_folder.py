"""What lies in a folder of a model or an adapter: told from names, JSON and headers."""

from __future__ import annotations

import json
import re
import struct
from pathlib import Path

import pytest

import lfwrap
from lfwrap.errors import PreflightError
from lfwrap.model.folder import (
    AdapterFolder,
    FolderKind,
    ModelFolder,
    folder_kind,
    is_adapter,
    is_checkpoint,
    read_json_object,
    trained_folder,
)
from lfwrap.model.weight_files import count_parameters, read_shapes

Q_PROJ = "model.layers.0.self_attn.q_proj"


def _weights(path: Path, shapes: dict[str, tuple[int, ...]]) -> Path:
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 4
        for length in shape:
            size *= length
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(offset))
    return path


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text('{"model_type": "llama"}')
    (folder / "tokenizer.json").write_text("{}")
    _weights(folder / "model.safetensors", {f"{Q_PROJ}.weight": (8, 6)})
    return ModelFolder(folder)


@pytest.fixture
def adapter(tmp_path):
    folder = tmp_path / "checkpoint-3"
    folder.mkdir()
    config = {"base_model_name_or_path": "Qwen/Qwen3-0.6B", "r": 2, "peft_type": "LORA", "bias": "none"}
    (folder / "adapter_config.json").write_text(json.dumps(config))
    stem = f"base_model.model.{Q_PROJ}"
    _weights(folder / "adapter_model.safetensors", {f"{stem}.lora_A.weight": (2, 6), f"{stem}.lora_B.weight": (8, 2)})
    return AdapterFolder(folder)


def _set(adapter, **values):
    adapter.config_file.write_text(json.dumps(adapter.config() | values))


def test_the_configuration_tells_what_a_folder_holds(model, adapter, tmp_path):
    assert folder_kind(model.path) is FolderKind.MODEL
    assert folder_kind(adapter.path) is FolderKind.ADAPTER
    assert folder_kind(tmp_path) is FolderKind.OTHER
    assert folder_kind(tmp_path / "not there") is FolderKind.OTHER
    (model.path / "adapter_config.json").write_text("{}")
    assert is_adapter(model.path)


def test_a_checkpoint_is_told_by_its_name(model, adapter):
    assert is_checkpoint(adapter.path)
    assert not is_checkpoint(model.path)


def test_a_whole_model_lacks_nothing(model):
    assert model.lacking() == []
    assert model.weight_problems() == []
    assert model.lacking_shards() == []
    assert model.shapes() == {f"{Q_PROJ}.weight": (8, 6)}
    assert model.weight_bytes() == (model.path / "model.safetensors").stat().st_size
    assert model.config() == {"model_type": "llama"}
    assert ModelFolder.find(str(model.path)) == model


def test_an_empty_folder_lacks_everything(tmp_path):
    folder = ModelFolder(tmp_path)
    assert folder.lacking() == ["config.json", "weights", "tokenizer"]
    assert not folder.has_tokenizer()
    assert (folder.weight_files(), folder.weight_bytes()) == ([], 0)
    assert ModelFolder.find(str(tmp_path)) is None


def test_an_empty_file_is_as_good_as_missing(model):
    (model.path / "tokenizer.json").write_bytes(b"")
    assert model.lacking() == ["tokenizer"]


def test_a_shard_that_the_index_names_must_be_there(model):
    index = {"weight_map": {"a": "model-00001-of-00002.safetensors", "b": "model-00002-of-00002.safetensors"}}
    (model.path / "model.safetensors.index.json").write_text(json.dumps(index))
    _weights(model.path / "model-00001-of-00002.safetensors", {"a": (1,)})
    assert model.lacking_shards() == ["model-00002-of-00002.safetensors"]
    assert model.weight_problems() == ["model-00002-of-00002.safetensors is missing"]


def test_torchs_files_count_where_there_are_no_safetensors(model):
    torch_file = model.path / "pytorch_model.bin"
    torch_file.write_bytes(b"x" * 7)
    assert model.weight_files() == [model.path / "model.safetensors"]
    (model.path / "model.safetensors").unlink()
    assert (model.weight_files(), model.weight_bytes()) == ([torch_file], 7)


@pytest.mark.parametrize("name", ["preprocessor_config.json", "modeling_own.py"])
def test_a_processor_or_own_code_is_seen(model, name):
    assert not model.has_processor_or_code()
    (model.path / name).write_text("{}")
    assert model.has_processor_or_code()


def test_an_adapter_says_its_base_its_rank_and_where_it_stands(adapter):
    assert adapter.problems() == []
    assert (adapter.base_model(), adapter.rank()) == ("Qwen/Qwen3-0.6B", 2)
    assert adapter.input_widths() == {f"{Q_PROJ}.weight": 6}
    assert adapter.weight_files() == [adapter.weights_file]
    assert not adapter.changes_the_base()


@pytest.mark.parametrize(
    "values",
    [{"init_lora_weights": "pissa_niter_16"}, {"bias": "all"}, {"layer_replication": [[0, 1]]}, {"peft_type": "IA3"}],
)
def test_an_adapter_may_change_its_base(adapter, values):
    _set(adapter, **values)
    assert adapter.changes_the_base()


def test_what_an_adapter_lacks_is_named(adapter):
    adapter.config_file.unlink()
    adapter.weights_file.write_bytes(adapter.weights_file.read_bytes()[:-1])
    missing, broken = adapter.problems()
    assert missing == "adapter_config.json is missing"
    assert broken.startswith("adapter_model.safetensors has")


@pytest.mark.parametrize("folder", ["model", "adapter"])
def test_other_weights_have_another_identity(request, folder):
    one = request.getfixturevalue(folder)
    before = one.identity()
    assert len(before) == 2
    _weights(one.path / f"{'adapter_' if folder == 'adapter' else ''}model.safetensors", {"a": (1,)})
    assert one.identity() != before
    assert type(one)(one.path / "not there").identity() == []


def test_the_kind_of_tuning_tells_what_is_left(tmp_path):
    assert trained_folder(tmp_path, "lora") == AdapterFolder(tmp_path)
    assert trained_folder(tmp_path, "freeze") == ModelFolder(tmp_path)


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_a_configuration_that_is_not_an_object_is_an_error(tmp_path, text):
    path = tmp_path / "config.json"
    path.write_text(text)
    with pytest.raises(PreflightError, match=r"config\.json"):
        read_json_object(path)


@pytest.mark.parametrize("keep", [0, 4, 20, -1])
def test_shapes_of_a_file_that_was_cut_off_are_an_error(tmp_path, keep):
    path = _weights(tmp_path / "model.safetensors", {"a": (2, 3), "b": ()})
    assert read_shapes(path) == {"a": (2, 3), "b": ()}
    assert count_parameters(path) == 7
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(PreflightError, match=r"model\.safetensors"):
        read_shapes(path)
    assert count_parameters(path) == 0


def test_one_module_knows_the_names_of_an_adapters_files():
    """Workers run without lfwrap and keep a copy of their own."""
    root = Path(lfwrap.__file__).parent
    literal = re.compile(r"""["'][^"'\s]*adapter_(config\.json|model[^"'\s]*\.(safetensors|bin))["']""")
    found = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if "worker" not in path.relative_to(root).parts[0] and literal.search(path.read_text(encoding="utf-8"))
    }
    assert found == {"model/folder.py"}
