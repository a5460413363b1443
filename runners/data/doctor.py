"""What a folder of scans holds, without a spec: what would be used, converted and set aside, and pictures of the worst.

Nothing is written but the page; the data are only read.
"""

from __future__ import annotations

import base64
import tempfile
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from html import escape
from pathlib import Path

import numpy as np

from mixlang.files import write_text
from mixlang.plan.data_manifest import DataManifest
from mixlang.report.html import soft, table
from mixlang.report.png import png
from mixlang.report.style import STYLE
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from runners.data.dicom import series_below
from runners.data.discover import Discovery, look_at
from runners.data.endings import looks_like_a_scan
from runners.data.field_of_view import outside
from runners.data.pictures import middle_slices
from runners.data.reading import Unusable, read_scan
from runners.data.scan import scan_domains
from runners.data.tally import converted, kind_of

_WORST = 10
_EDGE = 120
"""Pixels of a picture's square."""


@dataclass(frozen=True)
class Diagnosis:
    """What was found in data.

    Attributes:
        found: the domains, as `mixlang init --from` would propose them; `manifest`: their files as judged.
        apart: files that look like scans and are in no domain, such as label maps.
    """

    found: Discovery
    manifest: DataManifest
    apart: tuple[Path, ...]

    @property
    def locations(self) -> Locations:
        """Where the data are."""
        return Locations(self.found.root, {"data_root": str(self.found.root)})


def diagnose(data: Path, workers: int, progress: Callable[[int, int], None] = lambda done, total: None) -> Diagnosis:
    """Read and judge every scan of a folder, manifest or data set.

    Raises:
        InputError: nothing there that could be a domain.
    """
    found = look_at(data)
    locations = Locations(found.root, {"data_root": str(found.root)})
    domains = {
        domain.name: Domain.model_validate({"modality": domain.modality, "source": domain.source})
        for domain in found.domains
    }
    with tempfile.TemporaryDirectory(prefix="mixlang-doctor-") as cache:
        manifest = scan_domains(domains, locations, Path(cache), workers, progress)
    return Diagnosis(found, manifest, _in_no_domain(data, manifest, locations))


def _in_no_domain(data: Path, manifest: DataManifest, locations: Locations) -> tuple[Path, ...]:
    if not data.is_dir():
        return ()
    judged = {
        locations.expand(path).resolve()
        for part in manifest.domains.values()
        for path in [*(volume.path for volume in part.volumes), *(path for path, _ in part.quarantined)]
    }
    there = [path for path in data.resolve().rglob("*") if looks_like_a_scan(path) and path.is_file()]
    there += [series.path for series in series_below(data.resolve())]
    return tuple(sorted(path for path in there if path.resolve() not in judged))


def worst(manifest: DataManifest) -> list[tuple[str, str, str]]:
    """Up to ten files to look at, as (domain, path, reason): quarantined ones, the reasons taking turns, then converted
    ones."""
    by_kind: dict[str, list[tuple[str, str, str]]] = defaultdict(list)
    for name, data in manifest.domains.items():
        for path, why in data.quarantined:
            by_kind[kind_of(why)].append((name, path, why))
    found = []
    while any(by_kind.values()):
        found += [items.pop(0) for items in by_kind.values() if items]
    for name, data in manifest.domains.items():
        found += [(name, item.path, words) for item in data.volumes if (words := converted(item))]
    return found[:_WORST]


def write_page(diagnosis: Diagnosis, page: Path) -> None:
    """The table and the pictures as one HTML file that needs no other."""
    manifest = diagnosis.manifest
    rows = [
        [
            name,
            f"{len(data.volumes)}",
            f"{sum(bool(converted(item)) for item in data.volumes)}",
            f"{len(data.quarantined)}",
        ]
        for name, data in manifest.domains.items()
    ]
    lost = [[path, name, why] for name, data in manifest.domains.items() for path, why in data.quarantined]
    changed = [
        [item.path, name, words]
        for name, data in manifest.domains.items()
        for item in data.volumes
        if (words := converted(item))
    ]
    parts = [
        f"<header><h1>{escape(diagnosis.found.kind)}</h1></header><main><section><h2>Scans</h2>",
        table(["domain", "accepted", "of them converted", "quarantined"], rows),
        "</section><section><h2>The worst</h2>",
        *(_figure(name, path, why, diagnosis.locations) for name, path, why in worst(manifest)),
        soft(
            "Middle slices, axial, coronal and sagittal; the patient's right at the left. These are pictures of patients."
        ),
        "</section>",
    ]
    for title, listing in (("Quarantined", lost), ("Converted", changed)):
        if listing:
            parts.append(f"<section><h2>{title}</h2>{table(['file', 'domain', 'why'], listing)}</section>")
    if diagnosis.apart:
        names = [[path.relative_to(diagnosis.found.root).as_posix()] for path in diagnosis.apart]
        names = [[name.encode("utf-8", "backslashreplace").decode()] for (name,) in names]
        parts.append(f"<section><h2>In no domain</h2>{table(['file'], names)}</section>")
    write_text(
        page,
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Scans</title><style>{STYLE}</style></head>\n<body>\n" + "\n".join(parts) + "\n</main></body></html>\n",
    )


def _figure(name: str, path: str, why: str, locations: Locations) -> str:
    picture = _picture(locations.expand(path))
    shown = "<p>No picture: it cannot be read.</p>"
    if picture is not None:
        data = base64.b64encode(png(picture)).decode()
        shown = f'<img src="data:image/png;base64,{data}" alt="middle slices of {escape(path)}">'
    return f"<figure>{shown}<figcaption><b>{escape(path)}</b> ({escape(name)}): {escape(why)}</figcaption></figure>"


def _picture(path: Path) -> np.ndarray | None:
    try:
        scan = read_scan(path)
        outside(scan.image)
    except Unusable:
        return None
    except ValueError:
        scan.image[~np.isfinite(scan.image)] = np.nan
    there = scan.image[np.isfinite(scan.image)]
    if not there.size:
        return None
    low, high = (float(edge) for edge in np.percentile(there, [1, 99]))
    return middle_slices(scan.image, scan.spacing, _EDGE, (low, max(high, low + 1e-30)))
