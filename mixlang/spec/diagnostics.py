"""What is wrong with a spec, and where: code, severity, `file:line:col`, the line with a caret, what to do."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

from mixlang.errors import InputError

_ALIKE = 8
"""Messages of warnings of one code that are shown."""

_PLACES = 6
"""Further places of one warning that are listed."""


@dataclass(frozen=True)
class Position:
    """A place in a text file; line and column count from 1, as editors do."""

    file: str
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One finding. `code` is stable (`MX0102`) and explained in docs/diagnostics.md; `help` says what to do."""

    code: str
    severity: Literal["error", "warning"]
    position: Position
    message: str
    help: str = ""
    source_line: str = ""
    width: int = 1

    def render(self) -> str:
        """The finding as a person reads it, with the offending line and a caret below it."""
        lines = [f"{self.position}: {self.severity}[{self.code}]: {self.message}"]
        if self.source_line:
            number, column = str(self.position.line), self.position.column
            # A tab before the caret keeps it under its column, however wide the terminal draws tabs.
            lead = "".join("\t" if letter == "\t" else " " for letter in self.source_line[: column - 1])
            lines.append(f" {number} | {self.source_line}")
            lines.append(f" {' ' * len(number)} | {lead}{'^' * max(1, self.width)}")
        if self.help:
            lines.append(f"   help: {self.help}")
        return "\n".join(lines)

    def as_dict(self) -> dict[str, Any]:
        """The finding for programs (`--format json`)."""
        return {
            "code": self.code,
            "severity": self.severity,
            "file": self.position.file,
            "line": self.position.line,
            "column": self.position.column,
            "end_column": self.position.column + max(1, self.width),
            "message": self.message,
            "help": self.help,
        }

    def as_github(self) -> str:
        """The finding as a workflow command that GitHub shows beside the line of a pull request."""
        place = f"file={_property(self.position.file)},line={self.position.line},col={self.position.column}"
        text = f"{self.message}\n{self.help}" if self.help else self.message
        return f"::{self.severity} {place},title={self.code}::{_escaped(text)}"


def _escaped(text: str) -> str:
    return text.replace("%", "%25").replace("\r", "%0D").replace("\n", "%0A")


def _property(text: str) -> str:
    return _escaped(text).replace(":", "%3A").replace(",", "%2C")


def rendered(diagnostics: Sequence[Diagnostic]) -> list[str]:
    """Diagnostics for people: every error, and every warning once, with the other places that it holds for.

    Of the warnings of one code the first has its excerpt and help, and further messages, up to a few, a line each.
    """
    texts: list[str] = []
    places: dict[tuple[str, str], list[str]] = {}
    for item in diagnostics:
        if item.severity == "warning":
            places.setdefault((item.code, item.message), []).append(str(item.position))
    codes = Counter[str]()
    for item in diagnostics:
        if item.severity == "error":
            texts.append(item.render())
            continue
        also = places.pop((item.code, item.message), [])
        if not also:
            continue
        codes[item.code] += 1
        if codes[item.code] > _ALIKE:
            continue
        texts.append((item if codes[item.code] == 1 else replace(item, source_line="", help="")).render())
        if also[1:]:
            more = f" and {len(also) - 1 - _PLACES} more places" if len(also) > 1 + _PLACES else ""
            texts.append(f"   the same at {', '.join(also[1 : 1 + _PLACES])}{more}")
    for code, count in codes.items():
        if count > _ALIKE:
            texts.append(f"... and {count - _ALIKE} more warning[{code}] of the same kind")
    return texts


class SpecError(InputError):
    """A spec that cannot be compiled. Carries every diagnostic, file by file in the order the lines stand."""

    def __init__(self, diagnostics: list[Diagnostic], files: Sequence[str] = ()) -> None:
        self.diagnostics = in_file_order(diagnostics, files)
        errors = sum(item.severity == "error" for item in diagnostics)
        super().__init__(f"{errors} error{'s' if errors != 1 else ''} in {diagnostics[0].position.file}")


def in_file_order(diagnostics: Iterable[Diagnostic], files: Sequence[str] = ()) -> list[Diagnostic]:
    """Diagnostics sorted by line within each file; `files` first, others as they appear; repeats dropped."""
    unique = list(dict.fromkeys(diagnostics))
    names = dict.fromkeys([*files, *(item.position.file for item in unique)])
    rank = {file: number for number, file in enumerate(names)}
    return sorted(unique, key=lambda item: (rank[item.position.file], item.position.line, item.position.column))
