"""Which crop of which volume is sample number t of a run, as a pure function of (seed, t).

All randomness is counter-based: a hash of (seed, stream, counter) in place of a generator's state. So a run resumed
in the middle, or spread over any number of processes and workers, sees exactly the same samples.
"""

from __future__ import annotations

import functools
import zlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from runners.data.volumes import StoredVolume

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
    def of(
        cls,
        amounts: dict[str, int],
        volumes: dict[str, list[str]],
        seed: int,
        subjects: Mapping[str, Sequence[int]] | None = None,
    ) -> SampleOrder:
        """Mix domains by exact counts; within a domain each volume is shown once before any is shown again, or, where
        subjects are given, each subject, and of a subject each volume.

        Domains are interleaved evenly: sample k of the n of a domain comes at a random moment of the k-th n-th part of
        the run. So every stretch of a run is close to its mixture, and runs of one mixture and seed begin alike.

        Args:
            amounts: samples of each domain.
            volumes: prepared volumes of each domain with a positive amount.
            subjects: of the domains that draw each subject equally often, whose each volume is, numbered from 0.
        """
        keys: list[str] = []
        drawn, moments = [], []
        for name in sorted(name for name, amount in amounts.items() if amount):
            members, amount = volumes[name], amounts[name]
            if subjects and name in subjects:
                mine = _by_subject(seed, name, np.asarray(subjects[name], np.int64), amount)
            else:
                mine = _rounds(seed, f"volumes {name}", len(members), amount)
            drawn.append(mine + len(keys))
            count = np.arange(amount)
            moments.append((count + uniform(seed, f"moments {name}", count)[:, 0]) / amount)
            keys.extend(members)
        order = np.argsort(np.concatenate(moments), kind="stable")
        return cls(seed, np.concatenate(drawn)[order], keys)


def _rounds(seed: int, stream: str, things: int, count: int) -> NDArray[np.int64]:
    """`count` draws of `things`, in rounds: each is drawn once, in a random order, before any is drawn again.

    Fewer draws are the beginning of more.
    """
    rounds = -(-count // things)
    counters = np.arange(rounds * things)
    shuffled = np.argsort(uniform(seed, stream, counters).reshape(rounds, -1), axis=1, kind="stable")
    return shuffled.reshape(-1)[:count]


def _by_subject(seed: int, name: str, subjects: NDArray[np.int64], amount: int) -> NDArray[np.int64]:
    """`amount` draws of volumes of a domain: subjects in rounds, and of each subject its volumes in rounds of their own.

    Args:
        subjects: whose each volume is, shape (volumes,), numbered from 0 without a gap.
    """
    turns = _rounds(seed, f"subjects {name}", int(subjects.max()) + 1, amount)
    drawn = np.empty(amount, np.int64)
    for subject in np.unique(turns):
        theirs, places = np.flatnonzero(subjects == subject), np.flatnonzero(turns == subject)
        drawn[places] = theirs[_rounds(seed, f"volumes {name} {subject}", len(theirs), len(places))]
    return drawn


_MAPPED = 4096
"""Volumes a reader keeps mapped; Linux allows 65,530 maps a process."""


class CropReader:
    """Reads random crops of prepared volumes.

    Volumes stay mapped, without an open file each, so a run may draw from more of them than a process may have open.
    What a crop covers is announced to the kernel first: on a cold cache its rows are then read together, and nothing
    else is, where a map alone reads four times as much and waits for each row.

    Args:
        store: root of the store.
        keys: the volumes.
        crop: voxels along each axis.
        threads: that read a batch together, the same crops whatever their number. Beside a GPU, which takes several
            times as many crops as one thread reads, as many as there are cores for.

    Raises:
        StageError: a volume is not there.
    """

    def __init__(self, store: Path, keys: Sequence[str], crop: Sequence[int], threads: int = 1) -> None:
        self.files = files = [StoredVolume(store, key) for key in keys]
        self.crop = np.asarray(crop)
        # Half precision is widened by torch, five times as fast as by numpy; a crop at a time stays in the cache.
        self.halves = [torch.empty(tuple(crop), dtype=torch.float16) for _ in range(threads)]
        self.pool = ThreadPoolExecutor(threads, "crops") if threads > 1 else None
        self.buffers = [torch.empty(0), torch.empty(0)]
        self.mapped = functools.lru_cache(_MAPPED)(lambda index: files[index].mapped())  # no cycle: freed with it

    def read(self, volumes: Any, places: NDArray[np.float64], flips: Any = None) -> NDArray[np.float32]:
        """Crops of the given volumes, shape (n, D, H, W); voxels that do not exist are NaN.

        The array is one of two that are used in turn, since fresh memory would cost as much as the reading: it holds
        until the read after the next.

        Args:
            volumes: indices, shape (n,).
            places: where each crop lies, in [0, 1) of the room along each axis, shape (n, 3).
            flips: whether to flip each axis, shape (n, 3); none if left out.

        Raises:
            StageError: a volume is damaged or not there any more.
        """
        crops = self._buffer(len(volumes))
        boxes = [self._box(index, place) for index, place in zip(volumes, places, strict=True)]
        for index, box in zip(volumes, boxes, strict=True):
            self.files[index].announce(box)
        wanted = list(enumerate(zip(volumes, boxes, strict=True)))

        def fill(thread: int) -> None:
            half = self.halves[thread]
            bits = half.view(torch.int16).numpy()
            for row, (index, box) in wanted[thread :: len(self.halves)]:
                crop = self.mapped(index)[box]
                if flips is not None:
                    crop = crop[tuple(slice(None, None, -1) if flip else slice(None) for flip in flips[row])]
                bits[...] = crop
                crops[row] = half

        if self.pool is None:
            fill(0)
        else:
            list(self.pool.map(fill, range(len(self.halves))))
        return crops.numpy()

    def _buffer(self, count: int) -> torch.Tensor:
        self.buffers.reverse()
        if len(self.buffers[0]) < count:
            self.buffers[0] = torch.empty((count, *self.crop.tolist()))
        return self.buffers[0][:count]

    def _box(self, index: int, place: NDArray[np.float64]) -> tuple[slice, ...]:
        room = np.asarray(self.files[index].shape) - self.crop + 1
        start = (place * room).astype(np.int64)
        return tuple(slice(int(at), int(at + size)) for at, size in zip(start, self.crop, strict=True))

    def any_padded(self, volumes: Any) -> bool:
        """Whether any of these volumes has voxels that do not exist."""
        return any(self.files[index].padded for index in volumes)
