"""Fitting the laws: robust least squares on log losses, many starts, the family chosen by cross-validation."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.errors import InputError
from mixlang.files import read_json
from mixlang.laws.families import FAMILIES, Family, Law
from mixlang.laws.table import LossTable

Floats = NDArray[np.float64]

_PLATEAU = 0.9
"""A loss above this fraction of predicting the mean intensity says that nothing was learned for the domain."""

_LEAST_NOISE = 0.01
"""Relative seed noise assumed where there are no replicates, or implausibly little spread."""


@dataclass(frozen=True)
class FittedLaw:
    """The law of one evaluated domain.

    Attributes:
        law, theta: the family and its parameters; amounts are in units of `scale` samples.
        error: root mean square of the relative (log) error on the rows used.
        noise: seed noise of the domain's log loss; NaN without replicates.
        scores: for each family tried, cross-validated errors: `point`, `budget`, and `score`, their mean.
        used, dropped: rows fitted, and rows left out because the run had learned nothing for the domain.
        least_share: smallest share of its own data among the rows fitted; below it the law was never observed.
    """

    domain: str
    law: Law
    theta: Floats
    scale: float
    error: float
    noise: float
    scores: dict[str, dict[str, float]]
    used: int
    dropped: int
    least_share: float

    def predict(self, amounts: Floats) -> Floats:
        """Losses of rows of amounts in samples, shape (rows, domains)."""
        return self.law.predict(self.theta, np.atleast_2d(amounts) / self.scale)

    def gradient(self, amounts: Floats) -> Floats:
        """Derivatives of the losses by samples, shape (rows, domains)."""
        return self.law.gradient(self.theta, np.atleast_2d(amounts) / self.scale) / self.scale

    @property
    def floor(self) -> float:
        """The irreducible loss E; 0 for families without one."""
        values = dict(zip(self.law.names, self.theta.tolist(), strict=True))
        return values.get("E", 0.0)

    def as_dict(self) -> dict[str, Any]:
        """The fitted law as JSON; NaN becomes null."""
        return {
            "family": self.law.family.name,
            "parameters": dict(zip(self.law.names, self.theta.tolist(), strict=True)),
            "error": self.error,
            "noise": None if math.isnan(self.noise) else self.noise,
            "scores": self.scores,
            "rows_used": self.used,
            "rows_dropped": self.dropped,
            "least_share": self.least_share,
        }


def fit_laws(table: LossTable, family: str = "auto") -> dict[str, FittedLaw]:
    """Fit a law for every evaluated domain.

    Args:
        family: a name of FAMILIES, or `auto`: for each domain the family with the smallest cross-validated error.

    Raises:
        InputError: too few runs left to fit a domain.
    """
    tried = list(FAMILIES.values()) if family == "auto" else [FAMILIES[family]]
    return {name: _fit_domain(table, index, tried) for index, name in enumerate(table.domains)}


def _fit_domain(table: LossTable, domain: int, families: Sequence[Family]) -> FittedLaw:
    name = table.domains[domain]
    used = np.ones(len(table.losses), bool)
    if table.means is not None:
        used = table.losses[:, domain] < _PLATEAU * table.means[domain]
    scale = float(table.amounts.sum(axis=1).max())
    amounts, losses = table.amounts[used] / scale, table.losses[used, domain]
    points = table.points[used]
    noise = table.noise(domain)
    if len(np.unique(points)) < 4:
        raise InputError(
            f"domain '{name}': {len(np.unique(points))} probe points learned anything; at least 4 are needed",
            "Train longer (raise budgets.probe), raise train.learning_rate, or give the domain more data.",
        )
    spread = max(_LEAST_NOISE, 0.0 if math.isnan(noise) else noise)
    fits, scores = {}, {}
    for family in families:
        law = Law(family, domain, len(table.domains))
        problem = _Problem(law, amounts, losses, spread)
        theta = problem.solve(problem.starts())
        fits[family.name] = (law, theta)
        scores[family.name] = _cross_validate(problem, theta, points)
    best = min(scores, key=lambda item: scores[item]["score"])
    law, theta = fits[best]
    error = float(np.sqrt(np.mean(np.log(law.predict(theta, amounts) / losses) ** 2)))
    least = float((amounts[:, domain] / amounts.sum(axis=1)).min())
    return FittedLaw(name, law, theta, scale, error, noise, scores, int(used.sum()), int((~used).sum()), least)


@dataclass(frozen=True)
class _Problem:
    """One family's fit to one domain's rows; amounts in units of the largest budget."""

    law: Law
    amounts: Floats
    losses: Floats
    spread: float

    def starts(self) -> list[Floats]:
        """Deterministic starting points over the exponents and the strength of transfer."""
        low, high = self.law.bounds(self.losses.min())
        found = []
        for rate in (0.15, 0.4, 1.0):
            for offset in (0.003, 0.05, 0.4):
                for worth in (0.02, 0.3):
                    guess = {"log_a": math.log(rate), "log_m0": math.log(offset), "E": 0.3 * self.losses.min()}
                    guess |= {"log_A": math.log(0.6 * self.losses.min()), "log_B": math.log(0.2 * self.losses.min())}
                    guess |= {"log_b": math.log(0.3)}
                    theta = [guess.get(name, worth if name[0] == "k" else 0.6) for name in self.law.names]
                    found.append(np.clip(np.array(theta), low + 1e-9, high - 1e-9))
        return found

    def solve(self, starts: Sequence[Floats]) -> Floats:
        """The best of the local optima reached from `starts`."""
        from scipy.optimize import least_squares

        low, high = self.law.bounds(self.losses.min())
        logs = np.log(self.losses)

        def residual(theta: Floats) -> Floats:
            return (np.log(self.law.predict(theta, self.amounts)) - logs) / self.spread

        def jacobian(theta: Floats) -> Floats:
            losses = self.law.predict(theta, self.amounts)
            return self.law.jacobian(theta, self.amounts) / losses[:, None] / self.spread

        solutions = [
            least_squares(
                residual, start, jacobian, bounds=(low, high), loss="huber", f_scale=2.0, x_scale="jac", max_nfev=200
            )
            for start in starts
        ]
        return min(solutions, key=lambda item: item.cost).x

    def without(self, rows: NDArray[np.bool_]) -> _Problem:
        """The same problem on the other rows."""
        return _Problem(self.law, self.amounts[~rows], self.losses[~rows], self.spread)


def _cross_validate(problem: _Problem, theta: Floats, points: NDArray[np.int64]) -> dict[str, float]:
    """Errors on what the fit did not see: each point left out in turn, then the largest budget left out whole.

    The score is the mean of the two root mean square log errors: a law is used both between the points and beyond
    the largest budget.
    """
    low, high = problem.law.bounds(problem.losses.min())
    warm = np.clip(theta, low + 1e-9, high - 1e-9)

    def errors(left_out: NDArray[np.bool_], starts: list[Floats]) -> Floats:
        seen = problem.without(left_out)
        bounds = seen.law.bounds(seen.losses.min())
        fitted = seen.solve([np.clip(start, bounds[0] + 1e-9, bounds[1] - 1e-9) for start in starts])
        return np.log(problem.law.predict(fitted, problem.amounts[left_out]) / problem.losses[left_out])

    by_point = np.concatenate([errors(points == point, [warm]) for point in np.unique(points)])
    total = problem.amounts.sum(axis=1)
    largest = total > 0.999 * total.max()
    budget = float("nan")
    if 0 < largest.sum() < len(largest) and len(np.unique(points[~largest])) >= 4:
        budget = float(np.sqrt(np.mean(errors(largest, [warm, *problem.starts()[::3]]) ** 2)))
    point = float(np.sqrt(np.mean(by_point**2)))
    scores = {"point": point, "score": point if math.isnan(budget) else (point + budget) / 2}
    return scores if math.isnan(budget) else {**scores, "budget": budget}


def read_fit(path: Path) -> dict[str, FittedLaw]:
    """Read the laws a `fit.json` holds.

    Raises:
        InputError: missing or damaged.
    """
    value = read_json(path)
    try:
        domains = value["domains"]
        laws = {}
        for index, name in enumerate(domains):
            entry = value["laws"][name]
            law = Law(FAMILIES[entry["family"]], index, len(domains))
            theta = np.array([entry["parameters"][parameter] for parameter in law.names])
            noise = float("nan") if entry["noise"] is None else entry["noise"]
            laws[name] = FittedLaw(
                name,
                law,
                theta,
                value["scale"],
                entry["error"],
                noise,
                entry["scores"],
                entry["rows_used"],
                entry["rows_dropped"],
                entry["least_share"],
            )
        return laws
    except (KeyError, TypeError) as error:
        raise InputError(f"{path} does not hold fitted laws ({error})") from error


def fit_document(laws: dict[str, FittedLaw]) -> dict[str, Any]:
    """The laws as the JSON document that `read_fit` reads."""
    first = next(iter(laws.values()))
    return {
        "version": 1,
        "domains": list(laws),
        "scale": first.scale,
        "laws": {name: law.as_dict() for name, law in laws.items()},
    }
