"""The data path: crops from the store against MONAI's own ways, preparation against its unavoidable parts, its memory.

    python benchmarks/data.py crops    [--files 'FOLDER/*.nii.gz']   random 96^3 crops, warm and cold, interleaved
    python benchmarks/data.py prepare  [--files ...]                 against gunzip + resampling of the same files
    python benchmarks/data.py memory   [--files ... | --volumes 500 --shape 96]  peak of preparing, all processes

Files are taken for CT. Without --files they are phantoms, of 256 x 256 x 200 voxels of 1.4 x 1.4 x 2 mm where not
said otherwise; spacing 1.5 mm. The imports of torch and monai stand inside the functions that need them: the processes
of `prepare` import this file, as they import the command line in a study.
Ratios are against a named baseline in the same process; times are CPU time unless they say otherwise.
"""

from __future__ import annotations

import argparse
import contextlib
import glob
import gzip
import hashlib
import logging
import os
import resource
import statistics
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import psutil

from mixlang.files import file_digest
from mixlang.hardware import cores, processor
from mixlang.spec.locations import Locations
from runners.data.nifti import read_nifti
from runners.data.phantom import Recipe, write_phantom
from runners.data.resample import to_spacing
from runners.data.volumes import prepare, volume_path

CROP = (96, 96, 96)
SPACING = [1.5, 1.5, 1.5]
SETTINGS = {"modality": "ct", "unit": "hu", "clip": [-1000.0, 1000.0], "spacing": SPACING, "crop": list(CROP)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["crops", "prepare", "memory"])
    parser.add_argument("--files", help="glob of CT volumes to use in place of phantoms")
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--volumes", type=int, default=500)
    parser.add_argument(
        "--shape", type=int, nargs="+", default=[96], help="of the phantoms of 'memory': one edge, or three"
    )
    options = parser.parse_args()
    print(f"{processor()}, {cores()} cores, numpy {np.__version__}")
    with tempfile.TemporaryDirectory(prefix="mixlang-bench-") as folder:
        if options.what == "memory" and not options.files:
            measure_memory(recipes(options.volumes, (options.shape * 3)[:3]), Path(folder))
            return
        files = sorted(Path(name) for name in glob.glob(options.files)) if options.files else phantoms(Path(folder))
        table = entries(files)
        if options.what == "crops":
            compare_crops(files, table, Path(folder), options.rounds)
        elif options.what == "prepare":
            compare_preparation(files, table, Path(folder))
        else:
            measure_memory(table, Path(folder))


def phantoms(folder: Path, count: int = 6) -> list[Path]:
    return [
        write_phantom(Recipe("ct", (256, 256, 200), (1.4, 1.4, 2.0), 1, index), folder)[0] for index in range(count)
    ]


def entries(files: list[Path]) -> dict[str, dict[str, Any]]:
    """The files as a plan names volumes."""
    return {
        hashlib.sha256(str(path).encode()).hexdigest(): {
            "path": str(path),
            "content": file_digest(path),
            "factor": 1.0,
            "preprocessing": SETTINGS,
        }
        for path in files
    }


# Crops


def monai_transforms(spacing: bool = True) -> list[Any]:
    """The library's chain from file to normalised volume, as its tutorials write it."""
    from monai.transforms import LoadImage, Orientation, ScaleIntensityRange, Spacing

    logging.getLogger("monai.data.nvimgcodec_pydicom_plugin").setLevel(logging.ERROR)
    return [
        LoadImage(reader="NibabelReader", ensure_channel_first=True),
        Orientation("RAS", labels=None),
        *([Spacing(pixdim=SPACING, mode="bilinear", padding_mode="border")] if spacing else []),
        ScaleIntensityRange(-1000, 1000, 0, 1, clip=True),
    ]


def compare_crops(files: list[Path], table: dict[str, dict[str, Any]], folder: Path, rounds: int) -> None:
    import torch
    from monai.data import PersistentDataset
    from monai.transforms import Compose, RandFlip, RandSpatialCrop, SpatialPad

    from runners.data.sampling import CropReader, uniform

    torch.set_num_threads(1)
    store = folder / "store"
    prepare(table, store, Locations(folder, {}), cores())
    readers = [CropReader(store, list(table), CROP)]
    augment = [SpatialPad(CROP), RandSpatialCrop(CROP, random_size=False), *(RandFlip(0.5, axis) for axis in range(3))]
    chain = Compose([*monai_transforms(), *augment])
    cached = PersistentDataset(
        [str(path) for path in files], Compose([*monai_transforms(), *augment]), folder / "cache"
    )
    for index in range(len(files)):
        cached[index]
    batches = iter(range(10**9))

    def from_store(flipped: bool = True) -> int:
        batch = next(batches)
        counters = np.arange(8 * batch, 8 * batch + 8)
        chance = uniform(0, "crop", counters, 7)
        crops = readers[0].read((chance[:, 6] * len(files)).astype(int), chance[:, :3], chance[:, 3:6] < 0.5 * flipped)
        return len(crops)

    def from_cache() -> int:
        cached[next(batches) % len(files)]
        return 1

    def from_files() -> int:
        chain(str(files[next(batches) % len(files)]))
        return 1

    ways: dict[str, tuple[Callable[[], int], int, list[Path]]] = {
        "store": (from_store, 6, [volume_path(store, key) for key in table]),
        "store, no flips": (lambda: from_store(False), 6, [volume_path(store, key) for key in table]),
        "PersistentDataset": (from_cache, 6, sorted((folder / "cache").iterdir())),
        "MONAI chain": (from_files, 1, files),
    }
    for _ in range(40):
        from_store()  # as after the first minute of a run: every page has been touched
    for state in ("warm", "cold"):
        print(
            f"\n{state} page cache          CPU-ms a crop   wall-ms a crop   crops/s   MiB read a crop   against store"
        )
        taken: dict[str, list[tuple[float, float, float]]] = {name: [] for name in ways}
        for _ in range(rounds):
            for name, (way, repeats, paths) in ways.items():
                if state == "cold":
                    readers[:] = [CropReader(store, list(table), CROP)]  # what is mapped cannot be evicted
                    evict(paths)
                else:
                    way()
                taken[name].append(timed(way, 1 if state == "cold" else repeats))
        found = {
            name: [statistics.median(column) for column in zip(*rows, strict=True)] for name, rows in taken.items()
        }
        for name, (cpu, wall, read) in found.items():
            ratio = wall / found["store"][1] if state == "cold" else cpu / found["store"][0]
            print(f"{name:22} {1e3 * cpu:14.3f} {1e3 * wall:16.3f} {1 / wall:9.1f} {read / 2**20:17.2f} {ratio:15.1f}")


def timed(way: Callable[[], int], repeats: int) -> tuple[float, float, float]:
    """CPU seconds, wall seconds and bytes read from the disk, a crop."""
    cpu, wall, read = time.process_time(), time.perf_counter(), bytes_read()
    crops = sum(way() for _ in range(repeats))
    return (
        (time.process_time() - cpu) / crops,
        (time.perf_counter() - wall) / crops,
        (bytes_read() - read) / crops,
    )


def bytes_read() -> int:
    lines = Path("/proc/self/io").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("read_bytes"))


def evict(paths: list[Path]) -> None:
    """Drop files from the page cache."""
    for path in paths:
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


# Preparation


def compare_preparation(files: list[Path], table: dict[str, dict[str, Any]], folder: Path) -> None:
    import torch
    from monai.transforms import Spacing

    torch.set_num_threads(1)
    spacing = Spacing(pixdim=SPACING, mode="bilinear", padding_mode="border")
    load = monai_transforms(spacing=False)[:2]
    parts: dict[str, float] = {"gunzip": 0.0, "MONAI Spacing": 0.0, "our resampling": 0.0}
    for path in files:
        parts["gunzip"] += seconds(lambda path=path: gzip.decompress(path.read_bytes()))
        oriented = load[1](load[0](str(path)))
        parts["MONAI Spacing"] += seconds(lambda oriented=oriented: spacing(oriented))
        scan = read_nifti(path)
        parts["our resampling"] += seconds(lambda scan=scan: to_spacing(scan, SPACING))
    before, wall = children(), time.perf_counter()
    prepare(table, folder / "store", Locations(folder, {}), cores())
    wall, whole = time.perf_counter() - wall, children() - before
    for name, taken in parts.items():
        print(f"{name:34} {taken:7.2f} CPU-s for {len(files)} volumes")
    print(f"{'prepare, whole, with its processes':34} {whole:7.2f} CPU-s, {wall:.2f} s on {cores()} cores")
    for name in ("MONAI Spacing", "our resampling"):
        print(f"prepare / (gunzip + {name}) = {whole / (parts['gunzip'] + parts[name]):.2f}")


def seconds(work: Callable[[], Any]) -> float:
    """CPU seconds, the better of two."""
    taken = []
    for _ in range(2):
        begun = time.process_time()
        work()
        taken.append(time.process_time() - begun)
    return min(taken)


def children() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# Memory


def recipes(count: int, shape: list[int]) -> dict[str, dict[str, Any]]:
    """Phantoms of the three modalities as a plan names volumes; they are generated while they are prepared."""
    table = {}
    for index in range(count):
        modality = ("ct", "mri", "pet")[index % 3]
        recipe = Recipe(modality, (shape[0], shape[1], shape[2]), (1.4, 1.4, 2.0), 1, index)
        clip = {"ct": [-1000.0, 1000.0], "mri": None, "pet": [0.0, 20.0]}[modality]
        table[recipe.content] = {
            "content": recipe.content,
            "factor": 1.0,
            "preprocessing": {**SETTINGS, "modality": modality, "clip": clip},
            "phantom": {"shape": shape, "spacing": list(recipe.spacing), "seed": 1, "index": index, "anatomy": "trunk"},
        }
    return table


def measure_memory(table: dict[str, dict[str, Any]], folder: Path) -> None:
    with peak_memory() as peak:
        begun = time.perf_counter()
        prepare(table, folder / "store", Locations(folder, {}), cores())
        taken = time.perf_counter() - begun
    print(f"{len(table)} volumes prepared in {taken:.1f} s on {cores()} cores")
    print(f"peak memory of the process tree: {peak[0] / 2**20:,.0f} MiB (sum of resident sizes)")


@contextlib.contextmanager
def peak_memory() -> Iterator[list[int]]:
    """Samples the resident memory of this process and all below it; yields a list of one item, the largest sum."""
    peak, over = [0], threading.Event()

    def watch() -> None:
        while not over.wait(0.02):
            peak[0] = max(peak[0], sum(resident_sizes()))

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield peak
    finally:
        over.set()
        thread.join()


def resident_sizes() -> Iterator[int]:
    me = psutil.Process()
    for process in [me, *me.children(recursive=True)]:
        with contextlib.suppress(psutil.Error):
            yield process.memory_info().rss


if __name__ == "__main__":
    main()
