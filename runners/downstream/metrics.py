"""Scores of downstream tasks and their bootstrap over subjects: AUROC, accuracy, Dice, 95th-percentile Hausdorff distance."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

Floats = NDArray[np.float64]

DRAWS = 2000
"""Bootstrap draws of an interval."""


def overlap(predicted: Tensor, truth: Tensor, classes: int, spacing: Sequence[float]) -> tuple[list[Any], list[Any]]:
    """Dice and HD95 of one volume, class by class, by MONAI.

    Args:
        predicted, truth: class of each voxel, 0 the background, shape (D, H, W).
        classes: without the background.
        spacing: mm.

    Returns:
        Dice of each class, None where the truth holds none of it (MONAI would count such a class as 0 in a mean); HD95 in
        mm, None also where nothing of the class was found.
    """
    import warnings

    from monai.metrics import DiceMetric, HausdorffDistanceMetric
    from monai.networks.utils import one_hot

    warnings.filterwarnings("ignore", category=FutureWarning, module="monai")  # of its own calls of its own functions

    pair = [one_hot(volume[None, None], classes + 1) for volume in (predicted, truth)]
    dice = DiceMetric(include_background=False, reduction="none", ignore_empty=True)(*pair)[0]
    here = [bool((predicted == index).any()) and bool((truth == index).any()) for index in range(1, classes + 1)]
    distance: list[float | None] = [None] * classes
    if any(here):
        measure = HausdorffDistanceMetric(include_background=False, percentile=95, reduction="none")
        kept = [0, *(index + 1 for index, found in enumerate(here) if found)]
        found = measure(*(item[:, kept] for item in pair), spacing=list(spacing))[0].tolist()
        for index, value in zip(kept[1:], found, strict=True):
            distance[index - 1] = round(value, 3)
    return [None if np.isnan(value) else round(value, 5) for value in dice.tolist()], distance


def draws_of(subjects: Sequence[str], count: int = DRAWS) -> NDArray[np.float64]:
    """Bootstrap weights of cases, shape (1 + count, cases): subjects drawn with replacement, each with all its cases.

    The first row is the sample itself. The draws depend on the number of subjects alone, so differences are paired.
    """
    names, index = np.unique(np.asarray(subjects), return_inverse=True)
    rng = np.random.default_rng(len(names))
    drawn = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=count)
    return np.vstack([np.ones(len(names)), drawn])[:, index]


def auroc(scores: Floats, truth: NDArray[np.int64], folds: NDArray[np.int64], weights: Floats) -> Floats:
    """Area under the ROC curve for each row of weights, shape (draws,), averaged over seeds.

    Only cases of one fold are compared with each other: the networks of two folds are not on one scale.

    Args:
        scores: probability of each class, shape (seeds, cases, classes).
        truth, folds: class and fold of each case; with more than two classes the mean of each against the rest.
        weights: shape (draws, cases).

    Returns:
        NaN in draws that lack a class.
    """
    classes = range(1, 2) if scores.shape[2] == 2 else range(scores.shape[2])
    found = [_one_against_rest(row[:, kind], truth == kind, folds, weights) for row in scores for kind in classes]
    return np.mean(found, axis=0)


def _one_against_rest(score: Floats, positive: NDArray[np.bool_], folds: NDArray[np.int64], weights: Floats) -> Floats:
    """The weighted probability that a positive case scores above a negative one of its fold, ties counting half."""
    here = (folds[positive, None] == folds[None, ~positive]).astype(float)
    above = (score[positive, None] > score[None, ~positive]) + 0.5 * (score[positive, None] == score[None, ~positive])
    ours, others = weights[:, positive], weights[:, ~positive]
    with np.errstate(invalid="ignore"):
        return ((ours @ (here * above)) * others).sum(axis=1) / ((ours @ here) * others).sum(axis=1)


def accuracy(scores: Floats, truth: NDArray[np.int64], weights: Floats) -> Floats:
    """Fraction of cases whose most probable class is the true one, shape (draws,), averaged over seeds."""
    right = (scores.argmax(axis=2) == truth).mean(axis=0)
    return weights @ right / weights.sum(axis=1)


def mean_of(values: Floats, weights: Floats) -> Floats:
    """Mean over classes of the mean over cases and seeds, shape (draws,); values that are NaN do not count.

    Args:
        values: shape (seeds, cases, classes).
    """
    return np.nanmean(by_class(values, weights), axis=0)


def by_class(values: Floats, weights: Floats) -> Floats:
    """Mean over cases and seeds of each class, shape (classes, draws); NaN where a draw has no value."""
    there = np.isfinite(values)
    total, count = np.where(there, values, 0.0).sum(axis=0), there.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        return ((weights @ total) / (weights @ count)).T


def estimate(draws: Floats) -> dict[str, float | None]:
    """The value of the sample (the first draw) with the 95 % interval of the others."""
    if not np.isfinite(draws[0]):
        return {"mean": None, "low": None, "high": None}
    low, high = np.nanquantile(draws[1:], (0.025, 0.975))
    return {"mean": round(float(draws[0]), 5), "low": round(float(low), 5), "high": round(float(high), 5)}
