"""Executing the plan of a published version again, in a run store of its own, and comparing the losses."""

from __future__ import annotations

import shutil
from pathlib import Path

from mixlang.console import Progress
from mixlang.errors import InputError
from mixlang.files import write_bytes
from mixlang.hardware import cores
from mixlang.plan.build import Plan, Run
from mixlang.plan.evaluations import read_evaluations
from mixlang.registry import Mixture
from mixlang.registry.proof import Check, read_losses
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Launch
from mixlang.study.workspace import Workspace
from runners.data.volumes import prepare
from runners.execute.batch import Batch
from runners.execute.store import RunStore

TOLERANCE = 0.05
"""Largest relative difference of a run's loss. On the machine and versions of the first execution there is none; on
others rounding grows along a run to some tenths of the noise between seeds (docs/training.md)."""


def rerun(workspace: Workspace, mixture: Mixture) -> Check:
    """Train every run of a version again and compare its losses with losses.csv.

    The runs go to `.mixlang/rerun/`, not to the workspace's store, so that nothing is taken from it; interrupted, the
    same command goes on. It is deleted when all runs are there.

    Raises:
        InputError: the files the volumes come from are not where this workspace says.
        StageError: runs failed; the others are kept.
    """
    scratch = workspace.store / "rerun" / f"{mixture.name}-v{mixture.version}"
    plan, runs = _planned(mixture, scratch)
    store, progress, locations = scratch / "store", Progress("prepare"), Locations.of(workspace.root)

    def volumes() -> None:
        prepare(plan.volumes, store, locations, cores(), lambda done, total: progress.count(done, total, "volumes"))

    path, launch = scratch / "plan.json", Launch()
    Batch(plan, path, list(runs.values()), RunStore(store), launch, "rerun", before=volumes).execute()
    wanted = read_evaluations(plan, path)
    job = Batch(plan, path, list(runs.values()), RunStore(store), launch, "rerun", evaluations=wanted)
    found = {row["key"]: row["losses"] for row in job.execute()}
    check = Check("rerun")
    published = read_losses(mixture)
    apart, same, tasks = {}, 0, set()
    for row in published:
        again = found[runs[row["key"]].key]
        before = {name: loss for name, loss in row["losses"].items() if name in again}
        tasks |= row["losses"].keys() - before.keys()
        apart[row["key"]] = max(abs(again[name] / loss - 1) for name, loss in before.items())
        same += again == before
    for key, difference in apart.items():
        if difference > TOLERANCE:
            check.problems.append(f"losses.csv: trained again, run {key[:12]} differs by {difference:.1%}")
    worst = max(apart.values())
    check.detail = (
        f"{len(published)} runs trained again: {same} with the same losses to the bit, the others within {worst:.1e}"
    ) + (f"; the losses of tasks are not measured again: {', '.join(sorted(tasks))}" if tasks else "")
    shutil.rmtree(scratch, ignore_errors=True)
    return check


def _planned(mixture: Mixture, scratch: Path) -> tuple[Plan, dict[str, Run]]:
    """The plan of a version, its file in the scratch folder, and by published key all runs of losses.csv."""
    path = mixture.folder / "plan.json"
    if not path.is_file():
        raise InputError(f"{mixture.label} carries no plan, so it cannot be trained again")
    write_bytes(scratch / "plan.json", path.read_bytes())
    plan = Plan.read(scratch / "plan.json")
    runs: dict[str, Run] = {}
    for row in read_losses(mixture):
        run = plan.run(row["kind"], row["amounts"], row["seed"])
        if row["key"] not in (run.key, plan.former_key(run)):
            raise InputError(
                f"run {row['key'][:12]} of {mixture.label} was trained by code that gave other results, and this mixlang "
                f"cannot repeat it",
                f"Use the version that made it: see 'git' and 'environment' in {mixture.folder / 'provenance.json'}.",
            )
        runs[row["key"]] = run
    return plan, runs
