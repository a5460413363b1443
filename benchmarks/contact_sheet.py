"""Originals beside what the network is given, for the eye: one PNG a domain of a spec.

    python benchmarks/contact_sheet.py specs/realpack.yaml --out FOLDER [--count 8]

Prepares what is missing. Each row is a volume: the middle slices of the file (axial, coronal, sagittal; black and
white at its 1st and 99.5th percentile), those of the prepared volume, and those of three random crops.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from mixlang.files import write_bytes
from mixlang.hardware import cores
from mixlang.plan.build import Plan, compile_plan
from mixlang.report.png import png
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations
from mixlang.study.workspace import Workspace
from runners.data.pictures import middle_slices
from runners.data.scan import scan
from runners.data.volumes import prepare, volume_path

EDGE, GAP = 112, 6


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("spec", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--count", type=int, default=8, help="volumes of each domain")
    options = parser.parse_args()
    spec = load_spec(options.spec).spec
    workspace = Workspace.find(options.spec.resolve().parent)
    locations = Locations.of(workspace.root)
    plan = compile_plan(spec, scan(spec, locations, workspace.store, cores())).plan
    for name, members in plan.domains.items():
        keys = [*members["train"], *members["validation"]][: options.count]
        prepare({key: plan.volumes[key] for key in keys}, workspace.store, locations, cores())
        rows = [row(key, plan, workspace.store, locations) for key in keys]
        options.out.mkdir(parents=True, exist_ok=True)
        write_bytes(options.out / f"{name}.png", png(np.concatenate(rows)))
        print(f"{options.out / name}.png, from the top:")
        print("".join(f"  {plan.volumes[key]['path']}\n" for key in keys), end="")


def row(key: str, plan: Plan, store: Path, locations: Locations) -> np.ndarray:
    from runners.data.nifti import read_nifti
    from runners.data.phantom import Recipe, write_phantom
    from runners.data.sampling import CropReader, uniform

    entry, crop = plan.volumes[key], plan.training["crop"]
    if "phantom" in entry:
        recipe = Recipe.of(entry["preprocessing"]["modality"], entry["phantom"], entry["phantom"]["index"])
        scan_ = read_nifti(write_phantom(recipe, store)[0])
    else:
        scan_ = read_nifti(locations.expand(entry["path"]))
    low, high = np.percentile(scan_.image, [1, 99.5])
    spacing = entry["preprocessing"]["spacing"]
    cells = [
        middle_slices(scan_.image, scan_.spacing, EDGE, (float(low), float(high))),
        middle_slices(np.load(volume_path(store, key), mmap_mode="r"), spacing, EDGE, (-1.2, 4.0)),
    ]
    crops = CropReader(store, [key], crop).read([0, 0, 0], uniform(0, "contact sheet", np.arange(3), 3))
    cells += [middle_slices(piece, spacing, EDGE, (-1.2, 4.0)) for piece in crops]
    white = np.full((EDGE, GAP), 255, np.uint8)
    line = np.concatenate([part for cell in cells for part in (cell, white)], axis=1)
    return np.concatenate([line, np.full((GAP, line.shape[1]), 255, np.uint8)])


if __name__ == "__main__":
    main()
