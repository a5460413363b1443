"""The language as JSON Schema, and what it says of one place: which keys are known there, and what they mean."""

from __future__ import annotations

import json
from functools import cache
from typing import Any

from mixlang.spec.positions import EXTENDS
from mixlang.spec.schema import Spec

Node = dict[str, Any]
Path_ = tuple[str | int, ...]


@cache
def json_schema() -> Node:
    """JSON Schema (draft 2020-12) of a spec file, for editors; `extends` included.

    Where a spec extends another, what the other gives need not stand in it, so nothing is required there.
    """
    schema = Spec.model_json_schema()
    text = "A spec in specs/bases/ that this one builds on, relative to this file; what stands here goes before it."
    properties = {EXTENDS: {"type": "string", "description": text, "examples": ["bases/site.yaml"]}}
    properties |= schema["properties"]
    required = schema.pop("required")
    schema["properties"] = properties
    schema["if"] = {"not": {"required": [EXTENDS]}}
    schema["then"] = {"required": required}
    for node in [schema, *schema["$defs"].values()]:
        for key, value in node.get("properties", {}).items():
            _annotate(key, value)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": "mixlang spec"}


def schema_text() -> str:
    """The JSON Schema as `mixlang schema` prints it and workspaces keep it for editors."""
    return json.dumps(json_schema(), indent=1, ensure_ascii=False) + "\n"


def _annotate(key: str, node: Node) -> None:
    """What VS Code's YAML extension shows on hover: text, unit and example."""
    node.pop("title", None)
    lines = [node.get("description", "").strip()]
    if node.get("unit"):
        lines.append(f"Unit: {node['unit']}.")
    if node.get("examples"):
        lines.append(f"Example: `{key}: {inline(node['examples'][0])}`")
    if lines[0]:
        node["markdownDescription"] = "  \n".join(lines)


def inline(value: Any) -> str:
    """A value as one writes it on one line of YAML."""
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {inline(item)}" for key, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(inline(item) for item in value) + "]"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, str) and (not value or any(letter in value for letter in "{}[]*&#:\\,")):
        return "'" + value.replace("'", "''") + "'"
    return str(value)


def schema_at(path: Path_) -> Node:
    """What the schema says of a place; empty where there is no such place."""
    definitions = json_schema()["$defs"]
    node: Node = json_schema()
    for part in path:
        node = _follow(node, definitions)
        node = _items(node) if isinstance(part, int) else node.get("properties", {}).get(part) or _named(node)
    described = node.get("description")
    return {**_follow(node, definitions), **({"description": described} if described else {})}


def known_keys(path: Path_) -> list[str]:
    """The keys a section may have."""
    return list(schema_at(path).get("properties", {}))


def describe(path: Path_) -> str:
    """What a key, or the list an item is of, means; '' where there is no such key."""
    while path and isinstance(path[-1], int):
        path = path[:-1]
    return str(schema_at(path).get("description", "")).split("\n")[0]


def is_section(path: Path_) -> bool:
    """Whether a place is a section of its own keys, not a value."""
    return "properties" in schema_at(path)


def example_at(path: Path_) -> str:
    """How the value of a key may be written, or ''."""
    examples = schema_at(path).get("examples")
    return inline(examples[0]) if examples else ""


@cache
def sections_with(key: str) -> list[Path_]:
    """The places of all sections that know a key, by their fixed path (tables of names as `*`)."""
    definitions = json_schema()["$defs"]
    found: list[Path_] = []

    def visit(node: Node, path: Path_) -> None:
        node = _follow(node, definitions)
        properties = node.get("properties", {})
        if key in properties:
            found.append(path)
        for name, inner in properties.items():
            visit(inner, (*path, name))
        if not properties and _named(node):
            visit(_named(node), (*path, "*"))

    visit(json_schema(), ())
    return found


def _items(node: Node) -> Node:
    for option in (node, *node.get("anyOf", [])):
        if "items" in option:
            return option["items"]
    return {}


def _named(node: Node) -> Node:
    """What a table by name holds."""
    for pattern in node.get("patternProperties", {}).values():
        return pattern
    extra = node.get("additionalProperties", {})
    return extra if isinstance(extra, dict) else {}


def _follow(node: Node, definitions: dict[str, Node]) -> Node:
    for option in node.get("anyOf", []):
        if "$ref" in option:
            node = option
    while "$ref" in node:
        node = definitions[node["$ref"].split("/")[-1]]
    return node
