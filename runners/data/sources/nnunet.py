"""An nnU-Net raw data set: dataset.json beside imagesTr and labelsTr.

Version 2 names files by case and channel (`imagesTr/CASE_0000.nii.gz`, `labelsTr/CASE.nii.gz`); version 1, like the
Medical Segmentation Decathlon, lists them in dataset.json (`training: [{image, label}]`), as they are named on disk
or without their channel. Test images are not used: their cases are not named, so a study could train on what a
challenge holds out.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from mixlang.errors import InputError
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from mixlang.spec.suggest import did_you_mean
from runners.data.endings import never_a_scan
from runners.data.sources.candidates import Candidate, read_object
from runners.data.sources.texts import existing

_ENDINGS = (".nii.gz", ".nii")


@dataclass(frozen=True)
class _Dataset:
    """Where a data set lies, here and portably, and what its dataset.json says."""

    file: Path
    portable: PurePosixPath
    said: dict[str, Any]

    @property
    def folder(self) -> Path:
        return self.file.parent

    def candidate(self, case: str, image: str, label: str) -> Candidate:
        """A case's volume; `image` and `label` are relative to the data set."""
        there = (self.folder / label).is_file()
        return Candidate(
            self.folder / image,
            (self.portable / image).as_posix(),
            case,
            (self.portable / label).as_posix() if there else None,
        )


def from_nnunet(domain: Domain, locations: Locations) -> list[Candidate]:
    """The training cases of one channel, in order of their names, each case a subject.

    Raises:
        InputError: dataset.json is damaged or of another format than NIfTI, or the channel is not one of its channels.
    """
    given, template = locations.expand(domain.source.location), PurePosixPath(domain.source.location)
    is_file = given.suffix == ".json"
    file = given if is_file else given / "dataset.json"
    dataset = _Dataset(file, template.parent if is_file else template, read_object(file, "the nnU-Net data set"))
    channel = _channel(dataset, domain.source.channel)
    listed = dataset.said.get("training")
    return _listed(dataset, listed, channel) if isinstance(listed, list) else _named(dataset, channel)


def _channel(dataset: _Dataset, wanted: str | int | None) -> int:
    """The index of the wanted channel; of the only one where none is named."""
    names = dataset.said.get("channel_names", dataset.said.get("modality"))
    if not isinstance(names, dict) or not names or not all(str(index).isdigit() for index in names):
        example = '"channel_names": {"0": "CT"}'
        raise InputError(f"{dataset.file} does not name its channels; expected {example} (version 1: modality)")
    channels = {int(index): str(name) for index, name in names.items()}
    shown = ", ".join(f"{index} ({name})" for index, name in sorted(channels.items()))
    if wanted is None:
        if len(channels) > 1:
            raise InputError(f"{dataset.file} has the channels {shown}", "Say which one with source.channel.")
        return next(iter(channels))
    found = [index for index, name in channels.items() if wanted in (index, name)]
    if len(found) != 1:
        how_many = "no channel" if not found else f"{len(found)} channels"
        near = did_you_mean(str(wanted), channels.values())
        raise InputError(
            f"{dataset.file} has {how_many} {wanted!r}; it has {shown}", near or "Name one of them with source.channel."
        )
    return found[0]


def _named(dataset: _Dataset, channel: int) -> list[Candidate]:
    """Version 2: the cases are those of imagesTr, whichever channels they have there."""
    ending = dataset.said.get("file_ending")
    if ending not in _ENDINGS:
        raise InputError(
            f"{dataset.file}: file_ending is {ending!r}; expected .nii.gz or .nii",
            "mixlang reads NIfTI; convert the images, or list their NIfTI copies in a manifest.",
        )
    images = dataset.folder / "imagesTr"
    if not images.is_dir():
        raise InputError(f"there is no folder {images}")
    pattern = re.compile(rf"(.+)_\d{{4}}{re.escape(ending)}", re.IGNORECASE)
    names = {path.name for path in images.iterdir() if not never_a_scan(path)}
    cases = {match[1] for name in names if (match := pattern.fullmatch(name))}
    as_written = {name.lower(): name for name in sorted(names, reverse=True)}
    files = {case: f"{case}_{channel:04d}{ending}" for case in sorted(cases)}
    return [
        dataset.candidate(
            case,
            f"imagesTr/{name if name in names else as_written.get(name.lower(), name)}",
            f"labelsTr/{case}{ending}",
        )
        for case, name in files.items()
    ]


def _listed(dataset: _Dataset, entries: list[Any], channel: int) -> list[Candidate]:
    """Version 1: the cases are those that dataset.json lists."""
    items: dict[str, Candidate] = {}
    for index, entry in enumerate(entries):
        where = f"{dataset.file}: training[{index}]"
        image = entry.get("image") if isinstance(entry, dict) else None
        if not isinstance(image, str):
            raise InputError(f"{where} has no 'image'; expected {{image: PATH, label: PATH}}")
        name = PurePosixPath(image).name
        ending = next((ending for ending in _ENDINGS if name.endswith(ending)), None)
        if ending is None:
            raise InputError(f"{where}: {image} is not a NIfTI file; expected .nii.gz or .nii")
        case = name.removesuffix(ending)
        if case in items:
            raise InputError(f"{where}: the case {case} is listed twice")
        with_channel = str(PurePosixPath(image).with_name(f"{case}_{channel:04d}{ending}"))
        as_listed = existing(dataset.folder, str(PurePosixPath(image)))
        on_disk = as_listed if (dataset.folder / as_listed).exists() else with_channel
        items[case] = dataset.candidate(case, on_disk, str(entry.get("label") or f"labelsTr/{name}"))
    return [items[case] for case in sorted(items)]
