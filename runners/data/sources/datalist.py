"""A MONAI datalist: a JSON file of lists of {image[, label, subject, unit]}, as MONAI's load_decathlon_datalist reads."""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any

from mixlang.errors import InputError
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from mixlang.spec.suggest import did_you_mean
from runners.data.sources.candidates import Candidate, read_object, stem
from runners.data.sources.texts import existing


def from_datalist(domain: Domain, locations: Locations) -> list[Candidate]:
    """The entries of one list, in its order; paths are relative to the JSON file.

    An entry's subject is its `subject`; a list whose entries name none has a subject a file.

    Raises:
        InputError: the file is damaged, has no such list, or an entry cannot be used; the message names it.
    """
    source = domain.source
    file, folder = locations.expand(source.location), PurePosixPath(source.location).parent
    key = source.key or "training"
    said = read_object(file, "the datalist")
    entries = said.get(key)
    if not isinstance(entries, list):
        lists = [name for name, value in said.items() if isinstance(value, list)]
        hint = did_you_mean(key, lists) or "Say which one with source.key."
        raise InputError(f"{file} has no list '{key}'; its lists: {', '.join(lists) or 'none'}", hint)
    places: dict[str, int] = {}
    items = []
    for index, entry in enumerate(entries):
        where = f"{file}: {key}[{index}]"
        if not isinstance(entry, dict):
            raise InputError(f"{where} is not an object; expected {{image: PATH, label: PATH, subject: NAME}}")
        image = existing(file.parent, _image(entry.get("image"), source.channel, where))
        if image in places:
            raise InputError(f"{where}: {image} is listed twice (first at {key}[{places[image]}])")
        places[image] = index
        label = entry.get("label")
        items.append(
            Candidate(
                file.parent / image,
                (folder / image).as_posix(),
                _subject(entry, where) or stem(file.parent / image),
                (folder / existing(file.parent, label)).as_posix() if isinstance(label, str) else None,
                str(entry.get("unit") or ""),
            )
        )
    named = sum("subject" in entry for entry in entries)
    if source.subject is None and 0 < named < len(entries):
        raise InputError(
            f"{file}: {named} of the {len(entries)} entries of '{key}' name a subject",
            "Name the subject of each, or give the regular expression source.subject.",
        )
    return items


def _image(image: Any, channel: str | int | None, where: str) -> str:
    """The image's path; of a list of channels, the one that source.channel counts from 0."""
    if isinstance(image, list) and image and all(isinstance(part, str) for part in image):
        if not isinstance(channel, int) or not 0 <= channel < len(image):
            raise InputError(
                f"{where}: image is a list of {len(image)} channels",
                f"Say which one with source.channel, 0 to {len(image) - 1}.",
            )
        return image[channel]
    if not isinstance(image, str) or not image:
        raise InputError(f"{where} has no 'image'; expected the path of a NIfTI file")
    if channel is not None:
        raise InputError(f"{where}: image is one file, so source.channel has no meaning", "Remove source.channel.")
    return image


def _subject(entry: dict[str, Any], where: str) -> str:
    """The subject an entry names, '' if it names none."""
    if "subject" not in entry:
        return ""
    subject = entry["subject"]
    if isinstance(subject, bool) or not isinstance(subject, str | int) or not str(subject).strip():
        raise InputError(f"{where}: subject is {subject!r}; expected a name or a number")
    return str(subject)
