"""What a mixture must respect: bounds on shares and on groups of them, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import ProblemSettings
from mixlang.errors import InputError, SolveError
from mixlang.laws import Fit
from mixlang.names import meant_or_known

Floats = NDArray[np.float64]

_ROUNDING = 1e-9


@dataclass(frozen=True)
class Group:
    """Bounds on the sum of the shares of some domains; `members` is 1 for those, 0 for others."""

    name: str
    members: Floats
    lower: float
    upper: float


def bounds_of(
    fit: Fit, settings: ProblemSettings, budget: float, costs: Floats
) -> tuple[Floats, Floats, dict[tuple[str, str], str]]:
    """Bounds on shares from the settings, what is available and the probed range, with the reason of each.

    Without a bound of the user's a share stays at or above the smallest at which its law was observed, if the objective
    counts that loss. Versions published before there was a `floor` have none.

    Raises:
        SolveError: a domain whose bounds contradict each other.
    """
    constraints, available = settings["constraints"], settings["available"]
    least: dict[int, float] = {}
    for law in fit.laws:
        if law.law.own is not None and settings["objective"]["weights"].get(law.name, 1.0) > 0:
            least[law.law.own] = max(least.get(law.law.own, 0.0), law.least_share)
    count = len(fit.domains)
    lower, upper = np.zeros(count), np.ones(count)
    reasons: dict[tuple[str, str], str] = {}
    for index, name in enumerate(fit.domains):
        bound = constraints["share"].get(name, {"min": 0.0, "max": 1.0})
        lower[index], upper[index] = bound["min"], bound["max"]
        reasons["min", name], reasons["max", name] = "share minimum", "share maximum"
        floor = constraints.get("floor", 0.0)
        if floor > lower[index]:
            lower[index], reasons["min", name] = floor, "floor"
        if available and available[name]["crops"] <= 0:
            upper[index], reasons["max", name] = 0.0, "nothing available"
        elif available and constraints["repetition"] is not None:
            most = constraints["repetition"] * available[name]["crops"] * costs[index] / budget
            if most < upper[index]:
                upper[index], reasons["max", name] = most, "repetition cap"
        if name not in constraints["share"] and lower[index] < least.get(index, 0.0) <= upper[index]:
            lower[index], reasons["min", name] = least[index], "smallest share probed"
        if lower[index] > upper[index] + _ROUNDING:
            raise SolveError(
                f"domain '{name}': its share must be at least {lower[index]:.3g} ({reasons['min', name]}) and at most "
                f"{upper[index]:.3g} ({reasons['max', name]})",
                "Lower the minimum, raise the repetition cap or lower the budget.",
            )
    return lower, upper, reasons


def groups_of(domains: Sequence[str], wanted: Mapping[str, Any]) -> tuple[Group, ...]:
    """Groups from `{name: {members, min, max}}`.

    Raises:
        InputError: a member that is no domain.
    """
    groups = []
    for name, entry in wanted.items():
        for member in entry["members"]:
            if member not in domains:
                raise InputError(
                    f"group '{name}': there is no domain '{member}'", meant_or_known(member, domains, "domains")
                )
        members = np.array([float(domain in entry["members"]) for domain in domains])
        groups.append(Group(name, members, float(entry["min"]), float(entry["max"])))
    return tuple(groups)


def refuse_infeasible(
    domains: Sequence[str], lower: Floats, upper: Floats, groups: Sequence[Group], budget: float
) -> None:
    """Say why no mixture satisfies the bounds, if none does.

    Raises:
        SolveError: names the constraints at fault.
    """
    if upper.sum() < 1 - _ROUNDING:
        raise SolveError(
            f"the caps hold only {upper.sum():.1%} of a budget of {budget:,.0f}",
            "Loosen the maximum shares or the repetition cap, lower the budget or bring more data.",
        )
    if lower.sum() > 1 + _ROUNDING:
        raise SolveError(
            f"the minimum shares sum to {lower.sum():.3g}; domains without a bound of yours are held at the smallest share "
            "probed",
            "Lower the minima, or give the other domains bounds of their own (a minimum of 0).",
        )
    for group in groups:
        least, most = group.members @ lower, group.members @ upper
        rest = 1 - (1 - group.members) @ upper, 1 - (1 - group.members) @ lower
        if max(least, rest[0]) > group.upper + _ROUNDING or min(most, rest[1]) < group.lower - _ROUNDING:
            raise SolveError(
                f"group '{group.name}': its shares are to sum to {group.lower:.3g} to {group.upper:.3g}, but the bounds "
                f"of its domains and of the others leave {max(least, rest[0]):.3g} to {min(most, rest[1]):.3g}",
                "Loosen the group, or the shares and caps of its domains.",
            )
    if groups and cheapest(np.zeros(len(domains)), lower, upper, groups) is None:
        raise SolveError(
            f"the groups {', '.join(group.name for group in groups)} contradict each other", "Loosen one of them."
        )


def cheapest(slope: Floats, lower: Floats, upper: Floats, groups: Sequence[Group]) -> Floats | None:
    """The feasible shares that minimise a linear function; None where there are none."""
    from scipy.optimize import linprog

    rows = [row for group in groups for row in (group.members, -group.members)]
    sides = [side for group in groups for side in (group.upper, -group.lower)]
    found = linprog(
        slope,
        A_ub=np.array(rows) if rows else None,
        b_ub=np.array(sides) if rows else None,
        A_eq=np.ones((1, len(slope))),
        b_eq=np.ones(1),
        bounds=np.column_stack([lower, np.maximum(lower, upper)]),
        method="highs",
    )
    return found.x if found.status == 0 else None
