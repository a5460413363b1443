"""The data manifest: every volume of every domain, by content, as scanned; committed as build/SPEC/data.json."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from mixlang.documents import DomainFiles
from mixlang.errors import InputError
from mixlang.files import digest, read_json, write_json
from mixlang.spec.feasibility import distinct_crops
from mixlang.spec.schema import Spec


@dataclass(frozen=True)
class VolumeRecord:
    """One usable volume.

    Attributes:
        path: portable path (with `${variables}`), or `phantom/DOMAIN/INDEX`.
        subject: whose volume it is.
        content: SHA-256 of the file, or of a phantom's recipe.
        voxels: SHA-256 of the voxels in RAS order, whatever file holds them; '' where it was not taken.
        shape: voxels along each axis, to the patient's right, front and head; `spacing`: millimetres along each.
        factor: multiplier of the stored values (unit conversion); `offset`: added after it.
        label: portable path of a label map on the same grid, if there is one.
        site: where it was acquired, if the source says so.
        annotations: by downstream task that uses the volume, what its labels say: `content` (SHA-256), `values` (labels
            there are) and `path` (portable; a phantom's has none) of a label map, or `class`, from a column.
        note: what was not taken as the file says it, and why.
    """

    path: str
    subject: str
    content: str
    shape: tuple[int, int, int]
    spacing: tuple[float, float, float]
    factor: float = 1.0
    label: str | None = None
    annotations: dict[str, dict[str, Any]] | None = None
    offset: float = 0.0
    voxels: str = ""
    note: str = ""
    site: str | None = None

    def crops(self, spacing: list[float], crop: list[int]) -> float:
        """Distinct crops the volume can give at a target spacing (mm) and crop size (voxels): its extent in crops."""
        return distinct_crops(self.shape, self.spacing, spacing, crop)


@dataclass(frozen=True)
class Sides:
    """Which subjects are validated on, and which trained on: all that were ever split, in the order of their names.

    Attributes:
        fraction, seed: what they were split by.
    """

    fraction: float
    seed: int
    validation: tuple[str, ...] = ()
    training: tuple[str, ...] = ()


@dataclass(frozen=True)
class DomainData:
    """A domain's usable volumes in a fixed order, and what was set aside and why."""

    volumes: tuple[VolumeRecord, ...]
    quarantined: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class DataManifest:
    """All domains' data.

    Attributes:
        scanned: what of the spec decided it, see `scanned_by`; empty in manifests of before it was recorded.
        sides: the split of the subjects; None before they are split, and in manifests of before it was recorded.
    """

    domains: dict[str, DomainData] = field(default_factory=dict)
    scanned: str = ""
    sides: Sides | None = None

    def write(self, path: Path) -> None:
        """Write as JSON, whole or not at all."""
        document: dict[str, Any] = {
            "version": 1,
            "domains": {name: _domain_json(data) for name, data in self.domains.items()},
        }
        if self.scanned:
            document["scanned"] = self.scanned
        if self.sides is not None:
            document["split"] = asdict(self.sides)
        write_json(path, document)

    @classmethod
    def read(cls, path: Path) -> DataManifest:
        """Read what `write` wrote.

        Raises:
            InputError: missing or damaged.
        """
        value = read_json(path)
        try:
            domains = {name: _domain_data(data) for name, data in value["domains"].items()}
            return cls(domains, value.get("scanned", ""), _sides(value.get("split")))
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is damaged ({error})", "Run 'mixlang run SPEC' to scan the data again."
            ) from error


def _sides(value: dict[str, Any] | None) -> Sides | None:
    if value is None:
        return None
    return Sides(value["fraction"], value["seed"], tuple(value["validation"]), tuple(value["training"]))


def scanned_by(spec: Spec) -> str:
    """Digest of all of a spec that decides its data manifest: the domains' sources and units, and where labels are.

    A manifest with this digest is what a scan of the spec found once; where the data are not at hand it still holds.
    """
    domains = {
        name: domain.model_dump(mode="json", include={"modality", "source", "intensity"})
        for name, domain in spec.domains.items()
    }
    labels = {"domain", "kind", "column", "label_map", "files"}
    tasks = {name: task.model_dump(mode="json", include=labels) for name, task in spec.tasks.items()}
    return digest({"domains": domains, "tasks": tasks})


def committed_manifest(path: Path, spec: Spec) -> DataManifest | None:
    """The manifest at `path` if a scan of this very spec made it; None where there is none, or one of other sources."""
    try:
        found = DataManifest.read(path)
    except InputError:
        return None
    return found if found.scanned == scanned_by(spec) else None


_SILENT = {"label": None, "annotations": None, "offset": 0.0, "voxels": "", "note": "", "site": None}
"""What a record leaves out where it says nothing."""


def _domain_json(data: DomainData) -> DomainFiles:
    volumes = []
    for volume in data.volumes:
        record = asdict(volume)
        for absent, default in _SILENT.items():
            if record[absent] == default:
                del record[absent]
        volumes.append(record)
    return {"volumes": volumes, "quarantined": [{"path": path, "reason": why} for path, why in data.quarantined]}


def _domain_data(value: DomainFiles) -> DomainData:
    volumes = tuple(
        VolumeRecord(**{**record, "shape": tuple(record["shape"]), "spacing": tuple(record["spacing"])})
        for record in value["volumes"]
    )
    return DomainData(volumes, tuple((item["path"], item["reason"]) for item in value["quarantined"]))


def in_two_domains(manifest: DataManifest) -> dict[str, str]:
    """For each domain that shares scans with an earlier one, by content or voxels, what to say of it; phantoms may
    share all.

    The same scan in two domains could be trained on in one and validated on in the other, and can be in the unit of one
    of them only.
    """
    first: dict[str, tuple[str, str]] = {}
    shared: dict[str, list[str]] = {}
    for name, data in manifest.domains.items():
        for volume in data.volumes:
            if volume.path.startswith("phantom/"):
                continue
            marks = [mark for mark in (volume.content, volume.voxels) if mark]
            where, path = next((first[mark] for mark in marks if mark in first), (name, volume.path))
            for mark in marks:
                first.setdefault(mark, (where, path))
            if where != name:
                shared.setdefault(name, []).append(f"{volume.path} is {path} of '{where}'")
    return {
        name: f"domain '{name}' has {len(items)} of its files in common with others ({'; '.join(items[:3])})"
        for name, items in shared.items()
    }
