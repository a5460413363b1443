"""CSV files as people have them: commas, semicolons or tabs, decimal points or commas, `100k`, holes, columns of text.

What is recognised is noted; what can be read in two ways is refused with its place.
"""

from __future__ import annotations

import csv
import io
import math
import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError
from mixlang.names import meant

Floats = NDArray[np.float64]
Row = tuple[int, list[str]]
"""A line number of the file and its cells."""

LISTED = 64
"""Columns that are looked at for the one that was meant."""

MISSING = frozenset({"", "na", "n/a", "nan", "null", "none"})
"""Cells that say there is no value, in small letters."""

_MOST_CELLS = 50_000_000
_SEPARATORS = {",": "commas", ";": "semicolons", "\t": "tabs"}
_SUFFIX = {"k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "B": 1e9}
_SPACED = re.compile(r"[+-]?[0-9]{1,3}(?:[ '\u00a0\u2009\u202f][0-9]{3})+")
"""Thousands apart by blanks or apostrophes, which can be read in one way."""

_NUMBER = re.compile(r"([+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?) ?([kKMGB]?)")
_COMMA = re.compile(r"[+-]?[0-9]*,[0-9]+(?:[eE][+-]?[0-9]+)?")
_POINT = re.compile(r"[+-]?[0-9]*\.[0-9]+(?:[eE][+-]?[0-9]+)?")
_THOUSANDS = re.compile(r"[+-]?[1-9][0-9]{0,2}(?:,[0-9]{3})+")


@dataclass(frozen=True)
class Sheet:
    """A CSV file with a key: its cells as text, its columns as numbers where they are asked for.

    Attributes:
        path: the file; key: name of the key column; columns: the others, in file order.
        keys: of the rows, in file order; lines: their line numbers in the file.
        cells: of the columns, a row a run; comma: whether decimals are written with one.
        notes: how the file was read where that is not the usual way.
    """

    path: Path
    key: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    lines: tuple[int, ...]
    cells: tuple[tuple[str, ...], ...]
    comma: bool = False
    notes: tuple[str, ...] = ()

    def text(self, name: str) -> list[str]:
        """The cells of one column."""
        at = self.columns.index(name)
        return [row[at] for row in self.cells]

    def numbers(self, name: str, holes: bool = False, asked: bool = False) -> Floats:
        """One column as numbers, shape (rows,).

        Args:
            holes: whether a cell may say that there is no value, which becomes NaN.
            asked: whether the user names the column, so that leaving it out is no way out.

        Raises:
            InputError: a cell that is no finite number, with its place; a column of text.
        """
        texts = self.text(name)
        values = np.array([number(text, self.comma) for text in texts])
        for index in np.flatnonzero(~np.isfinite(values)):
            missing = texts[index].lower() in MISSING
            if holes and missing:
                continue
            if not np.isfinite(values).any() and not missing and not asked and not _hint(texts[index]):
                raise InputError(
                    f"{self.path}:1: column '{name}' holds text, such as '{texts[index][:40]}'",
                    f"Leave it out with --ignore {quoted(name)}.",
                )
            where = f"{self.path}:{self.lines[index]}: column '{name}' ({self.key} = {self.keys[index]})"
            if not texts[index]:
                raise InputError(f"{where}: the cell is empty", "Give a number, or leave the run out of both tables.")
            raise InputError(f"{where}: expected a finite number, not '{texts[index][:40]}'", _hint(texts[index]))
        return values

    def place(self, row: int, name: str) -> str:
        """Where a cell is: `losses.csv:5: column 'pet' (run = r3)`."""
        return f"{self.path}:{self.lines[row]}: column '{name}' ({self.key} = {self.keys[row]})"

    def require(self, name: str) -> None:
        """Refuse a column that is not there.

        Raises:
            InputError: names the columns, and the one that may have been meant.
        """
        if name not in self.columns:
            listed = f"{', '.join(self.columns[:8])}{', ...' if len(self.columns) > 8 else ''}"
            hint = meant(name, self.columns[:LISTED])
            raise InputError(f"{self.path}:1: there is no column '{name}'; the columns are {listed}", hint)

    def where(self, column: str, value: str) -> Sheet:
        """The rows whose cell of a column is a value, as a number (`122M`) or else as text.

        Raises:
            InputError: no such column, or no such row.
        """
        self.require(column)
        texts, wanted = self.text(column), number(value, False)
        kept = [
            index
            for index, text in enumerate(texts)
            if text == value or (math.isfinite(wanted) and number(text, self.comma) == wanted)
        ]
        if not kept:
            there = list(dict.fromkeys(texts))
            more = ", ..." if len(there) > 8 else ""
            raise InputError(f"{self.path}: no row has {column} = {value}; there are {', '.join(there[:8])}{more}")
        return replace(
            self,
            keys=tuple(self.keys[index] for index in kept),
            lines=tuple(self.lines[index] for index in kept),
            cells=tuple(self.cells[index] for index in kept),
        )


def number(text: str, comma: bool) -> float:
    """A cell as a number, with the suffixes of specs (`100k`); NaN where it is none, infinite ones too.

    Args:
        comma: whether decimals are written with a comma.
    """
    if _SPACED.fullmatch(text):
        text = re.sub(r"[^0-9+-]", "", text)
    if comma:
        text = text.replace(",", ".") if text.count(",") <= 1 and "." not in text else ""
    match = _NUMBER.fullmatch(text)
    if match is None:
        return math.nan
    value = float(match[1]) * _SUFFIX.get(match[2], 1)
    return value if math.isfinite(value) else math.nan


def read_sheet(path: Path, key: str) -> Sheet:
    """Read a CSV file with a key column.

    Raises:
        InputError: unreadable, ragged, duplicate columns or keys, or decimals that can be read in two ways.
    """
    rows, separator = read_rows(path)
    if not rows:
        raise InputError(f"{path} is empty", "Expected a header and a row a run.")
    header = rows[0][1]
    for index, name in enumerate(header):
        if not name:
            raise InputError(
                f"{path}:1: column {index + 1} has no name", "Name it; pandas writes none with index=False."
            )
        if name in header[:index]:
            raise InputError(f"{path}:1: there are two columns '{name}'", "Names tell columns apart; rename one.")
    if key not in header:
        raise InputError(
            f"{path}:1: there is no column '{key}' to join on; the columns are {', '.join(header[:8])}"
            + (", ..." if len(header) > 8 else ""),
            f"{meant(key, header[:LISTED])} Name the column with --key.".strip(),
        )
    if len(rows) < 2:
        raise InputError(f"{path} has a header but no rows")
    if len(header) < 2:
        raise InputError(f"{path} has no column beside its key '{key}'")
    keys = _keys(path, header, rows[1:], header.index(key))
    at = header.index(key)
    cells = tuple(tuple(cell for place, cell in enumerate(row) if place != at) for _, row in rows[1:])
    columns = tuple(name for name in header if name != key)
    comma = separator != "," and _decimal_commas(path, columns, [line for line, _ in rows[1:]], cells)
    notes = () if separator == "," else (f"{path}: columns are separated by {_SEPARATORS[separator]}",)
    notes += (f"{path}: decimals are written with commas",) if comma else ()
    return Sheet(path, key, columns, tuple(keys), tuple(keys.values()), cells, comma, notes)


def read_rows(path: Path) -> tuple[list[Row], str]:
    """The rows of a CSV file that are not empty, cells without blanks around them, and what separates its columns.

    Raises:
        InputError: unreadable, not UTF-8 (or UTF-16 with its mark), not valid CSV, or too large.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    if data.startswith(b"PK"):
        raise InputError(f"{path} is an Excel workbook, not a CSV file", "Export the sheet as CSV (UTF-8).")
    try:
        text = data.decode("utf-16" if data[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8", "Export it as CSV (UTF-8).") from error
    if "\0" in text.split("\n")[0]:
        raise InputError(f"{path} is not text in UTF-8", "Export it as CSV (UTF-8).")
    declared = re.match(r"sep=([,;\t])\r?\n", text)  # as Excel writes it
    separator = declared[1] if declared else _separator(text)
    rows = [row for row in _numbered(text, path, separator) if any(row[1])]
    rows = rows[1:] if declared else rows
    while rows and all(len(row) > 1 and not row[-1] for _, row in rows):  # separators at the ends of lines
        rows = [(line, row[:-1]) for line, row in rows]
    return rows, separator


def _separator(text: str) -> str:
    """What most often separates the names of the header; a comma where nothing does."""
    header = next((line for line in text.splitlines() if line.strip()), "")
    bare = re.sub(r'"[^"]*"', "", header)
    return max(_SEPARATORS, key=lambda mark: (bare.count(mark), mark == ","))


def _numbered(text: str, path: Path, separator: str) -> Iterator[Row]:
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
    cells = 0
    try:
        for row in reader:
            yield reader.line_num, [cell.strip() for cell in row]
            cells += len(row)
            if cells > _MOST_CELLS:
                raise InputError(f"{path} has more than {_MOST_CELLS:,} cells")
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error


def _keys(path: Path, header: Sequence[str], rows: Sequence[Row], at: int) -> dict[str, int]:
    """The line of each key."""
    keys: dict[str, int] = {}
    for line, row in rows:
        if len(row) != len(header):
            raise InputError(f"{path}:{line}: the row has {len(row)} cells, the header {len(header)}")
        if not row[at]:
            raise InputError(f"{path}:{line}: the key '{header[at]}' is empty")
        if row[at] in keys:
            raise InputError(
                f"{path}:{line}: the key {header[at]} = {row[at]} was already used in line {keys[row[at]]}"
            )
        keys[row[at]] = line
    return keys


def _decimal_commas(path: Path, columns: Sequence[str], lines: Sequence[int], cells: Sequence[Sequence[str]]) -> bool:
    """Whether the decimals of a file that is not separated by commas are written with them."""
    commas, points = None, None
    for line, row in zip(lines, cells, strict=True):
        for name, cell in zip(columns, row, strict=True):
            if commas is None and _COMMA.fullmatch(cell):
                commas = f"{path}:{line}: column '{name}': '{cell}'"
            if points is None and _POINT.fullmatch(cell):
                points = f"'{cell}' in line {line}"
    if commas is None:
        return False
    if points is not None:
        raise InputError(f"{commas} has a decimal comma, and {points} a point", "Write all numbers in one way.")
    for at, name in enumerate(columns):
        column = [row[at] for row in cells if row[at].lower() not in MISSING]
        if column and any("," in cell for cell in column) and all(_THOUSANDS.fullmatch(cell) for cell in column):
            raise InputError(
                f"{path}: column '{name}': '{column[0]}' may be a decimal or a thousand",
                "Write numbers without commas.",
            )
    return True


def quoted(name: str) -> str:
    """A column's name as it is typed in a shell."""
    return shlex.quote(name)


def _hint(cell: str) -> str:
    """What to do about a cell that is nearly a number; empty where it is none."""
    if _THOUSANDS.fullmatch(cell):
        return f"Write it without a comma: {cell.replace(',', '')}."
    if _COMMA.fullmatch(cell):
        return "A number has no comma where commas separate the columns; write 0.5."
    return "Write numbers without a percent sign." if math.isfinite(number(cell.removesuffix("%"), False)) else ""
