"""How sure a fit is: laws refitted to runs whose noise is drawn anew.

The noise has the size of the residuals (less what the fit has taken from them), the shape of the seed noise, and comes
together as the residuals do: among the losses of a run, and among the runs of one (mixture, seed) group. The design
stays whole; resampling its rows would lose the only runs that tell a source's exponent. On worlds of known laws this
covers better than wild and pairs bootstraps, whose variance at a corner of the design hangs on two or three residuals
(`benchmarks/synthetic_worlds.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.regression import Regression
from mixlang.laws.stack import AnyLaw, Stack

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_PRECISION = 5e-4
"""Relative noise assumed at the least: no fit is claimed to know losses better."""

_AT_ONCE = 500_000
"""Numbers in the derivatives of the draws refitted at once: a few megabytes, which stay in the cache."""


@dataclass(frozen=True)
class Members:
    """The law of one loss as it was fitted: one family, or several with weights.

    Attributes:
        pairs: the regression and parameters of each; weights: of each, summing to 1.
        rows: which of the table's runs they were fitted to.
    """

    pairs: list[tuple[Regression, Floats]]
    weights: Floats
    rows: NDArray[np.bool_]

    @property
    def main(self) -> tuple[Regression, Floats]:
        """The member of the largest weight."""
        return self.pairs[int(np.argmax(self.weights))]

    @property
    def law(self) -> AnyLaw:
        """What answers for all of them."""
        laws = tuple(regression.law for regression, _ in self.pairs)
        return laws[0] if len(laws) == 1 else Stack(laws)

    @property
    def theta(self) -> Floats:
        """Its parameters."""
        thetas = [theta for _, theta in self.pairs]
        return thetas[0] if len(thetas) == 1 else np.concatenate([self.weights, *thetas])

    def fitted(self) -> Floats:
        """Log losses of the rows."""
        return np.asarray(np.log(self.law.predict(self.theta, self.pairs[0][0].amounts)))

    def residuals(self) -> Floats:
        """Log errors on the rows, predicted less measured."""
        return self.fitted() - self.pairs[0][0].logs

    def freedom(self) -> float:
        """Degrees of freedom that the fit has left to the residuals."""
        left = [
            len(regression.logs) - spent(regression, theta)
            if regression.pool is not None
            else _unpooled(regression, theta)
            for regression, theta in self.pairs
        ]
        return max(1.0, float(self.weights @ np.array(left, float)))


def _unpooled(regression: Regression, theta: Floats) -> float:
    return max(1, len(regression.logs) - int(free(regression, theta).sum()))


def bootstrap(parts: Sequence[Members], groups: Ints, draws: int, seed: int) -> list[Floats]:
    """Parameters of each loss refitted to bootstrap draws, each of shape (draws, parameters).

    Draw b of all losses belongs to the same drawn runs. Under priors that were learned, the draws scatter about the data
    and the priors' centres are drawn too, so that directions which the priors decide are as unsure as they say
    (randomize, then optimize; Bardsley and others 2014, 10.1137/140964023): for linear laws such draws are exactly of
    the posterior.

    Args:
        groups: the (mixture, seed) group of each run of the table.
    """
    noise, scales = _noise(parts, groups, draws, seed)
    found = []
    for loss, part in enumerate(parts):
        first = part.pairs[0][0]
        centre = first.logs if first.pool is not None else part.fitted()
        targets = centre + scales[loss] * first.deviations * noise[:, part.rows, loss]
        drawn = [np.broadcast_to(part.weights, (draws, len(part.weights)))] if len(part.pairs) > 1 else []
        for number, (regression, theta) in enumerate(part.pairs):
            pulls = None
            if regression.pool is not None:
                pulls = np.random.default_rng([seed, loss, number]).standard_normal((draws, len(theta)))
            drawn.append(_refitted(regression, theta, targets, pulls))
        found.append(np.concatenate(drawn, axis=1))
    return found


def _refitted(regression: Regression, theta: Floats, targets: Floats, pulls: Floats | None) -> Floats:
    """Parameters for each row of targets, shape (draws, parameters); `pulls` move the priors' centres, in widths."""
    count = max(1, targets.size * len(theta) // _AT_ONCE)
    found = [np.zeros((0, len(theta)))]
    for places in np.array_split(np.arange(len(targets)), count):
        if len(places):
            found.append(
                regression.minimize(
                    np.repeat(theta[None], len(places), axis=0),
                    logs=targets[places],
                    steps=40,
                    precision=1e-6,
                    pulls=None if pulls is None else pulls[places],
                )[0]
            )
    return np.concatenate(found)


def _noise(parts: Sequence[Members], groups: Ints, draws: int, seed: int) -> tuple[Floats, list[float]]:
    """Standard normal noise correlated as the residuals are, shape (draws, runs, losses), and each loss's scale."""
    residuals = np.full((len(groups), len(parts)), np.nan)
    scales = []
    for loss, part in enumerate(parts):
        deviations = part.pairs[0][0].deviations
        errors = part.residuals() / deviations
        scale = float(np.sqrt((errors**2).sum() / part.freedom()))
        residuals[part.rows, loss] = errors / scale if scale > 0 else 0.0
        scales.append(max(scale, _PRECISION / float(np.median(deviations))))
    among = _among_losses(residuals)
    within = _within_groups(residuals, groups)
    random = np.random.default_rng(seed)
    shared = random.standard_normal((draws, int(groups.max()) + 1, len(parts)))[:, groups]
    alone = random.standard_normal((draws, len(groups), len(parts)))
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


def covariance(regression: Regression, theta: Floats, kept: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """Laplace's covariance of some parameters, the others held, and the standardised slopes by them."""
    slopes = regression.slopes(theta)[:, kept]
    widths = regression.law.priors(regression.pool)[1][kept]
    return np.linalg.inv(slopes.T @ slopes + np.diag(np.where(np.isfinite(widths), widths**-2.0, 1e-8))), slopes


def spent(regression: Regression, theta: Floats) -> float:
    """How many degrees of freedom a fit under priors has taken from the data."""
    low, high = regression.bounds
    inside = (low < high) & free(regression, theta)
    found, slopes = covariance(regression, theta, inside)
    return float(np.trace(slopes @ found @ slopes.T))
