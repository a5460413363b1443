"""The design of the probe: which amounts of which domains each run trains on."""

from __future__ import annotations

import math
from collections.abc import Sequence

from mixlang.plan.whole_samples import whole_amounts
from mixlang.spec.schema import Spec

_GRAIN = 4096
"""Mixtures at multiples of this budget have shares in whole parts of it."""

_GRID_FROM = 1022
"""Where a grid's mixtures begin in the sequence of all; designs of so many mixtures do not reach it."""


def sobol_simplex(domains: int, count: int) -> list[list[float]]:
    """`count` different mixtures spread evenly over the simplex of `domains` shares; the first is uniform.

    An unscrambled Sobol sequence of one dimension less, each coordinate breaking a piece off what is left of a stick:
    share k is the rest times 1 - (1 - u)^(1 / (D - 1 - k)), which makes uniform points of the cube uniform on the
    simplex, one to one (Devroye 1986, chapter V). The sequence is nested: a larger count keeps the earlier mixtures.
    """
    if count == 0:
        return []
    from scipy.stats import qmc

    # The sequence begins with the origin, which is no mixture of all, and the centre, which is nearly the uniform one.
    points = qmc.Sobol(domains - 1, scramble=False).random_base2(math.ceil(math.log2(count + 2)))[2:].tolist()
    return [[1.0 / domains] * domains, *map(_broken, points)][:count]


def _broken(point: Sequence[float]) -> list[float]:
    """Shares from a point of the unit cube of one dimension less."""
    rest, shares = 1.0, []
    for index, value in enumerate(point):
        piece = rest * (1.0 - (1.0 - value) ** (1.0 / (len(point) - index)))
        shares.append(piece)
        rest -= piece
    return [*shares, rest]


Point = tuple[str, dict[str, int]]
"""A probe point: its kind, and the samples of each domain."""


def probe_points(spec: Spec) -> list[Point]:
    """Every distinct probe point as (kind, samples of each domain), in a fixed order: the ladder, then the mixtures.

    Domains are taken by name, in alphabetical order, so that their order in the file decides nothing.
    """
    names = sorted(spec.domains)
    points: list[Point] = []
    if spec.design.single_domain:
        for budget in sorted(spec.budgets.probe):
            points.extend(("single", {name: budget * (name == alone) for name in names}) for alone in names)
    mixtures = spec.design.mixtures
    budgets = sorted(mixtures.budgets if mixtures.budgets is not None else spec.budgets.probe)
    shares = sobol_simplex(len(names), mixtures.count)
    for budget in budgets:
        points.extend(("mixture", amounts) for amounts in whole_mixtures(names, shares, budget))
    return points


def whole_mixtures(names: Sequence[str], shares: Sequence[Sequence[float]], budget: int) -> list[dict[str, int]]:
    """Whole samples of each domain for some mixtures.

    Shares in 4,096ths repeat exactly from budget to budget: the runs are ladders, whose beginnings are shared.
    """
    times = budget // _GRAIN if budget % _GRAIN == 0 else 1
    whole = [whole_amounts(mixture, budget // times) for mixture in shares]
    return [dict(zip(names, [times * amount for amount in amounts], strict=True)) for amounts in whole]


def grid_points(domains: int, count: int) -> list[list[float]]:
    """Mixtures for a trained grid, from farther along the sequence than a design's own."""
    return sobol_simplex(domains, _GRID_FROM + count)[_GRID_FROM:]
