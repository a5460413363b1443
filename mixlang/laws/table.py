"""The table laws are fitted on: a row a run, its amounts by domain and its losses by evaluated domain."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class LossTable:
    """Runs and their losses, columns joined by domain name.

    Attributes:
        domains: names; the order of the columns of both arrays.
        amounts: samples, shape (runs, domains).
        losses: held-out losses, same shape.
        means: the losses of predicting the mean intensity, shape (domains,); None where unknown.
        seeds: shape (runs,).
    """

    domains: tuple[str, ...]
    amounts: Floats
    losses: Floats
    means: Floats | None
    seeds: NDArray[np.int64]

    @classmethod
    def of(cls, domains: Sequence[str], runs: Sequence[dict[str, Any]]) -> LossTable:
        """A table from rows with `amounts`, `losses`, `seed` and perhaps `mean_losses`, each keyed by domain.

        Raises:
            InputError: no rows, a missing domain, or a value that is not a finite positive loss.
        """
        if not runs:
            raise InputError("there are no runs to fit laws on")
        for run in runs:
            for part in ("amounts", "losses"):
                if set(run[part]) != set(domains):
                    raise InputError(f"run {run.get('key', '?')[:12]}: its {part} name {sorted(run[part])}")
            for name, value in run["losses"].items():
                if not (np.isfinite(value) and value > 0):
                    raise InputError(f"run {run.get('key', '?')[:12]}: the loss on {name} is {value}")
        amounts = np.array([[run["amounts"][name] for name in domains] for run in runs], float)
        losses = np.array([[run["losses"][name] for name in domains] for run in runs], float)
        means = None
        if all("mean_losses" in run for run in runs):
            means = np.array([runs[0]["mean_losses"][name] for name in domains], float)
        return cls(tuple(domains), amounts, losses, means, np.array([run["seed"] for run in runs]))

    @property
    def points(self) -> NDArray[np.int64]:
        """For each run the number of its distinct amounts vector; runs that share one differ in seed only."""
        return np.unique(self.amounts, axis=0, return_inverse=True)[1].reshape(-1)

    def noise(self, domain: int) -> float:
        """Seed noise of a domain's log loss: the standard deviation within points, pooled; NaN without replicates."""
        points, logs = self.points, np.log(self.losses[:, domain])
        parts = [logs[points == point] for point in np.unique(points)]
        freedom = sum(len(part) - 1 for part in parts)
        if freedom == 0:
            return float("nan")
        return float(np.sqrt(sum(((part - part.mean()) ** 2).sum() for part in parts) / freedom))
