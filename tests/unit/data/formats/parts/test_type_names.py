"""Names of types as tools write them: what JSON Schema can say is said, and the rest stays in words."""

from __future__ import annotations

import json
from typing import Any

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

from lfwrap.data.formats.base import RowNotes
from lfwrap.data.formats.parts.schemas import is_flat, normalise_schema, parse_parameters
from lfwrap.data.formats.parts.type_names import type_meaning

STRING, INTEGER, NUMBER = {"type": "string"}, {"type": "integer"}, {"type": "number"}
MEANINGS: dict[Any, dict[str, Any]] = {
    "str": STRING,
    "dict": {"type": "object"},
    "float": NUMBER,
    "Integer": INTEGER,
    "List[int]": {"type": "array", "items": INTEGER},
    "typing.List[str]": {"type": "array", "items": STRING},
    "list<string>": {"type": "array", "items": STRING},
    "string[]": {"type": "array", "items": STRING},
    "array of strings": {"type": "array", "items": STRING},
    "List[Dict[str, Any]]": {"type": "array", "items": {"type": "object"}},
    "Dict[str, List[int]]": {"type": "object", "additionalProperties": {"type": "array", "items": INTEGER}},
    "Tuple[int, int]": {"type": "array", "items": INTEGER, "minItems": 2, "maxItems": 2},
    "Tuple[int, str]": {"type": "array", "prefixItems": [INTEGER, STRING], "minItems": 2, "maxItems": 2},
    "Tuple[float, ...]": {"type": "array", "items": NUMBER},
    "Set[str]": {"type": "array", "items": STRING, "uniqueItems": True},
    "Union[int, str]": {"type": ["integer", "string"]},
    "int | None": {"type": ["integer", "null"]},
    "int or str": {"type": ["integer", "string"]},
    "Optional[str]": {"type": ["string", "null"]},
    "Union[int, List[str]]": {"anyOf": [INTEGER, {"type": "array", "items": STRING}]},
    "Literal['a', 'b', 3]": {"enum": ["a", "b", 3]},
    "any": {},
    "Union[int, Any]": {},
    "date": {"type": "string", "format": "date"},
    "uuid": {"type": "string", "format": "uuid"},
    "number (float)": NUMBER,
    "str, optional": STRING,
    "float, default=0.5": {**NUMBER, "default": 0.5},
    "str, optional, defaults to 'a, b'": {**STRING, "default": "a, b"},
    "bool, default False": {"type": "boolean", "default": False},
    "list[int], default=[1, 2]": {"type": "array", "items": INTEGER, "default": [1, 2]},
    "HashMap": {"type": "object"},
    "": {},
}


@pytest.mark.parametrize("words", MEANINGS)
def test_a_name_says_what_it_says(words: str) -> None:
    meaning = type_meaning(words)
    assert (meaning.schema, meaning.unknown) == (MEANINGS[words], "")


def test_lists_of_names() -> None:
    assert type_meaning(["str", "null"]).schema == {"type": ["string", "null"]}
    assert type_meaning(["str", "any"]).schema == {}
    assert type_meaning(None).schema == {}


@pytest.mark.parametrize("words", ["file", "Callable[[float], float]", "np.ndarray", "thing, whatever", "x" * 5000])
def test_what_has_no_place_in_a_schema_goes_into_the_description(words: str) -> None:
    notes = RowNotes()
    found = normalise_schema({"type": words, "description": "The input."}, notes)
    assert "type" not in found
    assert found["description"].startswith("The input. (type: ")
    assert words[:8] in found["description"]
    assert notes.repairs == {"type-names": 1, "type-name-to-description": 1}
    assert normalise_schema({"type": words}, RowNotes())["description"].startswith("(type: ")


def test_an_enum_has_the_type_of_its_values() -> None:
    assert normalise_schema({"type": "enum", "enum": ["a"]}, RowNotes()) == {"type": "string", "enum": ["a"]}
    assert normalise_schema({"type": "enum", "enum": [1, "a"]}, RowNotes()) == {"enum": [1, "a"]}


@pytest.mark.parametrize("value", [{"type": "x"}, 5, True, [{"type": "string"}], ["string", 3]])
def test_what_is_no_name_stays_for_the_check_of_the_schema(value: Any) -> None:
    notes = RowNotes()
    assert normalise_schema({"type": value}, notes) == {"type": value}
    assert not notes.repairs


@pytest.mark.parametrize(
    "flat",
    [
        {"properties": {"type": "str", "description": "props"}, "city": {"type": "str", "description": "c"}},
        {"type": {"type": "str", "description": "kind"}, "required": {"type": "bool"}},
        {"definitions": {"description": "terms"}, "x": {"type": "int"}},
        {"$limit": {"type": "int"}, "$defs": {"type": "str"}},
    ],
)
def test_flat_parameters_may_have_any_names(flat: dict[str, Any]) -> None:
    assert is_flat(flat)
    found = parse_parameters(flat, RowNotes())
    assert list(found["properties"]) == list(flat)
    assert found["required"] == list(flat)


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"type": {"type": "string"}}},
        {"properties": {"type": {"type": "string"}, "description": {"type": "string"}}},
        {"properties": {}},
        {"$defs": {"type": {"type": "string"}}, "properties": {"a": {"$ref": "#/$defs/type"}}},
    ],
)
def test_schemas_are_not_taken_for_flat_parameters(schema: dict[str, Any]) -> None:
    assert not is_flat(schema)
    assert parse_parameters(schema, RowNotes())["properties"] == schema["properties"]


WORDS = st.recursive(
    st.sampled_from(["int", "str", "Any", "file", "date", "None", "dict", "x y", "'", '"', "]", "["]),
    lambda inner: (
        st.builds(
            "{}[{}]".format,
            st.sampled_from(["List", "Dict", "Union", "Optional", "Tuple", "Literal", "Set", "Foo"]),
            st.lists(inner, max_size=3).map(", ".join),
        )
        | st.lists(inner, min_size=1, max_size=3).map(" | ".join)
        | st.lists(inner, min_size=1, max_size=3).map(", ".join)
    ),
    max_leaves=8,
)


@given(words=WORDS | st.text(max_size=40))
def test_whatever_the_words_are_a_schema_comes_of_them(words: str) -> None:
    meaning = type_meaning(words)
    jsonschema.Draft202012Validator.check_schema(meaning.schema)
    json.dumps(meaning.schema, allow_nan=False)
    if words.strip().lower() not in ("", "any") and not meaning.schema and "any" not in words.lower():
        assert meaning.unknown or "," in words or "[" in words or "|" in words
