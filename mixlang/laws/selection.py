"""Choosing a family by evidence: errors on mixtures and budgets that the fit did not see."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.regression import Regression

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FOLDS = 10
_LEAVE_ONE_OUT = 32
"""Up to so many groups each is left out by itself; more are dealt into folds."""


def cross_validate(
    regression: Regression, theta: Floats, groups: Ints, scored: NDArray[np.bool_] | None = None
) -> dict[str, float]:
    """Errors where the fit had no say, root mean square of log errors.

    Args:
        theta: the fit to all rows, one of the starts.
        groups: for each row, what is left out together (see `left_out`).
        scored: the rows whose errors count, all if left out; the others are fitted all the same.

    Returns:
        `mixture`: each group of rows left out in turn; `budget`: the largest budgets left out at once (absent where
        the rest could not be fitted); `score`: their mean, since a law is used both between the mixtures and beyond
        the largest budget.
    """
    counted = np.ones(len(groups), bool) if scored is None else scored
    fold = deal(groups)
    folds = np.unique(fold[counted])
    seen = (fold[None, :] != folds[:, None]).astype(float)
    fitted = regression.minimize(np.repeat(theta[None], len(folds), axis=0), seen, steps=100)[0]
    errors = np.concatenate(
        [_errors(regression, one, (fold == number) & counted) for one, number in zip(fitted, folds, strict=True)]
    )
    scores = {"mixture": _rms(errors)}
    top = _largest(regression)
    if top is not None and (top & counted).any():
        starts = np.concatenate([theta[None], regression.starts[::3]])
        weights = np.repeat((~top).astype(float)[None], len(starts), axis=0)
        found, costs = regression.minimize(starts, weights, steps=100)
        scores["budget"] = _rms(_errors(regression, found[int(np.argmin(costs))], top & counted))
    scores["score"] = sum(scores.values()) / len(scores)
    return scores


def deal(groups: Ints) -> Ints:
    """The fold of each row: a fold a group, or groups dealt in turn where there are many."""
    return groups if int(groups.max()) < _LEAVE_ONE_OUT else groups % _FOLDS


def left_out(mixtures: Ints, points: Ints, mixed: NDArray[np.bool_]) -> Ints:
    """What cross-validation leaves out together: all budgets of a mixture, but single-domain runs by the point.

    A single-domain ladder is the only evidence at its corner of the simplex: left out whole, it would measure how a
    law extrapolates to a place it is never used for.
    """
    keys = np.where(mixed, mixtures, points + mixtures.max() + 1)
    return np.unique(keys, return_inverse=True)[1].reshape(-1)


def _largest(regression: Regression) -> NDArray[np.bool_] | None:
    """The rows of the largest budgets, at least a tenth of all; None where too few others remain."""
    totals = np.round(regression.amounts.sum(axis=1), 9)
    for least in np.unique(totals)[:0:-1]:
        top = totals >= least
        if top.sum() >= 0.1 * len(totals):
            rest = len(np.unique(regression.amounts[~top], axis=0))
            return top if rest >= max(4, regression.free) else None
    return None


def _errors(regression: Regression, theta: Floats, rows: NDArray[np.bool_]) -> Floats:
    return np.log(regression.law.predict(theta, regression.amounts[rows])) - regression.logs[rows]


def _rms(errors: Floats) -> float:
    return float(np.sqrt(np.mean(errors**2)))
