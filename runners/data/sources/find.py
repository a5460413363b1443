"""The files of a domain, whatever the kind of its source."""

from __future__ import annotations

from dataclasses import replace

from mixlang.errors import InputError
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from runners.data.endings import never_a_scan
from runners.data.reading import needed_package
from runners.data.sources.bids import from_bids
from runners.data.sources.candidates import Candidate, is_excluded, subject_in
from runners.data.sources.datalist import from_datalist
from runners.data.sources.globbed import from_glob
from runners.data.sources.manifest import from_manifest
from runners.data.sources.nnunet import from_nnunet
from runners.data.sources.series import from_dicom
from runners.data.sources.texts import clean, portable_text

_FINDERS = {
    "nifti": from_glob,
    "manifest": from_manifest,
    "nnunet": from_nnunet,
    "monai_datalist": from_datalist,
    "bids": from_bids,
    "dicom": from_dicom,
}


def find_candidates(name: str, domain: Domain, locations: Locations) -> list[Candidate]:
    """The files of domain `name` in a fixed order; none for a phantom, whose volumes are not files yet.

    Raises:
        InputError: the source cannot be used, names a file twice, or nothing of it is left.
    """
    source = domain.source
    if source.kind == "phantom":
        return []
    try:
        listed = _FINDERS[source.kind](domain, locations)
        found = [_written(item) for item in listed if not never_a_scan(item.path)]
        kept = [item for item in found if not is_excluded(item.portable, source.exclude)]
        if not kept:
            left = f"none of its {len(found)} volumes is left after 'exclude'" if found else "there is no volume"
            raise InputError(f"{left} in {locations.expand(source.location)}")
        _refuse_unreadable(kept)
        if source.subject is not None:
            kept = [replace(item, subject=clean(subject_in(item.portable, source.subject))) for item in kept]
    except InputError as error:
        raise InputError(f"domain '{name}': {error}", error.hint) from error
    return kept


def _refuse_unreadable(items: list[Candidate]) -> None:
    """Refuse files of a format whose package is not installed, before any of them is quarantined for it."""
    for item in items:
        if package := needed_package(item.path):
            raise InputError(f"reading {item.portable} needs {package}", "pip install 'mixlang[formats]'")


def _written(item: Candidate) -> Candidate:
    """A candidate with its texts as they are written into plans and compared with those of other sources."""
    label = None if item.label is None else portable_text(item.label)
    return replace(item, portable=portable_text(item.portable), subject=clean(item.subject), label=label)
