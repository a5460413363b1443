"""Laws whose exponents belong to the sources: one g for each domain, the same for every loss, fitted jointly."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.levenberg import minimize
from mixlang.laws.regression import Regression

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


def fit_shared(regressions: Sequence[Regression]) -> list[tuple[Regression, Floats]]:
    """Fit all losses at once, each with its own parameters but for the exponents.

    The start is the fit of each loss by itself and, for each source, the mean exponent weighted by what it transfers.
    """
    alone = [regression.solve() for regression in regressions]
    layout = _Layout(regressions)
    low, high = (layout.join([regression.bounds[side] for regression in regressions]) for side in (0, 1))
    centres, widths = (layout.join([regression.law.priors()[part] for regression in regressions]) for part in (0, 1))
    kept = np.flatnonzero(np.isfinite(widths))

    def residuals(theta: Floats, which: Ints, derivatives: bool) -> tuple[Floats, Any]:
        del which
        parts = [regression.residuals(one) / regression.deviations for regression, one in layout.split(theta[0])]
        values = np.concatenate([*parts, (theta[0, kept] - centres[kept]) / widths[kept]])
        if not derivatives:
            return values[None], None
        slopes = np.zeros((len(values), theta.shape[1]))
        row = 0
        for (regression, one), columns in zip(layout.split(theta[0]), layout.columns, strict=True):
            slopes[row : row + len(regression.logs), columns] = regression.slopes(one)
            row += len(regression.logs)
        slopes[row + np.arange(len(kept)), kept] = 1.0 / widths[kept]
        return values[None], slopes[None]

    exponents = [item.law.at["g"] for item in regressions]
    worths = [theta[item.law.at["k"]] for item, theta in zip(regressions, alone, strict=True)]
    start = layout.join(alone)
    start[: layout.count] = layout.average([theta[at] for theta, at in zip(alone, exponents, strict=True)], worths)
    found = minimize(residuals, start[None], low, high, len(kept), 80)[0][0]
    return layout.split(found)


class _Layout:
    """Where each loss's parameters lie in the joint vector: exponents by domain first, then the rest."""

    def __init__(self, regressions: Sequence[Regression]) -> None:
        self.regressions = regressions
        self.count = regressions[0].law.count
        self.columns: list[Ints] = []
        end = self.count
        for regression in regressions:
            law = regression.law
            columns = np.full(len(law.names), -1, np.int64)
            columns[law.at["g"]] = law.sources
            own = columns < 0
            columns[own] = end + np.arange(own.sum())
            end += int(own.sum())
            self.columns.append(columns)
        self.size = end

    def join(self, vectors: Sequence[Floats]) -> Floats:
        """The joint vector of one vector a loss; where losses share an entry, the last one's."""
        joined = np.zeros(self.size)
        for columns, vector in zip(self.columns, vectors, strict=True):
            joined[columns] = vector
        return joined

    def average(self, values: Sequence[Floats], weights: Sequence[Floats]) -> Floats:
        """For each domain the weighted mean over losses of a number each loss has for its sources."""
        top, bottom = np.zeros(self.count), np.zeros(self.count)
        for regression, value, weight in zip(self.regressions, values, weights, strict=True):
            top[regression.law.sources] += (weight + 1e-6) * value
            bottom[regression.law.sources] += weight + 1e-6
        return top / np.maximum(bottom, 1e-300)

    def split(self, joined: Floats) -> list[tuple[Regression, Floats]]:
        """Each loss with its parameters."""
        return [
            (regression, joined[columns]) for regression, columns in zip(self.regressions, self.columns, strict=True)
        ]
