"""The labelled volumes of a fit, and which crop of which of them is seen at each step.

As in pretraining all randomness is counter-based: sample number t of a fit is a function of (seed, t), the same for every
encoder.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mixlang.documents import Case
from runners.data.preprocess import NO_LABEL
from runners.data.sampling import uniform
from runners.data.volumes import StoredVolume
from runners.downstream.annotated import label_path

_AROUND_LABELS = 0.67
"""Part of the crops that are laid around a voxel of a class, each class as often as the others."""

_KNOWN = 4096
"""Voxels of each class of a volume that crops are laid around, spread evenly over all of them."""


def read_volume(store: Path, key: str) -> Tensor:
    """A prepared volume as the encoder sees it, shape (D, H, W): what does not exist is 0."""
    return torch.from_numpy(StoredVolume(store, key).mapped()).view(torch.float16).float().nan_to_num(0.0)


class LabelledVolumes:
    """Images with label maps, read from the store when they are needed.

    Args:
        store: root of the store.
        cases: `volume` and `label` keys.
        classes: the labels each class stands for, by name; the first is class 1, and what is in none is 0.
        crop: voxels along each axis.
    """

    def __init__(
        self, store: Path, cases: Sequence[Case], classes: Mapping[str, list[int]], crop: Sequence[int]
    ) -> None:
        self.store, self.cases, self.crop = store, cases, tuple(crop)
        self.table = np.zeros(2**15, np.int64)
        for index, values in enumerate(classes.values(), 1):
            self.table[values] = index
        self.classes = len(classes)
        self.places: dict[int, list[NDArray[np.int64]]] = {}

    def image(self, index: int) -> Tensor:
        """The image of a case, shape (D, H, W)."""
        return read_volume(self.store, self.cases[index]["volume"])

    def truth(self, index: int) -> tuple[Tensor, Tensor]:
        """The class of each voxel of a case, and which voxels exist."""
        labels = self._labels(index)
        return torch.from_numpy(self.table[np.maximum(labels, 0)]), torch.from_numpy(labels != NO_LABEL)

    def batch(self, seed: int, step: int, size: int) -> tuple[Tensor, Tensor]:
        """The crops of a step, shape (size, D, H, W), and the class of each of their voxels."""
        chance = uniform(seed, "downstream crops", step * size + np.arange(size), 8)
        images, targets = [], []
        for row in chance:
            index = int(row[0] * len(self.cases))
            labels = self._labels(index)
            box = self._box(index, labels.shape, row[1:])
            image = torch.from_numpy(StoredVolume(self.store, self.cases[index]["volume"]).mapped()[box].copy())
            images.append(image.view(torch.float16).float().nan_to_num(0.0))
            targets.append(torch.from_numpy(self.table[np.maximum(labels[box], 0)]))
        return torch.stack(images), torch.stack(targets)

    def _labels(self, index: int) -> NDArray[np.int16]:
        return np.load(label_path(self.store, self.cases[index]["label"]["key"]), mmap_mode="r")

    def _box(self, index: int, shape: Sequence[int], chance: NDArray[np.float64]) -> tuple[slice, ...]:
        """Where a crop lies: anywhere, or so that a voxel of some class is anywhere in it."""
        room = np.asarray(shape) - self.crop
        start = (chance[3:6] * (room + 1)).astype(np.int64)
        known = self._voxels(index)
        if known and chance[0] < _AROUND_LABELS:
            voxels = known[int(chance[1] * len(known))]
            voxel = np.unravel_index(voxels[int(chance[2] * len(voxels))], shape)
            start = np.clip(np.asarray(voxel) - (chance[3:6] * self.crop).astype(np.int64), 0, room)
        return tuple(slice(int(at), int(at + size)) for at, size in zip(start, self.crop, strict=True))

    def _voxels(self, index: int) -> list[NDArray[np.int64]]:
        """Voxels of each class that a case holds, flat indices."""
        if index not in self.places:
            found = self.table[np.maximum(self._labels(index), 0)].reshape(-1)
            each = [np.flatnonzero(found == label) for label in range(1, self.classes + 1)]
            self.places[index] = [voxels[:: -(-len(voxels) // _KNOWN)] for voxels in each if len(voxels)]
        return self.places[index]


def tiles(image: Tensor, crop: Sequence[int]) -> Tensor:
    """Crops that cover a volume, as few as can be and evenly spread, shape (tiles, D, H, W)."""
    return torch.stack([image[box] for box in tile_boxes(image.shape, crop)])


def tile_boxes(shape: Sequence[int], crop: Sequence[int]) -> list[tuple[slice, ...]]:
    """Where the crops that cover a volume are, in row-major order."""
    starts = [
        np.linspace(0, size - edge, -(-size // edge)).round().astype(int).tolist()
        for size, edge in zip(shape, crop, strict=True)
    ]
    return [
        (slice(x, x + crop[0]), slice(y, y + crop[1]), slice(z, z + crop[2]))
        for x in starts[0]
        for y in starts[1]
        for z in starts[2]
    ]


def balanced(seed: int, step: int, size: int, truth: Sequence[int]) -> list[int]:
    """The cases of a step of a classification: each class as often as the others."""
    chance = uniform(seed, "downstream volumes", step * size + np.arange(size), 2)
    groups = [[index for index, found in enumerate(truth) if found == kind] for kind in sorted(set(truth))]
    picked = [groups[int(row[0] * len(groups))] for row in chance]
    return [group[int(row[1] * len(group))] for group, row in zip(picked, chance, strict=True)]
