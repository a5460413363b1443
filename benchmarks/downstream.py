"""Does pretraining help phantom tasks at all? Encoders of 32k and 8k samples and from scratch, on three phantom domains.

    python benchmarks/downstream.py FOLDER [--jobs N] [--task NAME ...]

Trains the uniform mixture of 200 CT, MRI and PET phantoms each (140 to train on) with 8,192 and 32,768 samples and two
seeds, then runs the pipeline's own downstream stage with the encoders named `allocated` (32,768), `proportional` (8,192) and
`scratch`, and prints scores and paired differences with their 95 % intervals. Everything is kept in FOLDER; the same
command goes on where it was.
"""

from __future__ import annotations

import argparse
from pathlib import Path

from mixlang.files import write_json
from mixlang.plan.build import Plan, compile_plan
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Launch
from runners.data.labels import annotate
from runners.data.scan import scan
from runners.data.volumes import prepare
from runners.downstream.stage import run_tasks
from runners.execute.batch import Batch
from runners.execute.store import RunStore

SPEC = """\
mixlang: 1
name: exp
data: {split: {by: subject, validation: 0.3, seed: 7}, validation_crops: 2}
domains:
  ct:  {modality: ct,  source: {phantom: {count: 200, seed: 1}}}
  mri: {modality: mri, source: {phantom: {count: 200, seed: 2}}}
  pet: {modality: pet, source: {phantom: {count: 200, seed: 3}}}
volume: {spacing: [1, 1, 1], crop: [32, 32, 32]}
model: {arch: vit_micro, patch: 8, mask_ratio: 0.75}
train: {batch_size: 8, learning_rate: 1.5e-3, warmup_steps: 50}
budgets: {probe: [2048, 2896, 4096, 5792], holdout: [8192], target: 16k, seeds: 2}
constraints: {repetition: 512}
tasks:
  lesion_pet: {kind: classification, domain: pet, present: [8]}
  organs_mri:
    kind: segmentation
    domain: mri
    classes: {liver: 2, spleen: 3, kidneys: 4, heart: 5}
    modes: [probe]
  lesions_pet: {kind: segmentation, domain: pet, classes: {lesion: 8}, modes: [probe]}
downstream:
  encoders: [allocated, proportional, scratch]
  seeds: 2
  labels: [0.1]
"""
BUDGETS = {"proportional": 8192, "allocated": 32768}


def main() -> None:
    """Train, fit, print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--jobs", type=int, default=2)
    parser.add_argument("--task", nargs="*")
    arguments = parser.parse_args()
    root, store = arguments.folder, arguments.folder / "store"
    root.mkdir(parents=True, exist_ok=True)
    (root / "spec.yaml").write_text(SPEC)
    spec, places = load_spec(root / "spec.yaml").spec, Locations(root, {})
    manifest = annotate(spec, scan(spec, places, store, arguments.jobs), places, store, arguments.jobs)
    compiled = compile_plan(spec, manifest)
    settings = compiled.settings["downstream"]
    if arguments.task:
        settings["tasks"] = {name: settings["tasks"][name] for name in arguments.task}
    write_json(root / "plan.json", compiled.plan.as_dict())
    plan = Plan.read(root / "plan.json")
    prepare(plan.volumes, store, places, arguments.jobs)
    runs = {
        (name, seed): plan.run("uniform", {"ct": budget - 2 * third, "mri": third, "pet": third}, seed)
        for name, budget in BUDGETS.items()
        for seed in range(2)
        for third in [budget // 3 // 8 * 8]
    }
    launch = Launch(max_parallel=arguments.jobs)
    Batch(plan, root / "plan.json", list(runs.values()), RunStore(store), launch, "pretraining").execute()
    rows = [{**run.as_dict(), "mixture": name, "budget_asked": settings["budget"]} for (name, _), run in runs.items()]
    found = run_tasks(
        settings, plan, {"runs": rows}, {}, store, places, lambda: None, lambda gone: None, arguments.jobs
    )
    show(found)


def show(found: dict) -> None:
    """Print every score and difference."""
    for name, task in found["tasks"].items():
        score = "auroc" if task["kind"] == "classification" else "dice"
        print(f"\n{name} ({score}; {task['test']['subjects']} test subjects)")
        for item in task["results"]:
            value = item[score]
            classes = "  ".join(f"{kind} {one['dice']['mean']:.3f}" for kind, one in item.get("classes", {}).items())
            print(
                f"  {item['mode']:9} {item['training_volumes']:4} volumes  {item['encoder']:13}"
                f"{value['mean']:.3f} [{value['low']:.3f}, {value['high']:.3f}]  {classes}"
            )
        for item in task["differences"]:
            print(
                f"  {item['mode']:9} {item['labels']:4.0%} labels    {item['encoder']} - {item['against']}: "
                f"{item['mean']:+.3f} [{item['low']:+.3f}, {item['high']:+.3f}]"
            )


if __name__ == "__main__":
    main()
