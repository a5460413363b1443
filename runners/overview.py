"""What a plan amounts to before it runs, and what a study found after."""

from __future__ import annotations

from typing import Any

from mixlang.console import duration
from mixlang.files import read_json
from mixlang.plan.cost import flops_per_sample
from mixlang.plan.workspace import Study, Workspace
from runners.compiler import CompiledStudy


def overview(study: CompiledStudy) -> dict[str, Any]:
    """The runs of a study by kind: how many, how many are done, samples and operations; and the data they draw on."""
    from runners.status import results_of

    plan, spec = study.compiled.plan, study.loaded.spec
    done = results_of(study.workspace, study.study)
    each = flops_per_sample(plan.training)
    kinds: dict[str, dict[str, float]] = {}
    for run in plan.runs:
        row = kinds.setdefault(run.kind, {"runs": 0, "done": 0, "samples": 0, "samples_left": 0})
        finished = run.key in done
        row["runs"] += 1
        row["done"] += finished
        row["samples"] += run.budget
        row["samples_left"] += 0 if finished else run.budget
    mixtures = 1 + len(spec.verify.baselines)
    held = mixtures * spec.verify.seeds
    if spec.budgets.holdout:
        samples = held * sum(spec.budgets.holdout)
        already = sum(1 for row in done.values() if str(row.get("kind", "")).startswith("verify"))
        kinds["verify"] = {
            "runs": held * len(spec.budgets.holdout),
            "done": already,
            "samples": samples,
            "samples_left": samples if not already else 0,
        }
    for row in kinds.values():
        row["flops"] = row["samples"] * each
    return {
        "study": study.study.item,
        "kinds": kinds,
        "flops_per_sample": each,
        "available": study.compiled.settings["allocate"]["available"],
        "quarantined": {name: len(data.quarantined) for name, data in study.manifest.domains.items()},
        "seconds_left": _seconds_left(kinds, done),
    }


def _seconds_left(kinds: dict[str, dict[str, float]], done: dict[str, dict[str, Any]]) -> float | None:
    """Training seconds left on one slot, at the rate of the runs this machine has done; None before the first."""
    timed = [row for row in done.values() if "seconds" in row]
    samples = sum(row["budget"] for row in timed)
    if not samples:
        return None
    rate = sum(sum(row["seconds"].values()) for row in timed) / samples
    return sum(row["samples_left"] for row in kinds.values()) * rate


def show_overview(found: dict[str, Any]) -> None:
    """Print an overview for people."""
    print(f"{found['study']}: {found['flops_per_sample'] / 1e9:.3g} GFLOP a sample")
    print(f"{'kind':10} {'runs':>6} {'done':>6} {'samples':>12} {'TFLOP':>10}")
    for kind, row in found["kinds"].items():
        print(f"{kind:10} {row['runs']:6} {row['done']:6} {row['samples']:12,} {row['flops'] / 1e12:10,.1f}")
    print(f"{'domain':10} {'volumes':>8} {'crops':>10} {'quarantined':>12}   (training side)")
    for name, data in found["available"].items():
        print(f"{name:10} {data['volumes']:8} {data['crops']:10,.0f} {found['quarantined'][name]:12}")
    left = found["seconds_left"]
    if left is None:
        print("time: no run has been timed on this machine yet")
    else:
        print(f"time: about {duration(left)} of training left on one slot, at the rate of the runs done here")


def show_outcome(workspace: Workspace, study: Study, seconds: float) -> None:
    """Print the published mixture beside proportional, with measured losses."""
    allocation, verification = read_json(study.file("allocation.json")), read_json(study.file("verification.json"))
    published = read_json(study.file("published.json"))
    names, target = allocation["domains"], allocation["target"]
    print()
    print(f"{published['name']}@v{published['version']}: shares of a budget of {target['budget']:,.0f} samples")
    print(f"  {'':22}" + "".join(f"{name:>12}" for name in names))
    mixtures = {"allocated": target["shares"]}
    mixtures |= {kind: found["shares"] for kind, found in target["baselines"].items()}
    for mixture, shares in mixtures.items():
        print(f"  {mixture:22}" + "".join(f"{shares[name]:12.1%}" for name in names))
    for budget, baselines in verification.get("improvements", {}).items():
        print(f"\nmeasured losses at the held-out budget of {int(budget):,} samples (mean over seeds)")
        for mixture in ("allocated", *baselines):
            rows = [r for r in verification["runs"] if r["budget_asked"] == int(budget) and r["mixture"] == mixture]
            means = [sum(row["losses"][name] for row in rows) / len(rows) for name in names]
            print(f"  {mixture:22}" + "".join(f"{mean:12.4f}" for mean in means))
        for kind, found in baselines.items():
            changes = "".join(f"{found['domains'][name]['mean']:+12.1%}" for name in names)
            print(f"  {'against ' + kind:22}{changes}   overall {_interval(found['overall'])}")
        pooled = verification["agreement"]["pooled"]
        r = "" if pooled["pearson_r"] is None else f"r = {pooled['pearson_r']:.3f}, "
        print(f"  predicted against measured: {r}mean error {pooled['mean_relative_error']:.1%}")
    print(f"\nreport:  {study.file('report.html')}")
    print(f"version: {workspace.registry / published['name'] / ('v' + str(published['version']))}")
    print(f"took {duration(seconds)}")


def _interval(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['mean']:+.1%} (one seed)"
    return f"{found['mean']:+.1%} (95 % interval {found['low']:+.1%} to {found['high']:+.1%}, {found['seeds']} seeds)"
