"""YAML is read as the engine reads it, with places, and written so that every reader agrees."""

from __future__ import annotations

import contextlib
import math

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.errors import RecipeError
from lfwrap.yaml_files import Position, dump_yaml, load_yaml, parse_scalar, parse_yaml


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1e-4", 1e-4),
        ("2.0e-4", 2e-4),
        ("5E5", 5e5),
        ("1_000", 1000),
        (".5", 0.5),
        ("-.inf", -math.inf),
        ("true", True),
        ("no", False),
        ("null", None),
        ("2024-01-01", "2024-01-01"),
        ("qwen", "qwen"),
        ("[q_proj, v_proj]", ["q_proj", "v_proj"]),
        ("1.2.3", "1.2.3"),
        ("64", 64),
    ],
)
def test_scalars_are_read_as_the_engine_reads_them(text, value):
    assert parse_scalar(text) == value
    assert type(parse_scalar(text)) is type(value)


def test_places_of_keys_and_values():
    document = parse_yaml("a: 1\nlfwrap:\n  zero_stage: 0\nlist: [x, y]\n", "r.yaml")
    assert document.key_position("lfwrap", "zero_stage") == Position(3, 3)
    assert document.value_position("lfwrap", "zero_stage") == Position(3, 15)
    assert document.value_position("list", 1) == Position(4, 11)
    assert document.key_position("absent") is None


@pytest.mark.parametrize(
    ("text", "place", "words"),
    [
        ("a: [1, 2\nb: 3\n", (2, 2), "not valid YAML"),
        ("a: 1\nb: 2\na: 3\n", (3, 1), "first on line 1"),
        ("a: 'x\n", (2, 1), "not valid YAML"),
    ],
)
def test_errors_name_the_place(text, place, words):
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "r.yaml")
    (finding,) = caught.value.findings
    assert (finding.line, finding.column) == place
    assert words in finding.message


@pytest.mark.parametrize("text", ["- a\n- b\n", "just text", "1: x\n", "? [a, b]\n: c\n", "42"])
def test_only_a_mapping_with_text_keys_is_a_recipe(text):
    with pytest.raises(RecipeError, match=r"expected `key: value` lines|not valid YAML"):
        parse_yaml(text, "r.yaml")


def test_empty_file_is_an_empty_mapping(tmp_path):
    path = tmp_path / "empty.yaml"
    path.write_bytes(b"\xef\xbb\xbf# nothing\n")
    assert load_yaml(path).values == {}


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(RecipeError, match=r"absent\.yaml: no such file"):
        load_yaml(tmp_path / "absent.yaml")
    (tmp_path / "gbk.yaml").write_bytes("数据: 一\n".encode("gb18030"))
    with pytest.raises(RecipeError, match=r"gbk\.yaml: can't be read"):
        load_yaml(tmp_path / "gbk.yaml")
    with pytest.raises(RecipeError, match="can't be read: Is a directory") as caught:
        load_yaml(tmp_path)
    assert caught.value.hint == "Name a YAML file."


@pytest.mark.parametrize("text", ["a:\n\tb: 1\n", "a:\n  - b\n\t- c\n"])
def test_tabs_are_named(text):
    with pytest.raises(RecipeError) as caught:
        parse_yaml(text, "r.yaml")
    assert "not tabs" in caught.value.findings[0].hint


def test_python_objects_are_not_made():
    with pytest.raises(RecipeError):
        parse_yaml("a: !!python/object/apply:os.system ['true']\n", "r.yaml")


_NOT_PLAIN = [
    "!!int x",
    "!!timestamp 2001-99-99",
    "!!set {a}",
    "9" * 5000,
    "9" * 20,
    "[" * 300 + "]" * 300,
    "[" * 3000 + "]" * 3000,
    "&x [*x]",
    "&x {a: *x, b: *x}",
    r'"\ud800"',
]


@pytest.mark.parametrize("text", _NOT_PLAIN, ids=lambda text: text[:24])
def test_a_value_that_no_file_of_a_run_can_hold_is_refused(text):
    with pytest.raises(RecipeError):
        parse_scalar(text)
    with pytest.raises(RecipeError):
        parse_yaml(f"lora_target: {text}\n", "r.yaml")


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.floats(allow_nan=False) | st.text(max_size=30),
    lambda inner: st.lists(inner, max_size=3),
    max_leaves=6,
)
_KEYS = st.text(min_size=1, max_size=12)


@given(st.dictionaries(_KEYS, _VALUES, max_size=6))
def test_what_is_written_is_read_back_by_all_readers(values):
    text = dump_yaml(values)
    assert parse_yaml(text, "x").values == values
    assert yaml.safe_load(text) == values


@given(st.text(max_size=60))
def test_any_text_is_a_document_or_a_recipe_error(text):
    with contextlib.suppress(RecipeError):
        assert isinstance(parse_yaml(text, "x").values, dict)


@pytest.mark.parametrize("value", ["&x [*x]", "99999999999999999999999"])
def test_the_key_of_such_a_value_is_named_with_its_place(value):
    with pytest.raises(RecipeError, match=r"^r\.yaml:2:1  model: not a valid value: ") as caught:
        parse_yaml(f"stage: sft\nmodel: {value}\n", "r.yaml")
    assert "64 bits" in caught.value.hint
