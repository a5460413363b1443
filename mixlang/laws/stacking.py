"""Weights of families by what they predict of runs they have not seen, and the skill of what comes out.

Stacking (Yao, Vehtari, Simpson and Gelman 2018, 1704.02030): weights on the simplex that minimise the squared relative
errors of the combination on rows left out, of new mixtures and of larger budgets alike. An allocation needs differences
between mixtures at one budget, which a common error in level does not move; errors in contrasts therefore count beside
errors in level.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Skill
from mixlang.laws.selection import HeldOut

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_SHARED = 20.0
"""How many rows of its own the errors of all losses together are worth in a loss's weights."""

_COSTS_NOTHING = 0.03
"""A family is left out where the mean squared error without it is larger by less than this part."""

_LEAST = 0.03
"""A smaller weight is none."""

_MOST = 4
"""At most so many families: each costs a solve and a hundred draws."""


@dataclass(frozen=True)
class Stacked:
    """Families and weights of one loss.

    Attributes:
        weights: by family, positive, summing to 1.
        held_out: the combination's own errors on the rows left out.
        draws: weights redrawn with the groups of rows weighed anew (Bayesian bootstrap; Rubin 1981), shape (draws,
            families).
    """

    weights: dict[str, float]
    held_out: HeldOut
    draws: Floats


def stack(found: Sequence[Mapping[str, HeldOut]], draws: int, seed: int) -> list[Stacked]:
    """The weights of each loss.

    Args:
        found: for each loss the errors of each family; those known on fewer rows than others are left out.
        draws, seed: of the weights redrawn.
    """
    found = [_comparable(of) for of in found]
    names = [list(of) for of in found]
    forms = [_form(_errors(of)) for of in found]
    everywhere = [name for name in names[0] if all(name in of for of in found)]
    shared = None
    if len(found) > 1 and everywhere:
        parts = []
        for form, of in zip(forms, names, strict=True):
            pick = [of.index(name) for name in everywhere]
            part = form[np.ix_(pick, pick)]
            parts.append(part / max(float(np.diag(part).min()), 1e-300))
        shared = np.mean(parts, axis=0)
    stacked = []
    for loss, of in enumerate(found):
        form, scale = forms[loss], _rows(of)
        if shared is not None:
            pick = [names[loss].index(name) for name in everywhere]
            least = float(np.diag(form)[pick].min())
            pulled = form.copy()
            pulled[np.ix_(pick, pick)] += _SHARED / scale * least * shared
            # What a family that not every loss has would be on the others is unknown; there it is as good as here.
            rest = [index for index in range(len(form)) if index not in pick]
            pulled[np.ix_(rest, range(len(form)))] *= 1 + _SHARED / scale
            pulled[np.ix_(pick, rest)] *= 1 + _SHARED / scale
            form = pulled
        kept, weights = _sparse(form)
        chosen = {names[loss][index]: of[names[loss][index]] for index in kept}
        again = _redrawn(chosen, form, forms[loss], kept, draws, [seed, loss])
        combined = HeldOut.combined(list(chosen.values()), weights)
        stacked.append(Stacked(dict(zip(chosen, weights.tolist(), strict=True)), combined, again))
    return stacked


def _comparable(of: Mapping[str, HeldOut]) -> dict[str, HeldOut]:
    """The families whose errors are known on the most rows: budgets cannot be left out of each."""
    most = max(len(item.errors) for item in of.values())
    return {name: item for name, item in of.items() if len(item.errors) == most}


def _rows(of: Mapping[str, HeldOut]) -> int:
    return len(np.unique(next(iter(of.values())).groups))


def _errors(of: Mapping[str, HeldOut]) -> tuple[Floats, Floats]:
    """Weighted errors, shape (rows, families): each kind of row left out counts alike, level and contrasts alike."""
    first = next(iter(of.values()))
    errors = np.stack([item.relative for item in of.values()], axis=1)
    counts = first.weights
    contrasts = errors - _means(errors, first.levels)
    return np.concatenate([errors, contrasts]), np.concatenate([counts, counts])


def _means(errors: Floats, levels: Ints) -> Floats:
    """For each row the mean over the rows of its kind and budget."""
    sums = np.zeros((int(levels.max()) + 1, errors.shape[1]))
    np.add.at(sums, levels, errors)
    return (sums / np.maximum(np.bincount(levels), 1)[:, None])[levels]


def _form(parts: tuple[Floats, Floats]) -> Floats:
    """The quadratic form of the weights whose value is the mean squared error."""
    errors, counts = parts
    return (errors * (counts / counts.sum())[:, None]).T @ errors


def _simplex(form: Floats) -> Floats:
    """The weights that minimise a quadratic form on the simplex."""
    from scipy.optimize import nnls

    if len(form) == 1:
        return np.ones(1)
    size = max(float(np.trace(form)), 1e-300)
    values, vectors = np.linalg.eigh((form + form.T) / (2 * size))
    root = (vectors * np.sqrt(np.maximum(values, 1e-12))).T
    firm = 1e4
    found = nnls(np.vstack([root, firm * np.ones(len(form))]), np.append(np.zeros(len(form)), firm))[0]
    return np.asarray(found / found.sum(), float)


def _sparse(form: Floats) -> tuple[list[int], Floats]:
    """As few families as do as well as all together: added one by one, the one that helps most first."""
    whole = _simplex(form)
    least = float(whole @ form @ whole)
    kept: list[int] = []
    value, weights = np.inf, np.ones(1)
    while len(kept) < min(_MOST, len(form)) and value > (1 + _COSTS_NOTHING) * least:
        best = None
        for index in range(len(form)):
            if index in kept:
                continue
            tried = [*kept, index]
            w = _simplex(form[np.ix_(tried, tried)])
            cost = float(w @ form[np.ix_(tried, tried)] @ w)
            if best is None or cost < best[0] * (1 - 1e-9):
                best = (cost, tried, w)
        if best is None or best[0] >= value:
            break
        value, kept, weights = best
    used = [place for place, weight in enumerate(weights) if weight > _LEAST]
    kept = [kept[place] for place in used]
    return kept, _simplex(form[np.ix_(kept, kept)])


def _redrawn(
    chosen: Mapping[str, HeldOut], form: Floats, own: Floats, kept: list[int], draws: int, seed: Sequence[int]
) -> Floats:
    """Weights of the chosen families where the groups of rows had counted differently."""
    if len(kept) == 1:
        return np.ones((draws, 1))
    rng = np.random.default_rng(seed)
    errors, counts = _errors(chosen)
    groups = np.tile(next(iter(chosen.values())).groups, 2)
    pull = (form - own)[np.ix_(kept, kept)]
    found = []
    for _ in range(draws):
        heavy = rng.exponential(size=int(groups.max()) + 1)[groups]
        found.append(_simplex(_form((errors, counts * heavy)) + pull))
    return np.array(found).reshape(draws, len(kept))


def skill(held_out: HeldOut, noise: float, seed: int = 0) -> Skill | None:
    """What a law says about mixtures beyond their mean: R^2 on mixtures left out, against the constant.

    The constant is the mean log loss of the other mixtures of the same budget. `ceiling` is what seed noise leaves for
    any law. The interval is of the groups weighed anew.

    Returns:
        None where no budget has three mixtures.
    """
    rows = held_out.of_mixtures & held_out.mixed
    levels, groups = held_out.levels, held_out.groups
    logs, errors = held_out.logs, held_out.errors
    constant = np.full(len(logs), np.nan)
    for level in np.unique(levels[rows]):
        here = rows & (levels == level)
        for group in np.unique(groups[here]):
            others = here & (groups != group)
            if len(np.unique(groups[others])) >= 2:
                constant[here & (groups == group)] = logs[others].mean()
    there = rows & np.isfinite(constant)
    if len(np.unique(groups[there])) < 3:
        return None
    plain, ours = (constant - logs)[there] ** 2, errors[there] ** 2
    rng = np.random.default_rng(seed)
    heavy = rng.exponential(size=(400, int(groups.max()) + 1))[:, groups[there]]
    drawn = 1 - (heavy @ ours) / np.maximum(heavy @ plain, 1e-300)
    low, high = np.quantile(drawn, [0.05, 0.95])
    ceiling = None if np.isnan(noise) else max(0.0, 1 - noise**2 / float(plain.mean()))
    return {
        "r2": float(1 - ours.sum() / plain.sum()),
        "low": float(low),
        "high": float(high),
        "ceiling": ceiling,
        "constant_error": float(np.sqrt(plain.mean())),
        "error": float(np.sqrt(ours.mean())),
    }
