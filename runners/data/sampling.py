"""Which crop of which volume is sample number t of a run, as a pure function of (seed, t).

All randomness is counter-based: a hash of (seed, stream, counter) in place of a generator's state. So a run resumed
in the middle, or spread over any number of processes and workers, sees exactly the same samples.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runners.data.volumes import open_volume

_GOLDEN = np.uint64(0x9E3779B97F4A7C15)


def _mix(state: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """The finaliser of SplitMix64 (Steele, Lea and Flood 2014)."""
    state = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    state = (state ^ (state >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return state ^ (state >> np.uint64(31))


def uniform(seed: int, stream: str, counters: Any, lanes: int = 1) -> NDArray[np.float64]:
    """Independent uniform numbers in [0, 1), one row of `lanes` for each counter.

    Args:
        seed: the run's seed.
        stream: what the numbers are for; streams are independent of each other.
        counters: whole numbers, shape (n,).
    """
    start = _mix(np.array([seed], np.uint64) * _GOLDEN + np.uint64(zlib.crc32(stream.encode())))
    with np.errstate(over="ignore"):
        rows = _mix(start + (np.asarray(counters, np.uint64) + np.uint64(1)) * _GOLDEN)
        cells = _mix(rows[:, None] + (np.arange(lanes, dtype=np.uint64) + np.uint64(1)) * _GOLDEN)
    return (cells >> np.uint64(11)).astype(np.float64) * 2.0**-53


def mask_order(seed: int, stream: str, counters: Any, tokens: int) -> NDArray[np.int64]:
    """For each counter a random order of the tokens, shape (n, tokens); the first ones stay visible."""
    return np.argsort(uniform(seed, stream, counters, tokens), axis=1, kind="stable")


@dataclass(frozen=True)
class SampleOrder:
    """The samples of one run.

    Attributes:
        seed: the run's seed.
        volume: shape (budget,), index into `keys` of the volume that sample t comes from.
        keys: the prepared volumes the run draws from.
    """

    seed: int
    volume: NDArray[np.int64]
    keys: list[str]

    @classmethod
    def of(cls, amounts: dict[str, int], volumes: dict[str, list[str]], seed: int) -> SampleOrder:
        """Mix domains by exact counts; within a domain each volume is shown once before any is shown again.

        Domains are interleaved evenly: sample k of the n of a domain comes at a random moment of the k-th n-th part of
        the run. So every stretch of a run is close to its mixture, and runs of one mixture and seed begin alike.

        Args:
            amounts: samples of each domain.
            volumes: prepared volumes of each domain with a positive amount.
        """
        keys: list[str] = []
        drawn, moments = [], []
        for name in sorted(name for name, amount in amounts.items() if amount):
            members, amount = volumes[name], amounts[name]
            passes = -(-amount // len(members))
            counters = np.arange(passes * len(members))
            shuffled = np.argsort(uniform(seed, f"volumes {name}", counters).reshape(passes, -1), axis=1, kind="stable")
            drawn.append(shuffled.reshape(-1)[:amount] + len(keys))
            count = np.arange(amount)
            moments.append((count + uniform(seed, f"moments {name}", count)[:, 0]) / amount)
            keys.extend(members)
        order = np.argsort(np.concatenate(moments), kind="stable")
        return cls(seed, np.concatenate(drawn)[order], keys)


class CropReader:
    """Reads crops from memory-mapped volumes.

    Args:
        store: root of the store.
        keys: the volumes.
        crop: voxels along each axis.
    """

    def __init__(self, store: Path, keys: Sequence[str], crop: Sequence[int]) -> None:
        self.volumes = [open_volume(store, key) for key in keys]
        self.crop = np.asarray(crop)
        # Padding is NaN and stands at the end of an axis, so the last voxel tells whether there is any.
        self.padded = [bool(np.isnan(volume[-1, -1, -1])) for volume in self.volumes]

    def read(self, volumes: Any, places: NDArray[np.float64], flips: Any = None) -> NDArray[np.float32]:
        """Crops of the given volumes, shape (n, D, H, W); voxels that do not exist are NaN.

        Args:
            volumes: indices, shape (n,).
            places: where each crop lies, in [0, 1) of the room along each axis, shape (n, 3).
            flips: whether to flip each axis, shape (n, 3); none if left out.
        """
        out = np.empty((len(volumes), *self.crop), np.float32)
        for row, index in enumerate(volumes):
            volume = self.volumes[index]
            room = np.asarray(volume.shape) - self.crop + 1
            start = (places[row] * room).astype(np.int64)
            crop = volume[tuple(slice(int(at), int(at + size)) for at, size in zip(start, self.crop, strict=True))]
            if flips is not None:
                crop = crop[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips[row])]
            out[row] = crop
        return out

    def any_padded(self, volumes: Any) -> bool:
        """Whether any of these volumes has voxels that do not exist."""
        return any(self.padded[index] for index in volumes)
