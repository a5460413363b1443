"""Mixtures and losses from CSV files, joined on their key: strict, since a table read wrong gives a mixture that is
wrong and plausible. Every refusal names the file, the row and the column.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError
from mixlang.laws.direction import refuse_rising
from mixlang.laws.pooled import refuse_pooled
from mixlang.laws.roles import Columns, domains_of, losses_in, owner, refuse_open_roles
from mixlang.laws.sheet import Sheet, number, quoted, read_rows, read_sheet
from mixlang.laws.table import LossTable
from mixlang.names import meant, meant_or_known

Floats = NDArray[np.float64]

_EXACT = 1e-6
"""Shares that sum to 1 within this are taken as they are; others are renormalised, with a note."""


@dataclass(frozen=True)
class Mixtures:
    """Mixtures as amounts.

    Attributes:
        sheet: whose rows they are; domains: of the columns of `amounts`.
        amounts: shape (rows, domains); budgets: shape (rows,); notes: what was put right.
    """

    sheet: Sheet
    domains: tuple[str, ...]
    amounts: Floats
    budgets: Floats
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tables:
    """Two tables, joined.

    Attributes:
        table: what laws are fitted on; roles: what each column was taken for, a line a table; notes: what was put right.
    """

    table: LossTable
    roles: tuple[str, ...]
    notes: tuple[str, ...]


def read_mixtures(path: Path, columns: Columns, given: float = 1.0) -> Mixtures:
    """Read mixtures.

    Args:
        given: the amount of every run where there is no column of budgets.

    Raises:
        InputError: as `read_sheet` and `domains_of`; a budget not above 0; amounts that do not sum to their budget.
    """
    sheet = _rows(path, columns)
    return _mixtures(sheet, domains_of(sheet, columns), columns, given)


def _rows(path: Path, columns: Columns) -> Sheet:
    sheet = read_sheet(path, columns.key)
    for name, value in columns.where.items():
        sheet = sheet.where(name, value)
    return sheet


def _mixtures(sheet: Sheet, domains: tuple[str, ...], columns: Columns, given: float) -> Mixtures:
    values = np.stack([sheet.numbers(name) for name in domains], axis=1)
    total = values.sum(axis=1)
    budgets = sheet.numbers(columns.budget, asked=True) if columns.budget else np.full(len(total), float(given))
    for line, value in zip(sheet.lines, budgets.tolist(), strict=True):
        if value <= 0:
            raise InputError(f"{sheet.path}:{line}: column '{columns.budget}': a budget is above 0, not {value:g}")
    if columns.unit == "amounts":
        return _of_amounts(sheet, domains, values, budgets if columns.budget else None)
    off = np.abs(total / (100 if columns.unit == "percent" else 1) - 1)
    notes = sheet.notes
    if off.max() > _EXACT:
        rows = int((off > _EXACT).sum())
        notes += (
            f"{sheet.path}: the shares of {rows} rows do not sum to 1 (by up to {off.max():.2g}); they were renormalised",
        )
    return Mixtures(sheet, domains, values / total[:, None] * budgets[:, None], budgets, notes)


def _of_amounts(sheet: Sheet, domains: tuple[str, ...], amounts: Floats, budgets: Floats | None) -> Mixtures:
    """Amounts, whose sum is the budget; a column of budgets has to agree within 1 %."""
    total = amounts.sum(axis=1)
    for row in np.flatnonzero(total <= 0):
        raise InputError(f"{sheet.path}:{sheet.lines[row]}: the amounts sum to 0")
    if budgets is not None:
        for row in np.flatnonzero(np.abs(total / budgets - 1) > 0.01):
            raise InputError(
                f"{sheet.path}:{sheet.lines[row]}: the amounts sum to {total[row]:.6g}, the budget is {budgets[row]:.6g}",
                "If a column is not a domain, leave it out with --ignore.",
            )
    return Mixtures(sheet, domains, amounts, total, sheet.notes)


def read_tables(mixtures: Path, losses: Path, columns: Columns) -> Tables:
    """Read and join a table of mixtures and a table of losses, which may be one file.

    Raises:
        InputError: as `read_mixtures`; a column whose role is open; a key in one table only; a loss that is not above 0,
            or that rises with data.
    """
    together = mixtures.resolve() == losses.resolve()
    left, right = _rows(mixtures, columns), read_sheet(losses, columns.key)
    _refuse_unknown(columns, left, right)
    if together:
        right = left
        names = losses_in(left, columns)
    else:
        for name, value in columns.where.items():
            right = right.where(name, value) if name in right.columns else right
        names = tuple(name for name in right.columns if name not in {*columns.ignored, *columns.where})
    own = _of(columns, left)
    domains = domains_of(left, own, names if together else ())
    amounts = _mixtures(left, domains, own, 1.0)
    if not names:
        hint = "In a table of both, losses are named so ('ct_loss'), or given with --keep." if together else ""
        raise InputError(f"{losses} has no column of losses", hint)
    refuse_open_roles(right, names, domains, left, columns)
    if not together:
        if columns.where:
            right = _matching(right, left)
        _same_keys(left, right)
    values, bests = _all_losses(right, left.keys, names, columns)
    refuse_pooled(left, amounts.amounts, values, columns)
    table = _table(amounts, right, names, values, bests, columns)
    open_ones = refuse_rising(table, frozenset(columns.kept))
    notes = [*amounts.notes, *(right.notes if not together else ())]
    if open_ones:
        notes.append(f"whether less is better cannot be told from the runs for {_few(open_ones)}; laws are of losses")
    return Tables(table, _roles(amounts, right, table, columns), tuple(notes))


def _of(columns: Columns, left: Sheet) -> Columns:
    """What the user says, of the mixtures table alone: columns to leave out may be in the other one."""
    return replace(columns, ignored=tuple(name for name in columns.ignored if name in left.columns))


def _refuse_unknown(columns: Columns, left: Sheet, right: Sheet) -> None:
    known = [*left.columns, *right.columns]
    for option, names in (("ignore", columns.ignored), ("keep", columns.kept)):
        for name in names:
            if name not in known:
                hint = meant(name, sorted(set(known))[:64])
                raise InputError(f"there is no column '{name}' to {option} in {left.path} or {right.path}", hint)
    for name in columns.maximize:
        right.require(name)


def _matching(right: Sheet, left: Sheet) -> Sheet:
    """The rows of a table whose runs the other one has, where rows of that were chosen."""
    kept = [index for index, key in enumerate(right.keys) if key in set(left.keys)]
    return replace(
        right,
        keys=tuple(right.keys[index] for index in kept),
        lines=tuple(right.lines[index] for index in kept),
        cells=tuple(right.cells[index] for index in kept),
    )


def _all_losses(
    right: Sheet, keys: Sequence[str], names: tuple[str, ...], columns: Columns
) -> tuple[Floats, list[float | None]]:
    """The losses in the order of some keys, shape (rows, losses), and for each the best score where it was given as one."""
    place = {label: index for index, label in enumerate(right.keys)}
    order = [place[label] for label in keys]
    found = [_losses(right, name, name in columns.maximize) for name in names]
    return np.stack([losses for losses, _ in found], axis=1)[order], [best for _, best in found]


def _table(
    amounts: Mixtures,
    right: Sheet,
    names: tuple[str, ...],
    losses: Floats,
    bests: Sequence[float | None],
    columns: Columns,
) -> LossTable:
    """Mixtures and losses as what laws are fitted on."""
    owners = [owner(name, amounts.domains) for name in names]
    for at, one in enumerate(owners):
        if one is not None and one in owners[:at]:
            raise InputError(
                f"{right.path}:1: the columns '{names[owners.index(one)]}' and '{names[at]}' are both losses of '{one}'",
                "Leave one out with --ignore.",
            )
    seeds = _seeds(amounts.sheet, columns.seed) if columns.seed else None
    known = any(best is not None for best in bests)
    return LossTable.sorted(
        amounts.domains, names, amounts.amounts, losses, None, seeds, owners, bests if known else None
    )


def _losses(sheet: Sheet, name: str, score: bool) -> tuple[Floats, float | None]:
    """A column of losses, or of scores as their distance to the best one.

    Returns:
        The losses, NaN where there is none, and the best score; None for losses.
    """
    values = sheet.numbers(name, holes=True)
    if not np.isfinite(values).any():
        raise InputError(f"{sheet.path}:1: column '{name}' has no value", f"Leave it out with --ignore {quoted(name)}.")
    best = None
    if score:
        low, high = float(np.nanmin(values)), float(np.nanmax(values))
        if low < 0 or high > 100:
            row = int(np.nanargmin(values) if low < 0 else np.nanargmax(values))
            raise InputError(
                f"{sheet.place(row, name)}: a score is between 0 and 1 or between 0 and 100, not {values[row]:g}"
            )
        best = 1.0 if high <= 1 else 100.0
        if best > 1 and 0 < low <= 1:
            row = int(np.nanargmin(values))
            raise InputError(
                f"{sheet.place(row, name)}: a score of {low:g} beside one of {high:g}: is it out of 1 or out of 100?",
                "Write all scores in one way.",
            )
        values = best - values
    for row in np.flatnonzero(values <= 0):
        if score:
            raise InputError(
                f"{sheet.place(row, name)}: a score of {best:g} leaves no loss, whose logarithm is fitted",
                "Leave the cell empty, or use a score that is not perfect.",
            )
        raise InputError(
            f"{sheet.place(row, name)}: a loss is above 0, not {values[row]:g}",
            f"Laws are of losses, where less is better. If it is a score: --maximize {quoted(name)}.",
        )
    return values, best


def _seeds(sheet: Sheet, name: str) -> NDArray[np.int64]:
    column = sheet.numbers(name, asked=True)
    for row in np.flatnonzero(column != np.round(column)):
        raise InputError(f"{sheet.path}:{sheet.lines[row]}: column '{name}': a seed is a whole number")
    return column.astype(np.int64)


def _same_keys(left: Sheet, right: Sheet) -> None:
    for one, other in ((left, right), (right, left)):
        there = set(other.keys)
        missing = [label for label in one.keys if label not in there]
        if missing:
            line = one.lines[one.keys.index(missing[0])]
            more = f" (and {len(missing) - 1} more)" if len(missing) > 1 else ""
            raise InputError(
                f"{one.path}:{line}: {one.key} = {missing[0]}{more} has no row in {other.path}",
                "Every run needs a row in both tables; a run without losses is left out of both.",
            )


def _roles(amounts: Mixtures, right: Sheet, table: LossTable, columns: Columns) -> tuple[str, ...]:
    """What each column was taken for."""
    left, low, high = amounts.sheet, float(amounts.budgets.min()), float(amounts.budgets.max())
    parts = [f"key {columns.key}"]
    source = columns.budget or ("the sum of the amounts" if columns.unit == "amounts" else None)
    parts += [f"budget {source} ({low:,.6g} to {high:,.6g})" if source else "no budget, all runs alike"]
    parts += [f"seed {columns.seed}"] if columns.seed else []
    parts += [f"domains {', '.join(amounts.domains)}"]
    parts += [f"only {name} = {value}" for name, value in columns.where.items()]
    owned = {name: table.domains[at] for i, name in enumerate(table.names) if (at := table.own(i)) is not None}
    told = [name if name == on else f"{name} (of {on})" for name, on in owned.items()]
    scores = [f"{name} ({table.best(i):g} less it)" for i, name in enumerate(table.names) if table.best(i) is not None]
    others = [name for name in table.names if name not in owned]
    losses = [f"losses of domains: {', '.join(told)}"] if told else []
    losses += [f"other losses: {', '.join(others)}"] if others else []
    losses += [f"scores, where more is better: {', '.join(scores)}"] if scores else []
    beside = {sheet.path: [name for name in sheet.columns if name in columns.ignored] for sheet in (left, right)}
    lines = {left.path: parts}
    lines[right.path] = [*lines.get(right.path, []), *losses]
    return tuple(
        f"{path}: {'; '.join([*told, *(['left out: ' + ', '.join(beside[path])] if beside[path] else [])])}"
        for path, told in lines.items()
    )


def _few(names: Sequence[str]) -> str:
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")


def read_available(path: Path, domains: Sequence[str]) -> dict[str, dict[str, float]]:
    """Read how much there is of each domain: a CSV with columns `domain` and `amount`, in the unit of the budget.

    Raises:
        InputError: a missing, unknown or repeated domain, or an amount below 0.
    """
    rows, separator = read_rows(path)
    if not rows or [name.casefold() for name in rows[0][1]] != ["domain", "amount"]:
        there = ", ".join(rows[0][1][:8]) if rows else "nothing"
        raise InputError(f"{path}:1: expected the columns domain,amount; there is {there}")
    found: dict[str, dict[str, float]] = {}
    for line, row in rows[1:]:
        if len(row) != 2:
            raise InputError(f"{path}:{line}: expected a domain and an amount")
        name = owner(row[0], domains)
        if name is None:
            raise InputError(
                f"{path}:{line}: the laws have no domain '{row[0]}'", meant_or_known(row[0], domains, "domains")
            )
        if name in found:
            raise InputError(f"{path}:{line}: the domain '{name}' is listed twice")
        amount = number(row[1], separator != "," and "," in row[1])
        if not np.isfinite(amount):
            raise InputError(f"{path}:{line}: column 'amount': expected a finite number, not '{row[1][:40]}'")
        if amount < 0:
            raise InputError(f"{path}:{line}: column 'amount': there cannot be {amount:g}")
        found[name] = {"volumes": amount, "crops": amount}
    missing = [name for name in domains if name not in found]
    if missing:
        raise InputError(f"{path} does not say how much there is of {', '.join(missing)}", "Give every domain a row.")
    if not any(entry["crops"] for entry in found.values()):
        raise InputError(f"{path}: there is nothing of any domain")
    return {name: found[name] for name in domains}
