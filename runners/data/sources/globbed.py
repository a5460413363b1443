"""A glob of NIfTI files."""

from __future__ import annotations

from pathlib import Path

from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from runners.data.sources.candidates import Candidate, stem


def from_glob(domain: Domain, locations: Locations) -> list[Candidate]:
    """The files a glob matches, in order of their names, each once and a subject of its own."""
    template = domain.source.location
    paths = locations.matches(template)
    # A folder that links to one above it is walked many times over: of each file the shortest way to it is kept.
    places = {(path.parent.resolve(), path.name): path for path in sorted(paths, key=_depth, reverse=True)}
    found = sorted(path for path in places.values() if not path.is_dir())
    return [Candidate(path, locations.portable(path, template), stem(path)) for path in found]


def _depth(path: Path) -> tuple[int, Path]:
    return len(path.parts), path
