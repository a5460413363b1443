"""How sure a fit is: a wild bootstrap over (mixture, seed) groups.

Residuals, blown up by their leverage (HC3: MacKinnon and White 1985), keep their place and are multiplied by one random
number a group and draw, the same for all losses, so that errors which come together stay together and the design stays
whole: resampling rows would lose the only runs that tell a source's exponent.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.regression import Regression

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_MOST_LEVERAGE = 0.75
"""A row that all but decides its own prediction has a residual near zero, which says nothing of its noise."""


def multipliers(groups: int, draws: int, seed: int) -> Floats:
    """One number a draw and group, of mean 0 and variance 1, shape (draws, groups)."""
    return np.random.default_rng(seed).standard_normal((draws, groups))


def bootstrap(regression: Regression, theta: Floats, groups: Ints, factors: Floats) -> Floats:
    """Parameters refitted to bootstrap draws, shape (draws, parameters).

    Args:
        theta: the fit to the runs as they are, where each refit starts.
        groups: of each row, an index into the second axis of `factors`.
        factors: see `multipliers`.
    """
    fitted = np.log(regression.law.predict(theta, regression.amounts))
    errors = (regression.logs - fitted) / (1.0 - np.minimum(leverage(regression, theta), _MOST_LEVERAGE))
    targets = fitted + errors * factors[:, groups]
    starts = np.repeat(theta[None], len(factors), axis=0)
    return regression.minimize(starts, logs=targets, steps=40)[0]


def leverage(regression: Regression, theta: Floats) -> Floats:
    """How much each row decides its own prediction, from 0 to 1, shape (rows,)."""
    loose = free(regression, theta)
    slopes, widths = regression.slopes(theta)[:, loose], regression.law.priors()[1][loose]
    normal = slopes.T @ slopes + np.diag(1.0 / widths**2)
    normal[np.diag_indices_from(normal)] += 1e-12 * np.trace(normal)
    return np.einsum("rp,rp->r", slopes, np.linalg.solve(normal, slopes.T).T)


def free(regression: Regression, theta: Floats) -> NDArray[np.bool_]:
    """Which parameters are off their bounds."""
    low, high = regression.bounds
    margin = 1e-9 * (high - low)
    return (theta > low + margin) & (theta < high - margin)
