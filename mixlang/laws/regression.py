"""One family's regression on one loss: residuals, starts, and what is refitted from them (folds, draws)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.families import Law
from mixlang.laws.levenberg import minimize

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True)
class Regression:
    """The rows of one loss under one law; amounts in units of the largest budget.

    Attributes:
        amounts: shape (rows, domains); logs: log losses; deviations: standard deviation of each, shape (rows,).
        budgets: how many different sums of amounts there are.
        pool: priors by kind of parameter; None for weak ones.
    """

    law: Law
    amounts: Floats
    logs: Floats
    deviations: Floats
    budgets: int
    pool: Mapping[str, tuple[float, float]] | None = None

    @cached_property
    def bounds(self) -> tuple[Floats, Floats]:
        """Of the parameters."""
        return self.law.bounds(np.exp(self.logs), self.budgets, self._least)

    @cached_property
    def _least(self) -> float:
        """The smallest amount above zero of the own domain."""
        given = self.amounts[:, self.law.own] if self.law.own is not None else np.zeros(0)
        return float(given[given > 0].min()) if (given > 0).any() else 0.01

    @property
    def free(self) -> int:
        """How many parameters the data have to decide."""
        low, high = self.bounds
        return int((low < high).sum())

    def solve(self) -> Floats:
        """The best of the optima reached from all starts: a few steps from each, then the best ones to the end."""
        begun, costs = self.minimize(self.starts, steps=12)
        found, costs = self.minimize(begun[np.argsort(costs, kind="stable")[:3]], steps=200)
        return found[np.argmin(costs)]

    @property
    def starts(self) -> Floats:
        """Deterministic starting points, shape (starts, parameters)."""
        return self.law.starts(np.exp(self.logs), self.budgets, self._least)

    def minimize(
        self,
        starts: Floats,
        weights: Floats | None = None,
        logs: Floats | None = None,
        bounds: tuple[Floats, Floats] | None = None,
        steps: int = 60,
        precision: float = 1e-9,
        pulls: Floats | None = None,
    ) -> tuple[Floats, Floats]:
        """Solve problems that differ in their start, row weights, targets or the centres of their priors.

        Args:
            starts, weights, logs: each of shape (problems, ...).
            pulls: by how many widths the centre of each prior is moved, shape (problems, parameters).

        Returns:
            Parameters and costs.
        """
        centres, widths = self.law.priors(self.pool)
        kept = np.flatnonzero(np.isfinite(widths))
        moved = None if pulls is None else pulls[:, kept]

        def residuals(theta: Floats, which: Ints, derivatives: bool) -> tuple[Floats, Any]:
            losses = np.maximum(self.law.predict(theta, self.amounts), 1e-300)
            scale = 1.0 / self.deviations if weights is None else weights[which] / self.deviations
            values = (np.log(losses) - (self.logs if logs is None else logs[which])) * scale
            priors = (theta[:, kept] - centres[kept]) / widths[kept]
            values = np.concatenate([values, priors if moved is None else priors - moved[which]], axis=1)
            if not derivatives:
                return values, None
            slopes = np.zeros((*values.shape, theta.shape[1]))
            rows = len(self.logs)
            slopes[:, :rows] = self.law.jacobian(theta, self.amounts) * (scale / losses)[..., None]
            slopes[:, rows + np.arange(len(kept)), kept] = 1.0 / widths[kept]
            return values, slopes

        return minimize(residuals, np.array(starts), *(bounds or self.bounds), len(kept), steps, precision)

    def residuals(self, theta: Floats) -> Floats:
        """Log errors of the fit, predicted less measured, shape (rows,)."""
        return np.log(self.law.predict(theta, self.amounts)) - self.logs

    def slopes(self, theta: Floats) -> Floats:
        """Derivatives of the standardised log losses by the parameters, shape (rows, parameters)."""
        relative = self.law.jacobian(theta, self.amounts) / self.law.predict(theta, self.amounts)[:, None]
        return relative / self.deviations[:, None]
