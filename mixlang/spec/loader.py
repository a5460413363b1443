"""From a spec file to a checked `Spec`: parse with positions, validate, run the semantic checks."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixlang.spec.checks import check_meaning
from mixlang.spec.diagnostics import Diagnostic, SpecError, closest
from mixlang.spec.marks import Marked, Path_, parse
from mixlang.spec.schema import Spec


@dataclass(frozen=True)
class LoadedSpec:
    """A spec that compiles, with what is needed to point into its file.

    Attributes:
        spec: the spec, defaults filled in.
        marked: positions, for diagnostics found later (missing data, infeasible caps).
        warnings: what compiles but will probably disappoint.
    """

    path: Path
    spec: Spec
    marked: Marked
    warnings: list[Diagnostic]

    @property
    def text(self) -> str:
        """The file as it was read, for provenance."""
        return "\n".join(self.marked.lines) + "\n"


def load_spec(path: Path, *, strict: bool = False) -> LoadedSpec:
    """Read, validate and check a spec.

    Args:
        path: the YAML file.
        strict: treat warnings as errors.

    Raises:
        SpecError: with every problem found, each at its place.
    """
    marked = parse(path)
    if not isinstance(marked.value, dict):
        message = (
            "the spec is empty" if marked.value is None else "a spec is a mapping of sections such as domains: ..."
        )
        raise SpecError([marked.diagnostic("MX0100", (), message, "start with 'mixlang init'")])
    try:
        spec = Spec.model_validate(marked.value)
    except ValidationError as error:
        raise SpecError(_diagnose(error, marked)) from None
    found = check_meaning(spec, marked)
    if any(item.severity == "error" for item in found) or (strict and found):
        raise SpecError(found)
    return LoadedSpec(path, spec, marked, found)


def _diagnose(error: ValidationError, marked: Marked) -> list[Diagnostic]:
    """One diagnostic for each pydantic error; a union's several complaints about one place become one."""
    found: dict[tuple[Any, ...], Diagnostic] = {}
    for item in error.errors(include_url=False):
        path = _real_path(item["loc"], marked.value)
        diagnostic = _diagnostic(item, path, marked)
        found.setdefault((path, diagnostic.code), diagnostic)
    return list(found.values())


def _real_path(loc: Path_, value: Any) -> Path_:
    """Drop pydantic's own words (union branches, '[key]') from a location."""
    path: list[str | int] = []
    for part in loc:
        if (isinstance(value, dict) and part in value) or (
            isinstance(value, list) and isinstance(part, int) and part < len(value)
        ):
            value = value[part]  # type: ignore[index]
            path.append(part)
        elif part not in ("[key]",) and (isinstance(value, dict) and isinstance(part, str)):
            path.append(part)
            value = None
    return tuple(path)


def _diagnostic(item: Any, path: Path_, marked: Marked) -> Diagnostic:
    kind, context = item["type"], item.get("ctx", {})
    key = next((part for part in reversed(path) if isinstance(part, str)), "")
    if kind == "extra_forbidden":
        known = _known_keys(path[:-1])
        suggestion = closest(key, known) or f"known here: {', '.join(sorted(known))}"
        return marked.diagnostic("MX0101", path, f"unknown key '{key}'", suggestion, key=True)
    if kind == "missing":
        where = f" in '{path[-2]}'" if len(path) > 1 else ""
        return marked.diagnostic("MX0102", path[:-1], f"'{key}' is missing{where}", _describe(path), key=True)
    if "[key]" in item["loc"]:
        help = "letters, digits, '_' and '-', starting with a letter, at most 63"
        return marked.diagnostic("MX0106", path, f"'{key}' is not a name", help, key=True)
    if kind == "literal_error":
        given, expected = item["input"], context["expected"]
        if path == ("mixlang",):
            message = f"this mixlang reads version 1 of the language, not {given!r}"
            return marked.diagnostic("MX0104", path, message, "write 'mixlang: 1'")
        words = expected.replace(" or ", ", ").replace("'", "").split(", ")
        suggestion = closest(str(given), words) or _describe(path)
        return marked.diagnostic("MX0104", path, f"'{key}' is {expected}, not {_short(given)}", suggestion)
    if kind == "value_error":
        message = str(context["error"])
        return marked.diagnostic("MX0105", path, f"{key}: {message}", _describe(path))
    if kind == "string_pattern_mismatch":
        help = "letters, digits, '_' and '-', starting with a letter, at most 63"
        return marked.diagnostic("MX0106", path, f"{_short(item['input'])} is not a name", help)
    message = (
        item["msg"].replace("Input should be", "expected").replace("a valid ", "a ").replace("a integer", "an integer")
    )
    return marked.diagnostic("MX0103", path, f"{key}: {message}, not {_short(item['input'])}", _describe(path))


def _short(value: Any) -> str:
    text = (
        repr(value) if not isinstance(value, dict | list) else f"a {'mapping' if isinstance(value, dict) else 'list'}"
    )
    return text if len(text) <= 60 else text[:57] + "..."


def _known_keys(path: Path_) -> list[str]:
    properties = _schema_at(path).get("properties", {})
    return list(properties)


def _describe(path: Path_) -> str:
    description = str(_schema_at(path).get("description", ""))
    return description.split("\n")[0]


def _schema_at(path: Path_) -> dict[str, Any]:
    """The JSON Schema of a place in the spec; empty where there is none."""
    schema = Spec.model_json_schema()
    definitions = schema.get("$defs", {})
    node: dict[str, Any] = schema
    for part in path:
        node = _follow(node, definitions)
        if isinstance(part, int):
            node = node.get("items", {})
        else:
            node = node.get("properties", {}).get(part) or _additional(node)
    described = node.get("description")
    return {**_follow(node, definitions), **({"description": described} if described else {})}


def _additional(node: dict[str, Any]) -> dict[str, Any]:
    patterns = node.get("patternProperties", {})
    if patterns:
        return next(iter(patterns.values()))
    extra = node.get("additionalProperties", {})
    return extra if isinstance(extra, dict) else {}


def _follow(node: dict[str, Any], definitions: dict[str, Any]) -> dict[str, Any]:
    for option in node.get("anyOf", []):
        if "$ref" in option:
            node = option
    while "$ref" in node:
        node = definitions[node["$ref"].split("/")[-1]]
    return node
