"""Mixtures and losses from CSV files, joined on their key: strict, since a table read wrong gives a mixture that is
wrong and plausible. Every refusal names the file, the row and the column.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError
from mixlang.laws.table import LossTable
from mixlang.names import meant, meant_or_known

Floats = NDArray[np.float64]

_EXACT = 1e-6
_TOLERATED = 0.01
"""Shares may sum to 1 within this, as rounded ones do; they are then renormalised, and that is said."""

_LISTED = 64
"""Columns that are looked at for the one that was meant."""

_MOST_CELLS = 50_000_000


@dataclass(frozen=True)
class Sheet:
    """A CSV file as numbers.

    Attributes:
        path: the file; key: name of the key column; columns: the others, in file order.
        keys: of the rows, in file order; lines: their line numbers in the file.
        values: finite, shape (rows, columns).
    """

    path: Path
    key: str
    columns: tuple[str, ...]
    keys: tuple[str, ...]
    lines: tuple[int, ...]
    values: Floats

    def column(self, name: str) -> Floats:
        """The values of one column."""
        return self.values[:, self.columns.index(name)]

    def without(self, names: Sequence[str]) -> Sheet:
        """The sheet less some columns."""
        kept = [index for index, name in enumerate(self.columns) if name not in names]
        columns = tuple(self.columns[index] for index in kept)
        return Sheet(self.path, self.key, columns, self.keys, self.lines, self.values[:, kept])


def read_sheet(path: Path, key: str) -> Sheet:
    """Read a CSV file whose cells but the key are finite numbers.

    Raises:
        InputError: unreadable, ragged, duplicate columns or keys, or a cell that is no finite number.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = [(number, row) for number, row in _numbered(file, path) if any(cell.strip() for cell in row)]
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8", "Export it as CSV (UTF-8).") from error
    if not rows:
        raise InputError(f"{path} is empty", "Expected a header and a row a run.")
    header = [name.strip() for name in rows[0][1]]
    for index, name in enumerate(header):
        if not name:
            raise InputError(f"{path}:1: column {index + 1} has no name")
        if name in header[:index]:
            raise InputError(f"{path}:1: there are two columns '{name}'", "Names tell columns apart; rename one.")
    if key not in header:
        raise InputError(
            f"{path}:1: there is no column '{key}' to join on; the columns are {', '.join(header[:8])}"
            + (", ..." if len(header) > 8 else ""),
            f"{meant(key, header[:_LISTED])} Name the column with --key.".strip(),
        )
    if len(rows) < 2:
        raise InputError(f"{path} has a header but no rows")
    if len(header) < 2:
        raise InputError(f"{path} has no column beside its key '{key}'")
    return _numbers(path, key, header, rows[1:])


def _numbered(file: object, path: Path) -> list[tuple[int, list[str]]]:
    reader = csv.reader(file, strict=True)  # type: ignore[arg-type]
    rows = []
    try:
        for row in reader:
            rows.append((reader.line_num, row))
            if len(rows) * len(rows[0][1]) > _MOST_CELLS:
                raise InputError(f"{path} has more than {_MOST_CELLS:,} cells")
    except csv.Error as error:
        raise InputError(f"{path}:{reader.line_num}: not valid CSV: {error}") from error
    return rows


def _numbers(path: Path, key: str, header: list[str], rows: list[tuple[int, list[str]]]) -> Sheet:
    where = header.index(key)
    names = [name for name in header if name != key]
    keys: dict[str, int] = {}
    values = np.empty((len(rows), len(names)))
    for index, (line, row) in enumerate(rows):
        if len(row) != len(header):
            raise InputError(f"{path}:{line}: the row has {len(row)} cells, the header {len(header)}")
        label = row[where].strip()
        if not label:
            raise InputError(f"{path}:{line}: the key '{key}' is empty")
        if label in keys:
            raise InputError(f"{path}:{line}: the key {key} = {label} was already used in line {keys[label]}")
        keys[label] = line
        cells = [cell for position, cell in enumerate(row) if position != where]
        for column, (name, cell) in enumerate(zip(names, cells, strict=True)):
            values[index, column] = _number(cell, f"{path}:{line}: column '{name}' ({key} = {label})")
    return Sheet(path, key, tuple(names), tuple(keys), tuple(keys.values()), values)


def _number(cell: str, where: str) -> float:
    text = cell.strip()
    if not text:
        raise InputError(f"{where}: the cell is empty", "Give a number, or leave the run out of both tables.")
    try:
        value = float(text) if "_" not in text else math.nan
    except ValueError:
        value = math.nan
    if math.isnan(value) or math.isinf(value):
        raise InputError(f"{where}: expected a finite number, not '{text[:40]}'")
    return value


@dataclass(frozen=True)
class Mixtures:
    """Mixtures as amounts.

    Attributes:
        sheet: whose rows they are; amounts: shape (rows, domains); budgets: shape (rows,); notes: what was mended.
    """

    sheet: Sheet
    amounts: Floats
    budgets: Floats
    notes: tuple[str, ...]

    @property
    def domains(self) -> tuple[str, ...]:
        """Names of the columns of amounts."""
        return self.sheet.columns


def read_mixtures(
    path: Path, key: str, budget: str | None = None, ignored: Sequence[str] = (), given: float = 1.0
) -> Mixtures:
    """Read mixtures: shares that sum to 1 a row.

    Args:
        budget: the column of the total amount of each run; without it all runs have the amount `given`.
        ignored: columns that are neither domains nor budget, such as a seed.

    Raises:
        InputError: as `read_sheet`, a negative share, shares that do not sum to 1 within 1 %, a budget not above 0.
    """
    sheet = read_sheet(path, key)
    for name in [*([budget] if budget else []), *ignored]:
        if name not in sheet.columns:
            hint = meant(name, sheet.columns[:_LISTED])
            raise InputError(
                f"{path}:1: there is no column '{name}'; the columns are {', '.join(sheet.columns[:8])}", hint
            )
    budgets = sheet.column(budget) if budget else np.full(len(sheet.keys), float(given))
    for line, value in zip(sheet.lines, budgets.tolist(), strict=True):
        if value <= 0:
            raise InputError(f"{path}:{line}: column '{budget}': a budget is above 0, not {value:g}")
    shares = sheet.without([*([budget] if budget else []), *ignored])
    if not shares.columns:
        raise InputError(f"{path} has no column of shares")
    negative = np.argwhere(shares.values < 0)
    if len(negative):
        row, column = negative[0]
        raise InputError(
            f"{path}:{shares.lines[row]}: column '{shares.columns[column]}': a share is not below 0, "
            f"as {shares.values[row, column]:g} is"
        )
    total = shares.values.sum(axis=1)
    worst = int(np.argmax(np.abs(total - 1)))
    off = abs(total[worst] - 1)
    if off > _TOLERATED + 1e-9:
        raise InputError(
            f"{path}:{shares.lines[worst]}: the shares ({', '.join(shares.columns[:3])}, ...) sum to {total[worst]:.6g}, "
            "not 1",
            "If a column is not a domain, name it with --budget or --ignore; if these are amounts, divide by their sum "
            "and give the sum with --budget.",
        )
    notes = ()
    if off > _EXACT:
        rows = int((np.abs(total - 1) > _EXACT).sum())
        notes = (f"{path}: the shares of {rows} rows do not sum to 1 (by up to {off:.2g}); they were renormalised",)
    return Mixtures(shares, shares.values / total[:, None] * budgets[:, None], budgets, notes)


def read_tables(
    mixtures: Path,
    losses: Path,
    key: str,
    budget: str | None = None,
    seed: str | None = None,
    ignored: Sequence[str] = (),
) -> tuple[LossTable, tuple[str, ...]]:
    """Read and join a table of mixtures and a table of losses.

    Args:
        budget, seed: columns of the mixtures table; ignored: columns of either table to leave out.

    Returns:
        The table, and notes of what was mended.

    Raises:
        InputError: as `read_mixtures`; a key in one table only; a loss that is not above 0.
    """
    known = set(read_sheet(mixtures, key).columns), set(read_sheet(losses, key).columns)
    for name in ignored:
        if name not in known[0] | known[1]:
            hint = meant(name, sorted(known[0] | known[1])[:_LISTED])
            raise InputError(f"there is no column '{name}' to ignore in {mixtures} or {losses}", hint)
    left = [name for name in ignored if name in known[0]]
    amounts = read_mixtures(mixtures, key, budget, [*left, *([seed] if seed else [])])
    right = read_sheet(losses, key).without(ignored)
    if not right.columns:
        raise InputError(f"{losses} has no column of losses")
    _same_keys(amounts.sheet, right)
    bad = np.argwhere(right.values <= 0)
    if len(bad):
        row, column = bad[0]
        raise InputError(
            f"{losses}:{right.lines[row]}: column '{right.columns[column]}' ({key} = {right.keys[row]}): a loss is above "
            f"0, not {right.values[row, column]:g}",
            "Laws are of losses, where less is better; give the negative logarithm, or 1 less an accuracy.",
        )
    place = {label: index for index, label in enumerate(right.keys)}
    order = [place[label] for label in amounts.sheet.keys]
    seeds = None
    if seed:
        column = read_sheet(mixtures, key).column(seed)
        fractional = np.flatnonzero(column != np.round(column))
        if len(fractional):
            line = amounts.sheet.lines[int(fractional[0])]
            raise InputError(f"{mixtures}:{line}: column '{seed}': a seed is a whole number")
        seeds = column.astype(np.int64)
    table = LossTable.sorted(amounts.domains, right.columns, amounts.amounts, right.values[order], None, seeds)
    return table, amounts.notes


def _same_keys(left: Sheet, right: Sheet) -> None:
    for one, other in ((left, right), (right, left)):
        missing = [label for label in one.keys if label not in set(other.keys)]
        if missing:
            line = one.lines[one.keys.index(missing[0])]
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(
                f"{one.path}:{line}: {one.key} = {missing[0]}{more} has no row in {other.path}",
                "Every run needs a row in both tables; a run without losses is left out of both.",
            )


def read_available(path: Path, domains: Sequence[str]) -> dict[str, dict[str, float]]:
    """Read how much there is of each domain: a CSV with columns `domain` and `amount`, in the unit of the budget.

    Raises:
        InputError: a missing, unknown or repeated domain, or an amount below 0.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{path} is not text in UTF-8") from error
    rows = [row for row in csv.reader(text.splitlines()) if any(row)]
    if not rows or [name.strip() for name in rows[0]] != ["domain", "amount"]:
        raise InputError(f"{path}:1: expected the columns domain,amount")
    found: dict[str, dict[str, float]] = {}
    for line, row in enumerate(rows[1:], 2):
        if len(row) != 2:
            raise InputError(f"{path}:{line}: expected a domain and an amount")
        name = row[0].strip()
        if name not in domains:
            raise InputError(
                f"{path}:{line}: the laws have no domain '{name}'", meant_or_known(name, domains, "domains")
            )
        if name in found:
            raise InputError(f"{path}:{line}: the domain '{name}' stands there twice")
        amount = _number(row[1], f"{path}:{line}: column 'amount'")
        if amount < 0:
            raise InputError(f"{path}:{line}: column 'amount': there cannot be {amount:g}")
        found[name] = {"volumes": amount, "crops": amount}
    missing = [name for name in domains if name not in found]
    if missing:
        raise InputError(f"{path} does not say how much there is of {', '.join(missing)}", "Give every domain a row.")
    if not any(entry["crops"] for entry in found.values()):
        raise InputError(f"{path}: there is nothing of any domain")
    return {name: found[name] for name in domains}
