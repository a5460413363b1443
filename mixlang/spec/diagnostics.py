"""What is wrong with a spec, and where: code, severity, `file:line:col`, the line with a caret, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from mixlang.errors import InputError


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
    """One finding. `code` is stable (`MX0102`); `help` says what to do and may be empty."""

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
            number = str(self.position.line)
            lines.append(f" {number} | {self.source_line}")
            lines.append(f" {' ' * len(number)} | {' ' * (self.position.column - 1)}{'^' * max(1, self.width)}")
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
            "message": self.message,
            "help": self.help,
        }


class SpecError(InputError):
    """A spec that cannot be compiled. Carries every diagnostic, in file order."""

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = sorted(diagnostics, key=lambda item: (item.position.line, item.position.column))
        errors = sum(item.severity == "error" for item in diagnostics)
        super().__init__(f"{errors} error{'s' if errors != 1 else ''} in {diagnostics[0].position.file}")


def closest(word: str, candidates: Iterable[str]) -> str:
    """'did you mean 'x'?' for the nearest candidate, or ''."""
    match = difflib.get_close_matches(word, list(candidates), n=1, cutoff=0.6)
    return f"did you mean '{match[0]}'?" if match else ""
