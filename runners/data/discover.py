"""What a folder, manifest or data set holds: domains by modality, how that was told, how many volumes, which grid.

Used by `mixlang init --from`. Every guess carries its evidence, which goes into the starting spec as a comment; counts
come from the same finders that the pipeline uses.
"""

from __future__ import annotations

import csv
import json
import math
import re
import statistics
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from mixlang.errors import InputError
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from runners.data.dicom import modalities, series_below
from runners.data.endings import looks_like_a_scan
from runners.data.naming import domain_name, glob_for, label_patterns, modality_of, subject_pattern
from runners.data.reading import Unusable, read_scan, scan_grid
from runners.data.sources.candidates import Candidate
from runners.data.sources.find import find_candidates
from runners.data.sources.texts import portable_text

_BIDS_MODALITY = {"ct": "ct", "pet": "pet", **dict.fromkeys(("T1w", "T2w", "T2starw", "PDw", "FLAIR"), "mri")}
_SAMPLED = 32
"""Headers read of each domain for its grid."""

_LEAST_SUBJECTS = 3
_NAMED_ONE_BY_ONE = 50
"""Files that a source may leave out one by one, where no pattern tells them from those it takes."""

_NAMES = 10
"""File names of each domain that are shown with their subjects."""


SourceSection = dict[str, Any]
"""The source of a domain, as a spec writes it."""


@dataclass(frozen=True)
class FoundDomain:
    """A domain as it may stand in a spec.

    Attributes:
        name: of the domain; modality: ct, mri or pet.
        source: its `source` section, paths with `${data_root}`.
        evidence: how the modality was told, for a person to check.
        volumes, subjects: how many the pipeline would find.
        spacing: median edge of a voxel, mm; extent: median length of each axis, mm, ascending; None where no header
            could be read.
        notes: what to look at.
        names: up to ten file names, each with what was taken for its subject.
    """

    name: str
    modality: str
    source: SourceSection
    evidence: str
    volumes: int
    subjects: int
    spacing: float | None
    extent: tuple[float, float, float] | None
    notes: tuple[str, ...] = ()
    names: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Discovery:
    """What was found.

    Attributes:
        root: what `${data_root}` stands for.
        kind: what the data are, in words.
        domains: those that can be used; left_out: the names of others, with the reason.
    """

    root: Path
    kind: str
    domains: tuple[FoundDomain, ...]
    left_out: tuple[tuple[str, str], ...]


def discover(data: Path) -> Discovery:
    """Look at data and propose domains; reads names, tables and some headers, and voxels only where nothing else tells.

    Args:
        data: a folder of scans or DICOM series, a CSV manifest, an nnU-Net data set or a folder of them, a MONAI datalist, or a
            BIDS tree.

    Raises:
        InputError: nothing usable, or fewer than two domains; the message says what there was.
    """
    all_found = look_at(data)
    found = [domain for domain in all_found.domains if domain.subjects >= _LEAST_SUBJECTS]
    left_out = [*all_found.left_out]
    for domain in all_found.domains:
        if domain.subjects < _LEAST_SUBJECTS:
            left_out.append((domain.name, f"only {domain.subjects} subject{'s' * (domain.subjects != 1)}"))
    if len(found) < 2:
        shown = ", ".join(f"{one.name} ({one.volumes} volumes)" for one in found) or "none"
        because = "".join(f"; {name}: {why}" for name, why in left_out)
        raise InputError(
            f"a mixture needs at least two domains; found in {data}: {shown}{because}",
            f"'mixlang doctor {data}' judges each file. Fix what was left out, give a folder that holds both, or a CSV "
            "manifest with the columns path, subject and modality.",
        )
    return Discovery(all_found.root, all_found.kind, tuple(found), tuple(left_out))


def look_at(data: Path) -> Discovery:
    """What data hold, however few the domains and subjects.

    Raises:
        InputError: there is nothing at that place, or nothing that could be a domain.
    """
    data = data.resolve()
    if not data.exists():
        raise InputError(f"there is nothing at {data}", "Give a folder, a CSV manifest or a dataset.json.")
    root, kind, proposals = _proposals(data)
    locations = Locations(root, {"data_root": str(root)})
    found, left_out = [], []
    for name, modality, source, evidence in proposals:
        try:
            domain = _look(name, modality, source, evidence, locations)
        except InputError as error:
            left_out.append((name, str(error)))
            continue
        found.append(domain)
    return Discovery(root, kind, tuple(found), tuple(left_out))


Proposal = tuple[str, str, SourceSection, str]
"""Name, modality, source section, evidence."""


def _proposals(data: Path) -> tuple[Path, str, list[Proposal]]:
    if data.is_file():
        return _from_file(data)
    if (data / "dataset.json").is_file():
        return _from_json(data / "dataset.json")
    if data.name.startswith("sub-") and any(data.parent.glob("sub-*/")):
        raise InputError(f"{data} is one subject of a BIDS data set", f"Give the data set: {data.parent}.")
    if any(data.glob("sub-*/")):
        return data, "a BIDS data set", _bids(data)
    sets = sorted(folder.parent for folder in data.glob("*/dataset.json"))
    if sets:
        found = [item for folder in sets for item in _nnunet(folder, f"${{data_root}}/{folder.name}", folder.name)]
        return data, f"{len(sets)} nnU-Net data sets", found
    for table in sorted(data.glob("*.csv")):
        if {"path", "subject"} <= set(_columns(table)):
            return data, f"the manifest {table.name}", _manifest(table)
    series = _series(data)
    if series and not any(looks_like_a_scan(path) for path in data.rglob("*")):
        return data, "a folder of DICOM series", series
    return data, "a folder of scans" + (" and DICOM series" if series else ""), [*_folder(data), *series]


def _from_file(data: Path) -> tuple[Path, str, list[Proposal]]:
    if data.suffix == ".csv":
        return data.parent, f"the manifest {data.name}", _manifest(data)
    if data.suffix == ".json":
        return _from_json(data)
    raise InputError(f"{data} is neither a .csv manifest nor a .json data list", "Give a folder or one of those.")


def _from_json(file: Path) -> tuple[Path, str, list[Proposal]]:
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {file}: {error}") from error
    if not isinstance(said, dict):
        raise InputError(f"{file} holds no JSON object")
    if "channel_names" in said or ("modality" in said and (file.parent / "imagesTr").is_dir()):
        name = "" if file.name == "dataset.json" else file.name
        place = f"${{data_root}}/{name}".rstrip("/")
        return file.parent, "an nnU-Net data set", _nnunet(file.parent, place, file.parent.name)
    return file.parent, f"the MONAI datalist {file.name}", _datalist(file, said)


# -- the kinds of data ------------------------------------------------------------------------------------------------


def _columns(table: Path) -> list[str]:
    """The columns of a CSV file; none where it cannot be read."""
    try:
        with table.open(newline="", encoding="utf-8-sig") as file:
            return next(csv.reader(file), [])
    except (OSError, UnicodeDecodeError, csv.Error):
        return []


def _manifest(table: Path) -> list[Proposal]:
    columns = _columns(table)
    for column in ("path", "subject"):
        if column not in columns:
            raise InputError(
                f"{table} has no column '{column}'; it has {', '.join(columns) or 'none'}", _heads(columns)
            )
    place = f"${{data_root}}/{table.name}"
    column = next((name for name in columns if name.lower() in ("modality", "modalities", "domain")), None)
    if column is None:
        raise InputError(f"{table} has no column 'modality', by which to tell domains", "Add one: ct, mri or pet.")
    with table.open(newline="", encoding="utf-8-sig") as file:
        values = Counter((row.get(column) or "").strip() for row in csv.DictReader(file))
    proposals = []
    for value in sorted(values):
        modality = modality_of([value])
        if modality:
            evidence = f"column {column} = {value}"
            proposals.append((domain_name(value), modality, {"manifest": place, "where": {column: value}}, evidence))
    return proposals


def _heads(columns: list[str]) -> str:
    """What is probably wrong with the head of a manifest, or ''."""
    if len(columns) == 1 and (mark := next((mark for mark in ";\t|" if mark in columns[0]), "")):
        return f"Columns are separated by commas, not by {mark!r}."
    lower = [
        name for name in columns if name.lower().strip() in ("path", "subject") and name not in ("path", "subject")
    ]
    return f"Names are written small: {', '.join(name.lower().strip() for name in lower)}." if lower else ""


def _nnunet(folder: Path, place: str, name: str) -> list[Proposal]:
    try:
        said = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))
        channels = said.get("channel_names", said.get("modality"))
        named = sorted((int(index), str(value)) for index, value in channels.items())
    except (OSError, ValueError, AttributeError) as error:
        raise InputError(f"{folder / 'dataset.json'} names no channels: {error}") from error
    short = re.sub(r"^(Dataset|Task)\d+_", "", name)
    proposals = []
    for index, channel in named:
        source: SourceSection = {"nnunet": place}
        if len(named) > 1:
            source["channel"] = index
        modality = modality_of([channel])
        evidence = f"channel {index} is called {channel}"
        if not modality:
            files = sorted(path for path in (folder / "imagesTr").glob(f"*_{index:04d}.*") if looks_like_a_scan(path))
            modality, evidence = _by_values(files)
        label = f"{short}_{channel}" if len(named) > 1 else short
        proposals.append((domain_name(label), modality, source, evidence))
    return proposals


def _datalist(file: Path, said: dict[str, Any]) -> list[Proposal]:
    lists = {key: value for key, value in said.items() if isinstance(value, list) and value}
    keys = [key for key in lists if key not in ("test", "testing", "validation")] or list(lists)
    proposals = []
    for key in keys:
        paths = [str(entry.get("image")) for entry in lists[key] if isinstance(entry, dict) and "image" in entry]
        modality, evidence = _majority(paths, [file.parent / path for path in paths])
        name = modality if len(keys) == 1 else key
        proposals.append(
            (domain_name(name), modality, {"monai_datalist": f"${{data_root}}/{file.name}", "key": key}, evidence)
        )
    return proposals


def _bids(root: Path) -> list[Proposal]:
    paths = [path for path in root.glob("sub-*/**/*") if looks_like_a_scan(path) and path.is_file()]
    suffixes = Counter(path.name.split(".")[0].rsplit("_", 1)[-1] for path in paths)
    by_modality: dict[str, list[str]] = defaultdict(list)
    for suffix in sorted(suffixes):
        if suffix in _BIDS_MODALITY:
            by_modality[_BIDS_MODALITY[suffix]].append(suffix)
    if len(by_modality) == 1:  # one modality: its contrasts are the domains
        ((modality, members),) = by_modality.items()
        return [
            (domain_name(suffix), modality, {"bids": "${data_root}", "suffix": [suffix]}, f"suffix {suffix}")
            for suffix in members
        ]
    return [
        (modality, modality, {"bids": "${data_root}", "suffix": members}, f"suffix {', '.join(members)}")
        for modality, members in sorted(by_modality.items())
    ]


def _series(root: Path) -> list[Proposal]:
    """A domain for each modality of which there are DICOM series."""
    try:
        there = {series.modality for series in series_below(root)}
    except Unusable as error:
        raise InputError(f"{root} holds DICOM files, and reading them {error}") from error
    return [
        (f"{ours}_dicom", ours, {"dicom": "${data_root}"}, f"Modality {theirs} of its series")
        for theirs, ours in modalities()
        if theirs in there
    ]


def _folder(root: Path) -> list[Proposal]:
    everything = sorted(path for path in root.rglob("*") if looks_like_a_scan(path) and path.is_file())
    exclude = label_patterns(everything)
    files = [path for path in everything if not any(path.match(pattern) for pattern in exclude)]
    if not files:
        raise InputError(f"there is no scan in {root}", "Scans end in .nii, .nii.gz, .img, .nrrd, .mha, .mhd or .mgz.")
    groups: dict[str, list[Path]] = defaultdict(list)
    for path in files:
        groups[modality_of(path.relative_to(root).parts)].append(path)
    unknown = groups.pop("", [])
    evidence = dict.fromkeys(groups, "words of the paths")
    by_folder: dict[str, list[Path]] = defaultdict(list)
    for path in unknown:
        by_folder[path.relative_to(root).parts[0] if path.parent != root else ""].append(path)
    named: dict[str, tuple[str, list[Path], str]] = {
        modality: (modality, members, evidence[modality]) for modality, members in groups.items()
    }
    for top, members in by_folder.items():
        modality, why = _by_values(members)
        name = top or modality
        named[f"{name}_unnamed" if name in named else name] = (modality, members, why)
    if len(named) == 1:
        ((only, (modality, members, why)),) = named.items()
        tops = defaultdict(list)
        for path in members:
            tops[path.relative_to(root).parts[0] if path.parent != root else only].append(path)
        named = {top: (modality, inner, why) for top, inner in tops.items()}
    proposals = []
    for name, (modality, members, why) in sorted(named.items()):
        pattern, others = glob_for(root, members, files), []
        if pattern is None:
            pattern = "**/*"
            others = [path for path in files if path not in set(members)]
            if len(others) > _NAMED_ONE_BY_ONE:
                shown, more = (", ".join(path.name for path in some[:3]) for some in (members, others))
                raise InputError(
                    f"no file name pattern tells the {len(members)} {modality} files of {root} ({shown}, ...) from the "
                    f"{len(others)} others ({more}, ...)",
                    "Write a CSV manifest with the columns path, subject and modality, and start from that.",
                )
        source: SourceSection = {"nifti": f"${{data_root}}/{pattern}"}
        subject = subject_pattern(root, members)
        if subject:
            source["subject"] = subject
        taken = Locations(root, {"data_root": str(root)}).matches(source["nifti"])
        left_out = [one for one in exclude if any(path.match(one) for path in taken)]
        left_out += [f"${{data_root}}/{portable_text(path.relative_to(root).as_posix())}" for path in others]
        if left_out:
            source["exclude"] = left_out
        proposals.append((domain_name(name), modality, source, why))
    return proposals


# -- telling and counting ---------------------------------------------------------------------------------------------


def _majority(names: list[str], files: list[Path]) -> tuple[str, str]:
    told = Counter(filter(None, (modality_of(Path(name).parts) for name in names)))
    if len(told) > 1:
        shown = ", ".join(f"{count} {modality}" for modality, count in told.items())
        raise InputError(f"one list holds {shown}", "Give each modality a list of its own, or write a manifest.")
    if told:
        return next(iter(told)), "words of the paths"
    return _by_values(files)


def _by_values(files: list[Path]) -> tuple[str, str]:
    """A guess from the voxels of three files, said to be one: only CT is really known by its values."""
    import numpy as np

    lowest, highest = [], []
    for path in files[:: max(1, len(files) // 3)][:3]:
        try:
            image = read_scan(path).image
            lowest.append(float(np.nanmin(image)))
            highest.append(float(np.nanpercentile(image, 99.9)))
        except Exception:
            continue
    if not lowest:
        return "mri", "GUESSED: nothing tells"
    shown = f"values {min(lowest):.0f} to {max(highest):.0f}"
    if statistics.median(lowest) <= -200:
        return "ct", f"GUESSED from {shown}"
    return "mri", f"GUESSED from {shown}; PET would look alike"


def _look(name: str, modality: str, source: SourceSection, evidence: str, locations: Locations) -> FoundDomain:
    """Count a proposed domain with the pipeline's own finder, and sample its grid."""
    try:
        domain = Domain.model_validate({"modality": modality, "source": source})
    except ValidationError as error:
        raise InputError(f"cannot be described: {error.errors(include_url=False)[0]['msg']}") from error
    candidates = find_candidates(name, domain, locations)
    spacing, extent = _grid(candidates)
    return FoundDomain(
        name,
        modality,
        source,
        evidence,
        len(candidates),
        len({item.subject for item in candidates}),
        spacing,
        extent,
        _unit_notes(candidates, modality),
        tuple(
            (portable_text(item.path.name), item.subject)
            for item in candidates[:: max(1, len(candidates) // _NAMES)][:_NAMES]
        ),
    )


def _grid(candidates: list[Candidate]) -> tuple[float | None, tuple[float, float, float] | None]:
    edges, extents = [], []
    for item in candidates[:: max(1, len(candidates) // _SAMPLED)][:_SAMPLED]:
        try:
            shape, affine = scan_grid(item.path)
        except Unusable:
            continue
        zooms = [math.sqrt(sum(float(part) ** 2 for part in affine[:3, axis])) for axis in range(3)]
        edges.append(statistics.geometric_mean(zooms))
        extents.append(sorted(edge * size for edge, size in zip(zooms, shape, strict=True)))
    if not edges:
        return None, None
    first, second, third = (statistics.median(axis) for axis in zip(*extents, strict=True))
    return statistics.median(edges), (first, second, third)


def _unit_notes(candidates: list[Candidate], modality: str) -> tuple[str, ...]:
    """Files whose unit is said to be another than the modality's."""
    wanted = {"ct": "hu", "pet": "suv"}.get(modality)
    other = [item for item in candidates if wanted and item.unit and not item.unit.lower().startswith(wanted)]
    shown = ", ".join(f"{item.path.name} ({item.unit.split(' (')[0].split(';')[0]})" for item in other[:5])
    more = f" and {len(other) - 5} more" if len(other) > 5 else ""
    return (f"not in {wanted.upper()}: {shown}{more}",) if wanted and other else ()
