"""One value from several texts: the spec, what it extends, and `--set` on top; each place keeps its own file."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlang.spec.diagnostics import Diagnostic, Position, SpecError
from mixlang.spec.positions import EXTENDS, Marked, Path_, Place, parse, parse_text

SET = "--set"
"""What messages call the overrides of the command line."""


@dataclass(frozen=True)
class Composed:
    """A spec with what it extends and what was set on the command line.

    Attributes:
        marked: the merged value and its places; keys without a value are gone.
        texts: each file that was read, by the name messages use, the spec itself first.
        bases: the files it extends, nearest first, and where that is said.
        warnings: keys that were written without a value.
    """

    marked: Marked
    texts: dict[str, str]
    bases: dict[Path, Diagnostic]
    warnings: list[Diagnostic]


def compose(path: Path, overrides: Sequence[str] = ()) -> Composed:
    """Read a spec and all it is made of.

    Args:
        overrides: texts `key.path=value`, the last one winning.

    Raises:
        SpecError: a file cannot be read as YAML, a base is missing or extends itself, an override has no `=`.
    """
    layers, bases = _chain(path)
    marked = layers[-1]
    for layer in reversed(layers[:-1]):
        marked = layer.over(marked)
    if overrides:
        marked = parse_overrides(overrides).over(marked)
        marked.file = str(path)
    texts = {layer.file: "\n".join(layer.lines[layer.file]) + "\n" for layer in layers}
    return Composed(marked, texts, bases, _drop_empty(marked))


def _chain(path: Path) -> tuple[list[Marked], dict[Path, Diagnostic]]:
    """The spec, its base, the base's base, ..."""
    layers: list[Marked] = []
    bases: dict[Path, Diagnostic] = {}
    seen = {path.resolve()}
    current: Path | None = path
    while current is not None:
        marked = parse(current)
        layers.append(marked)
        if not isinstance(marked.value, dict):
            if len(layers) > 1:
                message = f"{current} cannot be extended: it is not a mapping of sections"
                raise SpecError([marked.diagnostic("MX0100", (), message)])
            break
        name = marked.value.pop(EXTENDS, None)
        if name is None:
            break
        if not isinstance(name, str) or not name:
            raise SpecError([marked.diagnostic("MX0103", (EXTENDS,), "'extends' is the name of one file")])
        base = current.parent / name
        found = marked.diagnostic(
            "MX0011", (EXTENDS,), f"there is no file {base} to extend", _bases_near(current, name)
        )
        if not base.is_file():
            raise SpecError([found])
        if base.resolve() in seen:
            raise SpecError([marked.diagnostic("MX0012", (EXTENDS,), f"{base} extends itself, through this line")])
        seen.add(base.resolve())
        bases[base] = marked.diagnostic("MX0013", (EXTENDS,), f"{name} does not lie in specs/bases/")
        current = base
    return layers, bases


def _bases_near(spec: Path, name: str) -> str:
    from mixlang.spec.suggest import did_you_mean

    folder = (spec.parent / name).parent
    if not folder.is_dir():
        return f"there is no folder {folder}"
    there = [item.relative_to(spec.parent).as_posix() for item in sorted(folder.glob("*.yaml"))[:1000] if item != spec]
    there += [item.relative_to(spec.parent).as_posix() for item in sorted(spec.parent.glob("bases/*.yaml"))[:1000]]
    by_name = {item: item for item in there if Path(item).name == Path(name).name}
    return f"did you mean '{next(iter(by_name))}'?" if by_name else did_you_mean(name, there)


def parse_overrides(texts: Sequence[str]) -> Marked:
    """`budgets.target=20k` and its like as a file called `--set` with a line each, the last one winning.

    Raises:
        SpecError: no `=`, an empty key, or a value that is not YAML.
    """
    merged = _override(texts, 0)
    for number in range(1, len(texts)):
        merged = _override(texts, number).over(merged)
    return merged


def _override(texts: Sequence[str], number: int) -> Marked:
    text, line = texts[number], number + 1
    path_text, sign, value_text = text.partition("=")
    parts = path_text.split(".")
    marked = Marked(SET, None, {SET: [item.replace("\n", " ") for item in texts]})
    if not sign or not all(part.strip() == part and part for part in parts):
        help = "write a key of the spec and its value, such as --set budgets.target=20k"
        place = (Position(SET, line, 1), max(1, len(text)))
        raise SpecError([marked.at("MX0014", place, f"'{text}' sets nothing", help)])
    if parts[0] == EXTENDS:
        place = (Position(SET, line, 1), len(text))
        raise SpecError([marked.at("MX0014", place, "what a spec extends cannot be set", "write it into the spec")])
    shift = len(path_text) + 1
    try:
        inner = parse_text(value_text, SET)
    except SpecError as error:
        place = (Position(SET, line, shift + 1), max(1, len(value_text)))
        raise SpecError([marked.at(item.code, place, item.message, item.help) for item in error.diagnostics]) from None

    def moved(place: Place) -> Place:
        position, width = place
        if position.line > 1:  # a value of several lines is pointed at as a whole
            return Position(SET, line, shift + 1), len(value_text)
        return Position(SET, line, position.column + shift), width

    prefix: Path_ = ()
    marked.values[prefix] = (Position(SET, line, 1), len(text))
    column = 1
    for part in parts:
        prefix = (*prefix, part)
        marked.keys[prefix] = marked.values[prefix] = (Position(SET, line, column), len(part))
        column += len(part) + 1
    marked.keys |= {(*prefix, *path): moved(place) for path, place in inner.keys.items()}
    marked.values |= {(*prefix, *path): moved(place) for path, place in inner.values.items()}
    marked.written = {(*prefix, *path): text for path, text in inner.written.items()}
    marked.empty = {(*prefix, *path) for path in inner.empty}
    marked.problems = [
        marked.at(item.code, moved((item.position, item.width)), item.message, item.help) for item in inner.problems
    ]
    marked.value = inner.value
    for part in reversed(parts):
        marked.value = {part: marked.value}
    return marked


def _drop_empty(marked: Marked) -> list[Diagnostic]:
    """Take out keys without a value, which count as left out; warn where that was perhaps not meant.

    A key of a section may be left empty, as where all lines below it are comments. A name in a table (a domain, a
    weight) is taken out by an explicit null only: `pet:` alone is more likely unfinished. Unknown keys stay, to be named.
    """
    warnings: list[Diagnostic] = []

    def visit(value: dict[str, Any], path: Path_) -> None:
        for key in [key for key, item in value.items() if item is None]:
            place = (*path, key)
            if _may_be_empty(place, place in marked.empty, marked, warnings):
                del value[key]
        for key, item in value.items():
            if isinstance(item, dict):
                visit(item, (*path, key))

    if isinstance(marked.value, dict):
        visit(marked.value, ())
    return warnings


def _may_be_empty(place: Path_, bare: bool, marked: Marked, warnings: list[Diagnostic]) -> bool:
    from mixlang.spec.lookup import is_section, known_keys, schema_at  # reads the whole schema; few specs need it

    if not is_section(place[:-1]):
        if not bare and place not in marked.replaced:
            message = f"null takes '{place[-1]}' out, but there is none to take out"
            warnings.append(marked.diagnostic("MX0111", place, message, key=True, severity="warning"))
        return not bare
    if place[-1] not in known_keys(place[:-1]):
        return False
    default = schema_at(place).get("default")
    if bare and default is not None and not is_section(place):
        message = f"'{place[-1]}' has no value, so its default holds: {default}"
        help = "give it a value, or take the line out"
        warnings.append(marked.diagnostic("MX0110", place, message, help, key=True, severity="warning"))
    return True
