"""The runs that put a study to the proof: the solved mixtures, their rivals and a grid, at budgets never fitted."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixlang.documents import Allocation, HeldOutRow, RunRow, Verification, VerifySettings
from mixlang.laws import Fit
from mixlang.names import published_budgets
from mixlang.plan.build import Plan, Run
from mixlang.plan.whole_samples import whole_mixture
from mixlang.verify import VERSION, Rival, agreement, improvement, regret, verdict
from mixlang.verify.measured import ALLOCATED, PUBLISHED
from mixlang.verify.objective import Objective

Rows = Sequence[HeldOutRow]


@dataclass(frozen=True)
class Trial:
    """A run of one mixture at one holdout budget; `grid` tells the mixtures of the grid from the rivals."""

    budget: int
    mixture: str
    grid: bool
    run: Run


def trials(plan: Plan, allocation: Allocation, settings: VerifySettings) -> list[Trial]:
    """What is to be trained, budget by budget: the mixtures solved, rivals and, where there is one, the grid.

    The shares solved for the target are trained where `published` says; those solved for a holdout budget at that budget.

    Args:
        allocation: allocation.json; settings: settings/verify.json.
    """
    found = []
    batch = plan.training["recipe"]["batch_size"]
    for budget, solved in allocation["holdout"].items():
        rivals = (
            {PUBLISHED: allocation["target"]["shares"]} if int(budget) in published_at(allocation, settings) else {}
        )
        rivals |= {ALLOCATED: solved["shares"]}
        rivals |= {kind: solved["baselines"][kind]["shares"] for kind in settings["baselines"]}
        groups = ((rivals, settings["seeds"], False), (solved.get("grid", {}), settings["grid_seeds"], True))
        for mixtures, seeds, in_grid in groups:
            for mixture, shares in mixtures.items():
                amounts = whole_mixture(shares, allocation["costs"], int(budget), batch)
                for seed in range(seeds):
                    run = plan.run(f"verify {mixture}", amounts, seed)
                    found.append(Trial(int(budget), mixture, in_grid, run))
    return found


def published_at(allocation: Allocation, settings: VerifySettings) -> list[int]:
    """The holdout budgets at which the published shares are trained."""
    return published_budgets(settings["published"], [int(budget) for budget in allocation["holdout"]])


def verification(
    rows: Mapping[str, RunRow],
    wanted: Sequence[Trial],
    laws: Fit,
    allocation: Allocation,
    settings: VerifySettings,
) -> Verification:
    """The document of the verification: its runs, and what `mixlang.verify` says of them.

    Args:
        rows: results by run key.
    """
    table = [
        {
            **rows[trial.run.key],
            "mixture": trial.mixture,
            "budget_asked": trial.budget,
            "grid": trial.grid,
            "kind": f"verify {trial.mixture}",
        }
        for trial in wanted
    ]
    document: Verification = {"version": VERSION, "domains": list(laws.domains), "runs": table}
    if not table:
        return document
    document["agreement"] = agreement(table, laws)
    document["published"], document["improvements"], document["regret"] = {}, {}, {}
    for budget, solved in allocation["holdout"].items():
        held = [row for row in table if row["budget_asked"] == int(budget)]
        objective = Objective.of(laws.names, solved)
        ours = _losses(held, ALLOCATED, laws)
        rivals = {name: Rival(_losses(held, name, laws), _amounts(held, name, laws)) for name in settings["baselines"]}
        document["improvements"][budget] = {
            name: improvement(ours, rival, laws, objective) for name, rival in rivals.items()
        }
        if int(budget) in published_at(allocation, settings):
            published = _losses(held, PUBLISHED, laws)
            document["published"][budget] = {
                name: improvement(published, rival, laws, objective) for name, rival in rivals.items()
            }
        if any(row["grid"] for row in held):
            seeds = min(settings["seeds"], settings["grid_seeds"])
            others = {row["mixture"]: _losses(held, row["mixture"], laws)[:seeds] for row in held}
            for name in (ALLOCATED, PUBLISHED):
                others.pop(name, None)
            document["regret"][budget] = regret(ours[:seeds], others, objective)
    document["verdict"] = verdict(document, allocation)
    return document


def _losses(rows: Rows, mixture: str, laws: Fit) -> Any:
    """Losses of a mixture's runs by seed, shape (seeds, losses)."""
    mine = sorted((row for row in rows if row["mixture"] == mixture), key=lambda row: row["seed"])
    return np.array([[row["losses"][name] for name in laws.names] for row in mine], float)


def _amounts(rows: Rows, mixture: str, laws: Fit) -> Any:
    amounts = next(row["amounts"] for row in rows if row["mixture"] == mixture)
    return np.array([amounts[name] for name in laws.domains], float)
