"""Solving an allocation with cvxpy."""

from __future__ import annotations

import warnings
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.certificate import certify
from mixlang.allocate.cones import Cones
from mixlang.allocate.decide import decide
from mixlang.allocate.descent import descend, kept
from mixlang.allocate.polish import polished, repaired
from mixlang.allocate.problem import Problem
from mixlang.documents import Certificate, Decision, Solution
from mixlang.errors import SolveError

Floats = NDArray[np.float64]

_GAP = 1e-4
"""Largest certified gap, relative to the objective, of an answer that is given out."""

_SURE = 1e-6
"""The same, and the largest residual, where no solver stands behind the answer but our proof alone."""

_PATIENT = {"min_switch_step_length": 1e-3}
"""By default the solver changes its scaling at the first short step, and then often stalls on steep power cones."""

_ATTEMPTS: tuple[dict[str, Any], ...] = (
    {**_PATIENT, "tol_gap_abs": 1e-10, "tol_gap_rel": 1e-10, "tol_feas": 1e-10},
    _PATIENT,
    {},
    {**_PATIENT, "max_step_fraction": 0.5, "max_iter": 500},
    {**_PATIENT, "tol_gap_abs": 1e-6, "tol_gap_rel": 1e-6, "tol_feas": 1e-6},
)
"""Settings tried in turn until the solver reports an optimum: first as exact as it can, then other paths."""


@dataclass(frozen=True)
class Allocation:
    """An optimal mixture with its certificate.

    Attributes:
        shares: of the budget, by domain; amounts: likewise; losses: predicted.
        objective: 1 is the reference (proportional sampling by default).
        certificate: see `mixlang.allocate.certificate.certify`.
        decision: of an expected objective, what was taken in place of its optimum and why; the certificate is then of
            the problem with that pull to the prior.
    """

    problem: Problem
    shares: Floats
    certificate: Certificate
    decision: Decision | None = None

    @property
    def amounts(self) -> Floats:
        """Amount of each domain."""
        return self.problem.amounts(self.shares)

    @property
    def losses(self) -> Floats:
        """Predicted losses."""
        return self.problem.fit.predict(self.amounts)[0]

    @property
    def objective(self) -> float:
        """1 is the reference (proportional sampling by default)."""
        return self.problem.value(self.shares)

    def as_dict(self) -> Solution:
        """The allocation as JSON, arrays keyed by domain or loss."""
        fit = self.problem.fit
        return {
            "status": self.certificate["status"],
            "budget": self.problem.budget,
            "shares": dict(zip(fit.domains, self.shares.tolist(), strict=True)),
            "amounts": dict(zip(fit.domains, self.amounts.tolist(), strict=True)),
            "predicted": dict(zip(fit.names, self.losses.tolist(), strict=True)),
            "objective": self.objective,
            "certificate": self.certificate,
            **({} if self.decision is None else {"decision": self.decision}),
        }


def solve(problem: Problem, pull: float | None = None) -> Allocation:
    """The mixture that minimises the problem's objective; of an expected one, see `mixlang.allocate.decide`.

    Args:
        pull: of an expected objective, the pull to the prior that was decided on before; decided anew if left out.

    Raises:
        SolveError: the solver did not report an optimum, or the recomputed gap is not small.
    """
    if problem.expected:
        return _decided(problem, pull)
    import cvxpy as cp

    shares = cp.Variable(len(problem.domains), name="shares")
    model = _Model(problem, shares)
    program = cp.Problem(cp.Minimize(model.objective), model.constraints)
    if not program.is_dcp():
        raise SolveError("the problem is not convex by construction; this is a defect of mixlang, please report it")
    try:
        _run(program)
    except SolveError as failure:
        if problem.limited and not problem.allows(problem.prior):
            hint = "Allow a larger rise (worse), or loosen the bounds on shares."
            raise SolveError(_limits_in_words(problem), hint) from failure
        return _second_way(problem, failure)
    best = _proven(problem, np.asarray(shares.value, float), str(program.solver_stats.solver_name))
    gap = best.certificate["gap"]
    if not gap <= _GAP * abs(best.objective):
        raise SolveError(f"the solver's answer may be {gap:.2g} above the optimum; it is not given out")
    return best


def _decided(problem: Problem, pull: float | None) -> Allocation:
    """The mixture decided on, from the solver's optimum of the fitted laws.

    Forty draws of every law at once are more cones than a conic solver needs for an optimum that is near by: descent
    finds it, Newton steps make it exact, and the certificate, which asks nobody, proves it.

    Raises:
        SolveError: nothing is proven.
    """
    start = solve(problem.as_fitted()).shares
    best = polished(repaired(descend(problem, start), problem), problem)
    if pull is None:
        decided = decide(problem, best)
        aim, near, decision = decided.problem, decided.shares, decided.decision
    else:
        aim, near, decision = problem.pulled(pull), best, None
    found = _proven(aim, near, "SLSQP")
    for other in (best, repaired(problem.prior, problem)):
        if found.certificate["gap"] <= _SURE * abs(aim.value(found.shares)):
            break
        found = _proven(aim, descend(aim, other), "SLSQP")
    gap = found.certificate["gap"]
    if not gap <= _GAP * max(1.0, abs(aim.value(found.shares))):
        raise SolveError(f"the mixture decided on may be {gap:.2g} above the optimum; it is not given out")
    return Allocation(problem, found.shares, found.certificate, decision)


def _limits_in_words(problem: Problem) -> str:
    return (
        "under the other constraints no mixture was found that keeps the loss of every domain within "
        f"{problem.worse:.3g} of that of the prior mixture, which they do not allow"
    )


def _proven(problem: Problem, shares: Floats, solver: str) -> Allocation:
    """A solver's answer made feasible and exact, with its certificate.

    Raises:
        SolveError: the laws are not convex, so that nothing can be proven.
    """
    raw = kept(repaired(shares, problem), problem) if problem.limited else repaired(shares, problem)
    near = descend(problem, raw) if problem.limited else polished(raw, problem)
    proofs = [(certify(problem, candidate), candidate) for candidate in (raw, near)]
    certificate, found = min(proofs, key=lambda pair: pair[0]["gap"])
    if problem.limited and not (problem.allows(found) and problem.excess(found)[0].max() <= _SURE):
        raise SolveError(_limits_in_words(problem), "Allow a larger rise (worse), or loosen the bounds on shares.")
    failed = [condition for condition, held in certificate["convex"].items() if not held]
    if failed:
        raise SolveError(f"the laws are not convex, so nothing is proven: {', '.join(failed)} does not hold")
    return Allocation(problem, found, {"status": "optimal", "solver": solver, **certificate})


def _second_way(problem: Problem, failure: SolveError) -> Allocation:
    """SLSQP where the conic solver stalls, given out only with a proof of its own.

    Raises:
        SolveError: what the conic solver said, where this proves nothing either.
    """
    start = repaired(problem.prior, problem)
    best = _proven(problem, descend(problem, start), "SLSQP")
    if best.certificate["gap"] <= _SURE * abs(best.objective) and best.certificate["kkt_residual"] <= _SURE:
        return best
    raise failure


def _run(program: Any) -> None:
    """Solve as exactly as the solver can.

    Raises:
        SolveError: no attempt ended in a proven optimum.
    """
    import cvxpy as cp

    said = ""
    for attempt in _ATTEMPTS:
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # of inaccuracy: the status says it, and the next attempt answers it
                program.solve(solver=cp.CLARABEL, warm_start=False, **attempt)
            said = f"ended with status '{program.status}', which proves nothing"
        except cp.error.SolverError as error:
            said = f"gave up: {error}"
        else:
            if program.status == cp.OPTIMAL:
                return
    raise SolveError(f"the solver {said}", "A stronger pull to the prior, or fewer bootstrap draws, may help it.")


class _Model:
    """A problem in cvxpy's terms.

    The geometric mean and the worst case are minimised as logarithms, which are convex too and better scaled; worst case
    and tail mean are epigraphs.
    """

    def __init__(self, problem: Problem, shares: Any) -> None:
        import cvxpy as cp

        self.problem = problem
        self.cones = Cones(None if problem.total is None else problem.total / problem.fit.scale)
        self.units = cp.multiply(shares, problem.budget / problem.costs / problem.fit.scale)
        self.peaks: list[Any] = []
        main = getattr(self, f"_{problem.objective}")()
        penalty = 0.0
        kept = problem.prior > 0
        if problem.pull:
            penalty = problem.pull * cp.sum(cp.rel_entr(shares[np.flatnonzero(kept)], problem.prior[kept]))
        self.objective = main + penalty
        bounds = [cp.sum(shares) == 1, shares >= problem.lower, shares <= problem.upper]
        for group in problem.groups:
            bounds += [group.members @ shares >= group.lower, group.members @ shares <= group.upper]
        bounds += self._limits()
        self.constraints = [*bounds, *self.peaks, *self.cones.constraints]

    def _limits(self) -> list[Any]:
        """No limited loss above what it may be; of one scenario, for a solve over draws starts from the fit."""
        problem, found = self.problem, []
        base = problem.losses(problem.prior)
        for index in problem.limited:
            floor, terms = problem.fit.laws[index].law.terms(problem.thetas[0][index], self.units, self.cones)
            most = 1 + float(problem.worse or 0.0)
            found.append(floor / base[index] + sum(term.over(base[index]) for term in terms) <= most)
        return found

    def _terms(self, scenario: int) -> list[tuple[float, float, float, list[Any]]]:
        """Weight, reference, floor and log terms of each loss that counts."""
        problem = self.problem
        rows = zip(
            problem.weights, problem.reference[scenario], problem.fit.laws, problem.thetas[scenario], strict=True
        )
        return [
            (float(weight), float(reference), *law.law.terms(theta, self.units, self.cones))
            for weight, reference, law, theta in rows
            if weight > 0
        ]

    def _relative(self, scenario: int) -> tuple[Floats, Any]:
        """Weights and relative losses, as a vector."""
        import cvxpy as cp

        weights, losses = [], []
        for weight, reference, floor, terms in self._terms(scenario):
            weights.append(weight)
            losses.append(floor / reference + sum(term.over(reference) for term in terms))
        return np.array(weights), cp.hstack(losses)

    def _weighted_loss(self) -> Any:
        weights, losses = self._relative(0)
        return weights @ losses

    def _logs(self) -> list[tuple[float, Any]]:
        """Weight and logarithm of each relative loss that counts."""
        import cvxpy as cp

        found = []
        for weight, reference, floor, terms in self._terms(0):
            parts = [term.log_over(reference) for term in terms]
            if floor > 0:
                parts.append(cp.Constant(np.log(floor / reference)))
            found.append((weight, parts[0] if len(parts) == 1 else cp.log_sum_exp(cp.hstack(parts))))
        return found

    def _worst_case(self) -> Any:
        import cvxpy as cp

        top = cp.Variable(name="worst")
        self.peaks = [loss <= top for _, loss in self._logs()]
        return top if self.problem.pull == 0 else cp.exp(top)

    def _geometric_mean(self) -> Any:
        import cvxpy as cp

        total = sum(weight * loss for weight, loss in self._logs())
        return total if self.problem.pull == 0 else cp.exp(total)

    def _robust(self) -> Any:
        import cvxpy as cp

        count = len(self.problem.thetas)
        level, excess = cp.Variable(name="level"), cp.Variable(count, nonneg=True, name="excess")
        values = []
        for scenario in range(count):
            weights, losses = self._relative(scenario)
            values.append(weights @ losses)
        self.peaks = [cp.hstack(values) - level <= excess]
        return level + cp.sum(excess) / (self.problem.tail * count)
