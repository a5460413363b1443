"""What the fits of a task say: scores with intervals, paired differences between encoders, and plain sentences."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixlang.documents import Difference, DownstreamSettings, Result, TaskResults, TaskSettings
from mixlang.errors import StageError
from runners.downstream.fits import Fit, finished
from runners.downstream.metrics import DRAWS, accuracy, auroc, by_class, draws_of, estimate, mean_of

Floats = NDArray[np.float64]

MAIN = {"classification": "auroc", "segmentation": "dice"}
"""The score that encoders are compared by."""


def summarise(task: TaskSettings, settings: DownstreamSettings, fits: Sequence[Fit], store: Path) -> dict[str, Any]:
    """The results of a task.

    Returns:
        `results`: for each (mode, labels, encoder) every score with its 95 % interval over subjects, seeds averaged, and the
        main score of each seed; `differences`: of the main score, paired by seed and subject; `sentences`.
    """
    cases = task["cases"]
    tested = sorted({index for one in fits for index in one.test})
    weights = draws_of([cases[index]["subject"] for index in tested], DRAWS)
    results, drawn = [], {}
    for mode in task["modes"]:
        for part in settings["labels"]:
            for name in settings["encoders"]:
                mine = [one for one in fits if (one.mode, one.labels, one.encoder) == (mode, part, name)]
                scores, main = _scores(task, mine, tested, settings["seeds"], weights, store)
                drawn[mode, part, name] = main
                trained = [len(one.job["training"]) for one in mine]
                results.append(
                    {"mode": mode, "labels": part, "encoder": name, "training_volumes": max(trained), **scores}
                )
    differences = [
        {"mode": mode, "labels": part, "encoder": ours, "against": other}
        | estimate(drawn[mode, part, ours] - drawn[mode, part, other])
        for mode in task["modes"]
        for part in settings["labels"]
        for ours, other in _pairs(settings["encoders"])
    ]
    return {
        "test": {
            "volumes": len(tested),
            "subjects": len({cases[index]["subject"] for index in tested}),
            "seen_unlabelled": bool(task["folds"]),
        },
        "results": results,
        "differences": differences,
        "sentences": _sentences(task, settings, results, differences),
    }


def _scores(
    task: TaskSettings, fits: Sequence[Fit], tested: list[int], seeds: int, weights: Floats, store: Path
) -> tuple[Result, Floats]:
    """Every score of one (mode, labels, encoder), and the bootstrap draws of the main one."""
    place = {index: row for row, index in enumerate(tested)}
    tables: dict[str, Floats] = {}
    for one in fits:
        found = finished(store, one.key)
        if found is None:
            raise StageError(f"the fit '{one.words}' has gone from the store", "Run the same command again.")
        for index, scores in zip(one.test, found["cases"], strict=True):
            for name, values in scores.items():
                table = tables.setdefault(name, np.full((seeds, len(tested), len(values)), np.nan))
                table[one.seed, place[index]] = [np.nan if value is None else value for value in values]
    if task["kind"] == "classification":
        folds = np.zeros(len(tested), np.int64)
        for one in fits:
            folds[[place[index] for index in one.test]] = one.fold
        truth = np.array([task["cases"][index]["class"] for index in tested])
        score = tables["probability"]
        draws = auroc(score, truth, folds, weights)
        each = [float(auroc(score[[seed]], truth, folds, weights[:1])[0]) for seed in range(seeds)]
        found = {"auroc": estimate(draws), "accuracy": estimate(accuracy(score, truth, weights))}
        return {**found, "seeds": [round(value, 5) for value in each]}, draws
    dice, distance = tables["dice"], tables["hd95"]
    draws = mean_of(dice, weights)
    each = [float(mean_of(dice[[seed]], weights[:1])[0]) for seed in range(seeds)]
    classes = {
        name: {
            "dice": estimate(one),
            "hd95": estimate(other),
            "missed": _missed(dice[:, :, index], distance[:, :, index]),
        }
        for index, (name, one, other) in enumerate(
            zip(task["classes"], by_class(dice, weights), by_class(distance, weights), strict=True)
        )
    }
    return {"dice": estimate(draws), "classes": classes, "seeds": [round(value, 5) for value in each]}, draws


def _missed(dice: Floats, distance: Floats) -> float:
    """Part of the test volumes with a class in which nothing of it was found; they have no HD95."""
    there = np.isfinite(dice)
    return round(float((there & ~np.isfinite(distance)).sum() / max(1, there.sum())), 5)


def _pairs(encoders: Sequence[str]) -> list[tuple[str, str]]:
    """What is compared: the first encoder with each other, and each pretrained one with scratch."""
    first, *others = encoders
    pairs = [(first, other) for other in others]
    return pairs + [(name, "scratch") for name in others if name != "scratch" and "scratch" in others]


def verdict(difference: Difference) -> str:
    """`better`, `worse`, or `equal` where the interval holds zero."""
    if difference["low"] is None or difference["low"] <= 0 <= difference["high"]:
        return "equal"
    return "better" if difference["mean"] > 0 else "worse"


def _sentences(
    task: TaskSettings,
    settings: DownstreamSettings,
    results: Sequence[Result],
    differences: Sequence[Difference],
) -> list[str]:
    """For each mode and the largest and smallest part of the labels: the first encoder against proportional's and scratch."""
    found = []
    score = {"auroc": "AUROC", "dice": "mean Dice"}[MAIN[task["kind"]]]
    first = settings["encoders"][0]
    for mode in task["modes"]:
        for part in sorted({settings["labels"][-1], settings["labels"][0]}, reverse=True):
            here = [item for item in differences if (item["mode"], item["labels"]) == (mode, part)]
            said = [
                _compared(item)
                for item in here
                if item["encoder"] == first and item["against"] in ("proportional", "scratch")
            ]
            how = {"probe": "Frozen", "finetune": "Fine-tuned"}[mode]
            if said:
                text = f"{how}, {part:.0%} of the labels: by {score} the {first} encoder {' and '.join(said)}."
                found.append(text + _by_chance(results, mode, part))
    return found


def _by_chance(results: Sequence[Result], mode: str, part: float) -> str:
    """A warning where no encoder's AUROC is told apart from chance: differences then mean nothing."""
    here = [item["auroc"] for item in results if (item["mode"], item["labels"]) == (mode, part) and "auroc" in item]
    lost = [item["low"] is None or item["low"] <= 0.5 for item in here]
    return " No encoder does better than chance here, so the comparison says nothing." if here and all(lost) else ""


def _compared(item: Difference) -> str:
    other = "one from scratch" if item["against"] == "scratch" else f"the {item['against']} one"
    if item["mean"] is None:
        return f"cannot be compared with {other}"
    word = {"better": "is better than", "worse": "is worse than", "equal": "is not told apart from"}[verdict(item)]
    return f"{word} {other} ({item['mean']:+.3f}, 95 % interval {item['low']:+.3f} to {item['high']:+.3f})"


def overall(tasks: Mapping[str, TaskResults]) -> list[str]:
    """Over all tasks: how often a solved mixture's encoder is better, equal or worse, and whether pretraining helps."""
    found = []
    for ours, whose in (
        ("published", "of the published shares"),
        ("allocated", "of the mixture solved for that budget"),
    ):
        for other, words in (
            ("proportional", f"The encoder {whose} against proportional's"),
            ("scratch", f"The encoder {whose} against no pretraining"),
        ):
            items = [
                verdict(item)
                for task in tasks.values()
                for item in task["differences"]
                if (item["encoder"], item["against"]) == (ours, other)
            ]
            if items:
                counts = ", ".join(f"{word} in {items.count(word)}" for word in ("better", "equal", "worse"))
                found.append(
                    f"{words}: {counts} of {len(items)} comparisons (equal: the 95 % interval holds zero; not corrected for "
                    "their number)."
                )
    return found
