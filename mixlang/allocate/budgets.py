"""Questions beside the main one: the allocation over budgets, and the smallest budget that reaches given losses."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mixlang.allocate.problem import Problem
from mixlang.allocate.solve import Allocation, solve
from mixlang.documents import ProblemSettings, Step
from mixlang.errors import InputError, SolveError
from mixlang.laws import Fit
from mixlang.names import meant_or_known


def over_budgets(fit: Fit, settings: ProblemSettings, budgets: Sequence[float]) -> list[Step]:
    """The allocation at each budget: `budget`, `shares`, `predicted`, or `reason` where there is none."""
    found = []
    for budget in budgets:
        try:
            best = solve(Problem.of(fit, settings, budget))
        except SolveError as error:
            found.append({"budget": float(budget), "reason": str(error)})
            continue
        answer = best.as_dict()
        found.append({key: answer[key] for key in ("budget", "shares", "predicted", "objective")})
    return found


def smallest_budget(
    fit: Fit, settings: ProblemSettings, goals: Mapping[str, float], precision: float = 1e-3
) -> Allocation:
    """The allocation of the smallest budget whose predicted losses all reach their goals.

    At one budget the question is convex: minimise the worst ratio of a loss to its goal. More budget never makes that
    worse, so the budget is found by bisection, each step a certified solve.

    Args:
        goals: a loss for each name that has to be reached.
        precision: relative, of the budget.

    Raises:
        InputError: an unknown loss, or a goal that is no positive number.
        SolveError: no budget reaches the goals; says why.
    """
    _refuse_goals(fit, goals)
    question = _Question(fit, _asked(fit, settings, goals), goals)
    low, high, best = question.bracket()
    while high / low > 1 + precision:
        middle = float(np.sqrt(low * high))
        tried = question.at(middle)
        if tried.objective <= 1:
            best, high = tried, middle
        else:
            low = middle
    return best


def _refuse_goals(fit: Fit, goals: Mapping[str, float]) -> None:
    """Refuse goals that mean nothing, or that no budget reaches since they are below the irreducible loss."""
    for name, goal in goals.items():
        if name not in fit.names:
            raise InputError(f"there is no loss '{name}'", meant_or_known(name, fit.names, "losses"))
        if not (np.isfinite(goal) and goal > 0):
            raise InputError(f"the goal for '{name}' is {goal:g}; it has to be a positive number")
        floor = fit[name].floor
        if goal <= floor:
            raise SolveError(
                f"no budget brings '{name}' to {goal:g}: its fitted irreducible loss is {floor:.4g}", "Raise the goal."
            )
    if fit.budgets[1] - fit.budgets[0] <= 1e-6 * fit.budgets[1]:
        raise InputError(
            "all runs fitted had one budget, so budgets cannot be compared", "Fit runs of several budgets."
        )


def _asked(fit: Fit, settings: ProblemSettings, goals: Mapping[str, float]) -> ProblemSettings:
    """The problem of one budget: the worst ratio of a loss to its goal."""
    return {
        **settings,
        "objective": {
            "minimize": "worst_case",
            "weights": {name: float(name in goals) for name in fit.names},
            "relative_to": "proportional",
        },
        "constraints": {**settings["constraints"], "prior": 0.0},
    }


@dataclass(frozen=True)
class _Question:
    """Which budget reaches some goals, answered one budget at a time."""

    fit: Fit
    asked: ProblemSettings
    goals: Mapping[str, float]

    def at(self, budget: float) -> Allocation:
        """The allocation of a budget; its objective is at most 1 where the goals are reached."""
        problem = Problem.of(self.fit, self.asked, budget)
        wanted = np.array([[self.goals.get(name, 1.0) for name in self.fit.names]])
        return solve(replace(problem, reference=wanted))

    def bracket(self) -> tuple[float, float, Allocation]:
        """A budget that does not reach the goals, one that does, and its allocation.

        Raises:
            SolveError: no budget within a million times the largest one fitted, or within the caps, does.
        """
        low, high = self.fit.budgets[0] * 1e-3, self.fit.budgets[1]
        limit = self.fit.budgets[1] * 1e6
        while True:
            try:
                best = self.at(high)
            except SolveError as error:
                raise SolveError(
                    f"the goals are not reached before the caps: at a budget of {high:g}, {error}"
                ) from error
            if best.objective <= 1:
                return low, high, best
            if high >= limit:
                raise self._out_of_reach(best)
            low, high = high, _larger(self.fit, self.asked, high, limit)

    def _out_of_reach(self, best: Allocation) -> SolveError:
        reached = dict(zip(self.fit.names, best.losses.tolist(), strict=True))
        worst = max(self.goals, key=lambda name: reached[name] / self.goals[name])
        return SolveError(
            f"no budget brings '{worst}' to {self.goals[worst]:g}: a million times the largest one fitted leaves it at "
            f"{reached[worst]:.4g}",
            "Raise the goal.",
        )


def _larger(fit: Fit, settings: ProblemSettings, budget: float, limit: float) -> float:
    """Twice the budget, or all that the caps hold if that is less."""
    available, repetition = settings["available"], settings["constraints"]["repetition"]
    if available and repetition is not None:
        held = sum(repetition * available[name]["crops"] * settings["costs"][name] for name in fit.domains)
        if budget < 0.999 * held < 2 * budget:
            return 0.999 * held
    return min(limit, 2 * budget)
