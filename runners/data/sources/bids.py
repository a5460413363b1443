"""A BIDS data set: `sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz`, with JSON sidecars (bids-specification 1.10).

A file name is entities (`sub-01`, `ses-1`, `run-2`) and a suffix (`T1w`). Only what stands below the `sub-*` folders
of the data set itself is read, so derivatives and source data stay out.
"""

from __future__ import annotations

import csv
import functools
import glob
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlang.errors import InputError
from mixlang.spec.locations import Locations
from mixlang.spec.presets import resolve_intensity, resolve_suffix
from mixlang.spec.schema import Domain
from mixlang.spec.suggest import did_you_mean
from runners.data.endings import looks_like_a_scan
from runners.data.sources.candidates import Candidate, read_object
from runners.data.sources.texts import clean


@dataclass(frozen=True)
class _Name:
    """A BIDS file name, taken apart."""

    path: Path
    entities: dict[str, str]
    suffix: str

    @classmethod
    def of(cls, path: Path) -> _Name:
        *pairs, suffix = path.name.split(".")[0].split("_")
        return cls(path, dict(pair.split("-", 1) for pair in pairs if "-" in pair), suffix)


def from_bids(domain: Domain, locations: Locations) -> list[Candidate]:
    """The volumes with one of the wanted suffixes whose entities are those of `where`, in order of their paths.

    Volumes of one subject that differ in session, run or echo are separate volumes. The unit is the `Units` of the
    sidecars, by the inheritance principle.

    Raises:
        InputError: nothing matches; the message says what there is instead.
    """
    source = domain.source
    root, wanted = locations.expand(source.location), resolve_suffix(domain)
    paths = sorted(path for path in root.glob("sub-*/**/*") if looks_like_a_scan(path) and path.is_file())
    names = [_Name.of(path) for path in paths]
    fitting = [name for name in names if name.suffix in wanted]
    there = sorted({name.suffix for name in names})
    idle = [suffix for suffix in source.suffix or () if there and suffix not in there]
    if not fitting or idle:
        found = ", ".join(there) or "no NIfTI file at all"
        near = did_you_mean(idle[0], there) if idle else ""
        raise InputError(
            f"{root} has no volume with the suffix {' or '.join(idle or wanted)}; it has {found}",
            near or "Say which ones with source.suffix.",
        )
    for entity, value in source.where.items():
        there = {name.entities[entity] for name in fitting if entity in name.entities}
        if clean(value) not in there:
            found = f"it has {entity}: {', '.join(sorted(there))}" if there else f"none has the entity '{entity}'"
            entities = sorted({entity for name in fitting for entity in name.entities})
            near = did_you_mean(value, there) if there else did_you_mean(entity, entities)
            raise InputError(
                f"{root} has no {' or '.join(wanted)} with {entity}-{value}; {found}", near or "Fix source.where."
            )
        fitting = [name for name in fitting if name.entities.get(entity) == clean(value)]
    sites = _sites(root / "participants.tsv")
    unit = _units(root) if resolve_intensity(domain)["unit"] != "arbitrary" else lambda name: ""
    return [
        Candidate(
            name.path,
            locations.portable(name.path, source.location),
            name.path.relative_to(root).parts[0],
            unit=unit(name),
            site=sites.get(name.path.relative_to(root).parts[0], ""),
        )
        for name in fitting
    ]


def _sites(table: Path) -> dict[str, str]:
    """The site of each participant, where participants.tsv has such a column; it is only reported, never relied upon."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            rows = list(csv.DictReader(file, delimiter="\t"))
    except (OSError, UnicodeDecodeError, csv.Error):
        return {}
    found = {row.get("participant_id") or "": row.get("site") or "" for row in rows}
    return {subject: site for subject, site in found.items() if subject and site != "n/a"}


def _units(root: Path) -> Callable[[_Name], str]:
    """The `Units` that the sidecars give a volume, or ''.

    By the inheritance principle a JSON file holds for the files of its suffix, in its folder and below, that have all
    its entities; one nearer to the volume, then one with more entities, goes before.
    """

    @functools.cache
    def sidecars(folder: Path, suffix: str) -> list[tuple[_Name, dict[str, Any]]]:
        names = [
            _Name.of(path) for path in folder.glob(f"*{glob.escape(suffix)}.json") if not path.name.startswith(".")
        ]
        mine = sorted((name for name in names if name.suffix == suffix), key=lambda name: len(name.entities))
        return [(name, read_object(name.path, "the sidecar")) for name in mine]

    def unit(volume: _Name) -> str:
        said = ""
        for folder in reversed([folder for folder in volume.path.parents if folder.is_relative_to(root)]):
            for sidecar, values in sidecars(folder, volume.suffix):
                if sidecar.entities.items() <= volume.entities.items():
                    said = str(values.get("Units") or said)
        return said

    return unit
