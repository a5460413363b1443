"""DICOM series below a folder."""

from __future__ import annotations

import fnmatch
from pathlib import Path

from mixlang.errors import InputError
from mixlang.names import meant_or_known
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from runners.data.dicom import DESCRIBED, Series, broken_below, modalities, series_below, subjects_of
from runners.data.sources.candidates import Candidate
from runners.data.unusable import Unusable


def from_dicom(domain: Domain, locations: Locations) -> list[Candidate]:
    """The series of the domain's modality that `where` keeps, in order of their paths; and files named as DICOM that are none.

    The subject is the patient, named by folders; see `runners.data.dicom.subjects_of`.

    Raises:
        InputError: pydicom is missing, or nothing fits; the message says what there is instead.
    """
    source = domain.source
    root = locations.expand(source.location)
    try:
        found = series_below(root)
    except Unusable as error:
        raise InputError(f"reading DICOM {error}", "pip install 'mixlang[formats]'") from error
    wanted = {ours: theirs for theirs, ours in modalities()}[domain.modality]
    fitting = [series for series in found if series.modality == wanted]
    if not fitting:
        there = sorted({series.modality for series in found})
        raise InputError(
            f"{root} has no DICOM series of {wanted}; it has {', '.join(there) or 'no DICOM series at all'}"
        )
    for tag, value in source.where.items():
        fitting = _kept(fitting, tag, value, root)
    subjects = subjects_of(found, root)
    items = [
        Candidate(series.path, locations.portable(series.path, source.location), subjects[series.path])
        for series in fitting
    ]
    for path in [] if source.where else broken_below(root):
        items.append(Candidate(path, locations.portable(path, source.location), path.parent.name))
    return items


def _kept(fitting: list[Series], tag: str, value: str, root: Path) -> list[Series]:
    """The series whose tag is a value, which may be a pattern, in any case."""
    if tag not in DESCRIBED:
        raise InputError(f"series cannot be chosen by '{tag}'", meant_or_known(tag, DESCRIBED, "tags"))
    kept = [series for series in fitting if fnmatch.fnmatch(series.described.get(tag, "").lower(), value.lower())]
    if not kept:
        there = sorted({series.described.get(tag, "") for series in fitting} - {""})
        more = f"; it has {', '.join(there[:8])}" if there else "; none has that tag"
        raise InputError(f"{root} has no series whose {tag} is {value}{more}", "Fix source.where.")
    return kept
