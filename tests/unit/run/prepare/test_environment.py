"""What a run was done with: variables with secrets masked, the git state, the hashes of its inputs."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from fake_engine import fake_engine
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.engine.versions import all_packages
from lfwrap.files import sha256_bytes
from lfwrap.hardware.profile import DeviceKind, HardwareProfile
from lfwrap.masking import MASK, is_secret, mask_override, mask_secrets
from lfwrap.recipe.inputs.files import changed_inputs, dataset_entries, hash_inputs
from lfwrap.run.launch.command import Command, override_arguments
from lfwrap.run.prepare.environment import describe_environment, hub_commits, seeds
from lfwrap.run.prepare.start import config_mode
from lfwrap.yaml_files import parse_scalar

ENGINE = fake_engine()
CPU = HardwareProfile("auto", DeviceKind.CPU)


def describe(cwd: Path, **environment: str) -> dict:
    return describe_environment(ENGINE, CPU, environment, cwd)


def test_variables_that_matter_are_kept_and_secrets_masked(tmp_path):
    given = {"CUDA_VISIBLE_DEVICES": "0", "HF_TOKEN": "x", "HF_HOME": "/h", "WANDB_API_KEY": "k", "HOME": "/root"}
    kept = describe(tmp_path, **given)["variables"]
    assert kept == {
        "CUDA_VISIBLE_DEVICES": "0",
        "HF_HOME": "/h",
        "HF_TOKEN": MASK,
        "WANDB_API_KEY": MASK,
    }


def test_a_login_in_an_address_is_masked(tmp_path):
    given = {"MLFLOW_TRACKING_URI": "https://me:word@host:5000/x", "HF_ENDPOINT": "https://host/@a"}
    assert describe(tmp_path, **given)["variables"] == {
        "HF_ENDPOINT": "https://host/@a",
        "MLFLOW_TRACKING_URI": f"https://{MASK}@host:5000/x",
    }


def test_the_command_line_masks_what_is_named_like_a_secret(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["/usr/bin/lfwrap", "train", "r.yaml", "hf_hub_token=abc", "lora_rank=8"])
    assert describe(tmp_path)["command_line"] == ["lfwrap", "train", "r.yaml", f"hf_hub_token={MASK}", "lora_rank=8"]


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    for arguments in (["init", "-q"], ["add", "."], ["commit", "-q", "-m", "first"]):
        (tmp_path / "tracked").write_text("one\n", encoding="utf-8")
        settings = ["-c", "user.name=n", "-c", "user.email=e@example.org"]
        subprocess.run(["git", *settings, *arguments], cwd=tmp_path, check=True, capture_output=True)
    return tmp_path


def test_the_git_state_is_commit_and_whether_tracked_files_differ(repository):
    clean = describe(repository)["git"]
    assert len(clean["commit"]) == 40
    assert clean["is_dirty"] is False
    (repository / "untracked").write_text("", encoding="utf-8")
    assert describe(repository)["git"] == clean
    (repository / "tracked").write_text("two\n", encoding="utf-8")
    assert describe(repository)["git"] == {**clean, "is_dirty": True}


def test_without_repository_or_git_there_is_no_git_state(tmp_path, monkeypatch):
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert describe(tmp_path)["git"] is None
    monkeypatch.setenv("PATH", str(tmp_path))
    assert describe(tmp_path)["git"] is None


@pytest.fixture
def values(tmp_path: Path) -> dict:
    data, model = tmp_path / "data", tmp_path / "model"
    (data / "parts").mkdir(parents=True)
    model.mkdir()
    (model / "config.json").write_text("{}", encoding="utf-8")
    (data / "a.jsonl").write_text("A", encoding="utf-8")
    (data / "parts/1.jsonl").write_text("1", encoding="utf-8")
    (data / "parts/2.jsonl").write_text("2", encoding="utf-8")
    registry = {"a": {"file_name": "a.jsonl"}, "parts": {"file_name": "parts"}, "hub": {"hf_hub_url": "o/d"}}
    (data / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
    return {
        "model_name_or_path": "model",
        "dataset": "a, hub, missing",
        "eval_dataset": ["parts"],
        "dataset_dir": "data",
    }


def test_every_local_file_of_a_run_is_hashed(values, tmp_path):
    found = hash_inputs(values, tmp_path, {})
    assert set(found) == {"model:config.json", "dataset:a", "dataset:parts/1.jsonl", "dataset:parts/2.jsonl"}
    assert found["dataset:a"] == {
        "path": str(tmp_path / "data/a.jsonl"),
        "size_bytes": 1,
        "sha256": sha256_bytes(b"A"),
    }
    assert list(dataset_entries(values, tmp_path)) == ["a", "hub", "parts"]


def test_changes_are_named_one_by_one(values, tmp_path):
    before = hash_inputs(values, tmp_path, {})
    assert changed_inputs(before) == []
    (tmp_path / "data/a.jsonl").write_text("B", encoding="utf-8")
    (tmp_path / "data/parts/2.jsonl").unlink()
    assert changed_inputs(before) == [
        f"dataset:a: {tmp_path / 'data/a.jsonl'} has changed",
        f"dataset:parts/2.jsonl: {tmp_path / 'data/parts/2.jsonl'} is gone",
    ]


@pytest.mark.parametrize("registry", [None, "{", "\xff"])
def test_without_a_readable_registry_only_the_rest_is_hashed(values, tmp_path, registry):
    path = tmp_path / "data/dataset_info.json"
    path.unlink()
    if registry is not None:
        path.write_bytes(registry.encode("latin-1"))
    assert set(hash_inputs(values, tmp_path, {})) == {"model:config.json"}
    assert dataset_entries(values, tmp_path) == {}


@pytest.mark.parametrize("registry", ["[]", '{"a": null}', '{"a": 3}', '{"a": {"file_name": null}}'])
def test_a_registry_of_another_shape_is_passed_over(values, tmp_path, registry):
    (tmp_path / "data/dataset_info.json").write_text(registry, encoding="utf-8")
    assert set(hash_inputs(values, tmp_path, {})) == {"model:config.json"}
    assert set(dataset_entries(values, tmp_path)) <= {"a"}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("HF_TOKEN", True),
        ("hf_hub_token", True),
        ("WANDB_API_KEY", True),
        ("AWS_SECRET_ACCESS_KEY", True),
        ("DB_PASSWORD", True),
        ("private_key", True),
        ("max_new_tokens", False),
        ("TOKENIZERS_PARALLELISM", False),
        ("include_num_input_tokens_seen", False),
        ("KEYBOARD", False),
    ],
)
def test_what_is_named_like_a_secret(name, expected):
    assert is_secret(name) is expected
    assert (mask_secrets({name: "v"})[name] == MASK) is expected
    assert (mask_override(f"{name}=v") == f"{name}={MASK}") is expected
    assert mask_override(name) == name


def test_a_command_is_shown_as_a_shell_takes_it_with_secrets_masked():
    command = Command(("/a b/python", "x.py", "k='v'"), Path("/w"), {"HF_TOKEN": "t", "A": "1 2"})
    assert command.quoted == "'/a b/python' x.py 'k='\"'\"'v'\"'\"''"
    assert command.quoted_environment == "HF_TOKEN='***' A='1 2'"
    assert command.to_json()["environment"] == {"HF_TOKEN": MASK, "A": "1 2"}


@given(st.text(alphabet=st.characters(blacklist_categories=("Cs", "Cc", "Zl", "Zp")), min_size=1).filter(str.strip))
def test_an_override_that_is_no_plain_path_is_quoted_as_yaml_text(text):
    [argument] = override_arguments({"key": text})
    value = argument.removeprefix("key=")
    if value.startswith("'"):
        assert parse_scalar(value) == text
    else:
        assert value == text


def test_overrides_of_other_types_are_yaml():
    assert override_arguments({"a": True, "b": 3, "c": Path("/x y"), "d": 0.5}) == [
        "a=true",
        "b=3",
        "c='/x y'",
        "d=0.5",
    ]


def fill_model(folder: Path) -> None:
    for name in ("tokenizer.json", "chat_template.jinja", "model.safetensors.index.json", "training_args.bin"):
        (folder / name).write_text(name, encoding="utf-8")
    (folder / "model-00001.safetensors").write_bytes(bytes(range(256)) * 8192)


def test_a_model_is_known_by_its_small_files_and_samples_of_its_weights(values, tmp_path):
    fill_model(tmp_path / "model")
    found = hash_inputs(values, tmp_path, {})
    names = ["config.json", "tokenizer.json", "chat_template.jinja", "model.safetensors.index.json"]
    assert {f"model:{name}" for name in (*names, "model-00001.safetensors")} == {
        what for what in found if what.startswith("model:")
    }
    weights = found["model:model-00001.safetensors"]
    assert set(weights) == {"path", "size_bytes", "sample_sha256"}
    assert weights["size_bytes"] == 256 * 8192


def test_other_weights_of_the_same_size_are_a_change(values, tmp_path):
    fill_model(tmp_path / "model")
    before = hash_inputs(values, tmp_path, {})
    assert changed_inputs(before) == []
    path = tmp_path / "model/model-00001.safetensors"
    path.write_bytes(bytes(range(255, -1, -1)) * 8192)
    assert changed_inputs(before) == [f"model:model-00001.safetensors: {path} has changed"]


def test_an_adapter_to_go_on_from_is_an_input(values, tmp_path):
    adapter = tmp_path / "adapter"
    adapter.mkdir()
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (adapter / name).write_text("{}", encoding="utf-8")
    found = hash_inputs({**values, "adapter_name_or_path": str(adapter)}, tmp_path, {})
    assert {"adapter:adapter_config.json", "adapter:adapter_model.safetensors"} <= set(found)


def test_a_hub_model_is_known_by_the_commit_of_its_copy(values, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "hub"))
    repository = tmp_path / "hub/models--org--name"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs/main").write_text("abc123", encoding="ascii")
    (repository / "snapshots/abc123").mkdir(parents=True)
    hub = {**values, "model_name_or_path": "org/name"}
    assert hub_commits(hub, tmp_path) == {}
    (repository / "snapshots/abc123/config.json").write_text("{}", encoding="utf-8")
    assert hub_commits(hub, tmp_path) == {"hub_commit": "abc123"}
    assert "model:config.json" in hash_inputs(hub, tmp_path, {})
    assert hub_commits(values, tmp_path) == {}


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ({}, (42, 42)),
        ({"seed": None}, (42, 42)),
        ({"seed": 0}, (0, 0)),
        ({"seed": 7, "data_seed": 3}, (7, 3)),
    ],
)
def test_seeds_are_those_that_the_engine_takes(values, expected):
    assert tuple(seeds(values).values()) == expected


def test_every_package_of_the_engine_is_kept(tmp_path):
    site = tmp_path / "lib/python3.11/site-packages"
    for name in ("torch-2.9.1+cu128.dist-info", "typing_extensions-4.15.0.dist-info", "no_version.dist-info", "torch"):
        (site / name).mkdir(parents=True)
    engine = fake_engine(tmp_path)
    assert all_packages(engine) == {"torch": "2.9.1+cu128", "typing-extensions": "4.15.0"}


@pytest.mark.parametrize(
    ("values", "mode"),
    [({}, 0o644), ({"lora_rank": 8, "hf_hub_token": None}, 0o644), ({"swanlab_api_key": "k"}, 0o600)],
)
def test_files_with_a_secret_are_the_users_alone(values, mode):
    assert config_mode(values) == mode
