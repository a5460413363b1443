"""How sure a fit is: laws refitted to runs whose noise is drawn anew.

The noise has the size of the residuals (less what the fit has taken from them), the shape of the seed noise, and comes
together as the residuals do: among the losses of a run, and among the runs of one (mixture, seed) group. The design
stays whole; resampling its rows would lose the only runs that tell a source's exponent. On worlds of known laws this
covers better than wild and pairs bootstraps, whose variance at a corner of the design hangs on two or three residuals
(`benchmarks/synthetic_worlds.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.regression import Regression

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PRECISION = 5e-4
"""Relative noise assumed at the least: no fit is claimed to know losses better."""

_AT_ONCE = 500_000
"""Numbers in the derivatives of the draws refitted at once: a few megabytes, which stay in the cache."""


def bootstrap(
    regressions: Sequence[Regression],
    thetas: Sequence[Floats],
    rows: Sequence[NDArray[np.bool_]],
    groups: Ints,
    draws: int,
    seed: int,
) -> list[Floats]:
    """Parameters of each loss refitted to bootstrap draws, each of shape (draws, parameters).

    Draw b of all losses belongs to the same drawn runs.

    Args:
        thetas: the fits; rows: which of the table's runs each was fitted to.
        groups: the (mixture, seed) group of each run of the table.
    """
    noise, scales = _noise(regressions, thetas, rows, groups, draws, seed)
    found = []
    for loss, (regression, theta, used) in enumerate(zip(regressions, thetas, rows, strict=True)):
        fitted = np.log(regression.law.predict(theta, regression.amounts))
        targets = fitted + scales[loss] * regression.deviations * noise[:, used, loss]
        parts = np.array_split(targets, max(1, targets.size * len(theta) // _AT_ONCE))
        drawn = [
            regression.minimize(np.repeat(theta[None], len(part), axis=0), logs=part, steps=40, precision=1e-6)[0]
            for part in parts
            if len(part)
        ]
        found.append(np.concatenate([np.zeros((0, len(theta))), *drawn]))
    return found


def _noise(
    regressions: Sequence[Regression],
    thetas: Sequence[Floats],
    rows: Sequence[NDArray[np.bool_]],
    groups: Ints,
    draws: int,
    seed: int,
) -> tuple[Floats, list[float]]:
    """Standard normal noise correlated as the residuals are, shape (draws, runs, losses), and each loss's scale."""
    residuals = np.full((len(groups), len(regressions)), np.nan)
    scales = []
    for loss, (regression, theta, used) in enumerate(zip(regressions, thetas, rows, strict=True)):
        errors = regression.residuals(theta) / regression.deviations
        left = max(1, len(errors) - int(free(regression, theta).sum()))
        scale = float(np.sqrt((errors**2).sum() / left))
        residuals[used, loss] = errors / scale if scale > 0 else 0.0
        scales.append(max(scale, _PRECISION / float(np.median(regression.deviations))))
    among = _among_losses(residuals)
    within = _within_groups(residuals, groups)
    random = np.random.default_rng(seed)
    shared = random.standard_normal((draws, int(groups.max()) + 1, len(regressions)))[:, groups]
    alone = random.standard_normal((draws, len(groups), len(regressions)))
    return (np.sqrt(within) * shared + np.sqrt(1 - within) * alone) @ among.T, scales


def _among_losses(residuals: Floats) -> Floats:
    """A root of the correlation of residuals among losses, shrunk towards none as losses outnumber runs."""
    count = residuals.shape[1]
    known = np.isfinite(residuals)
    filled = np.where(known, residuals, 0.0)
    together = np.maximum(known.T.astype(float) @ known, 1.0)
    covariance = filled.T @ filled / together
    size = np.sqrt(np.maximum(np.diag(covariance), 1e-300))
    shrink = min(1.0, 0.05 + count / len(residuals))
    correlation = (1 - shrink) * covariance / np.outer(size, size)
    np.fill_diagonal(correlation, 1.0)
    values, vectors = np.linalg.eigh(correlation)
    root = vectors * np.sqrt(np.maximum(values, 1e-6))
    return root / np.linalg.norm(root, axis=1, keepdims=True)


def _within_groups(residuals: Floats, groups: Ints) -> float:
    """Correlation of a loss's residuals between runs of one group, over all losses; at least 0."""
    filled, known = np.nan_to_num(residuals), np.isfinite(residuals).astype(float)
    count = int(groups.max()) + 1
    pairs, products = 0.0, 0.0
    for loss in range(residuals.shape[1]):
        totals = np.bincount(groups, filled[:, loss], count)
        sizes = np.bincount(groups, known[:, loss], count)
        products += float((totals**2).sum() - (filled[:, loss] ** 2).sum())
        pairs += float((sizes**2 - sizes).sum())
    mean = float((filled**2).sum() / max(1.0, known.sum()))
    return float(np.clip(products / pairs / mean, 0.0, 0.9)) if pairs and mean > 0 else 0.0


def free(regression: Regression, theta: Floats) -> NDArray[np.bool_]:
    """Which parameters are off their bounds."""
    low, high = regression.bounds
    margin = 1e-9 * (high - low)
    return (theta > low + margin) & (theta < high - margin)
