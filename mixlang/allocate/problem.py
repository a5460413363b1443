"""The allocation problem: predicted losses as a function of shares, what they are to minimise, and the bounds.

Shares y are shares of the budget, so y_d = c_d n_d / N with cost c_d a sample, and they sum to 1. All functions here
are plain numpy and independent of the solver.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.baselines import baseline_shares
from mixlang.errors import SolveError
from mixlang.laws import FittedLaw

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Problem:
    """Minimise an objective of relative losses over the shares of a budget.

    Attributes:
        laws: by domain, in the order of all arrays here.
        budget: cost-weighted samples; costs: cost of one sample of each domain.
        lower, upper: bounds on the shares; `reasons` says where a bound comes from, by (side, domain).
        weights: of the relative losses, summing to 1.
        reference: the losses that relative losses are relative to.
        objective: weighted_loss, geometric_mean or worst_case.
        prior, pull: a mixture to stay near, and the weight of KL(shares || prior).
    """

    laws: tuple[FittedLaw, ...]
    budget: float
    costs: Floats
    lower: Floats
    upper: Floats
    reasons: Mapping[tuple[str, str], str]
    weights: Floats
    reference: Floats
    objective: str
    prior: Floats
    pull: float

    @property
    def domains(self) -> list[str]:
        """Names, in order."""
        return [law.domain for law in self.laws]

    @classmethod
    def of(cls, laws: Mapping[str, FittedLaw], settings: Mapping[str, Any], budget: float) -> Problem:
        """The problem a spec's `allocate` settings describe, at one budget.

        A domain's share stays at or above the smallest at which its law was observed, as far as its caps allow.

        Args:
            laws: by domain name.
            settings: costs, available, objective, constraints, as the plan writes them.
            budget: cost-weighted samples.

        Raises:
            SolveError: the bounds leave no mixture.
        """
        names = list(laws)
        costs = np.array([settings["costs"][name] for name in names])
        lower, upper, reasons = _bounds(laws, settings, budget, costs)
        weights = np.array([settings["objective"]["weights"][name] for name in names])
        volumes = {name: settings["available"][name]["volumes"] for name in names}
        prior = np.array([baseline_shares("proportional", volumes)[name] for name in names])
        fitted = tuple(laws.values())
        reference = _reference(fitted, settings["objective"]["relative_to"], prior, budget, costs)
        return cls(
            fitted,
            float(budget),
            costs,
            lower,
            upper,
            reasons,
            weights / weights.sum(),
            reference,
            settings["objective"]["minimize"],
            prior,
            float(settings["constraints"]["prior"]),
        )

    def amounts(self, shares: Floats) -> Floats:
        """Samples of each domain."""
        return shares * self.budget / self.costs

    def losses(self, shares: Floats) -> Floats:
        """Predicted loss of each domain."""
        return np.array([law.predict(self.amounts(shares))[0] for law in self.laws])

    def jacobian(self, shares: Floats) -> Floats:
        """Derivatives of the predicted losses by the shares, shape (losses, shares)."""
        amounts = self.amounts(shares)
        return np.array([law.gradient(amounts)[0] for law in self.laws]) * (self.budget / self.costs)

    def penalty(self, shares: Floats) -> tuple[float, Floats]:
        """The pull to the prior and its gradient."""
        if self.pull == 0:
            return 0.0, np.zeros_like(shares)
        ratio = np.log(np.maximum(shares, 1e-300) / self.prior)
        return self.pull * float(np.sum(shares * ratio)), self.pull * (ratio + 1)

    def value(self, shares: Floats) -> float:
        """The objective of a mixture; 1 is the reference."""
        relative = self.losses(shares) / self.reference
        if self.objective == "geometric_mean":
            main = float(np.exp(self.weights @ np.log(relative)))
        elif self.objective == "worst_case":
            main = float(relative[self.weights > 0].max())
        else:
            main = float(self.weights @ relative)
        return main + self.penalty(shares)[0]


def _bounds(
    laws: Mapping[str, FittedLaw], settings: Mapping[str, Any], budget: float, costs: Floats
) -> tuple[Floats, Floats, dict[tuple[str, str], str]]:
    """Bounds on shares from the spec, the repetition cap and the probed range, with the reason of each."""
    lower, upper = np.zeros(len(laws)), np.ones(len(laws))
    reasons: dict[tuple[str, str], str] = {}
    constraints = settings["constraints"]
    for index, (name, law) in enumerate(laws.items()):
        bound = constraints["share"].get(name, {"min": 0.0, "max": 1.0})
        lower[index], upper[index] = bound["min"], bound["max"]
        reasons["min", name], reasons["max", name] = "share minimum", "share maximum"
        if constraints["repetition"] is not None:
            most = constraints["repetition"] * settings["available"][name]["crops"] * costs[index] / budget
            if most < upper[index]:
                upper[index], reasons["max", name] = most, "repetition cap"
        if lower[index] < law.least_share <= upper[index]:
            lower[index], reasons["min", name] = law.least_share, "smallest share probed"
        if lower[index] > upper[index] + 1e-12:
            raise SolveError(
                f"domain '{name}': its share must be at least {lower[index]:.3g} ({reasons['min', name]}) and at most "
                f"{upper[index]:.3g} ({reasons['max', name]})",
                "Lower the minimum, raise constraints.repetition or lower the budget.",
            )
    if upper.sum() < 1 - 1e-9:
        raise SolveError(
            f"the caps hold only {upper.sum():.1%} of a budget of {budget:,.0f}",
            "Raise constraints.repetition, lower the budget or bring more data.",
        )
    if lower.sum() > 1 + 1e-9:
        raise SolveError(f"the minimum shares sum to {lower.sum():.3g}", "Lower constraints.share minima.")
    return lower, upper, reasons


def _reference(laws: tuple[FittedLaw, ...], kind: str, prior: Floats, budget: float, costs: Floats) -> Floats:
    """The predicted losses of proportional sampling, or of each domain's specialist, at the same budget."""
    if kind == "proportional":
        return np.array([law.predict(prior * budget / costs)[0] for law in laws])
    specialists = np.diag(budget / costs)
    return np.array([law.predict(specialists[index])[0] for index, law in enumerate(laws)])
