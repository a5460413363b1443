"""The allocation problem: predicted losses as a function of shares, what they are to minimise, and the constraints.

Shares y are shares of the budget, so y_d = c_d n_d / N with cost c_d a sample, and they sum to 1. All functions here
are plain numpy and independent of the solver.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.baselines import baseline_shares
from mixlang.allocate.bounds import Group, bounds_of, cheapest, groups_of, refuse_infeasible
from mixlang.documents import ProblemSettings
from mixlang.errors import InputError, SolveError
from mixlang.laws import Fit
from mixlang.names import BEST_GUESS, EXPECTED, OBJECTIVES, meant_or_known

Floats = NDArray[np.float64]


ROBUST_DRAWS = 20
"""Bootstrap draws a robust objective looks at: its cost grows with them, and its tail mean needs no more."""

_APART = 0.5
"""The part of an error of level at a larger budget that differs between mixtures."""

EXPECTED_DRAWS = 40
"""Draws that an expected objective is the mean over."""


@dataclass(frozen=True)
class Problem:
    """Minimise an objective of relative losses over the shares of a budget.

    Attributes:
        fit: the laws; all arrays over domains follow `fit.domains`, all over losses `fit.names`.
        budget: cost-weighted amount; costs: cost of one unit of each domain.
        lower, upper: bounds on the shares; `reasons` says where a bound comes from, by (side, domain).
        groups: bounds on sums of shares.
        weights: of the relative losses, summing to 1.
        thetas: the parameters of all laws under each scenario: the fit itself, or bootstrap draws of it.
        reference: for each scenario the losses that relative losses are relative to, shape (scenarios, losses).
        objective: one of OBJECTIVES; tail: for `robust`, the worst fraction of scenarios that is averaged.
        prior, pull: a mixture to stay near, and the weight of KL(shares || prior).
        relative_to: the kind of reference.
        expected: whether the objective is its mean over the scenarios, which are then draws.
        worse: by how much the loss on a domain may be above that of the prior mixture, in expectation; None for no limit.
    """

    fit: Fit
    budget: float
    costs: Floats
    lower: Floats
    upper: Floats
    reasons: Mapping[tuple[str, str], str]
    groups: tuple[Group, ...]
    weights: Floats
    thetas: tuple[tuple[Floats, ...], ...]
    reference: Floats
    objective: str
    tail: float
    prior: Floats
    pull: float
    relative_to: str
    expected: bool = False
    worse: float | None = None

    @property
    def domains(self) -> list[str]:
        """Names, in order."""
        return list(self.fit.domains)

    @classmethod
    def of(cls, fit: Fit, settings: ProblemSettings, budget: float) -> Problem:
        """The problem that `allocate` settings describe, at one budget.

        A domain's share stays at or above the smallest at which its law was observed, as far as its caps allow.

        Args:
            settings: `costs` by domain; `available`, by domain `volumes` and `crops`, or None where unknown;
                `objective`: minimize, weights, relative_to, tail; `constraints`: repetition, share, group, prior.
            budget: cost-weighted amount.

        Raises:
            InputError: a budget or objective that makes no sense, or that the laws cannot speak of.
            SolveError: the constraints leave no mixture.
        """
        costs = np.array([settings["costs"][name] for name in fit.domains], float)
        objective = settings["objective"]
        _refuse_budget(fit, budget, costs)
        lower, upper, reasons = bounds_of(fit, settings, budget, costs)
        groups = groups_of(fit.domains, settings["constraints"].get("group", {}))
        refuse_infeasible(fit.domains, lower, upper, groups, budget)
        weights = np.array([objective["weights"].get(name, 1.0) for name in fit.names], float)
        if not weights.sum() > 0:
            raise InputError("every loss has weight zero: nothing is left to minimise", "Give one a positive weight.")
        prior = prior_of(fit.domains, settings)
        kind = objective["minimize"]
        if kind not in OBJECTIVES:
            raise InputError(f"there is no objective '{kind}'", meant_or_known(kind, OBJECTIVES, "objectives"))
        scenarios: list[int | None] = [None]
        expected = decided_by(settings) == EXPECTED and fit.draws >= 2
        if expected:
            scenarios = list(range(min(fit.draws, EXPECTED_DRAWS)))
        if kind == "robust":
            if fit.draws < 2:
                raise InputError("a robust allocation needs bootstrap draws, and this fit has none", "Fit with draws.")
            scenarios = list(range(min(fit.draws, ROBUST_DRAWS)))
        problem = cls(
            fit,
            float(budget),
            costs,
            lower,
            upper,
            reasons,
            groups,
            weights / weights.sum(),
            tuple(_thetas(fit, scenario) for scenario in scenarios),
            np.ones((len(scenarios), len(weights))),
            kind,
            float(objective.get("tail", 0.2)),
            prior,
            float(settings["constraints"]["prior"]),
            objective["relative_to"],
            expected,
            settings["constraints"].get("worse"),
        )
        return replace(problem, reference=problem.references())

    def under(self, draw: int) -> Problem:
        """The same problem with the laws of one bootstrap draw in place of the fit, each its own reference."""
        kind = "weighted_loss" if self.objective == "robust" else self.objective
        changed = replace(self, thetas=(_thetas(self.fit, draw),), expected=False, objective=kind)
        return replace(changed, reference=self._references_by_draw[draw][None])

    def pulled(self, pull: float) -> Problem:
        """The same problem with another pull to the prior."""
        return replace(self, pull=pull)

    def as_fitted(self) -> Problem:
        """The same problem under the fit itself: the best guess in place of an expectation, or of the worst draws."""
        kind = "weighted_loss" if self.objective == "robust" else self.objective
        plain = replace(self, thetas=(_thetas(self.fit, None),), expected=False, objective=kind)
        return replace(plain, reference=plain.references())

    @cached_property
    def _references_by_draw(self) -> Floats:
        """The references under every draw of the fit, shape (draws, losses)."""
        every = replace(self, thetas=tuple(_thetas(self.fit, draw) for draw in range(self.fit.draws)), expected=False)
        return every.references()

    def objectives(self, shares: Floats) -> Floats:
        """The objective of a mixture under every draw of the fit, each its own reference, shape (draws,)."""
        units = (self.amounts(shares) / self.fit.scale)[None]
        losses = [law.law.predict(law.draws[: self.fit.draws], units)[:, 0] for law in self.fit.laws]
        relative = np.stack(losses, axis=1) / self._references_by_draw
        if self.objective == "worst_case":
            return np.asarray(relative[:, self.weights > 0].max(axis=1))
        if self.objective == "geometric_mean":
            return np.asarray(np.exp(np.log(relative) @ self.weights))
        return np.asarray(relative @ self.weights)

    @cached_property
    def limited(self) -> list[int]:
        """The losses that `worse` limits: those of domains."""
        return [] if self.worse is None else [i for i, law in enumerate(self.fit.laws) if law.law.own is not None]

    @cached_property
    def _at_prior(self) -> Floats:
        """The losses of the prior mixture under each scenario, shape (scenarios, losses)."""
        return np.array([self.losses(self.prior, scenario) for scenario in range(len(self.thetas))])

    def excess(self, shares: Floats) -> tuple[Floats, Floats]:
        """By how much limited losses are above what they may be, in parts of the prior's; never positive where kept.

        Returns:
            Values and gradients by the shares, shapes (limited,) and (limited, domains); convex.
        """
        values, slopes = [], []
        scale = self.budget / self.costs / self.fit.scale
        units = (self.amounts(shares) / self.fit.scale)[None]
        for index in self.limited:
            law, thetas, base = self.fit.laws[index].law, self._stacked[index], self._at_prior[:, index]
            values.append(float(np.mean(law.predict(thetas, units)[:, 0] / base)) - 1 - float(self.worse or 0.0))
            slopes.append(np.mean(law.gradient(thetas, units)[:, 0] / base[:, None], axis=0) * scale)
        return np.array(values), np.array(slopes).reshape(len(values), len(shares))

    def own_error(self, shares: Floats, other: Floats) -> float:
        """Standard deviation of the difference between two mixtures' objectives that no draw knows of: the laws' own
        error at each of the two, in full where the mixtures share less than half of their budget.

        An error of the level at a larger budget is mostly common to both; part of it is counted as their own. Laws fitted to
        the same runs err together: errors of two losses are taken to correlate by a half.
        """
        apart = min(1.0, float(np.abs(shares - other).sum()))
        beyond = max(0.0, float(np.log(self.amounts(shares).sum() / self.fit.budgets[1])))
        own = np.array(
            [
                0.0 if law.unknown is None else np.hypot(law.unknown.mixture, _APART * law.unknown.budget * beyond)
                for law in self.fit.laws
            ]
        )
        weighed = self.weights * own
        return float(np.sqrt(apart * (weighed.sum() ** 2 + (weighed**2).sum())))

    @property
    def transient(self) -> bool:
        """Whether mixtures were seen at one budget only, and this one is beyond it: an advantage may not last."""
        return self.fit.ladder <= 1 + 1e-6 and self.amounts(self.prior).sum() > 1.05 * self.fit.budgets[1]

    def references(self) -> Floats:
        """The predicted losses of the prior mixture, or of each domain's specialist, at the same budget."""
        if self.relative_to in ("proportional", "uniform"):
            return np.array([self.losses(self.prior, scenario) for scenario in range(len(self.thetas))])
        rows = []
        for scenario in range(len(self.thetas)):
            base = self.losses(self.prior, scenario)
            for index, law in enumerate(self.fit.laws):
                if law.law.own is not None:
                    base[index] = self.losses(np.eye(len(self.costs))[law.law.own], scenario)[index]
            rows.append(base)
        return np.array(rows)

    @property
    def total(self) -> float | None:
        """The sum of the amounts, where costs do not let it vary."""
        return self.budget / float(self.costs[0]) if np.ptp(self.costs) <= 1e-12 * self.costs.max() else None

    def allows(self, shares: Floats) -> bool:
        """Whether a mixture satisfies all constraints, within 1e-6 of a share."""
        room = 1e-6
        low, high = np.clip(shares - room, self.lower, self.upper), np.clip(shares + room, self.lower, self.upper)
        inside = bool((shares >= self.lower - room).all() and (shares <= self.upper + room).all())
        return inside and cheapest(np.zeros(len(shares)), low, high, self.groups) is not None

    def amounts(self, shares: Floats) -> Floats:
        """Amount of each domain."""
        return shares * self.budget / self.costs

    def losses(self, shares: Floats, scenario: int = 0) -> Floats:
        """Predicted losses."""
        units = (self.amounts(shares) / self.fit.scale)[None]
        return np.array(
            [law.law.predict(theta, units)[0] for law, theta in zip(self.fit.laws, self.thetas[scenario], strict=True)]
        )

    def jacobian(self, shares: Floats, scenario: int = 0) -> Floats:
        """Derivatives of the predicted losses by the shares, shape (losses, domains)."""
        units = (self.amounts(shares) / self.fit.scale)[None]
        rows = [
            law.law.gradient(theta, units)[0] for law, theta in zip(self.fit.laws, self.thetas[scenario], strict=True)
        ]
        return np.array(rows) * (self.budget / self.costs / self.fit.scale)

    def relative(self, shares: Floats, scenario: int = 0) -> Floats:
        """Losses over their reference."""
        return self.losses(shares, scenario) / self.reference[scenario]

    def penalty(self, shares: Floats) -> tuple[float, Floats]:
        """The pull to the prior and its gradient."""
        if self.pull == 0:
            return 0.0, np.zeros_like(shares)
        ratio = np.log(np.maximum(shares, 1e-300) / np.maximum(self.prior, 1e-300))
        return self.pull * float(np.sum(shares * ratio)), self.pull * (ratio + 1)

    def pieces(self, shares: Floats) -> tuple[Floats, Floats, float]:
        """The objective, without the pull to the prior, as the largest weighted mean of smooth convex pieces.

        Returns:
            Values and gradients of the pieces, shapes (pieces,) and (pieces, domains), and the most weight one of them
            may have; weights are nonnegative and sum to 1. A smooth objective is one piece.
        """
        if self.expected:
            values, slopes = self._by_draw(shares)
            return values.mean(keepdims=True), slopes.mean(axis=0)[None], 1.0
        if self.objective == "robust":
            values, slopes = self._by_draw(shares)
            return values, slopes, 1.0 / (self.tail * len(self.thetas))
        relative, slopes = self.relative(shares), self.jacobian(shares) / self.reference[0][:, None]
        if self.objective == "worst_case":
            return relative[self.weights > 0], slopes[self.weights > 0], 1.0
        value, factors = float(self.weights @ relative), self.weights
        if self.objective == "geometric_mean":
            value = float(np.exp(self.weights @ np.log(relative)))
            factors = value * self.weights / relative
        return np.array([value]), (factors @ slopes)[None], 1.0

    def bends(self, shares: Floats) -> Floats:
        """Hessians of the pieces by the shares, among mixtures, shape (pieces, domains, domains)."""
        if self.expected:
            return self._bends_by_draw(shares).mean(axis=0)[None]
        if self.objective == "robust":
            return self._bends_by_draw(shares)
        slopes, bends = self._curvatures(shares, 0)
        if self.objective == "worst_case":
            return (bends / self.reference[0][:, None, None])[self.weights > 0]
        if self.objective == "weighted_loss":
            return np.einsum("l,lde->de", self.weights / self.reference[0], bends)[None]
        losses = self.losses(shares)
        value = float(np.exp(self.weights @ np.log(losses / self.reference[0])))
        slope = (self.weights / losses) @ slopes
        bend = np.einsum("l,lde->de", self.weights / losses, bends)
        bend -= np.einsum("l,ld,le->de", self.weights / losses**2, slopes, slopes)
        return (value * (bend + np.outer(slope, slope)))[None]

    @cached_property
    def _stacked(self) -> list[Floats]:
        """The parameters of each law under all scenarios, shape (scenarios, parameters)."""
        return [np.stack(values) for values in zip(*self.thetas, strict=True)]

    def _by_draw(self, shares: Floats) -> tuple[Floats, Floats]:
        """Objective and gradient by the shares under each scenario, shapes (scenarios,) and (scenarios, domains)."""
        units, scale = (self.amounts(shares) / self.fit.scale)[None], self.budget / self.costs / self.fit.scale
        laws = [law.law for law in self.fit.laws]
        losses = np.stack([law.predict(t, units)[:, 0] for law, t in zip(laws, self._stacked, strict=True)], axis=1)
        slopes = np.stack([law.gradient(t, units)[:, 0] for law, t in zip(laws, self._stacked, strict=True)], axis=1)
        values, factors = (losses / self.reference) @ self.weights, self.weights / self.reference
        if self.objective == "geometric_mean":
            values = np.exp(np.log(losses / self.reference) @ self.weights)
            factors = values[:, None] * self.weights / losses
        return values, np.einsum("sl,sld->sd", factors, slopes) * scale

    def _bends_by_draw(self, shares: Floats) -> Floats:
        """Hessians of the objective by the shares, among mixtures, under each scenario."""
        units, scale = self.amounts(shares) / self.fit.scale, self.budget / self.costs / self.fit.scale
        found = [law.law.curvature(t, units) for law, t in zip(self.fit.laws, self._stacked, strict=True)]
        losses, slopes, bends = (np.stack(part, axis=1) for part in zip(*found, strict=True))
        if self.objective == "geometric_mean":
            value = np.exp(np.log(losses / self.reference) @ self.weights)
            slope = np.einsum("sl,sld->sd", self.weights / losses, slopes)
            bend = np.einsum("sl,slde->sde", self.weights / losses, bends)
            bend -= np.einsum("sl,sld,sle->sde", self.weights / losses**2, slopes, slopes)
            whole = value[:, None, None] * (bend + slope[:, :, None] * slope[:, None, :])
        else:
            whole = np.einsum("sl,slde->sde", self.weights / self.reference, bends)
        return np.asarray(whole * np.outer(scale, scale))

    def _curvatures(self, shares: Floats, scenario: int) -> tuple[Floats, Floats]:
        """Gradients and Hessians of the losses, shapes (losses, domains) and (losses, domains, domains)."""
        units, scale = self.amounts(shares) / self.fit.scale, self.budget / self.costs / self.fit.scale
        found = [
            law.law.curvature(theta, units)[1:] for law, theta in zip(self.fit.laws, self.thetas[scenario], strict=True)
        ]
        slopes, bends = (np.array(part) for part in zip(*found, strict=True))
        return slopes * scale, bends * np.outer(scale, scale)

    def value(self, shares: Floats) -> float:
        """The objective of a mixture; 1 is the reference."""
        values, _, most = self.pieces(shares)
        return tail_mean(values, most) + self.penalty(shares)[0]


def decided_by(settings: ProblemSettings) -> str:
    """How an objective is decided: over draws, or by the fit alone, as problems of before there was a choice.

    The largest loss and the worst draws are what they are: neither is a mean that could be taken over draws.
    """
    objective = settings["objective"]
    if objective["minimize"] in ("worst_case", "robust"):
        return BEST_GUESS
    return objective.get("decide", BEST_GUESS)


def tail_mean(values: Floats, most: float) -> float:
    """The largest mean of the values under weights of at most `most` each.

    With `most` = 1 the maximum; with 1 / (p K) the mean of the worst fraction p of K values (CVaR; Rockafellar and
    Uryasev 2000).
    """
    ordered = np.sort(values)[::-1]
    before = most * np.arange(len(values))
    return float(ordered @ np.clip(1.0 - before, 0.0, most))


def prior_of(domains: Sequence[str], settings: ProblemSettings) -> Floats:
    """Proportional shares where it is known what there is, uniform ones otherwise."""
    available = settings["available"]
    kind = "proportional" if available else "uniform"
    volumes = {name: available[name]["volumes"] if available else 1.0 for name in domains}
    shares = baseline_shares(kind, volumes)
    return np.array([shares[name] for name in domains])


def _thetas(fit: Fit, draw: int | None) -> tuple[Floats, ...]:
    return tuple(law.theta if draw is None else law.draws[draw] for law in fit.laws)


def _refuse_budget(fit: Fit, budget: float, costs: Floats) -> None:
    if not (np.isfinite(budget) and budget > 0):
        raise InputError(f"a budget is a positive number, not {budget:g}")
    if not (np.isfinite(costs).all() and (costs > 0).all()):
        raise InputError("costs are positive numbers")
    low, high = fit.budgets
    same = high - low <= 1e-6 * high
    if same and np.ptp(costs) > 0:
        raise InputError(
            f"all runs fitted had a budget of {high:g}, and with unequal costs a mixture's total amount differs from it",
            "Leave the costs out, or fit runs of several budgets.",
        )
    if same and abs(budget - high) > 0.01 * high:
        raise InputError(
            f"all runs fitted had a budget of {high:g}, so nothing is known about {budget:g}",
            "Leave the budget out, or fit runs of several budgets.",
        )
    if fit.fixed_total and np.ptp(costs) > 1e-12 * costs.max():
        raise SolveError(
            f"the law{'s' * (len(fit.fixed_total) > 1)} of {', '.join(fit.fixed_total)} "
            f"({fit[fit.fixed_total[0]].called}) can only be solved where all costs are equal",
            "Fit with a law of amounts, such as transfer.",
        )
