"""Many small bounded least-squares problems at once: Levenberg-Marquardt with a robust loss, batched over problems.

Starts, cross-validation folds and bootstrap draws of one law differ in their start, weights or targets only, so they
are solved together, where one call for each would spend most of its time outside the arithmetic.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

Residuals = Callable[[Floats, Ints, bool], tuple[Floats, Any]]

_HUBER = 1.345
"""Residuals above this many standard deviations count linearly: 95 % efficient on normal errors (Huber 1964)."""


def minimize(
    residuals: Residuals,
    starts: Floats,
    low: Floats,
    high: Floats,
    plain: int = 0,
    iterations: int = 100,
    precision: float = 1e-9,
) -> tuple[Floats, Floats]:
    """Minimise Huber losses of residuals inside bounds, each problem on its own.

    Args:
        residuals: `(theta, which, derivatives)` to the standardised residuals of problems `which` at theta, shape
            (problems, rows), and their Jacobian, shape (problems, rows, parameters), None unless asked for.
        starts: shape (problems, parameters).
        low, high: bounds, shape (parameters,); equal ones hold a parameter.
        plain: how many of the last residuals are priors, which are squared whatever their size.
        iterations: at most so many steps.
        precision: a problem is solved when a step improves its cost by less than this part.

    Returns:
        The minimisers and their costs.
    """
    theta = np.clip(starts, low, high)
    costs, damping = np.full(len(theta), np.inf), np.full(len(theta), 1e-2)
    active = np.arange(len(theta))
    current, slopes = residuals(theta, active, True)
    costs = _cost(current, plain)
    for _ in range(iterations):
        here = theta[active]
        step = _step(current, slopes, here, low, high, damping[active], plain)
        trial = np.clip(here + step, low, high)
        cost = _cost(residuals(trial, active, False)[0], plain)
        before = costs[active]
        better = cost < before
        gain = np.where(better, (before - cost) / np.maximum(before, 1e-300), 1.0)
        theta[active[better]], costs[active[better]] = trial[better], cost[better]
        damping[active] = np.where(better, np.maximum(damping[active] / 4, 1e-9), damping[active] * 5)
        done = (better & (gain < precision)) | (damping[active] > 1e8) | (costs[active] < 1e-20)
        active = active[~done]
        if len(active) == 0:
            break
        current, slopes = residuals(theta[active], active, True)
    return theta, costs


def _cost(values: Floats, plain: int) -> Floats:
    size = np.abs(values)
    losses = np.where(size <= _HUBER, 0.5 * size**2, _HUBER * (size - 0.5 * _HUBER))
    if plain:
        losses[:, -plain:] = 0.5 * values[:, -plain:] ** 2
    losses = losses.sum(axis=-1)
    return np.where(np.isfinite(losses), losses, np.inf)


def _step(
    values: Floats, slopes: Floats, theta: Floats, low: Floats, high: Floats, damping: Floats, plain: int
) -> Floats:
    """The damped step of the free parameters; those on a bound that would leave it stay."""
    weights = np.minimum(1.0, _HUBER / np.maximum(np.abs(values), 1e-300))
    if plain:
        weights[:, -plain:] = 1.0
    turned = (slopes * weights[..., None]).transpose(0, 2, 1)
    normal, gradient = turned @ slopes, (turned @ values[..., None])[..., 0]
    held = ((theta <= low) & (gradient > 0)) | ((theta >= high) & (gradient < 0)) | (low == high)
    index = np.arange(theta.shape[1])
    diagonal = normal[:, index, index]
    diagonal = np.maximum(diagonal, 1e-10 * diagonal.max(axis=1, keepdims=True) + 1e-300)
    normal[:, index, index] += damping[:, None] * diagonal
    normal[held] = 0.0
    normal.transpose(0, 2, 1)[held] = 0.0
    normal[:, index, index] = np.where(held, 1.0, normal[:, index, index])
    return np.linalg.solve(normal, np.where(held, 0.0, -gradient)[..., None])[..., 0]
