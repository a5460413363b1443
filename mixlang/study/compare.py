"""`mixlang diff-spec A B`: which runs and stages going from one spec to the other would touch; trains nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mixlang.plan.changes import Before, Change, Reasons, differences, grouped, touched
from mixlang.spec import load_spec
from mixlang.spec.presets import resolved
from mixlang.study.compile import compile_alone
from mixlang.terminal import table


def compare_specs(before: Path, after: Path) -> dict[str, Any]:
    """Compile two specs and compare what they ask for.

    Raises:
        SpecError: either does not compile.
        InputError: they are in no workspace, or their data cannot be used.
    """
    old, new = compile_alone(before), compile_alone(after)
    reasons = Reasons(old.plan, new.plan)
    keys = {run.key for run in old.plan.runs}
    fresh = [run for run in new.plan.runs if run.key not in keys]
    stages = touched(Before(old.plan, old.settings), new, len(fresh))
    changes = differences(resolved(load_spec(before).spec), resolved(load_spec(after).spec))
    return {
        "before": str(before),
        "after": str(after),
        "changes": [{"path": item.path, "before": item.before, "after": item.after} for item in changes],
        "runs": {
            "kept": len(new.plan.runs) - len(fresh),
            "dropped": len(keys - {run.key for run in new.plan.runs}),
            "new": [{**run.as_dict(), "why": reasons.of(run)} for run in fresh],
            "samples": sum(run.budget for run in fresh),
        },
        "stages": [{"name": name, "runs": bool(why), "why": why} for name, why in stages.items()],
    }


def show_changes(found: dict[str, Any]) -> None:
    """Print a comparison for people."""
    print(f"{found['before']} -> {found['after']}")
    for item in found["changes"]:
        print(f"  {Change(**item)}")
    if not found["changes"]:
        print("  the same spec, but for comments and order")
    runs = found["runs"]
    print(
        f"\nprobe runs: {runs['kept']} kept, {len(runs['new'])} new ({runs['samples']:,} samples), {runs['dropped']} dropped"
    )
    counts = [[f"{count:,}", reason] for reason, count in grouped(run["why"] for run in runs["new"]).items()]
    for line in table(["", ""], counts, "rl") if counts else []:
        print(line)
    print("\nstages")
    stages = [["runs" if stage["runs"] else "stays", stage["name"], stage["why"]] for stage in found["stages"]]
    for line in table(["", "", ""], stages, "lll"):
        print(line)
