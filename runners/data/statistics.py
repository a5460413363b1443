"""What the prepared volumes of each domain look like, small enough to be committed and shown in the report."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np

from mixlang.documents import DomainLook, VolumeFacts
from mixlang.plan.build import Plan
from mixlang.report.png import png
from runners.data.pictures import middle_slices
from runners.data.volumes import HISTOGRAM, volume_path

_EDGE = 80
"""Pixels of a thumbnail's square."""

_WINDOW = (-1.2, 4.0)
"""Network inputs shown as black and as white; air lies near -1 in every modality."""


def describe(plan: Plan, facts: dict[str, VolumeFacts], store: Path, thumbnails: int) -> dict[str, Any]:
    """Statistics and pictures of every domain of a plan.

    Args:
        facts: of every volume, as `prepare` returns them.
        thumbnails: how many volumes of each domain are shown: the first of the order that subsets take them in.

    Returns:
        By domain: `volumes` and how many of them are `padded`; `shapes`: smallest, median and largest extent along
        each axis, voxels; `histogram`: fraction of voxels in each bin of the network's inputs, every volume counting
        the same, and the first and last edge; `thumbnails`: base64 PNG with the path it was made from.
    """
    return {
        "version": 1,
        "domains": {
            name: _domain([*members["train"], *members["validation"]], plan, facts, store, thumbnails)
            for name, members in plan.domains.items()
        },
    }


def _domain(keys: list[str], plan: Plan, facts: dict[str, VolumeFacts], store: Path, thumbnails: int) -> DomainLook:
    shapes = np.array([facts[key]["shape"] for key in keys])
    fractions = np.mean([facts[key]["histogram"] for key in keys], axis=0)
    return {
        "volumes": len(keys),
        "padded": sum(facts[key]["real"] < 1 for key in keys),
        "shapes": {
            "smallest": shapes.min(axis=0).tolist(),
            "median": np.median(shapes, axis=0).tolist(),
            "largest": shapes.max(axis=0).tolist(),
        },
        "histogram": {
            "from": HISTOGRAM[0],
            "to": HISTOGRAM[1],
            "fractions": [round(float(part), 5) for part in fractions],
        },
        "thumbnails": [_thumbnail(key, plan, store) for key in keys[:thumbnails]],
    }


def _thumbnail(key: str, plan: Plan, store: Path) -> dict[str, str]:
    volume = np.load(volume_path(store, key), mmap_mode="r")
    entry = plan.volumes[key]
    picture = middle_slices(volume, entry["preprocessing"]["spacing"], _EDGE, _WINDOW)
    return {"path": entry["path"], "png": base64.b64encode(png(picture)).decode()}
