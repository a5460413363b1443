"""A CSV manifest: a row a volume."""

from __future__ import annotations

import csv
from pathlib import Path, PurePosixPath

from mixlang.errors import InputError
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from mixlang.spec.suggest import did_you_mean
from runners.data.sources.candidates import Candidate
from runners.data.sources.texts import clean, existing, portable_text

_SITES = ("site", "center", "centre")
"""Columns that say where a volume was acquired."""

Row = dict[str, str | None]


def from_manifest(domain: Domain, locations: Locations) -> list[Candidate]:
    """The rows that `where` keeps, in file order: columns path (relative to the CSV), subject[, label, unit, site].

    Raises:
        InputError: the file cannot be read, lacks a column, a row lacks its path or subject or repeats another's
            path, or no row is kept.
    """
    source = domain.source
    table, folder = locations.expand(source.location), PurePosixPath(source.location).parent
    lines: dict[str, int] = {}
    items = []
    for line, row in _rows(table, source.where):
        path, subject, label = (row.get(column) or "" for column in ("path", "subject", "label"))
        path, subject = existing(table.parent, path), clean(subject)
        label = existing(table.parent, label) if label.strip() else ""
        if not path or not subject:
            raise InputError(f"{table}:{line}: a row needs both path and subject")
        if path in lines:
            raise InputError(f"{table}:{line}: {path} is listed twice (first at line {lines[path]})")
        lines[path] = line
        unit = (row.get("unit") or "").strip()
        portable = (folder / path).as_posix()
        site = next((value for column in _SITES if (value := (row.get(column) or "").strip())), "")
        mapped = (folder / label).as_posix() if label else None
        items.append(Candidate(table.parent / path, portable, subject, mapped, unit, site))
    if not items:
        raise InputError(f"no row of {table} is left after 'where'", _values_there(table, source.where))
    return items


def column_values(domain: Domain, column: str, locations: Locations) -> dict[str, str]:
    """What a column says of each volume, by portable path; rows where it is empty are left out.

    Raises:
        InputError: the manifest has no such column.
    """
    source = domain.source
    table, folder = locations.expand(source.location), PurePosixPath(source.location).parent
    rows = _rows(table, source.where)
    if rows and column not in rows[0][1]:
        columns = list(rows[0][1])
        help = did_you_mean(column, columns) or f"it has {', '.join(columns)}"
        raise InputError(f"{locations.expand(source.location)} has no column '{column}'", help)
    return {
        portable_text((folder / existing(table.parent, row["path"] or "")).as_posix()): value
        for _, row in rows
        if (value := (row.get(column) or "").strip())
    }


def _values_there(table: Path, where: dict[str, str]) -> str:
    """What a filter's columns hold, where one of its values is not among them."""
    rows = _rows(table, {})
    for column, value in where.items():
        there = sorted({clean(row.get(column) or "") for _, row in rows})
        if clean(value) not in there:
            shown = ", ".join(repr(item) for item in there[:8]) + (" ..." if len(there) > 8 else "")
            near = did_you_mean(value, there)
            return f"column {column} has no {value!r}: {near or 'it has ' + shown}"
    return "No row has all of these values."


def _rows(table: Path, where: dict[str, str]) -> list[tuple[int, Row]]:
    """The rows whose columns have the values of `where`, each with its line number."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            reader.fieldnames = columns = [clean(name) for name in reader.fieldnames or []]
            rows: list[tuple[int, Row]] = [(reader.line_num, row) for row in reader]
    except UnicodeDecodeError as error:
        raise InputError(f"the manifest {table} is not UTF-8 text", "Save it as UTF-8, separated by commas.") from error
    except (OSError, csv.Error) as error:
        raise InputError(f"cannot read the manifest {table}: {error}") from error
    for column in ("path", "subject", *where):
        if column not in columns:
            raise InputError(
                f"{table} has no column '{column}'; it has {', '.join(columns) or 'none'}",
                did_you_mean(column, columns)
                or "A manifest needs the columns path and subject, and those that 'where' names, separated by commas.",
            )
    return [
        (line, row)
        for line, row in rows
        if all(clean(row.get(column) or "") == clean(value) for column, value in where.items())
    ]
