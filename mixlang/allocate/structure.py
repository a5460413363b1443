"""Hubs and islands: who helps whom, at one mixture.

Moving budget into domain j changes loss i (relative) by s_ij a unit of share; s_jj is what j does for itself. `giving`
of j is the part of its worth that goes to other losses, sum_{i != j} w_i s_ij / sum_i w_i s_ij; `receiving` of i is the
part of its local improvement that others' data bring, sum_{j != i} y_j s_ij / sum_j y_j s_ij. Both lie between 0 and 1
(harm counts as 0), do not depend on units, and stay finite where a share goes to zero, as marginal worths do not.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.allocate.problem import Problem
from mixlang.allocate.uncertainty import central_interval
from mixlang.documents import Role, Structure

Floats = NDArray[np.float64]

HUB = 0.5
"""A hub gives more than this part of its worth to others."""

ISLAND = 0.1
"""An island neither gives nor receives more than this."""


def structure(problem: Problem, shares: Floats) -> Structure:
    """Each domain's giving and receiving with intervals, and what it is.

    A domain is called a hub or an island only where its bootstrap interval says so whole: the lower end of giving above
    HUB, or the upper ends of giving and receiving below ISLAND. Without draws nothing is called anything.

    Returns:
        `domains`: by name `giving`, `receiving` (None for a domain without a loss of its own), their intervals, `kind`:
        hub, island or None, and `says`, all that in a sentence; `elasticity`: for each loss and domain, by how many
        percent one percent more data of the domain lowers the loss; `links`: for each loss and domain, `part`, the
        fraction of the elasticities' sum that is the domain's, with its `interval`.
    """
    giving, receiving, elasticity, worth = _measures(problem, shares)
    drawn = [_measures(problem.under(draw), shares) for draw in range(problem.fit.draws)]
    parts, drawn_parts = _parts(elasticity), np.array([_parts(draw[2]) for draw in drawn])
    links = {
        loss: {
            name: {
                "part": float(parts[row, column]),
                "interval": central_interval(drawn_parts[:, row, column]) if drawn else None,
            }
            for column, name in enumerate(problem.domains)
        }
        for row, loss in enumerate(problem.fit.names)
    }
    owners = [None if law.law.own is None else problem.domains[law.law.own] for law in problem.fit.laws]
    domains: dict[str, Role] = {}
    for index, name in enumerate(problem.domains):
        has = not np.isnan(receiving[index])
        entry: Role = {"giving": float(giving[index]), "receiving": float(receiving[index]) if has else None}
        entry["kind"] = None
        if drawn:
            gives = central_interval(np.array([draw[0][index] for draw in drawn]))
            gets = central_interval(np.array([draw[1][index] for draw in drawn])) if has else None
            entry |= {"giving_interval": gives, "receiving_interval": gets}
            if gives[0] > HUB:
                entry["kind"] = "hub"
            elif gets is not None and gives[1] < ISLAND and gets[1] < ISLAND:
                entry["kind"] = "island"
        own = owners.index(name) if name in owners else None
        worths = {
            owners[row] or loss: float(worth[row, index]) for row, loss in enumerate(problem.fit.names) if row != own
        }
        helpers = (
            {} if own is None else {giver: found["part"] for giver, found in links[problem.fit.names[own]].items()}
        )
        helpers.pop(name, None)
        domains[name] = entry | {"says": _sentence(name, entry, worths, helpers)}
    table = {
        loss: dict(zip(problem.domains, row, strict=True))
        for loss, row in zip(problem.fit.names, elasticity.tolist(), strict=True)
    }
    return {"domains": domains, "elasticity": table, "links": links}


def _parts(elasticity: Floats) -> Floats:
    """Each row over its sum; zeros where nothing helps."""
    whole = elasticity.sum(axis=1, keepdims=True)
    return np.where(whole > 0, elasticity / np.where(whole > 0, whole, 1.0), 0.0)


def _sentence(name: str, entry: Role, worths: dict[str, float], helpers: dict[str, float]) -> str:
    """A domain's role in words.

    Args:
        worths: what its data are worth to each other loss, by the loss's domain where it has one; helpers: the parts of
            its own loss's improvement that other domains bring.
    """

    def part(side: str) -> str:
        ends = entry.get(f"{side}_interval")
        return f"{entry[side]:.0%}" + (f" ({ends[0]:.0%} to {ends[1]:.0%})" if ends else "")

    kind = {"hub": "is a hub", "island": "is an island", None: "is not shown to be a hub or an island"}[entry["kind"]]
    text = f"{name} {kind}: {part('giving')} of what its data are worth goes to other domains"
    if entry["giving"] > ISLAND and worths:
        text += f", above all to {max(worths, key=lambda loss: worths[loss])}"
    if entry["receiving"] is None:
        return f"{text}."
    text += f"; {part('receiving')} of its own improvement comes from others"
    if entry["receiving"] > ISLAND and helpers:
        text += f", above all from {max(helpers, key=lambda giver: helpers[giver])}"
    return text + (". Only its own data help it." if entry["kind"] == "island" else ".")


def _measures(problem: Problem, shares: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Giving, receiving, elasticities (losses, domains), and the weighted slopes that giving is made of, likewise."""
    losses = problem.losses(shares)
    # Along the simplex only differences of slopes count, but what data do by themselves needs the slopes as they are.
    slopes = np.maximum(0.0, -problem.jacobian(shares) / losses[:, None])
    elasticity = slopes * shares
    own = np.zeros_like(slopes, bool)
    for row, law in enumerate(problem.fit.laws):
        if law.law.own is not None:
            own[row, law.law.own] = True
    weighted = problem.weights[:, None] * slopes
    total = weighted.sum(axis=0)
    giving = np.where(total > 0, (weighted * ~own).sum(axis=0) / np.where(total > 0, total, 1.0), 0.0)
    receiving = np.full(len(shares), np.nan)
    for row, law in enumerate(problem.fit.laws):
        if law.law.own is not None:
            whole = elasticity[row].sum()
            receiving[law.law.own] = 1 - elasticity[row, law.law.own] / whole if whole > 0 else 0.0
    return giving, receiving, elasticity, weighted
