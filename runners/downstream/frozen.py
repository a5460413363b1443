"""The loss of a task under a frozen encoder: a probe with a closed form or a convex fit, and nothing random of its own.

It is measured of every probe run of a study whose objective names the task, so it is cheap: a few fixed tiles of each
volume, one pass of the encoder, and then linear algebra on its tokens. Segmentation: ridge regression from each token to
the classes in the cells of its patch, scored by 1 - soft Dice. Classification: penalised multinomial logistic regression
on the mean and the deviation of a volume's tokens, scored by cross-entropy. Penalties are chosen, or weighed, by
cross-validation over the training subjects.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import avg_pool3d

from mixlang.documents import ProbeTask, Score
from mixlang.errors import StageError
from mixlang.plan.tasks import MOST_TILES, folds_of
from runners.data.sampling import uniform
from runners.downstream.crops import LabelledVolumes, read_volume, tile_boxes
from runners.downstream.heads import Encoder
from runners.train.mae import MaskedAutoencoder

Floats = NDArray[np.float64]

RIDGE = tuple(10.0**power for power in range(-5, 3))
"""Penalties tried for ridge regression, in units of the variance of each feature."""

LOGISTIC = tuple(10.0**power for power in range(-3, 3))
"""Penalties tried for logistic regression on standardised features."""

_BLOCKS = 4
"""Blocks of the encoder whose tokens a probe sees, as in the linear probes of DINO (Caron 2021, 2104.14294)."""

_FINER = 4
"""Parts along each axis of a patch whose class a token's regression gives: finer costs more and tells no more."""

_INNER = 4
"""Folds of subjects by which a penalty is chosen."""

_WITH_LABELS = 5
"""Tiles of a volume that hold a class, at most, of the MOST_TILES that are seen."""

_KEPT = 256 * 2**20
"""Bytes of tiles that a process keeps for the next run."""


def task_loss(mae: MaskedAutoencoder, task: ProbeTask, store: Path, device: torch.device) -> Score:
    """The loss of a task from the tokens of a pretrained encoder.

    Returns:
        `loss`; of a segmentation `classes`, its loss by class, and `penalty`, the one chosen for the first fold; of a
        classification `constant`, the cross-entropy of predicting how frequent each class is among the training volumes.

    Raises:
        StageError: a volume or a label map is not in the store.
    """
    encoder = Encoder(mae).eval().to(device)
    if task["kind"] == "segmentation":
        return _segmentation(encoder, task, store, device)
    return _classification(encoder, task, store, device)


@torch.no_grad()
def _tokens(encoder: Encoder, images: Tensor, device: torch.device) -> Floats:
    """The tokens of crops after up to four blocks, evenly spread and the last among them, side by side.

    One block alone tells far less: the last one of a masked autoencoder serves its decoder. Shape (crops * tokens, features).
    """
    parts = []
    for part in images.split(16):
        states = encoder(part.float().to(device))
        depth = len(states)
        places = sorted({max(1, round(depth * (index + 1) / _BLOCKS)) for index in range(_BLOCKS)})
        parts.append(torch.cat([states[place - 1] for place in places], dim=-1).flatten(0, 1).cpu())
    return torch.cat(parts).double().numpy()


def _chosen(count: int, holds: Sequence[bool], seed: int, stream: str) -> list[int]:
    """The tiles of a volume that are seen: of those with a class up to _WITH_LABELS, then others, in a fixed random order."""
    order = np.argsort(uniform(seed, stream, np.arange(count))[:, 0], kind="stable").tolist()
    with_labels = [tile for tile in order if holds[tile]][:_WITH_LABELS]
    others = [tile for tile in order if tile not in with_labels]
    return sorted([*with_labels, *others][:MOST_TILES])


@functools.cache
def _kept(read: Callable[..., Any], crop: tuple[int, ...]) -> Callable[..., Any]:
    """A function that reads tiles, with what it read last kept: as many volumes as _KEPT has room for."""
    return functools.lru_cache(max(1, _KEPT // (3 * MOST_TILES * math.prod(crop))))(read)


# Segmentation


def _labelled_tiles(
    store: Path,
    volume: str,
    label: str,
    values: tuple[tuple[str, tuple[int, ...]], ...],
    crop: tuple[int, ...],
    seed: int,
) -> tuple[Tensor, Tensor]:
    """The tiles of a volume that are seen: images, in half precision, and the class of each voxel."""
    classes = {name: list(found) for name, found in values}
    case = LabelledVolumes(store, [{"volume": volume, "label": {"key": label}}], classes, crop)  # type: ignore[list-item]
    try:
        image, truth = case.image(0), case.truth(0)[0]
    except OSError as error:
        raise StageError(
            f"volume {volume[:12]} of a task cannot be read: {error}", "Run 'mixlang run' again."
        ) from error
    boxes = tile_boxes(image.shape, crop)
    picked = _chosen(len(boxes), [bool(truth[box].any()) for box in boxes], seed, f"tiles {volume}")
    images = torch.stack([image[boxes[tile]].half() for tile in picked])
    return images, torch.stack([truth[boxes[tile]].to(torch.uint8) for tile in picked])


@dataclass
class _Sums:
    """What ridge regression needs of some cases: X'X, X'Y and the sum of Y^2; features with a last column of ones."""

    gram: Floats
    cross: Floats
    squares: float

    @classmethod
    def of(cls, x: NDArray[np.float32], y: NDArray[np.float32]) -> _Sums:
        """The sums of some rows, in double precision."""
        wide, squares = x.astype(float), float((y.astype(float) ** 2).sum())
        return cls(wide.T @ wide, wide.T @ y, squares)

    def __add__(self, other: _Sums) -> _Sums:
        return _Sums(self.gram + other.gram, self.cross + other.cross, self.squares + other.squares)

    def __sub__(self, other: _Sums) -> _Sums:
        return _Sums(self.gram - other.gram, self.cross - other.cross, self.squares - other.squares)

    def solve(self, penalty: float) -> Floats:
        """Weights under a penalty on each feature's weight in units of its variance; the constant has none."""
        count = self.gram[-1, -1]
        variance = np.maximum(np.diag(self.gram) / count - (self.gram[-1] / count) ** 2, 1e-12)
        variance[-1] = 0.0
        return np.linalg.solve(self.gram + penalty * count * np.diag(variance), self.cross)

    def error(self, weights: Floats) -> float:
        """Sum of squared errors of weights on these cases."""
        return self.squares - 2 * float((weights * self.cross).sum()) + float((weights * (self.gram @ weights)).sum())


def _segmentation(encoder: Encoder, task: ProbeTask, store: Path, device: torch.device) -> Score:
    values = tuple((name, tuple(found)) for name, found in task["values"].items())
    crop, patch, names = tuple(encoder.size.crop), encoder.size.patch, list(task["values"])
    cell = max(1, patch // _FINER) if patch % max(1, patch // _FINER) == 0 else 1
    features, targets = [], []
    for case in task["cases"]:
        images, truth = _kept(_labelled_tiles, crop)(
            store, case["volume"], case["label"]["key"], values, crop, task["seed"]
        )
        tokens = _tokens(encoder, images, device)
        parts = torch.stack([(truth == label).float() for label in range(1, len(names) + 1)], dim=1)
        features.append(np.column_stack([tokens, np.ones(len(tokens))]).astype(np.float32))
        targets.append(_by_token(avg_pool3d(parts, cell), patch // cell).numpy())
    overlap, first = np.zeros((3, len(names))), None
    for training, test in folds_of(task):
        sums = (_Sums.of(features[index], targets[index]) for index in training)
        penalty, weights = _ridge(sums, _inner_folds(task, training))
        first = penalty if first is None else first
        for index in test:
            predicted = np.clip(features[index] @ weights.astype(np.float32), 0.0, 1.0)
            predicted = predicted.reshape(len(predicted), len(names), -1)
            known = targets[index].reshape(predicted.shape)
            products = (predicted * known, predicted**2, known**2)
            overlap += [product.sum(axis=(0, 2), dtype=float) for product in products]
    # Soft Dice with squares (Milletari 2016, 1606.04797): a calibrated prediction scores what it explains.
    losses = 1.0 - 2.0 * overlap[0] / np.maximum(overlap[1] + overlap[2], 1e-12)
    return {
        "loss": float(losses.mean()),
        "classes": dict(zip(names, losses.tolist(), strict=True)),
        "penalty": first if first is not None else RIDGE[0],
    }


def _by_token(voxels: Tensor, patch: int) -> Tensor:
    """Maps (tiles, channels, D, H, W) by token: (tiles * tokens, channels * voxels of a patch), tokens in row-major order."""
    tiles, channels, depth, height, width = voxels.shape
    cut = voxels.view(tiles, channels, depth // patch, patch, height // patch, patch, width // patch, patch)
    return cut.permute(0, 2, 4, 6, 1, 3, 5, 7).reshape(-1, channels * patch**3)


def _inner_folds(task: ProbeTask, training: Sequence[int]) -> list[int]:
    """For each training case the fold its subject is in; subjects are dealt out in their fixed order."""
    places: dict[str, int] = {}
    for index in training:
        places.setdefault(task["cases"][index]["subject"], len(places) % _INNER)
    return [places[task["cases"][index]["subject"]] for index in training]


def _ridge(sums: Iterable[_Sums], folds: Sequence[int]) -> tuple[float, Floats]:
    """The penalty with the smallest cross-validated error, and the weights of all cases under it.

    Args:
        sums: of each case, added up by fold as they come: those of a wide encoder take 75 MB each.
    """
    parts: dict[int, _Sums] = {}
    for one, fold in zip(sums, folds, strict=True):
        parts[fold] = parts[fold] + one if fold in parts else one
    whole = functools.reduce(_Sums.__add__, parts.values())
    if len(parts) < 2:  # one subject: nothing tells penalties apart
        return RIDGE[-1], whole.solve(RIDGE[-1])
    errors = [sum(part.error((whole - part).solve(penalty)) for part in parts.values()) for penalty in RIDGE]
    best = RIDGE[int(np.argmin(errors))]
    return best, whole.solve(best)


# Classification


def _tiles(store: Path, volume: str, crop: tuple[int, ...], seed: int) -> Tensor:
    """The tiles of a volume that are seen, in half precision."""
    try:
        image = read_volume(store, volume)
    except OSError as error:
        raise StageError(
            f"volume {volume[:12]} of a task cannot be read: {error}", "Run 'mixlang run' again."
        ) from error
    boxes = tile_boxes(image.shape, crop)
    picked = _chosen(len(boxes), [False] * len(boxes), seed, f"tiles {volume}")
    return torch.stack([image[boxes[tile]].half() for tile in picked])


def _classification(encoder: Encoder, task: ProbeTask, store: Path, device: torch.device) -> Score:
    crop, count = tuple(encoder.size.crop), len(task["classes"])
    rows = []
    for case in task["cases"]:
        tokens = _tokens(encoder, _kept(_tiles, crop)(store, case["volume"], crop, task["seed"]), device)
        rows.append(np.concatenate([tokens.mean(axis=0), tokens.std(axis=0)]))
    features, truth = np.array(rows), np.array([case["class"] for case in task["cases"]])
    scores, constants = [], []
    for training, test in folds_of(task):
        scale = np.maximum(features[training].std(axis=0), 1e-9)
        x = (features - features[training].mean(axis=0)) / scale
        chances = _averaged(x[training], truth[training], count, _inner_folds(task, training), x[test])
        scores += (-np.log(chances[np.arange(len(test)), truth[test]])).tolist()
        part = (np.bincount(truth[training], minlength=count) + 0.5) / (len(training) + 0.5 * count)
        constants += (-np.log(part[truth[test]])).tolist()
    return {"loss": float(np.mean(scores)), "constant": float(np.mean(constants))}


def _averaged(x: Floats, truth: NDArray[np.int64], count: int, folds: Sequence[int], asked: Floats) -> Floats:
    """The chance of each class, averaged over penalties by how well each predicts left-out subjects, shape (asked, classes).

    Weights are those of pseudo Bayesian model averaging (Yao 2018, 1704.02030). The best penalty alone would jump from one
    encoder to the next, and the loss with it.
    """
    places = np.array(folds)
    lost = np.zeros(len(LOGISTIC))
    for index, penalty in enumerate(LOGISTIC if len(set(folds)) > 1 else ()):
        for fold in sorted(set(folds)):
            kept = places != fold
            weights = _logistic(x[kept], truth[kept], count, penalty)
            lost[index] -= np.log(_chances(x[~kept], weights)[np.arange((~kept).sum()), truth[~kept]]).sum()
    parts = np.exp(lost.min() - lost)
    fits = [_chances(asked, _logistic(x, truth, count, penalty)) for penalty in LOGISTIC]
    return np.einsum("p,pac->ac", parts / parts.sum(), np.array(fits))


def _logistic(x: Floats, truth: NDArray[np.int64], count: int, penalty: float) -> Floats:
    """Weights, shape (features + 1, classes), of the multinomial fit: mean cross-entropy + penalty / 2 * sum of squared weights.

    The constants have no penalty. Features are scaled for the solver alone.
    """
    from scipy.optimize import minimize

    given = np.column_stack([x / np.sqrt(x.shape[1]), np.ones(len(x))])
    hot = np.eye(count)[truth]

    def value(flat: Floats) -> tuple[float, Floats]:
        weights = flat.reshape(-1, count)
        logits = given @ weights
        logits -= logits.max(axis=1, keepdims=True)
        exponents = np.exp(logits)
        total = exponents.sum(axis=1, keepdims=True)
        loss = float((np.log(total[:, 0]) - (logits * hot).sum(axis=1)).mean())
        gradient = given.T @ (exponents / total - hot) / len(x)
        gradient[:-1] += penalty * weights[:-1] / x.shape[1]
        return loss + 0.5 * penalty * float((weights[:-1] ** 2).sum()) / x.shape[1], gradient.ravel()

    found = minimize(
        value,
        np.zeros(given.shape[1] * count),
        jac=True,
        method="L-BFGS-B",
        options={"maxiter": 2000, "ftol": 1e-12, "gtol": 1e-8},
    )
    weights = found.x.reshape(-1, count)
    weights[:-1] /= np.sqrt(x.shape[1])
    return weights


def _chances(x: Floats, weights: Floats) -> Floats:
    """The chance of each class for each row; none is below 1e-6."""
    logits = np.column_stack([x, np.ones(len(x))]) @ weights
    exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
    found = np.maximum(exponents / exponents.sum(axis=1, keepdims=True), 1e-6)
    return found / found.sum(axis=1, keepdims=True)
