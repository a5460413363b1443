"""Scanning the sources: every file of every domain, by content, with the unusable ones set aside and why.

A file is read whole once, when its path, size or times are new; what was found is cached in the store.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from mixlang.documents import Preprocessing
from mixlang.files import digest, write_json
from mixlang.plan.data_manifest import DataManifest, DomainData, VolumeRecord
from mixlang.spec.locations import Locations
from mixlang.spec.presets import resolve_intensity
from mixlang.spec.schema import Domain, Spec
from runners.data.field_of_view import outside
from runners.data.intensity import foreground, implausible, without_fill
from runners.data.preprocess import in_unit
from runners.data.reading import Unusable, bytes_needed, read_scan, scan_digest, scan_files
from runners.data.sources import Candidate, find_candidates
from runners.data.sources.candidates import fits
from runners.data.workers import WorkerDied, each

Facts = dict[str, Any]
"""What inspecting a file tells; see `inspect`."""

INSPECTION_VERSION = 4
"""Raised when inspection judges files differently; cached judgements of other versions are not used."""

_LABEL_VALUES, _MOST_LABELS = 24, 10_000
"""An image with at most so many different values, none larger than this, holds labels, not intensities."""

_SPELLINGS = {"hu": ("hu", "hounsfield"), "suv": ("suv", "g/ml")}
"""How sources begin the name of a unit; SUV by body weight is in g/ml."""


def scan(
    spec: Spec,
    locations: Locations,
    store: Path,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataManifest:
    """Find, read and judge all files of a spec.

    Args:
        store: where the cache of judgements lies.
        workers: processes that read files.
        progress: called with (files done, files in all).

    Raises:
        InputError: a source that cannot be used.
    """
    return scan_domains(spec.domains, locations, store, workers, progress)


def scan_domains(
    domains: Mapping[str, Domain],
    locations: Locations,
    store: Path,
    workers: int,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> DataManifest:
    """As `scan`, of domains without a spec around them."""
    listed = {name: find_candidates(name, domain, locations) for name, domain in domains.items()}
    wanted = [(name, item) for name, items in listed.items() for item in items]
    cache = _Cache(store / "scan")
    jobs = []
    for name, item in wanted:
        domain = domains[name]
        settings = {**resolve_intensity(domain), **conversion(domain, item)}
        jobs.append((item, settings, cache.key(item.path, settings)))
    found = {key: cache.get(key) for _, _, key in jobs}
    todo = [job for job in jobs if found[job[2]] is None]
    done = len(jobs) - len(todo)
    for index, facts in _inspect_all(todo, workers):
        key = todo[index][2]
        found[key] = facts
        cache.put(key, facts)
        done += 1
        progress(done, len(jobs))
    manifest: dict[str, DomainData] = {}
    by_domain: dict[str, list[tuple[Candidate, Preprocessing, Facts]]] = {name: [] for name in domains}
    for (name, _), (item, settings, key) in zip(wanted, jobs, strict=True):
        by_domain[name].append((item, settings, found[key] or {}))
    for name, domain in domains.items():
        if domain.source.phantom is not None:
            manifest[name] = _phantoms(name, domain)
        else:
            manifest[name] = _domain_data(by_domain[name])
    return DataManifest(manifest)


def conversion(domain: Domain, item: Candidate) -> dict[str, float]:
    """What a file's stored values are multiplied by, and what is added then: by the first rule that fits it."""
    rule = next((rule for rule in domain.intensity.factors if fits(item.portable, rule.files)), None)
    factor = 1.0 if rule is None else rule.factor
    offset = domain.intensity.offset if rule is None or rule.offset is None else rule.offset
    return {"factor": factor, "offset": offset}


def _phantoms(name: str, domain: Domain) -> DomainData:
    from runners.data.phantom import Recipe

    given = domain.source.phantom
    assert given is not None
    made, records = given.model_dump(), []
    for index in range(given.count):
        recipe = Recipe.of(domain.modality, made, index)
        path = f"phantom/{name}/{index}"
        records.append(VolumeRecord(path, recipe.subject, recipe.content, recipe.shape, recipe.spacing))
    return DomainData(tuple(records))


def _domain_data(items: Iterable[tuple[Candidate, Preprocessing, Facts]]) -> DomainData:
    volumes, quarantined = [], []
    first: dict[str, str] = {}
    for item, settings, facts in items:
        problem = facts.get("problem") or _unit_said(item, settings)
        if not problem and facts["content"] in first:
            problem = f"the same content as {first[facts['content']]}"
        elif not problem and facts["voxels"] in first:
            problem = f"the same voxels as {first[facts['voxels']]}"
        if problem:
            quarantined.append((item.portable, problem))
            continue
        first[facts["content"]] = first[facts["voxels"]] = item.portable
        volumes.append(
            VolumeRecord(
                item.portable,
                item.subject,
                facts["content"],
                tuple(facts["shape"]),
                tuple(facts["spacing"]),
                settings["factor"],
                item.label,
                offset=settings["offset"],
                voxels=facts["voxels"],
                note="; ".join(facts["notes"]),
                site=item.site or None,
            )
        )
    return DomainData(tuple(volumes), tuple(quarantined))


def _unit_said(item: Candidate, settings: Preprocessing) -> str:
    """A source that states another unit than the domain's is believed, unless a factor converts the file."""
    unit, said = settings["unit"], item.unit.strip().lower()
    converted = settings["factor"] != 1.0 or settings["offset"] != 0.0
    if not said or unit == "arbitrary" or converted or said.startswith(_SPELLINGS[unit]):
        return ""
    return f"its unit is given as '{item.unit}', not {unit.upper()}; give intensity.factors or exclude it"


def _inspect_all(todo: list[tuple[Candidate, Preprocessing, str]], workers: int) -> Iterator[tuple[int, Facts]]:
    """Inspect files side by side; yields (index, facts) as they are done. A file that kills its process is a fault."""
    jobs = [(item.path, settings) for item, settings, _ in todo]
    if workers < 2 or len(jobs) < 4:
        yield from ((index, inspect(*job)) for index, job in enumerate(jobs))
        return
    for index, outcome in each(inspect, jobs, [bytes_needed(path) for path, _ in jobs], workers):
        if isinstance(outcome, WorkerDied):
            outcome = {"problem": f"cannot be read: {outcome}"}
        elif isinstance(outcome, Exception):
            raise outcome
        yield index, outcome


def inspect(path: Path, settings: Preprocessing) -> Facts:
    """Read one scan whole and judge it.

    Args:
        settings: modality, unit, clip, factor and offset of its domain.

    Returns:
        `problem`: why it cannot be used, or ''; `content`: its SHA-256, unless it could not be read; and of a volume
        `shape` and `spacing` (mm) in RAS order, `voxels`: SHA-256 of its values in that order, and `notes`: what was
        not taken as it is written.
    """
    content = ""
    try:
        content = scan_digest(path)
        scan = read_scan(path)
    except OSError as error:
        missing = isinstance(error, FileNotFoundError)
        return {"problem": "there is no such file" if missing else f"cannot be read ({error.strerror})"}
    except Unusable as error:
        return {"problem": str(error), **({"content": content} if content and error.lasting else {})}
    if scan.converted and settings["factor"] != 1.0:
        why = f"its values are {scan.converted} by its own tags, and a factor of the spec would convert them again"
        return {"problem": why, "content": content}
    facts = {
        "content": content,
        "shape": list(scan.image.shape),
        "spacing": [round(edge, 6) for edge in scan.spacing],
        "voxels": _voxel_digest(scan.image),
        "notes": list(scan.notes),
    }
    try:
        absent = outside(scan.image)
    except ValueError as error:
        return {**facts, "problem": str(error)}
    image = scan.image
    if absent is not None:
        image = image[~absent]
        facts["notes"].append(f"{np.mean(absent):.1%} of its voxels are outside the field of view (NaN)")
    problem = _problem(image, settings)
    if problem and scan.converted:
        problem = f"{scan.notes[0] if scan.notes else scan.converted}: {problem.split(';')[0]}; those tags are wrong"
    return {**facts, "problem": problem}


def _problem(image: np.ndarray, settings: Preprocessing) -> str:
    """Why the values of a volume (those that exist) cannot be used, or ''; they are overwritten."""
    low, high = float(image.min()), float(image.max())
    if low == high:
        return f"constant: every voxel is {low:g}"
    if labels := _few_values(image, low, high):
        return f"only {labels} different values, whole numbers from 0 to {high:g}: a label map"
    with np.errstate(over="ignore"):
        in_unit(image, settings["factor"], settings)
    if not np.isfinite(image.min()) or not np.isfinite(image.max()):
        return f"its values, times {settings['factor']:g}, are too large to compute with"
    air_alone = settings["modality"] == "ct" and image.max() <= -500  # background, whatever its unit
    if not air_alone and (problem := implausible(image, settings)):
        return problem
    without_fill(image, settings["modality"])
    return "" if foreground(image, settings["modality"]).any() else "nothing but background"


def _voxel_digest(image: np.ndarray) -> str:
    """SHA-256 of the shape and the values, by which the same scan in another file is known; -0 is 0, as in integers."""
    hashed = hashlib.sha256(repr(image.shape).encode())
    for plane in image:
        hashed.update(np.add(plane, np.float32(0.0)).data)
    return hashed.hexdigest()


def _few_values(image: np.ndarray, low: float, high: float) -> int:
    """How many different values an image has, where they are few whole numbers from 0 on, as labels are; else 0."""
    if low != 0 or high > _MOST_LABELS or not np.array_equal(image, np.rint(image)):
        return 0
    count = int(np.count_nonzero(np.bincount(image.astype(np.int64).reshape(-1))))
    return count if count <= _LABEL_VALUES else 0


class _Cache:
    """Judgements by path, size, times and settings; one small file each, written whole.

    Among the times is that of the last change of the inode: tools that replace a file can set its modification time to
    the old one (rsync -t, cp -p), but not this.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def key(self, path: Path, settings: Preprocessing) -> str:
        try:
            stats = [os.stat(file) for file in scan_files(path)]
            seen = [[stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns] for stat in stats]
        except (OSError, Unusable):
            seen = []
        name = hashlib.sha256(str(path).encode("utf-8", "surrogateescape")).hexdigest()
        return digest({"version": INSPECTION_VERSION, "path": name, "seen": seen, "settings": settings})

    def get(self, key: str) -> Facts | None:
        try:
            return json.loads((self.folder / key[:2] / f"{key}.json").read_text())
        except (OSError, ValueError):
            return None

    def put(self, key: str, facts: Facts) -> None:
        if "content" in facts:  # what could not be read may be readable the next time, with nothing changed in it
            write_json(self.folder / key[:2] / f"{key}.json", facts)
