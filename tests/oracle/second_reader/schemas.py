"""Tools as the sources write them, and whether those written are the same up to the normalisations that are stated."""

from __future__ import annotations

from typing import Any

from second_reader.said import Tool, Unclear
from second_reader.values import exact, spelled

_NAMES = {"dict": "object", "str": "string", "int": "integer", "float": "number", "bool": "boolean", "list": "array"}
_JSON = ("object", "string", "integer", "number", "boolean", "array", "null")
_MAPS = ("properties", "patternProperties", "$defs", "definitions", "dependentSchemas")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_SINGLES = ("items", "additionalProperties", "not", "if", "then", "else", "contains", "propertyNames")


def tools_of(value: Any) -> tuple[Tool, ...]:
    """Tools of a list, or of JSON text of one: wrapped or bare, with any of the names of a schema."""
    if isinstance(value, str):
        value = exact(value) if value.strip() else []
    if isinstance(value, dict):
        value = value.get("tools", [value])
    if not isinstance(value, list | None):
        raise Unclear("tools are no list")
    found: dict[str, Tool] = {}
    for each in value or ():
        tool = tool_of(each)
        if found.setdefault(tool.name, tool) != tool:
            raise Unclear("two different tools of one name")
    return tuple(found.values())


def tool_of(value: Any) -> Tool:
    """One tool."""
    inner = value.get("function", value) if isinstance(value, dict) else None
    if not isinstance(inner, dict) or not isinstance(inner.get("name"), str) or not inner["name"]:
        raise Unclear("a tool without a name")
    schema: Any = {}
    for key in ("inputSchema", "input_schema", "parameters"):
        if isinstance(inner.get(key), dict):
            schema = inner[key]
            break
        if inner.get(key) not in (None, "", []):
            raise Unclear("parameters that are no object")
    described = inner.get("description")
    return Tool(inner["name"], described if isinstance(described, str) else "", schema, inner.get("required"))


def tools_differ(tools: tuple[Tool, ...], written: str) -> str:
    """How the written tools differ from the source's, or nothing."""
    if not tools:
        return "" if written == "" else f"no tools in the source, written {written[:80]!r}"
    values = exact(written)
    names = [value["function"]["name"] for value in values]
    if names != [tool.name for tool in tools]:
        return f"tools {names}, the source has {[tool.name for tool in tools]}"
    return next((wrong for tool, value in zip(tools, values, strict=True) if (wrong := tool_differs(tool, value))), "")


def tool_differs(tool: Tool, value: Any) -> str:
    """How one written tool differs, or nothing."""
    function = value["function"]
    if set(value) != {"type", "function"} or set(function) != {"name", "description", "parameters"}:
        return f"tool {tool.name}: keys {sorted(value)}, {sorted(function)}"
    if function["description"] != tool.description:
        return f"tool {tool.name}: described as {function['description']!r}, not {tool.description!r}"
    schema = tool.schema
    if _is_flat(schema):
        schema = _of_flat(schema)
    else:
        schema = {**schema, "type": "object", "properties": schema.get("properties") or {}}
        if isinstance(tool.required, list) and "required" not in schema:
            schema["required"] = [name for name in tool.required if name in schema["properties"]]
    wrong = _differs(schema, function["parameters"], "")
    return f"tool {tool.name}: {wrong}" if wrong else ""


def _is_flat(schema: Any) -> bool:
    """xLAM's parameters: names with their description and type, without a schema around them."""
    inner = [held for held in schema.values() if isinstance(held, dict)]
    marks = {"type", "description", "default"}
    return bool(schema) and len(inner) == len(schema) and any(marks & set(held) for held in inner)


def _of_flat(schema: Any) -> Any:
    required = []
    properties: dict[str, Any] = {}
    for name, held in schema.items():
        words = str(held.get("type", ""))
        optional = ", optional" in words or words.startswith("Optional[") or ", default" in words
        words = words.removeprefix("Optional[").removesuffix("]") if words.startswith("Optional[") else words
        properties[name] = {**held, "type": words.partition(", optional")[0]} if "type" in held else held
        if not optional and "default" not in held and held.get("required") is not False:
            required.append(name)
        properties[name] = {key: value for key, value in properties[name].items() if key != "required"}
    return {"type": "object", "properties": properties, "required": required}


def _differs(said: Any, written: Any, at: str) -> str:
    """How a schema differs; what its type is called may change, and an enum's numbers may become text."""
    if not isinstance(said, dict) or not isinstance(written, dict):
        same = spelled(said) == spelled(written) or (at.endswith("items") and written == {})
        return "" if same else f"{at}: {written!r}, not {said!r}"
    said = _with_type_in_words(said, written)
    changed = {"items", "additionalProperties"} if _type(said.get("type")) != said.get("type") else set()
    if more := set(written) - set(said) - changed:
        return f"{at}: {sorted(more)} is not in the source"
    for key, value in said.items():
        if key not in written and key != "type":
            return f"{at}/{key} is lost"
        if wrong := _key_differs(key, value, written.get(key), f"{at}/{key}"):
            return wrong
    return ""


def _with_type_in_words(said: dict[str, Any], written: dict[str, Any]) -> dict[str, Any]:
    """A type that JSON Schema has no name for may be told by the description."""
    words = f"(type: {said.get('type')})"
    described = str(said.get("description", ""))
    is_told = _type(said.get("type")) is None and written.get("description") == f"{described} {words}".strip()
    return {**said, "description": written["description"]} if is_told else said


def _key_differs(key: str, said: Any, written: Any, at: str) -> str:
    if key == "type":
        wanted = _type(said)
        return "" if wanted is None or written == wanted else f"{at}: {written!r}, not {wanted!r}"
    if key in _MAPS and isinstance(said, dict) and isinstance(written, dict):
        if list(said) != list(written):
            return f"{at}: {list(written)}, not {list(said)}"
        return next((wrong for name in said if (wrong := _differs(said[name], written[name], f"{at}/{name}"))), "")
    if key in _LISTS and isinstance(said, list) and isinstance(written, list) and len(said) == len(written):
        pairs = enumerate(zip(said, written, strict=True))
        return next((wrong for place, (one, two) in pairs if (wrong := _differs(one, two, f"{at}/{place}"))), "")
    if key in _SINGLES:
        return _differs(said, written, at)
    if key == "enum" and isinstance(said, list):
        texts = [value if isinstance(value, str) else spelled(value) for value in said]
        return "" if spelled(written) == spelled(said) or written == texts else f"{at}: {written!r}, not {said!r}"
    return "" if spelled(said) == spelled(written) else f"{at}: {written!r}, not {said!r}"


def _type(words: Any) -> Any:
    """JSON Schema's name of a type; None where it has no name for it, so that anything may be made of it."""
    if isinstance(words, list):
        return words if all(word in _JSON for word in words) else None
    if not isinstance(words, str) or words in _JSON:
        return words
    return _NAMES.get(words.strip().lower())
