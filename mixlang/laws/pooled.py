"""Runs that a column left out tells apart, such as two model sizes: pooled, their difference would pass for noise."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError
from mixlang.laws.roles import Columns
from mixlang.laws.sheet import Sheet

Floats = NDArray[np.float64]

_LEAST = 3
"""Pairs of runs that tell a difference from chance."""

_SURE = 4.0
"""Standard errors by which the pairs have to differ."""


def refuse_pooled(sheet: Sheet, amounts: Floats, losses: Floats, columns: Columns) -> None:
    """Refuse a column left out by whose value runs of one mixture, budget and seed differ in the same direction.

    Args:
        sheet: the mixtures; amounts: shape (rows, domains); losses: shape (rows, losses), NaN where there is none.

    Raises:
        InputError: names two such runs, the column, and the option that takes one of its values.
    """
    seeds = sheet.numbers(columns.seed) if columns.seed else np.zeros(len(amounts))
    points = np.unique(np.column_stack([amounts, seeds]), axis=0, return_inverse=True)[1].reshape(-1)
    for name in columns.ignored:
        if name not in sheet.columns:
            continue
        values = np.array(sheet.text(name))
        kinds = np.unique(values)
        if not 2 <= len(kinds) <= len(values) // _LEAST:
            continue
        pairs = _pairs(points, values, kinds)
        if len(pairs) < _LEAST:
            continue
        changes = np.log(losses[pairs[:, 1]] / losses[pairs[:, 0]])
        sure = [_standard_errors(change[np.isfinite(change)]) for change in changes.T]
        if max(sure) > _SURE:
            one, other = pairs[0]
            raise InputError(
                f"{sheet.path}: {sheet.key} = {sheet.keys[one]} and {sheet.keys[other]} have the same mixture, budget and seed, "
                f"and differ in '{name}', which is left out and changes the losses",
                f"Take one of its values, such as --where {name}={sheet.text(name)[one]}; if it is a seed, --seed {name}.",
            )


def _pairs(points: NDArray[np.int64], values: NDArray[np.str_], kinds: NDArray[np.str_]) -> NDArray[np.int64]:
    """Rows of one point with two values of a column, always in the same order, shape (pairs, 2)."""
    first, second = (
        {int(points[row]): int(row) for row in np.flatnonzero(values == kind)[::-1]} for kind in (kinds[0], kinds[-1])
    )
    return np.array([[first[point], second[point]] for point in first if point in second], np.int64).reshape(-1, 2)


def _standard_errors(changes: Floats) -> float:
    """The mean of some changes in its standard errors; 0 where there are too few."""
    if len(changes) < _LEAST:
        return 0.0
    error = max(float(changes.std(ddof=1)) / np.sqrt(len(changes)), 1e-12)
    return float(abs(changes.mean()) / error)
