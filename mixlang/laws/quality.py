"""What a fit cannot be asked: losses on which no effect of the mixture was seen, and how far a question is from the runs."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from mixlang.laws.fitted import Fit, FittedLaw
from mixlang.words import skill_in_words

Floats = NDArray[np.float64]

FAR = 2.0
"""A mixture this many times farther from the nearest run than runs are from each other has not been looked at."""


def unseen(fit: Fit) -> list[FittedLaw]:
    """The laws whose skill on mixtures left out is not above zero: as far as was seen, the mixture does not matter."""
    return [law for law in fit.laws if law.skill is not None and law.skill["low"] <= 0]


def doubts_of(fit: Fit) -> list[str]:
    """What is wrong with the laws for a decision between mixtures, in sentences; empty where nothing is."""
    found = []
    blind = unseen(fit)
    if blind:
        names = ", ".join(law.name for law in blind)
        skills = ", ".join(f"{law.name}: R^2 {skill_in_words(law.skill)}" for law in blind if law.skill is not None)
        found.append(
            f"no effect of the mixture on {names} was seen: on mixtures left out the laws predict no better than the mean "
            f"over the mixtures ({skills}). More seeds, validation crops or larger budgets would tell."
        )
    if fit.ladder <= 1 + 1e-6 and fit.budgets[1] > fit.budgets[0] * 1.05:
        found.append(
            "mixtures were probed at one budget only, so nothing says whether the advantage of one lasts to larger budgets. "
            "Probe them at several."
        )
    return found


def distance(fit: Fit, amounts: Floats) -> Floats:
    """How far rows of amounts are from the mixtures fitted, in typical distances between those, shape (rows,).

    Hellinger's distance between mixtures, sqrt(1 - sum_d sqrt(p_d q_d)), which gives a small share its due. 1 is what the
    median mixture has to its nearest neighbour.
    """
    rows = np.atleast_2d(amounts)
    roots = np.sqrt(rows / rows.sum(axis=1, keepdims=True))
    known = np.sqrt(fit.mixtures)
    between = np.sqrt(np.maximum(0.0, 1 - known @ known.T))
    np.fill_diagonal(between, np.inf)
    nearest = between.min(axis=1)
    typical = float(np.median(nearest)) if len(known) > 1 else 1.0
    return np.asarray(np.sqrt(np.maximum(0.0, 1 - roots @ known.T)).min(axis=1) / max(typical, 1e-9))


def far_in_words(fit: Fit, amounts: Floats) -> str:
    """A warning where rows of amounts lie far from the mixtures fitted; empty where none does."""
    away = distance(fit, amounts)
    far = int((away > FAR).sum())
    if not far:
        return ""
    return (
        f"{far} of {len(away)} mixtures lie far from all that were fitted, up to {away.max():.1f} times as far as those lie from "
        "each other: there the laws are guesses, and their intervals may be too narrow"
    )
