"""Choosing probe runs: those after which predictions would vary least for the samples they cost (V-optimality).

The variance of predictions at the mixtures that could be chosen, at a budget beyond the probe's, summed over losses and
families (`mixlang.laws.sensitivity`), is known before anything is trained. Runs are taken one by one, each the one that
lowers it most for each sample trained, then dropped and chosen again one by one while that helps. A relaxation in which
runs may be trained in part is convex (Sagnol 2011, 10.1016/j.jspi.2010.11.031) and bounds what any design of the cost can reach.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.sensitivity import Sensitivity

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

_TIE = 1e-7
"""Candidates within this part of the best are equal, and the first is taken: rounding differs between machines."""

_ROUNDS = 3
_FEW = 64
"""How often all runs are dropped and chosen again, at most; and up to how many runs they are. With more of them it lowers the
standard deviation by less than a hundredth."""

_STEPS = 300
"""Steps of the relaxation, at most; and the gap to its own bound at which it ends."""
_GAP = 0.01


@dataclass(frozen=True)
class Costs:
    """What candidate runs cost, in samples trained, where runs of one ladder share their beginning.

    Attributes:
        shared: samples before the decay, which the longest run of a ladder trains for the others; own: after it.
        ladders: the ladder of each candidate.
    """

    shared: Floats
    own: Floats
    ladders: Ints

    @classmethod
    def alone(cls, samples: Floats) -> Costs:
        """Of runs that share nothing."""
        return cls(np.zeros(len(samples)), np.asarray(samples, float), np.arange(len(samples)))

    def trunks(self, chosen: Sequence[int]) -> Floats:
        """The shared samples trained of each ladder."""
        trunks = np.zeros(int(self.ladders.max()) + 1)
        where = np.array(chosen, int)
        np.maximum.at(trunks, self.ladders[where], self.shared[where])
        return trunks

    def total(self, chosen: Sequence[int]) -> float:
        """Samples trained for a set of runs."""
        return float(self.trunks(chosen).sum() + self.own[np.array(chosen, int)].sum())

    def further(self, chosen: Sequence[int]) -> Floats:
        """Samples that each candidate adds to a set."""
        return self.own + np.maximum(0.0, self.shared - self.trunks(chosen)[self.ladders])


@dataclass(frozen=True)
class Chosen:
    """A design.

    Attributes:
        runs: indices of candidates, in the order of what they tell; variance: mean variance of the predictions after
            them, in units of that before any; bound: the least that any design of the same cost can have.
    """

    runs: list[int]
    variance: float
    bound: float


class _Knowledge:
    """Variances of what is asked as runs are added and dropped, kept up to date by rank-one changes."""

    def __init__(self, parts: Sequence[Sensitivity], scale: Sequence[float]) -> None:
        self.parts = [(part.runs, _thin(part.asked) * np.sqrt(size)) for part, size in zip(parts, scale, strict=True)]
        self.states = [
            [
                np.broadcast_to(np.eye(runs.shape[2]), (len(runs), runs.shape[2], runs.shape[2])).copy(),
                runs @ asked.transpose(0, 2, 1),
                (runs**2).sum(axis=2),
            ]
            for runs, asked in self.parts
        ]
        self.variance = sum(float((asked**2).sum()) for _, asked in self.parts)

    def gains(self) -> Floats:
        """By how much each candidate would lower the variance."""
        return np.asarray(sum(((y**2).sum(axis=2) / (1.0 + q)).sum(axis=0) for _, y, q in self.states))

    def change(self, index: int, sign: int) -> None:
        """Add a run (1), or drop one (-1)."""
        for (runs, asked), state in zip(self.parts, self.states, strict=True):
            v, y, q = state
            line = np.einsum("lij,lj->li", v, runs[:, index])
            size = 1.0 + sign * q[:, index]
            told = np.einsum("lri,li->lr", asked, line)
            self.variance -= sign * float(((told**2).sum(axis=1) / size).sum())
            seen = np.einsum("lni,li->ln", runs, line)
            scaled = sign * seen / size[:, None]
            state[0] = v - sign * np.einsum("li,lj->lij", line / size[:, None], line)
            state[1] = y - scaled[:, :, None] * told[:, None, :]
            state[2] = q - scaled * seen


def _thin(asked: Floats) -> Floats:
    """Fewer rows with the same sum of squares in every direction, as a mean over the rows."""
    return np.stack([np.linalg.qr(rows, mode="r") for rows in asked]) / np.sqrt(asked.shape[1])


def choose(
    parts: Sequence[Sensitivity], costs: Costs, samples: float, given: Sequence[int] = (), bounded: bool = True
) -> Chosen:
    """The runs to train.

    Args:
        parts: what each candidate tells; families count alike, whatever the size of their predictions' variance.
        samples: what may be trained in all, without what `given` costs.
        given: candidates that are trained anyway; not among the chosen ones.
        bounded: whether the bound is wanted, which takes about as long as the choice; 0 else.
    """
    scale = [1.0 / (len(parts) * float((part.asked**2).sum(axis=2).mean(axis=1).sum())) for part in parts]
    knowledge = _Knowledge(parts, scale)
    for index in given:
        knowledge.change(index, 1)
    allowed = costs.total(given) * bool(len(given)) + samples
    chosen = _fill(knowledge, costs, allowed, list(given), len(given))
    for _ in range(_ROUNDS if len(chosen) - len(given) <= _FEW else 0):
        before = knowledge.variance
        for index in list(chosen[len(given) :]):
            old, held = list(chosen), knowledge.variance
            knowledge.change(index, -1)
            chosen.remove(index)
            added = _fill(knowledge, costs, allowed, chosen, len(given))
            if knowledge.variance > held * (1 - _TIE):
                for other in added[len(old) - 1 :]:
                    knowledge.change(other, -1)
                knowledge.change(index, 1)
                chosen = old
            else:
                chosen = added
        if knowledge.variance > before * (1 - 1e-4):
            break
    runs = chosen[len(given) :]
    bound = _bound(parts, scale, costs, allowed, given, chosen) if bounded else 0.0
    return Chosen(runs, knowledge.variance, bound)


def _fill(knowledge: _Knowledge, costs: Costs, allowed: float, chosen: Sequence[int], fixed: int) -> list[int]:
    """Add the best run for its cost until no run can be afforded; the list begins with what was there."""
    found = list(chosen)
    while True:
        spent = costs.total(found) if found else 0.0
        further = costs.further(found) if found else costs.own + costs.shared
        open_ = further <= (allowed - spent) * (1 + 1e-12)
        open_[found] = False
        if not open_.any():
            return found
        worth = np.where(open_, knowledge.gains() / np.maximum(further, 1e-12), -1.0)
        best = int(np.flatnonzero(worth >= worth.max() * (1 - _TIE))[0])
        knowledge.change(best, 1)
        found.append(best)


def _bound(
    parts: Sequence[Sensitivity],
    scale: Sequence[float],
    costs: Costs,
    allowed: float,
    given: Sequence[int],
    chosen: Sequence[int],
) -> float:
    """The least variance of designs whose runs may be trained in part, from below.

    The variance is convex in the parts w of the runs; a tangent at any w is below it, and its least value over all parts
    that can be afforded is a linear program. Frank and Wolfe's method goes from the design towards that program's answer,
    so that the largest of the tangents' values comes close to the least variance.
    """
    from scipy.optimize import linprog, minimize_scalar
    from scipy.sparse import coo_array, vstack

    count, ladders = len(costs.own), int(costs.ladders.max()) + 1
    index = np.arange(count)
    # Unknowns: the part of each run, then the shared samples trained of each ladder, which cover those of its runs.
    cover = coo_array(
        (
            np.concatenate([costs.shared, -np.ones(count)]),
            (np.tile(index, 2), np.concatenate([index, count + costs.ladders])),
        ),
        shape=(count, count + ladders),
    )
    price = coo_array(np.concatenate([costs.own, np.ones(ladders)])[None] / allowed)
    limits = vstack([price, cover]).tocsr()
    right = np.concatenate([[1.0], np.zeros(count)])
    low = np.zeros(count + ladders)
    low[list(given)] = 1.0
    box = np.stack([low, np.concatenate([np.ones(count), np.full(ladders, np.inf)])], axis=1)
    asked = [_thin(part.asked) * np.sqrt(size) for part, size in zip(parts, scale, strict=True)]

    def variance(w: Floats) -> tuple[float, Floats]:
        value, slope = 0.0, np.zeros(count)
        for part, wanted in zip(parts, asked, strict=True):
            runs = part.runs
            information = np.eye(runs.shape[2]) + np.einsum("lni,n,lnj->lij", runs, w, runs, optimize=True)
            solved = np.linalg.solve(information, wanted.transpose(0, 2, 1))
            value += float((wanted.transpose(0, 2, 1) * solved).sum())
            slope -= ((runs @ solved) ** 2).sum(axis=(0, 2))
        return value, slope

    w = np.zeros(count)
    w[list(chosen)] = 1.0
    best = 0.0
    for _ in range(_STEPS):
        value, slope = variance(w)
        found = linprog(np.concatenate([slope, np.zeros(ladders)]), A_ub=limits, b_ub=right, bounds=box)
        if found.x is None:
            break
        towards = found.x[:count] - w
        best = max(best, value + float(slope @ towards))
        if best >= (1 - _GAP) * value:
            break
        step = minimize_scalar(
            lambda part, to=towards, at=w: variance(at + part * to)[0],
            bounds=(0, 1),
            method="bounded",
            options={"maxiter": 12},
        )
        w = w + float(step.x) * towards
    return best
