"""Row lengths from a recipe's own data: counted with the model's tokenizer, kept by content, estimated without one."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import pytest

from lfwrap.dirs import row_lengths_dir
from lfwrap.recipe.inputs import datasets
from lfwrap.recipe.inputs.datasets import measure_rows
from lfwrap.recipe.recipe import build_recipe
from lfwrap.yaml_files import parse_yaml

ROWS = [{"instruction": "a b c", "input": "", "output": " ".join("d" * (n + 1))} for n in range(20)]


@pytest.fixture
def places(tmp_path, monkeypatch):
    """A model's folder with a tokenizer of one token a word, and a registered data set."""
    tokenizers = pytest.importorskip("tokenizers")
    model, data = tmp_path / "model", tmp_path / "data"
    model.mkdir()
    data.mkdir()
    (model / "config.json").write_text('{"model_type": "llama"}', encoding="utf-8")
    words = tokenizers.Tokenizer(tokenizers.models.WordLevel({"[UNK]": 0}, "[UNK]"))
    words.pre_tokenizer = tokenizers.pre_tokenizers.WhitespaceSplit()
    words.save(str(model / "tokenizer.json"))
    (data / "d.json").write_text(json.dumps(ROWS), encoding="utf-8")
    (data / "dataset_info.json").write_text('{"d": {"file_name": "d.json"}}', encoding="utf-8")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.delenv("LFWRAP_CACHE", raising=False)
    return model, data


def measure(places, more="", template="alpaca"):
    model, data = places
    text = f"model_name_or_path: {model}\ndataset: d\n{more}"
    return measure_rows(build_recipe(parse_yaml(text, "r.yaml"), Path("r.yaml")), data, template)


def test_rows_are_counted_with_all_that_the_template_adds(places):
    rows = measure(places)
    lengths = rows.lengths
    assert (rows.count, rows.is_exact) == (20, True)
    assert [longer - shorter for shorter, longer in itertools.pairwise(lengths)] == [1] * 19
    assert rows.longest_tokens == lengths[-1] > 23  # texts and frame
    assert "20 rows counted" in rows.basis


def test_counts_are_kept_until_the_data_changes(places, monkeypatch):
    first = measure(places)
    assert len(list(row_lengths_dir().iterdir())) == 1
    with monkeypatch.context() as patched:
        patched.setattr(datasets, "TextTokens", None)  # would be called to count
        assert measure(places) == first
    (places[1] / "d.json").write_text(json.dumps(ROWS[:5]), encoding="utf-8")
    assert measure(places).count == 5


def test_another_template_is_counted_anew(places):
    assert measure(places, template="qwen").mean_tokens != measure(places, template="alpaca").mean_tokens


@pytest.mark.parametrize(("more", "count"), [("max_samples: 8", 8), ("val_size: 0.1", 18), ("val_size: 4", 16)])
def test_rows_that_are_not_trained_do_not_count(places, more, count):
    assert measure(places, more).count == count


@pytest.mark.parametrize("more", ["dataset: d\nstreaming: true", "dataset: nowhere", ""])
def test_what_cannot_be_read_is_not_known(places, more):
    model, data = places
    recipe = build_recipe(parse_yaml(f"model_name_or_path: {model}\n{more}\n", "r.yaml"), Path("r.yaml"))
    assert measure_rows(recipe, data, "alpaca") is None
    assert measure_rows(recipe, None, "alpaca") is None


def test_without_a_tokenizer_lengths_are_estimated_and_the_longest_generously(places):
    counted = measure(places)
    (places[0] / "tokenizer.json").unlink()
    rows = measure(places)
    assert not rows.is_exact
    assert "estimated" in rows.basis
    assert rows.longest_tokens >= counted.longest_tokens
    assert rows.longest_tokens > max(rows.lengths)


def test_a_broken_tokenizer_is_no_reason_to_fail(places):
    (places[0] / "tokenizer.json").write_text("{", encoding="utf-8")
    assert measure(places) is None


def test_a_cache_that_cannot_be_written_is_done_without(places, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/proc/none")
    assert measure(places).count == 20


def test_of_more_than_can_be_counted_the_longest_is_not_known(places, monkeypatch):
    monkeypatch.setattr(datasets, "_MOST_CHARACTERS", 10)
    monkeypatch.setattr(datasets, "_CHUNK_ROWS", 4)
    rows = measure(places)
    assert (len(rows.lengths), rows.count) == (4, 20)
    assert rows.cut(4096).longest_tokens == 4096
