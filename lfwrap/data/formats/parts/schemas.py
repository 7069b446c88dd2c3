"""Tools as the formats write them, as canonical tools with a JSON Schema object."""

from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from typing import Any

from lfwrap.data.formats.base import Reject, RowNotes
from lfwrap.data.formats.parts.arguments import dump_key, parse_json_field
from lfwrap.data.formats.parts.type_names import type_meaning
from lfwrap.data.schema.conversation import Tool
from lfwrap.data.schema.fields import is_missing, is_nothing

_JSON_TYPES = frozenset({"object", "string", "integer", "number", "boolean", "array", "null"})
_SCHEMA_KEYS = ("inputSchema", "input_schema", "parameters")
_SCHEMA_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_SCHEMA_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SCHEMA_SINGLES = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")
_KNOWN_TOOLS = 1 << 15  # more than most data sets have: each may stand in any row
_known: dict[tuple[str, str], tuple[Tool, RowNotes, dict[str, Any]]] = {}
_GENERIC = re.compile(r"(\w+)\s*\[(.*)\]", re.DOTALL)


def parse_tools(value: Any, notes: RowNotes, path: str = "tools") -> tuple[Tool, ...]:
    """A list of tools, as values or as JSON text, in any of the known ways of writing one.

    Raises:
        Reject: ``tool`` where one can't be understood, ``tool-collision`` where two of one name differ.

    >>> [tool.name for tool in parse_tools('[{"name": "add"}, {"name": "stop"}]', RowNotes())]
    ['add', 'stop']
    """
    if isinstance(value, str):
        tools, repairs, unused = _parse_text(value.strip(), path)
        notes.repairs.update(repairs)
        notes.unused.update(unused)
        return tools
    if is_missing(value):
        return ()
    if isinstance(value, Mapping):
        value = notes.fields(value, path)["tools"] if "tools" in value else [value]
    if not isinstance(value, list):
        raise Reject("tool", "tools is neither a list nor JSON text of one")
    return unique_tools(_known_tool(tool, notes, f"{path}[]") for tool in value)


def _known_tool(value: Any, notes: RowNotes, path: str) -> Tool:
    """As `parse_tool`; one that was seen before, field for field, only has to be recognised."""
    key = (dump_key(value), path)
    known = _known.get(key)
    if known is None:
        of_tool = RowNotes()
        known = parse_tool(value, of_tool, path), of_tool, of_tool.left()
        if len(_known) >= _KNOWN_TOOLS:
            _known.clear()
        _known[key] = known
    tool, of_tool, unused = known
    notes.repairs.update(of_tool.repairs)
    notes.warnings += of_tool.warnings
    for place, example in unused.items():
        if is_nothing(notes.unused.get(place)):
            notes.unused[place] = example
    return tool


@functools.lru_cache(maxsize=4096)
def _parse_text(text: str, path: str) -> tuple[tuple[Tool, ...], dict[str, int], dict[str, Any]]:
    notes = RowNotes()
    if not text:
        return (), {}, {}
    tools = parse_tools(parse_json_field(text, "tools", "tool") or [], notes, path)
    return tools, dict(notes.repairs), notes.left()


def unique_tools(tools: Iterable[Tool]) -> tuple[Tool, ...]:
    """The tools, each of them once, in order.

    Raises:
        Reject: ``tool-collision``, two tools of one name differ.

    >>> [tool.name for tool in unique_tools([Tool("add"), Tool("stop"), Tool("add")])]
    ['add', 'stop']
    """
    by_name: dict[str, Tool] = {}
    for tool in tools:
        known = by_name.setdefault(tool.name, tool)
        if known != tool:
            raise Reject("tool-collision", f"two different tools are named {tool.name!r}")
    return tuple(by_name.values())


def parse_tool(value: Any, notes: RowNotes, path: str = "tool") -> Tool:
    """One tool: wrapped (``{"type": "function", "function": {…}}``) or bare, MCP, Anthropic, xLAM or Python type names.

    Titles, icons, annotations, output schemas and metadata are left out, as unused fields: the model is not shown them.

    Raises:
        Reject: ``tool``, it has no name or no schema object.

    >>> parse_tool({"name": "add", "inputSchema": {"properties": {"a": {"type": "int"}}}}, RowNotes())
    Tool(name='add', description='', parameters={'properties': {'a': {'type': 'integer'}}, 'type': 'object'})
    """
    if not isinstance(value, Mapping):
        raise Reject("tool", "a tool is not an object")
    fields = notes.fields(value, path)
    if isinstance(fields.content.get("function"), Mapping):
        fields.get("type")  # says "function", as the field itself does
        fields = notes.fields(fields["function"], fields.place_of("function"))
        notes.repair("tool-unwrapped")
    name = fields.get("name")
    if not isinstance(name, str) or not name:
        raise Reject("tool", "a tool has no name")
    if fields.content.get("type") == "function":
        fields.get("type")
    description = fields.content.get("description")
    if isinstance(description, str | None):
        fields.get("description")
    key = next((key for key in _SCHEMA_KEYS if isinstance(fields.content.get(key), Mapping)), None)
    if key is None and any(fields.get(key) not in (None, "", []) for key in _SCHEMA_KEYS):
        raise Reject("tool", f"the parameters of tool {name!r} are not an object")
    parameters = parse_parameters(fields[key] if key else {}, notes)
    outer = fields.content.get("required")
    if isinstance(outer, list) and (not outer or parameters.get("required") == outer):
        fields.get("required")
    elif isinstance(outer, list) and "required" not in parameters:
        fields.get("required")
        parameters["required"] = [field for field in outer if field in parameters["properties"]]
        notes.repair("required-moved")
    return Tool(name=name, description=description if isinstance(description, str) else "", parameters=parameters)


def parse_parameters(schema: Mapping[str, Any], notes: RowNotes) -> dict[str, Any]:
    """Parameters as a JSON Schema object with ``type`` and ``properties``; xLAM's flat ones become one.

    >>> parse_parameters({"city": {"type": "str, optional", "description": "where"}}, RowNotes())
    {'type': 'object', 'properties': {'city': {'type': 'string', 'description': 'where'}}, 'required': []}
    """
    if is_flat(schema):
        notes.repair("flat-parameters")
        return _schema_of_flat(schema, notes)
    normal: dict[str, Any] = normalise_schema(schema, notes)
    return {**normal, "type": "object", "properties": normal.get("properties") or {}}


def is_flat(schema: Mapping[str, Any]) -> bool:
    """Whether parameters are a plain mapping of name → description, as in xLAM.

    >>> is_flat({"city": {"type": "str"}}), is_flat({"properties": {"city": {"type": "str"}}})
    (True, False)
    >>> is_flat({"properties": {"type": "str", "description": "of the house"}, "city": {"type": "str"}})
    True
    """
    return (
        bool(schema)
        and not any((key.startswith("$") or key in _SCHEMA_MAPS) and not _is_field(schema[key]) for key in schema)
        and all(isinstance(field, Mapping) for field in schema.values())
        and any("type" in field or "description" in field for field in schema.values())
    )


def _is_field(value: Any) -> bool:
    """Whether a value describes one field; in a map of schemas, ``type`` and ``description`` are schemas themselves."""
    if not isinstance(value, Mapping):
        return False
    return isinstance(value.get("type"), str | list) or isinstance(value.get("description"), str)


def _schema_of_flat(schema: Mapping[str, Any], notes: RowNotes) -> dict[str, Any]:
    properties: dict[str, Any] = {}
    required: list[str] = []
    for name, field in schema.items():
        words, optional = _optional(field.get("type"))
        properties[name] = normalise_schema({**field, "type": words} if words else _without_type(field), notes)
        if not optional and "default" not in field and field.get("required") is not False:
            required.append(name)
        properties[name].pop("required", None)
    return {"type": "object", "properties": properties, "required": required}


def _without_type(field: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in field.items() if key != "type"}


def _optional(words: Any) -> tuple[Any, bool]:
    """``"Optional[str]"`` → ``("str", True)``: an argument that may be left out; ``"str, optional"`` says so, too."""
    if not isinstance(words, str):
        return words, False
    generic = _GENERIC.fullmatch(words.strip())
    if generic and generic.group(1).lower() == "optional":
        return generic.group(2).strip(), True
    return words.strip(), type_meaning(words).optional


def normalise_schema(schema: Any, notes: RowNotes) -> Any:
    """A schema with JSON Schema's type names, wherever a schema stands in it; values and texts stay as they are.

    >>> normalise_schema({"type": "List[int]", "title": "numbers"}, RowNotes())
    {'type': 'array', 'title': 'numbers', 'items': {'type': 'integer'}}
    """
    if not isinstance(schema, Mapping):
        return schema
    normal = dict(schema)
    if "type" in normal:
        normal = _with_type(normal, notes)
    for key in _SCHEMA_MAPS:
        if isinstance(normal.get(key), Mapping):
            normal[key] = {name: normalise_schema(inner, notes) for name, inner in normal[key].items()}
    for key in _SCHEMA_LISTS:
        if isinstance(normal.get(key), list):
            normal[key] = [normalise_schema(inner, notes) for inner in normal[key]]
    for key in _SCHEMA_SINGLES:
        if key in normal:
            normal[key] = normalise_schema(normal[key], notes)
    return normal


def _with_type(schema: dict[str, Any], notes: RowNotes) -> dict[str, Any]:
    words = schema["type"]
    names = words if isinstance(words, list) else [words]
    if not all(name is None or isinstance(name, str) for name in names):
        return schema  # no name of a type: the check of the schema speaks of it
    if _JSON_TYPES.issuperset(names) and names:
        return schema
    notes.repair("type-names")
    rest = _without_type(schema)
    if isinstance(words, str) and words.strip().lower() == "enum" and isinstance(rest.get("enum"), list):
        return {**({"type": "string"} if all(isinstance(value, str) for value in rest["enum"]) else {}), **rest}
    meaning = type_meaning(words)
    named = dict(meaning.schema)
    items = rest.pop("items", named.pop("items", None))
    described = rest.get("description", "")
    if meaning.unknown and isinstance(described, str):
        notes.repair("type-name-to-description")
        rest["description"] = f"{described} (type: {meaning.unknown})".lstrip()
    return {**named, **rest, **({} if items is None else {"items": items})}
