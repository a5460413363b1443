"""YAML with positions: plain Python values beside the line and column each key and value stands at.

YAML 1.1 surprises are closed: only `true` and `false` are booleans (a domain may be called `no`), `1e-3` is a
number, nothing is base 60, octal or a date, and a key written twice is an error instead of the last one winning.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from mixlang.spec.diagnostics import Diagnostic, Position, SpecError

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 40
_MAX_NODES = 100_000

_Base = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class _Loader(_Base):  # type: ignore[valid-type, misc]
    """PyYAML's safe loader with the YAML 1.2 core scalars in place of the 1.1 ones."""


_Loader.yaml_implicit_resolvers = {}
for _tag, _pattern, _first in (
    ("bool", r"^(?:true|True|TRUE|false|False|FALSE)$", "tTfF"),
    ("int", r"^[-+]?[0-9]+$", "-+0123456789"),
    ("float", r"^[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?$", "-+.0123456789"),
    ("float", r"^(?:[-+]?\.(?:inf|Inf|INF)|\.(?:nan|NaN|NAN))$", "-+."),
    ("null", r"^(?:~|null|Null|NULL|)$", ["~", "n", "N", ""]),
):
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_tag}", re.compile(_pattern), list(_first))

Path_ = tuple[str | int, ...]


@dataclass
class Marked:
    """A parsed YAML file: its value, and where each key and value stands.

    Attributes:
        value: dicts, lists and scalars.
        lines: the file's lines, for showing them.
        keys: where the key of a path stands; `values`: where its value does.
    """

    file: str
    value: Any
    lines: list[str]
    keys: dict[Path_, tuple[Position, int]] = field(default_factory=dict)
    values: dict[Path_, tuple[Position, int]] = field(default_factory=dict)

    def locate(self, path: Path_, key: bool = False) -> tuple[Position, int]:
        """Position and width of `path`'s value (or its key); of the nearest enclosing thing if it is absent."""
        table = self.keys if key else self.values
        while path:
            if path in table:
                return table[path]
            table, path = self.keys, path if path in self.keys else path[:-1]
        return Position(self.file, 1, 1), 1

    def diagnostic(
        self,
        code: str,
        path: Path_,
        message: str,
        help: str = "",
        *,
        key: bool = False,
        severity: str = "error",
    ) -> Diagnostic:
        """A diagnostic that points at `path`."""
        position, width = self.locate(path, key)
        line = self.lines[position.line - 1] if position.line <= len(self.lines) else ""
        if len(line) > 160:  # a caret under a line nobody can see helps nobody
            line, width = "", 1
        return Diagnostic(code, severity, position, message, help, line, width)  # type: ignore[arg-type]


def parse(path: Path, shown: str | None = None) -> Marked:
    """Read a YAML file with positions.

    Args:
        path: the file.
        shown: how messages name it (default: as given).

    Raises:
        SpecError: unreadable, not UTF-8, not YAML, too large or too deep, a duplicate key, a bad tag.
    """
    name = shown or str(path)
    try:
        data = path.read_bytes()
    except OSError as error:
        hint = "Give the path of a spec, for example specs/quickstart.yaml."
        _fail(name, "MX0001", f"cannot read the spec: {error.strerror or error}", hint)
    if len(data) > _MAX_BYTES:
        _fail(name, "MX0002", f"the spec is {len(data):,} bytes; at most {_MAX_BYTES:,} are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        _fail(name, "MX0003", "the spec is not UTF-8 text", "Save the file as UTF-8.", line)
    marked = Marked(name, None, text.splitlines())
    try:
        _check_shape(text, marked)
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            marked.value = _Walker(marked).convert(node, ())
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = Position(name, mark.line + 1, mark.column + 1) if mark else Position(name, 1, 1)
        line = marked.lines[where.line - 1] if where.line <= len(marked.lines) else ""
        message = " ".join(filter(None, [error.problem, error.context]))
        found = Diagnostic("MX0004", "error", where, f"not valid YAML: {message}", _yaml_help(line), line)
        raise SpecError([found]) from error
    except yaml.YAMLError as error:
        _fail(name, "MX0004", f"not valid YAML: {str(error).splitlines()[0]}")
    return marked


def _fail(name: str, code: str, message: str, help: str = "", line: int = 1) -> None:
    raise SpecError([Diagnostic(code, "error", Position(name, line, 1), message, help)])


def _yaml_help(line: str) -> str:
    if "\t" in line:
        return "indent with spaces; YAML does not allow tabs"
    return "check indentation, colons, quotes and brackets at this place"


def _check_shape(text: str, marked: Marked) -> None:
    """Refuse hostile depth, size and aliases while the text is still a flat stream of events."""
    depth = aliases = 0
    for nodes, event in enumerate(yaml.parse(text, Loader=_Loader)):
        aliases += isinstance(event, yaml.AliasEvent)
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _MAX_DEPTH or nodes > _MAX_NODES or aliases > 100:
            line = event.start_mark.line + 1
            _fail(marked.file, "MX0002", "nested too deeply, too large or too many aliases for a spec", "", line)


class _Walker:
    """Turns nodes into values and notes positions; counts what aliases expand to."""

    def __init__(self, marked: Marked) -> None:
        self.marked = marked
        self.visited = 0
        self.scalars = yaml.constructor.SafeConstructor()

    def position(self, node: yaml.Node) -> tuple[Position, int]:
        start, end = node.start_mark, node.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return Position(self.marked.file, start.line + 1, start.column + 1), max(1, width)

    def convert(self, node: yaml.Node, path: Path_) -> Any:
        self.visited += 1
        if self.visited > _MAX_NODES:
            _fail(
                self.marked.file,
                "MX0002",
                "the aliases of this spec expand to too much",
                "",
                node.start_mark.line + 1,
            )
        self.marked.values[path] = self.position(node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node)

    def mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            if not isinstance(key_node, yaml.ScalarNode):
                raise yaml.MarkedYAMLError(problem="a key must be a plain word", problem_mark=key_node.start_mark)
            key = str(key_node.value)
            if key == "<<":
                raise yaml.MarkedYAMLError(
                    problem="merge keys (<<) are not part of the language; use extends",
                    problem_mark=key_node.start_mark,
                )
            if key in result:
                line = self.marked.keys[(*path, key)][0].line
                raise yaml.MarkedYAMLError(
                    problem=f"the key '{key}' stands here twice (first at line {line})",
                    problem_mark=key_node.start_mark,
                )
            self.marked.keys[(*path, key)] = self.position(key_node)
            result[key] = self.convert(value_node, (*path, key))
        return result

    def scalar(self, node: yaml.ScalarNode) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str" or kind == "null":
            return node.value if kind == "str" else None
        if kind == "bool":
            return node.value.lower() == "true"
        if kind == "int":
            if len(node.value) > 300:
                raise yaml.MarkedYAMLError(problem="a number of over 300 digits", problem_mark=node.start_mark)
            return int(node.value)
        if kind == "float":
            return float(self.scalars.construct_yaml_float(node))
        raise yaml.MarkedYAMLError(problem=f"the tag {node.tag} is not allowed", problem_mark=node.start_mark)
