"""Whether the caps leave room for the budgets, given how many distinct crops each domain has."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from mixlang.spec.schema import Spec

Finding = tuple[str, tuple[str, ...], str, str]
"""Code, path, message, help."""


def infeasible(spec: Spec, crops: Mapping[str, float]) -> list[Finding]:
    """What of the constraints cannot hold.

    The budget is filled exactly, so the caps of all domains together must leave room for the target and for every
    holdout budget, and no domain's minimum may exceed its cap.

    Args:
        crops: distinct training crops of each domain.
    """
    repetition = spec.constraints.repetition
    if repetition == "unlimited":
        return []
    found: list[Finding] = []
    budget = max([spec.budgets.target, *spec.budgets.holdout])
    bounds = spec.constraints.share
    costs = {name: domain.cost for name, domain in spec.domains.items()}
    caps = {name: repetition * count for name, count in crops.items()}
    shares = {name: bounds[name].max if name in bounds else 1.0 for name in caps}
    room = sum(costs[name] * min(cap, budget * shares[name] / costs[name]) for name, cap in caps.items())
    if room < budget * (1 - 1e-9):
        need = budget / sum(costs[name] * count for name, count in crops.items())
        message = (
            f"with repetition {repetition:g} and the share bounds, the data hold {room:,.0f} of the {budget:,} samples "
            "of the largest budget"
        )
        help = f"raise constraints.repetition (at least {need:.1f}), lower the budget or bring more data"
        given = "repetition" in spec.constraints.model_fields_set
        path = ("constraints", "repetition") if given else ("budgets", "target")
        found.append(("MX0303", path, message, help))
    for name, bound in bounds.items():
        least = bound.min * budget / costs[name]
        if least > caps[name] * (1 + 1e-9):
            message = (
                f"a share of at least {bound.min:g} is {least:,.0f} samples, but '{name}' gives at most "
                f"{caps[name]:,.0f} at repetition {repetition:g}"
            )
            help = "lower the minimum or raise constraints.repetition"
            found.append(("MX0304", ("constraints", "share", name, "min"), message, help))
    floor = spec.constraints.floor
    short = [name for name in caps if floor * budget / costs[name] > caps[name] * (1 + 1e-9)]
    if short:
        name = min(short, key=lambda item: caps[item] * costs[item])
        message = (
            f"a floor of {floor:g} is {floor * budget / costs[name]:,.0f} samples, but '{name}' gives at most "
            f"{caps[name]:,.0f} at repetition {repetition:g}"
        )
        help = f"lower the floor to {caps[name] * costs[name] / budget:.2g} or less, or raise constraints.repetition"
        found.append(("MX0304", ("constraints", "floor"), message, help))
    return found


def distinct_crops(
    shape: Sequence[int], spacing: Sequence[float], wanted: Sequence[float], crop: Sequence[int]
) -> float:
    """Distinct crops a volume can give: its extent (mm) in crops along each axis, at least one.

    Args:
        shape, spacing: of the volume, voxels and mm; wanted, crop: spacing (mm) and voxels of a crop.
    """
    extent = [size * have / want for size, have, want in zip(shape, spacing, wanted, strict=True)]
    return math.prod(max(1.0, size / edge) for size, edge in zip(extent, crop, strict=True))
