"""Evidence on a family: its errors on mixtures and budgets that the fit did not see."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.regression import Regression

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_FOLDS = 10
_LEAVE_ONE_OUT = 32
"""Up to so many groups each is left out by itself; more are dealt into folds."""


@dataclass(frozen=True)
class HeldOut:
    """What a law says of rows it was not fitted to.

    Attributes:
        errors: predicted less measured log loss, shape (rows,); logs: measured.
        groups: what was left out together; levels: the kind of row left out and its budget, as one number.
        of_mixtures: rows left out for their mixture; the others are of the largest budgets, left out at once.
        mixed: rows of more than one domain.
        beyond: log of the budgets left out over the largest that was fitted; 0 without any.
    """

    errors: Floats
    logs: Floats
    groups: Ints
    levels: Ints
    of_mixtures: NDArray[np.bool_]
    mixed: NDArray[np.bool_]
    beyond: float

    @property
    def relative(self) -> Floats:
        """Predicted over measured, less 1."""
        return np.expm1(np.clip(self.errors, -20, 5))

    @property
    def weights(self) -> Floats:
        """Of the rows, so that both kinds count alike."""
        count = np.array([(~self.of_mixtures).sum(), self.of_mixtures.sum()], float)
        return 1.0 / count[self.of_mixtures.astype(int)]

    @classmethod
    def combined(cls, parts: Sequence[HeldOut], weights: Floats) -> HeldOut:
        """What the weighted sum of laws says of the same rows."""
        values = sum(weight * np.exp(part.errors) for weight, part in zip(weights, parts, strict=True))
        return replace(parts[0], errors=np.log(np.maximum(values, 1e-300)))

    def scores(self) -> dict[str, float]:
        """Root mean square log errors: `mixture`, `budget` (absent where none could be left out) and `score`, their
        mean, since a law is used both between the mixtures and beyond the largest budget."""
        scores = {"mixture": _rms(self.errors[self.of_mixtures])}
        if not self.of_mixtures.all():
            scores["budget"] = _rms(self.errors[~self.of_mixtures])
        scores["score"] = sum(scores.values()) / len(scores)
        return scores


def cross_validate(
    regression: Regression,
    theta: Floats,
    groups: Ints,
    scored: NDArray[np.bool_] | None = None,
    mixed: NDArray[np.bool_] | None = None,
) -> HeldOut:
    """Errors where the fit had no say: each group of rows left out in turn, then the largest budgets at once.

    Args:
        theta: the fit to all rows, one of the starts.
        groups: for each row, what is left out together (see `left_out`).
        scored: the rows whose errors count, all if left out; the others are fitted all the same.
        mixed: rows of more than one domain, all if left out.
    """
    counted = np.ones(len(groups), bool) if scored is None else scored
    several = np.ones(len(groups), bool) if mixed is None else mixed
    fold = deal(groups)
    folds = np.unique(fold[counted])
    seen = (fold[None, :] != folds[:, None]).astype(float)
    fitted = regression.minimize(np.repeat(theta[None], len(folds), axis=0), seen, steps=100)[0]
    rows = [np.flatnonzero((fold == number) & counted) for number in folds]
    errors = [_errors(regression, one, here) for one, here in zip(fitted, rows, strict=True)]
    kinds = [np.ones(sum(map(len, rows)), bool)]
    top, beyond = _largest(regression), 0.0
    if top is not None and (top & counted).any():
        starts = np.concatenate([theta[None], regression.starts[::3]])
        weights = np.repeat((~top).astype(float)[None], len(starts), axis=0)
        found, costs = regression.minimize(starts, weights, steps=100)
        rows.append(np.flatnonzero(top & counted))
        errors.append(_errors(regression, found[int(np.argmin(costs))], rows[-1]))
        kinds.append(np.zeros(len(rows[-1]), bool))
        totals = regression.amounts.sum(axis=1)
        beyond = float(np.log(totals[top & counted].mean() / totals[~top].max()))
    chosen, of_mixtures = np.concatenate(rows), np.concatenate(kinds)
    budgets = np.unique(np.round(regression.amounts.sum(axis=1), 9), return_inverse=True)[1].reshape(-1)[chosen]
    levels = np.unique(2 * budgets + of_mixtures, return_inverse=True)[1].reshape(-1)
    return HeldOut(
        np.concatenate(errors),
        regression.logs[chosen],
        groups[chosen],
        levels,
        of_mixtures,
        several[chosen],
        beyond,
    )


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
            return top if rest >= (4 if regression.pool is not None else max(4, regression.free)) else None
    return None


def _errors(regression: Regression, theta: Floats, rows: Ints) -> Floats:
    return np.log(regression.law.predict(theta, regression.amounts[rows])) - regression.logs[rows]


def _rms(errors: Floats) -> float:
    return float(np.sqrt(np.mean(errors**2)))
