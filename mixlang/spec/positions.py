"""YAML with positions: plain Python values beside the file, line and column each key and value stands at.

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
from mixlang.spec.suggest import closest

_MAX_BYTES = 1_000_000
_MAX_DEPTH = 40
_MAX_NODES = 100_000
_MAX_ALIASES = 100
_MAX_PROBLEMS = 100
_LONGEST_LINE = 160
"""A caret under a line nobody can see helps nobody."""

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

EXTENDS = "extends"
"""The key of a spec that names the file it goes on from."""

Path_ = tuple[str | int, ...]
Place = tuple[Position, int]
"""Where something stands, and how many columns wide it is."""


@dataclass
class Marked:
    """A parsed YAML file, or several merged: its value, and where each key and value stands.

    Attributes:
        file: the file that was asked for.
        value: dicts, lists and scalars.
        lines: the lines of each file, for showing them.
        keys: where the key of a path stands; `values`: where its value does.
        empty: paths of keys with nothing after the colon.
        written: how the numbers, truth values and nulls of the file are written there, by path.
        replaced: paths whose value takes the place of one in a base.
        problems: what is wrong with the YAML itself, but did not keep the rest from being read.
    """

    file: str
    value: Any
    lines: dict[str, list[str]]
    keys: dict[Path_, Place] = field(default_factory=dict)
    values: dict[Path_, Place] = field(default_factory=dict)
    empty: set[Path_] = field(default_factory=set)
    written: dict[Path_, str] = field(default_factory=dict)
    replaced: set[Path_] = field(default_factory=set)
    problems: list[Diagnostic] = field(default_factory=list)

    def locate(self, path: Path_, key: bool = False) -> Place:
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
        return self.at(code, self.locate(path, key), message, help, severity)

    def at(self, code: str, place: Place, message: str, help: str = "", severity: str = "error") -> Diagnostic:
        """A diagnostic at a place of one of the files."""
        position, width = place
        lines = self.lines.get(position.file, [])
        line = lines[position.line - 1] if position.line <= len(lines) else ""
        if len(line) > _LONGEST_LINE:
            line, width = "", 1
        return Diagnostic(code, severity, position, message, help, line, width)  # type: ignore[arg-type]

    def over(self, base: Marked) -> Marked:
        """This file on top of `base`: mappings are merged key by key, anything else replaces what the base says."""
        merged = Marked(self.file, None, {**base.lines, **self.lines}, problems=[*self.problems, *base.problems])
        merged.replaced = self.replaced | base.replaced
        merged.value = _merged(merged, base, self, base.value, self.value, ())
        return merged


def _merged(merged: Marked, base: Marked, top: Marked, below: Any, above: Any, path: Path_) -> Any:
    if not (isinstance(above, dict) and isinstance(below, dict)):
        return _copied(merged, top, above, path)
    _copy_places(merged, top, path)
    result = {}
    for key in [*below, *(key for key in above if key not in below)]:
        inner = (*path, key)
        if key not in above:
            result[key] = _copied(merged, base, below[key], inner)
        elif key not in below:
            result[key] = _copied(merged, top, above[key], inner)
        else:
            merged.replaced.add(inner)
            result[key] = _merged(merged, base, top, below[key], above[key], inner)
    return result


def _copied(merged: Marked, source: Marked, value: Any, path: Path_) -> Any:
    """The value at `path` of a source, its places noted in `merged`."""
    _copy_places(merged, source, path)
    if isinstance(value, dict):
        return {key: _copied(merged, source, item, (*path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(merged, source, item, (*path, index)) for index, item in enumerate(value)]
    return value


def _copy_places(merged: Marked, source: Marked, path: Path_) -> None:
    tables: tuple[tuple[dict[Path_, Any], dict[Path_, Any]], ...] = (
        (merged.keys, source.keys),
        (merged.values, source.values),
        (merged.written, source.written),
    )
    for into, known in tables:
        if path in known:
            into[path] = known[path]
    if path in source.empty:
        merged.empty.add(path)


def parse(path: Path, shown: str | None = None) -> Marked:
    """Read a YAML file with positions.

    Args:
        path: the file.
        shown: how messages name it (default: as given).

    Returns:
        What could be read; duplicate keys and the like stand in its `problems`, the first of two keys counts.

    Raises:
        SpecError: unreadable, not UTF-8, not YAML, too large or too deep.
    """
    name = shown or str(path)
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        _fail(name, "MX0001", f"cannot read the spec: {why}", _near(path))
    if len(data) > _MAX_BYTES:
        _fail(name, "MX0002", f"the spec is {len(data):,} bytes; at most {_MAX_BYTES:,} are read")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line, begin = data[: error.start].count(b"\n") + 1, data.rfind(b"\n", 0, error.start) + 1
        place = Position(name, line, error.start - begin + 1)
        message = f"the spec is not UTF-8 text: byte {data[error.start]:#04x}"
        raise SpecError([Diagnostic("MX0003", "error", place, message, "save the file as UTF-8")]) from None
    return parse_text(text, name)


def _near(path: Path) -> str:
    """The spec beside a missing one that was probably meant."""
    try:
        there = [item.name for item in sorted(path.parent.glob("*.yaml"))[:1000]]
    except (OSError, ValueError):
        there = []
    meant = closest(path.stem + ".yaml", there)
    return f"did you mean {path.parent / meant}?" if meant else "give the path of a spec, such as specs/quickstart.yaml"


def parse_text(text: str, name: str) -> Marked:
    """Read YAML text with positions; `name` is the file that messages name. Raises as `parse` does."""
    marked = Marked(name, None, {name: text.splitlines()})
    try:
        _check_shape(text, marked)
        node = yaml.compose(text, Loader=_Loader)
        if node is not None:
            marked.value = _Walker(marked).convert(node, ())
    except yaml.MarkedYAMLError as error:
        raise SpecError([_not_yaml(error, marked)]) from error
    except yaml.YAMLError as error:
        line = text[: getattr(error, "position", None) or 0].count("\n") + 1
        _fail(name, "MX0004", f"not valid YAML: {str(error).splitlines()[0]}", "take that character out", line)
    return marked


def _not_yaml(error: yaml.MarkedYAMLError, marked: Marked) -> Diagnostic:
    """The parser's complaint, where what it is about begins: a quote or bracket left open is noticed lines later."""
    noticed, begun = error.problem_mark, error.context_mark
    opened = any(part in (error.context or "") for part in ("quoted", "flow mapping", "flow sequence", "simple key"))
    mark = begun if opened and begun and noticed and begun.line < noticed.line else noticed or begun
    place = (Position(marked.file, mark.line + 1, mark.column + 1) if mark else Position(marked.file, 1, 1)), 1
    message = f"not valid YAML: {' '.join(filter(None, [error.problem, error.context]))}"
    if noticed and mark is not noticed:
        message += f" (noticed at line {noticed.line + 1})"
    if "another document" in message:
        message, place = (
            "not valid YAML: a second document begins here",
            (Position(marked.file, noticed.line + 1, 1), 3),
        )
    line = marked.at("MX0004", place, message).source_line
    return marked.at("MX0004", place, message, _yaml_help(line, message))


def _fail(name: str, code: str, message: str, help: str = "", line: int = 1) -> None:
    raise SpecError([Diagnostic(code, "error", Position(name, line, 1), message, help)])


def _yaml_help(line: str, message: str) -> str:
    if "second document" in message:
        return "a spec is one document; take out the line '---'"
    if "quoted scalar" in message:
        return "a quote is opened here and not closed"
    if "flow mapping" in message or "flow sequence" in message:
        return "a bracket is opened here and not closed, or a comma is missing"
    if "simple key" in message and re.match(r"\s*[\w-]+:\S", line):
        return "put a space after the colon"
    if "\t" in line:
        return "indent with spaces; YAML does not allow tabs"
    if re.search(r":[]},]", line):
        return "put a value, or at least a space, after the colon"
    if "${" in line or re.search(r":\s*[*&%@`]", line):
        return "put the value in quotes"
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
        if depth > _MAX_DEPTH or nodes > _MAX_NODES or aliases > _MAX_ALIASES:
            line = event.start_mark.line + 1
            _fail(marked.file, "MX0002", "nested too deeply, too large or too many aliases for a spec", "", line)


class _Walker:
    """Turns nodes into values and notes positions and problems; counts what aliases expand to."""

    def __init__(self, marked: Marked) -> None:
        self.marked = marked
        self.visited = 0
        self.scalars = yaml.constructor.SafeConstructor()

    def position(self, node: yaml.Node) -> Place:
        start, end = node.start_mark, node.end_mark
        width = end.column - start.column if end.line == start.line else 1
        return Position(self.marked.file, start.line + 1, start.column + 1), max(1, width)

    def problem(self, code: str, node: yaml.Node, message: str, help: str = "") -> None:
        self.marked.problems.append(self.marked.at(code, self.position(node), message, help))
        if len(self.marked.problems) >= _MAX_PROBLEMS:
            raise SpecError(self.marked.problems)

    def convert(self, node: yaml.Node, path: Path_) -> Any:
        self.visited += 1
        if self.visited > _MAX_NODES:
            line = node.start_mark.line + 1
            _fail(self.marked.file, "MX0002", "the aliases of this spec expand to too much", "", line)
        self.marked.values[path] = self.position(node)
        if isinstance(node, yaml.MappingNode):
            return self.mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.convert(item, (*path, index)) for index, item in enumerate(node.value)]
        return self.scalar(node, path)

    def mapping(self, node: yaml.MappingNode, path: Path_) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = key_node.value
            if not isinstance(key_node, yaml.ScalarNode):
                self.problem("MX0007", key_node, "a key must be a plain word, not a list or a mapping")
            elif key == "<<":
                help = "write the keys out, or put what specs share into a file and use extends"
                self.problem("MX0006", key_node, "merge keys (<<) are not part of the language", help)
            elif key in result:
                line = self.marked.keys[(*path, key)][0].line
                help = "keep one of the two"
                self.problem("MX0005", key_node, f"the key '{key}' stands here twice (first at line {line})", help)
            else:
                self.marked.keys[(*path, key)] = self.position(key_node)
                result[key] = self.convert(value_node, (*path, key))
        return result

    def scalar(self, node: yaml.ScalarNode, path: Path_) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if kind == "str":
            return node.value
        if not node.style:  # plain, as nothing but text is in quotes
            self.marked.written[path] = node.value
        if kind == "null":
            if not node.value:
                self.marked.empty.add(path)
            return None
        if kind == "bool":
            return node.value.lower() == "true"
        if kind in ("int", "float") and len(node.value) > 300:
            self.problem("MX0009", node, "a number of over 300 digits")
            return 0
        try:
            if kind == "int":
                return int(node.value)
            if kind == "float":
                return float(self.scalars.construct_yaml_float(node))
        except ValueError:  # an explicit tag on what is no number, such as !!int x
            pass
        self.problem("MX0008", node, f"the tag {node.tag} is not allowed here", "leave the tag out")
        return None
