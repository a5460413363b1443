"""The table that a scan ends with: accepted, converted, and quarantined by reason."""

from __future__ import annotations

import re
from collections import Counter

from mixlang.plan.data_manifest import DataManifest, VolumeRecord
from runners.data.patterns import Use

_SHOWN = 20
"""Quarantined files named one by one."""


def converted(volume: VolumeRecord) -> str:
    """What was not taken as the file has it, in words, or ''."""
    words = [f"times {volume.factor:g}"] if volume.factor != 1.0 else []
    words += [f"plus {volume.offset:g}"] if volume.offset else []
    return "; ".join([*words, *([volume.note] if volume.note else [])])


def kind_of(reason: str) -> str:
    """A reason without what is of one file alone: numbers, names, explanations."""
    short = re.split(r"[;:(]| as \S|, so ", reason, maxsplit=1)[0].strip()
    return re.sub(r"-?\d[\d.,]*(e[+-]?\d+)?( ?%)?", "N", short)


def tally(manifest: DataManifest, found: list[Use], listing: str) -> list[str]:
    """The lines of the closing table.

    Args:
        found: what the patterns of the spec took.
        listing: where all of it is written, for those that are not shown.
    """
    files = {name: data for name, data in manifest.domains.items() if not _generated(data.volumes)}
    if not files:
        return []
    width = max(len("domain"), *map(len, files))
    lines = [f"    {'domain':{width}}  accepted  converted  quarantined"]
    for name, data in files.items():
        changed = sum(bool(converted(volume)) for volume in data.volumes)
        lines.append(f"    {name:{width}}  {len(data.volumes):8,}  {changed:9,}  {len(data.quarantined):11,}")
    notes = Counter(kind_of(words) for data in files.values() for item in data.volumes if (words := converted(item)))
    lines += [f"    converted, {count:,} files: {words}" for words, count in notes.most_common()]
    lines += [f"    '{use.pattern}': {use.files:,} files of {use.domain} {use.effect}" for use in found]
    lost = [(name, *item) for name, data in files.items() for item in data.quarantined]
    kinds = Counter(kind_of(why) for _, _, why in lost)
    lines += [f"    quarantined, {count:,} files: {kind}" for kind, count in kinds.most_common()]
    lines += [f"    quarantined from {name}: {path}: {why}" for name, path, why in lost[:_SHOWN]]
    if len(lost) > _SHOWN:
        lines.append(f"    ... and {len(lost) - _SHOWN} more, all listed in {listing}")
    return lines


def _generated(volumes: tuple[VolumeRecord, ...]) -> bool:
    return bool(volumes) and volumes[0].path.startswith("phantom/")
