"""The table laws are fitted on: a row a run, its amounts by domain and its losses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import RunRow
from mixlang.errors import InputError

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEAST_NOISE = 0.01
"""Relative seed noise assumed where there are no replicates, or implausibly little spread."""

_PRIOR_FREEDOM = 4
"""How many degrees of freedom the pooled noise is worth beside the spread of one point's own replicates."""


@dataclass(frozen=True)
class LossTable:
    """Runs and their losses, columns joined by name, rows in an order of their own contents.

    The order of the rows it is made from decides nothing: they are sorted by amounts, seed and losses.

    Attributes:
        domains: names of what is trained on; the columns of `amounts`.
        names: names of the losses; the columns of `losses`. A loss named as a domain is the loss on that domain.
        amounts: in any one unit (samples, tokens), shape (runs, domains).
        losses: positive, shape (runs, losses); NaN where a run has no value of one.
        means: the losses of predicting the mean intensity, shape (losses,), NaN for one of no domain; None where unknown.
        seeds: shape (runs,).
        owners: for each loss the domain it is on, None for one of no domain; by name where left out.
        bests: for each loss None, or the bound of the score that it is the distance to: loss = bound - score.
    """

    domains: tuple[str, ...]
    names: tuple[str, ...]
    amounts: Floats
    losses: Floats
    means: Floats | None
    seeds: Ints
    owners: tuple[str | None, ...] | None = None
    bests: tuple[float | None, ...] | None = None

    @classmethod
    def of(cls, domains: Sequence[str], runs: Sequence[RunRow]) -> LossTable:
        """A table from rows with `amounts` by domain, `losses` and perhaps `mean_losses` by name, and `seed`.

        The losses are those of the first row, domains first; one that is named as no domain belongs to none.

        Raises:
            InputError: no rows, a missing domain, or a value that is not a finite positive loss.
        """
        if not runs:
            raise InputError("there are no runs to fit laws on")
        names = [*domains, *(name for name in runs[0]["losses"] if name not in domains)]
        for run in runs:
            for part, wanted in (("amounts", domains), ("losses", names)):
                if set(run[part]) != set(wanted):
                    raise InputError(f"run {run.get('key', '?')[:12]}: its {part} name {sorted(run[part])}")
            for name, value in run["losses"].items():
                if not (np.isfinite(value) and value > 0):
                    raise InputError(f"run {run.get('key', '?')[:12]}: the loss on {name} is {value}")
        amounts = np.array([[run["amounts"][name] for name in domains] for run in runs], float)
        losses = np.array([[run["losses"][name] for name in names] for run in runs], float)
        means = None
        if all("mean_losses" in run for run in runs):
            means = np.array([runs[0]["mean_losses"].get(name, np.nan) for name in names], float)
        return cls.sorted(tuple(domains), tuple(names), amounts, losses, means, [run["seed"] for run in runs])

    @classmethod
    def sorted(
        cls,
        domains: Sequence[str],
        names: Sequence[str],
        amounts: Floats,
        losses: Floats,
        means: Floats | None = None,
        seeds: Sequence[int] | Ints | None = None,
        owners: Sequence[str | None] | None = None,
        bests: Sequence[float | None] | None = None,
    ) -> LossTable:
        """A table from arrays, its rows put in order; without `seeds` all are 0."""
        kept = np.zeros(len(amounts), np.int64) if seeds is None else np.asarray(seeds, np.int64)
        keys = np.column_stack([amounts, kept, losses])
        order = np.lexsort(keys.T[::-1])
        return cls(
            tuple(domains),
            tuple(names),
            amounts[order],
            losses[order],
            means,
            kept[order],
            None if owners is None else tuple(owners),
            None if bests is None else tuple(bests),
        )

    def own(self, loss: int) -> int | None:
        """The column of the domain a loss is on; None where it is on no domain."""
        name = self.names[loss] if self.owners is None else self.owners[loss]
        return self.domains.index(name) if name in self.domains else None

    def best(self, loss: int) -> float | None:
        """The bound of the score that a loss is the distance to; None where it is a loss as it was given."""
        return None if self.bests is None else self.bests[loss]

    def rows(self, kept: NDArray[np.bool_]) -> LossTable:
        """The table with some of its rows."""
        return replace(self, amounts=self.amounts[kept], losses=self.losses[kept], seeds=self.seeds[kept])

    def losses_of(self, kept: Sequence[int]) -> LossTable:
        """The table with some of its losses."""
        chosen = list(kept)
        return replace(
            self,
            names=tuple(self.names[index] for index in chosen),
            losses=self.losses[:, chosen],
            means=None if self.means is None else self.means[chosen],
            owners=None if self.owners is None else tuple(self.owners[index] for index in chosen),
            bests=None if self.bests is None else tuple(self.bests[index] for index in chosen),
        )

    @cached_property
    def totals(self) -> Floats:
        """The budget of each run, relative to the largest, free of rounding errors."""
        total = self.amounts.sum(axis=1)
        return np.round(total / total.max(), 9)

    @cached_property
    def shares(self) -> Floats:
        """The mixture of each run."""
        return self.amounts / self.amounts.sum(axis=1, keepdims=True)

    def elsewhere(self, loss: int) -> NDArray[np.bool_]:
        """The runs on one other domain alone, shape (runs,): what a loss is where a mixture never goes."""
        own = self.own(loss)
        alone = (self.amounts > 0).sum(axis=1) == 1
        return np.zeros_like(alone) if own is None else alone & (self.amounts[:, own] == 0)

    @cached_property
    def points(self) -> Ints:
        """For each run the number of its amounts vector; runs that share one differ in seed only."""
        return np.unique(self.amounts, axis=0, return_inverse=True)[1].reshape(-1)

    @cached_property
    def mixtures(self) -> Ints:
        """For each run the number of its mixture, whatever its budget."""
        return np.unique(np.round(self.shares, 6), axis=0, return_inverse=True)[1].reshape(-1)

    @cached_property
    def groups(self) -> Ints:
        """For each run the number of its (mixture, seed): what the bootstrap keeps together."""
        pairs = np.column_stack([self.mixtures, self.seeds])
        return np.unique(pairs, axis=0, return_inverse=True)[1].reshape(-1)

    def noise(self, loss: int) -> float:
        """Seed noise of a log loss: the standard deviation within points, pooled; NaN without replicates."""
        squares, freedom = self._within(loss)
        total = int(freedom.sum())
        return float(np.sqrt(squares.sum() / total)) if total else float("nan")

    def deviations(self, loss: int) -> Floats:
        """Standard deviation of each run's log loss for weighing it, shape (runs,).

        Noise differs between budgets (a network that is still making up its mind repeats itself less) and between
        points. The pooled noise gives way to that of the budget, and that to the point's own, as far as each has
        replicates to tell it.
        """
        squares, freedom = self._within(loss)
        pooled = self.noise(loss)
        if np.isnan(pooled):
            return np.full(len(self.points), LEAST_NOISE)
        variance = np.full(len(squares), pooled**2)
        for level in (self._budgets, np.arange(len(squares))):
            many = np.bincount(level, freedom)
            told = (
                _PRIOR_FREEDOM * np.bincount(level, variance) / np.bincount(level) + np.bincount(level, squares)
            ) / (_PRIOR_FREEDOM + many)
            variance = told[level]
        return np.maximum(LEAST_NOISE, np.sqrt(variance))[self.points]

    @cached_property
    def _budgets(self) -> Ints:
        """For each point the number of its budget."""
        first = np.unique(self.points, return_index=True)[1]
        return np.unique(self.totals[first], return_inverse=True)[1].reshape(-1)

    def _within(self, loss: int) -> tuple[Floats, Ints]:
        """Sum of squared deviations and degrees of freedom within each point, of the runs that have the loss."""
        there = np.isfinite(self.losses[:, loss])
        points, logs, most = self.points[there], np.log(self.losses[there, loss]), int(self.points.max()) + 1
        count = np.bincount(points, minlength=most)
        mean = np.bincount(points, logs, most) / np.maximum(count, 1)
        return np.bincount(points, (logs - mean[points]) ** 2, most), np.maximum(count - 1, 0)
