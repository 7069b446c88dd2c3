"""Who is compared: names, bases, and what shares a load."""

from __future__ import annotations

import dataclasses

import pytest

from lfwrap.errors import UsageError
from lfwrap.inference.candidates import (
    ModelUnderTest,
    TargetOptions,
    group_by_load,
    require_distinct,
    resolve_candidates,
    run_of,
    split_name,
    weights_fingerprint,
    with_base,
)
from lfwrap.inference.target import TargetKind


@pytest.mark.parametrize(
    ("text", "name", "path"),
    [
        ("runs/a", None, "runs/a"),
        ("old=runs/a", "old", "runs/a"),
        ("old=a=b", "old", "a=b"),
        ("./x=y/z", None, "./x=y/z"),
        ("C:\\x=y", None, "C:\\x=y"),
    ],
)
def test_a_name_stands_before_the_first_equals_sign(text, name, path):
    assert split_name(text) == (name, path)


def test_a_folder_that_is_called_so_has_no_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "lr=1e-4").mkdir()
    assert split_name("lr=1e-4") == (None, "lr=1e-4")


@pytest.fixture
def targets(build, facts):
    """A base with two adapters, one of them called, and a checkpoint of each."""
    base = build.model()
    folders = [build.adapter(build.root / place, base) for place in ("a/output", "b/output", "a/output/checkpoint-3")]
    return resolve_candidates([str(folders[0]), f"second={folders[1]}", str(folders[2])], facts, TargetOptions())


def test_names_are_the_shortest_end_that_nobody_shares(targets, build, facts):
    assert [each.name for each in targets] == ["a", "second", "checkpoint-3"]
    both = [
        str(build.adapter(build.root / place / "checkpoint-3", build.root / "SmolLM2-135M-Instruct")) for place in "cd"
    ]
    assert [each.name for each in resolve_candidates(both, facts, TargetOptions())] == [
        "c/checkpoint-3",
        "d/checkpoint-3",
    ]


def test_the_base_comes_first_and_once_and_shares_the_load(targets):
    everyone = with_base(targets)
    assert [each.name for each in everyone] == ["base", "a", "second", "checkpoint-3"]
    base = everyone[0].target
    assert (base.adapter, base.kind, base.run) == (None, TargetKind.MODEL, None)
    assert group_by_load(everyone) == [everyone]
    assert with_base(everyone) == everyone


def test_another_template_or_quantisation_is_another_load_with_a_base_of_its_own(targets):
    first, second, third = targets
    second = ModelUnderTest("second", dataclasses.replace(second.target, template="qwen"))
    third = ModelUnderTest("third", dataclasses.replace(third.target, quantization={"quantization_bit": 4}))
    everyone = with_base([first, second, third])
    assert len(group_by_load(everyone)) == 3
    assert [each.name for each in everyone[:3]] == [
        "base SmolLM2-135M-Instruct smollm2",
        "base SmolLM2-135M-Instruct qwen",
        "base SmolLM2-135M-Instruct smollm2-4bit",
    ]
    require_distinct(everyone)


def test_a_base_without_the_adapters_under_the_adapter(targets):
    stacked = dataclasses.replace(targets[0].target, prior_adapters=("/earlier",))
    base, _ = with_base([ModelUnderTest("a", stacked)])
    assert base.target.prior_adapters == ()
    assert len(group_by_load([base, ModelUnderTest("a", stacked)])) == 2


def test_two_of_one_name_are_refused(targets):
    with pytest.raises(UsageError, match="is called A/b, as"):
        require_distinct([ModelUnderTest("a-b", targets[0].target), ModelUnderTest("A/b", targets[1].target)])


def test_other_weights_have_another_fingerprint(targets, build):
    before = weights_fingerprint(targets[0].target)
    assert [name for name, *_ in before] == ["adapter_config.json", "adapter_model.safetensors"]
    build.weights(targets[0].target.adapter / "adapter_model.safetensors", {"x": (3, 3)})
    assert weights_fingerprint(targets[0].target) != before
    assert [name for name, *_ in weights_fingerprint(with_base(targets)[0].target)] == [
        "config.json",
        "model.safetensors",
    ]


def test_the_run_of_a_target(build, facts, tmp_path):
    run = build.run(build.model())
    [candidate] = resolve_candidates([str(run.root)], facts, TargetOptions())
    assert candidate.name == "law"
    assert run_of(candidate.target, tmp_path / "elsewhere").paths == run
    assert run_of(dataclasses.replace(candidate.target, run=None), tmp_path) is None
    assert run_of(dataclasses.replace(candidate.target, run="gone"), tmp_path) is None
