"""From fitted laws to a mixture: a convex problem, its solution, and a certificate recomputed apart from the solver."""

from mixlang.allocate.answer import answer
from mixlang.allocate.baselines import baseline_shares
from mixlang.allocate.budgets import over_budgets, smallest_budget
from mixlang.allocate.problem import Problem, decided_by
from mixlang.allocate.solve import Allocation, solve

__all__ = [
    "Allocation",
    "Problem",
    "answer",
    "baseline_shares",
    "decided_by",
    "over_budgets",
    "smallest_budget",
    "solve",
]
