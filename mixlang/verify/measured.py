"""Which mixtures held-out runs measured, and what each is called wherever a measurement of it is told.

Two of them are solved and easily taken for each other: `published` has the shares of the published version, solved for the
target; `allocated` has those solved for the held-out budget itself. Their shares can differ strongly.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from mixlang.documents import Allocation, HeldOutRow, Improvement, Verification
from mixlang.names import ALLOCATED, PUBLISHED

_SAME = 5e-3
"""Shares that differ by less than this in every domain are one mixture to a reader."""


def shares_trained(runs: Sequence[HeldOutRow], budget: int, costs: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The shares of the budget that each mixture was trained with at a held-out budget, by mixture and domain; no grid.

    Args:
        runs: those of verification.json; costs: of a sample of each domain, since shares are of the cost-weighted budget.
    """
    found: dict[str, dict[str, float]] = {}
    for run in runs:
        if run["budget_asked"] == budget and not run["grid"] and run["mixture"] not in found:
            spent = {name: amount * costs[name] for name, amount in run["amounts"].items()}
            total = sum(spent.values())
            found[run["mixture"]] = {name: part / total for name, part in spent.items()}
    return found


def subjects(document: Verification) -> list[tuple[int, str, Mapping[str, Improvement]]]:
    """Each solved mixture that was measured, with the changes of its losses from its rivals: (budget, mixture, changes).

    The published shares first, the largest budget first. Documents of before the published shares were measured hold
    those of the mixtures solved for each held-out budget alone.
    """
    found = [
        (int(budget), mixture, changes)
        for mixture, key in ((PUBLISHED, "published"), (ALLOCATED, "improvements"))
        for budget, changes in sorted(document.get(key, {}).items(), key=lambda item: -int(item[0]))
    ]
    return [item for item in found if item[2]]


def called(mixture: str, budget: int) -> str:
    """What a mixture is called in a sentence or a table: `solved for 32,768` where it holds for one budget only."""
    if mixture == ALLOCATED:
        return f"solved for {budget:,}"
    return "published shares" if mixture == PUBLISHED else mixture


def furthest(ours: Mapping[str, float], theirs: Mapping[str, float]) -> tuple[str, float]:
    """The domain whose share differs most, and by how much."""
    name = max(ours, key=lambda item: abs(ours[item] - theirs[item]))
    return name, abs(ours[name] - theirs[name])


def alike(ours: Mapping[str, float], theirs: Mapping[str, float]) -> bool:
    """Whether two mixtures are one to a reader."""
    return furthest(ours, theirs)[1] < _SAME


def broken(allocation: Allocation, budget: int) -> dict[str, list[str]]:
    """The rivals that break the constraints at a held-out budget, and which they break, in words."""
    baselines = allocation["holdout"][str(budget)]["baselines"]
    return {name: found["breaks"] for name, found in baselines.items() if found.get("breaks")}


def trained_there(verification: Verification, budget: int, costs: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """As `shares_trained`, without the mixture solved for the budget where it is the published one to a reader."""
    found = shares_trained(verification["runs"], budget, costs)
    if PUBLISHED in found and alike(found[PUBLISHED], found[ALLOCATED]):
        del found[ALLOCATED]
    return found
