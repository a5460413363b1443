"""Whether the runs can identify the laws at all, what they leave open, and whether transfer is negative."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Diagnosis
from mixlang.errors import InputError
from mixlang.laws.bootstrap import free
from mixlang.laws.regression import Regression
from mixlang.laws.table import LossTable

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_COLLINEAR = 1e-6
_ILL_CONDITIONED = 1e5

_LEAST_POINTS = 3

_VARIED = 0.02
"""A share that changes by less than this part of itself has not been varied, only rounded."""


def runs_needed(domains: int) -> int:
    """Distinct probe points that laws with transfer among `domains` domains need: three for each domain and one more
    (Chen 2026, the olmix report, found the number needed linear in the domains)."""
    return 3 * (domains + 1)


def refuse_unidentifiable(table: LossTable, transfer: bool, few: bool = False) -> list[str]:
    """What a design leaves open, in words.

    Args:
        transfer: whether laws with transfer are asked for; own-data laws need less.
        few: whether priors decide what is open with fewer runs than domains and two; it is then said, not refused. With
            that many a design can vary every share, and one that does not is refused.

    Raises:
        InputError: the design cannot identify the laws, whatever the losses were.
    """
    names, shares = table.domains, table.shares
    points = int(table.points.max()) + 1
    if few and points < _LEAST_POINTS:
        raise InputError(
            f"{points} distinct run{'s' * (points != 1)} cannot identify laws over {len(names)} domains of any kind; "
            f"{_LEAST_POINTS} are the least, {runs_needed(len(names))} are needed",
            "Add runs with other mixtures; replicates of the same mixture do not count.",
        )
    if transfer and len(names) > 1 and points < len(names) + 2 and not few:
        raise InputError(
            f"{points} distinct run{'s' * (points != 1)} cannot identify laws over {len(names)} domains: each loss "
            f"has more unknowns than that; {runs_needed(len(names))} are needed",
            "Add runs with other mixtures; replicates of the same mixture do not count.",
        )
    notes = []
    scarce = few and points < len(names) + 2
    for index, name in enumerate(names):
        column = shares[:, index]
        if not (column > 0).any():
            raise InputError(
                f"no run trains on '{name}': nothing can be said about it", "Leave it out, or add runs that use it."
            )
        if len(names) > 1 and never_varied(column):
            message = f"the share of '{name}' is {np.median(column):.3g} in every run, so its effect cannot be told from the rest"
            if not scarce:
                raise InputError(message, "Add runs with other shares of it.")
            notes.append(message)
    if transfer and len(names) > 1 and not scarce:
        _refuse_collinear(names, table.amounts)
    if scarce:
        notes.append(
            f"{points} distinct runs for {len(names)} domains: what a domain's data do for the losses of others is mostly "
            f"what priors believe, not what was measured; {runs_needed(len(names))} runs would tell"
        )
    elif transfer and points < runs_needed(len(names)):
        notes.append(
            f"{points} distinct runs for {len(names)} domains; laws with transfer want {runs_needed(len(names))}, "
            "so expect wide intervals"
        )
    if len(np.unique(table.totals)) == 1:
        notes.append("all runs have one budget, so the laws say nothing about any other")
    if points == len(table.points):
        notes.append("no replicates (same amounts, other seed), so the seed noise is unknown; 1 % is assumed")
    return notes


def never_varied(shares: Floats) -> bool:
    """Whether a domain's share is the same in all runs, but for rounding."""
    return bool(np.ptp(shares) < _VARIED * shares.max())


def _refuse_collinear(names: tuple[str, ...], amounts: Floats) -> None:
    scaled = amounts / np.linalg.norm(amounts, axis=0)
    _, values, right = np.linalg.svd(scaled, full_matrices=False)
    if len(values) < len(names) or values[-1] < _COLLINEAR * values[0]:
        tied = [f"'{name}'" for name, weight in zip(names, right[-1], strict=True) if abs(weight) > 0.1]
        raise InputError(
            f"the amounts of {', '.join(tied)} are tied together in all runs, so their effects cannot be told apart",
            "Add runs that vary them independently, or make them one domain.",
        )


def diagnose(regression: Regression, theta: Floats, domains: tuple[str, ...]) -> Diagnosis:
    """How well the runs determine one law.

    Returns:
        `rows`; `parameters`: those free, without exponents of sources, which matter as much as their source does;
        `redundant`: how many of them the family has to spare, by its form; `rank` and `condition` of the derivatives
        by them (columns scaled, priors left out); `on_bounds`: parameters that ended on a bound.
    """
    loose = free(regression, theta)
    exponents = np.array([name.startswith("g_") for name in regression.law.names])
    slopes = regression.slopes(theta)[:, loose & ~exponents]
    length = np.linalg.norm(slopes, axis=0)
    values = np.linalg.svd(slopes / np.where(length > 0, length, 1.0), compute_uv=False)
    rank = int((values > _COLLINEAR * values[0]).sum()) if len(values) else 0
    # Shares sum to 1, so a constant added to every t is a factor, which A or k can be as well.
    redundant = int(regression.law.family.tilt)
    low, high = regression.bounds
    stuck = [
        _spoken(name, domains)
        for name, held, a, b in zip(regression.law.names, ~loose, low, high, strict=True)
        if held and a < b and not name.startswith(("g", "E"))
    ]
    return {
        "rows": len(regression.logs),
        "parameters": slopes.shape[1],
        "redundant": redundant,
        "rank": rank,
        "condition": float(values[0] / values[rank - 1]) if rank else None,
        "on_bounds": stuck,
    }


def notes_of(name: str, found: Diagnosis) -> list[str]:
    """What a diagnosis means, in words."""
    notes = []
    if found["rank"] + found["redundant"] < found["parameters"]:
        notes.append(
            f"'{name}': the runs determine {found['rank']} of {found['parameters']} parameters; the rest follow weak priors"
        )
    elif found["condition"] is not None and found["condition"] > _ILL_CONDITIONED:
        notes.append(f"'{name}': the runs hardly tell its parameters apart (condition {found['condition']:.0e})")
    for item in found.get("negative_transfer", []):
        notes.append(
            f"'{name}': training on '{item['source']}' hurts it (k = {item['k']:.2g} +- {item['error']:.1g}); the convex "
            f"law takes it as 0"
        )
    cost = found.get("clamping_cost")
    if cost is not None:
        notes.append(
            f"'{name}': without that constraint its error would be {cost['free']:.1%} instead of {cost['fit']:.1%}"
        )
    return notes


def negative_transfer(regression: Regression, theta: Floats, groups: Ints, domains: tuple[str, ...]) -> Diagnosis:
    """Which sources hurt a loss: a score test on each transfer coefficient that the fit holds at zero.

    The coefficient is estimated linearly, other parameters refitted, with a standard error robust to what runs of
    one (mixture, seed) share; a source is named where it is below zero at 1 %, corrected for the number of sources
    (Bonferroni). Where any is, the law is fitted again with its coefficient free to be negative, which is no longer
    convex, to say what holding it costs.
    """
    from scipy.stats import norm

    law = regression.law
    held = [i for i in range(len(theta)) if law.names[i].startswith("k_") and theta[i] <= 1e-9]
    if not held or law.family.tilt:
        return {}
    loose = free(regression, theta)
    slopes, errors = regression.slopes(theta), regression.residuals(theta) / regression.deviations
    basis = np.linalg.qr(slopes[:, loose])[0] if loose.any() else np.zeros((len(errors), 0))
    errors = errors - basis @ (basis.T @ errors)
    found = []
    for index in held:
        column = slopes[:, index] - basis @ (basis.T @ slopes[:, index])
        information = float(column @ column)
        if information < 1e-9 * float(slopes[:, index] @ slopes[:, index]) or information == 0:
            continue
        worth = -float(column @ errors) / information
        scores = np.bincount(groups, column * errors)
        error = math.sqrt(float((scores**2).sum())) / information
        if worth < norm.ppf(0.01 / len(held)) * error:
            source = domains[int(law.names[index].rpartition("_")[2])]
            found.append({"source": source, "k": worth, "error": error, "index": index})
    if not found:
        return {}
    cost = _clamping(regression, theta, [item.pop("index") for item in found])
    return {"negative_transfer": found, "clamping_cost": cost}


def _clamping(regression: Regression, theta: Floats, indices: list[int]) -> dict[str, float]:
    """Errors of the fit, and of one whose named coefficients may be negative."""
    low, high = (bound.copy() for bound in regression.bounds)
    low[indices] = -5.0
    loosened = regression.minimize(theta[None], bounds=(low, high), steps=200)[0][0]
    rms = [float(np.sqrt(np.mean(regression.residuals(item) ** 2))) for item in (theta, loosened)]
    return {"fit": rms[0], "free": rms[1]}


def _spoken(name: str, domains: tuple[str, ...]) -> str:
    kind, _, column = name.rpartition("_")
    return f"{kind} of {domains[int(column)]}" if column.isdigit() else name
