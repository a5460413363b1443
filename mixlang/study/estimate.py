"""What is left of a study: runs, device-hours and disk; and the spec's limits on them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from mixlang.errors import InputError, StageError
from mixlang.files import read_json
from mixlang.plan.build import Plan, Run
from mixlang.plan.cost import checkpoint_bytes, held_out_work, volume_bytes
from mixlang.plan.data_manifest import DataManifest
from mixlang.plan.evaluations import crops_of, evaluations_of, read_evaluations
from mixlang.plan.ladder import shared_samples, trunk_of
from mixlang.spec import Diagnostic, LoadedSpec, SpecError
from mixlang.spec.quantities import show_bytes
from mixlang.spec.schema import Limits, Spec
from mixlang.study.held_out import held_out_runs
from mixlang.study.known import Progress, known_scores, progress_of, trained_keys
from mixlang.study.workspace import Study, Workspace
from runners.data.volumes import volume_path
from runners.downstream.remaining import FitsLeft, fits_left
from runners.execute.calibrate import Speed, calibrate
from runners.execute.disk_room import require_room
from runners.execute.store import RunStore


@dataclass(frozen=True)
class Work:
    """Runs of one kind: how many, how far they are, and what is left.

    A run that branches off another trains only what it does not share with it. Of runs that are not `known` before an
    allocation is solved, these are the most there can be, all of them to do.

    Attributes:
        done: runs whose losses are all known.
        evaluate: of the others, those whose weights are there; only evaluations are left of them.
        again: those that were trained, lack an evaluation, and whose weights are gone.
        train: those to train, `again` included.
        samples: of all; samples_left: to train.
        crops_left: to measure.
    """

    runs: int
    done: int
    samples: int
    samples_left: int
    known: bool = True
    evaluate: int = 0
    again: int = 0
    train: int = 0
    crops_left: int = 0


@dataclass(frozen=True)
class Estimate:
    """What is left.

    Attributes:
        device_hours: of training, evaluation and fits of tasks; None where the speed is not known, for the reason `unknown`.
        evaluation_hours: what of it is evaluation.
        speed: seconds a sample and where that was measured.
        volumes, checkpoints: bytes in the store once all is done.
    """

    device_hours: float | None
    evaluation_hours: float | None
    unknown: str
    speed: Speed | None
    volumes: int
    checkpoints: int


@dataclass(frozen=True)
class Left:
    """What is left of a study.

    Attributes:
        progress: how far its runs are, held-out ones included.
        work: by kind of run.
        fits: of the tasks that are measured at the end.
    """

    progress: Progress
    work: dict[str, Work]
    fits: FitsLeft


def left_of(
    workspace: Workspace, study: Study, spec: Spec, plan: Plan, settings: Mapping[str, Any] | None = None
) -> Left:
    """How far the runs of a study are, and what is left of them.

    Args:
        settings: of each stage; those written last if left out.
    """
    held_out = held_out_runs(study, plan, settings)
    if settings is None:
        evaluations = read_evaluations(plan, study.file("plan.json"))
    else:
        evaluations = evaluations_of(plan, settings["evaluate"])
    reuse = None if settings is None else settings["evaluate"]["reuse"]
    known, trained = known_scores(study, plan, reuse), trained_keys(study)
    store = RunStore(workspace.store)
    found = progress_of(store, plan, plan.runs, evaluations, known, trained)
    if held_out is not None and len(found.rows) < len(plan.runs) and not _settled_failures(study, found):
        held_out = None  # what is measured anew may move the mixtures
    planned = {run.key for run in plan.runs}
    others = [run for run in held_out or [] if run.key not in planned]
    found = found.with_(progress_of(store, plan, others, evaluations, known, trained))
    work: dict[str, Work] = {}
    waiting, gone = {run.key for run in found.to_train}, {run.key for run in found.gone}
    branches = spec.launch.ladder == "branches"

    def of_run(run: Run, trunk: Run | None) -> Work:
        shared = shared_samples(plan, run) if trunk is not None and trunk.key in waiting else 0
        training = run.key in waiting
        lacks = found.unmeasured.get(run.key, evaluations if training else [])
        return Work(
            1,
            run.key in found.rows,
            run.budget,
            run.budget - shared if training else 0,
            evaluate=run.key in found.unmeasured and not training,
            again=run.key in gone,
            train=training,
            crops_left=sum(crops_of(plan, one) for one in lacks),
        )

    for run in plan.runs:
        trunk = trunk_of(plan, run) if branches and run.key in waiting else None
        work[run.kind] = _sum(work.get(run.kind), of_run(run, trunk))
    most, samples = held_out_work(spec)
    if most and held_out is None:
        crops = most * sum(crops_of(plan, one) for one in evaluations)
        work["verify"] = Work(most, 0, samples, samples, known=False, train=most, crops_left=crops)
    elif most and held_out:
        for run in held_out:
            work["verify"] = _sum(work.get("verify"), of_run(run, None))
    return Left(found, work, _fits(workspace, study, plan, settings, held_out))


def _fits(
    workspace: Workspace, study: Study, plan: Plan, settings: Mapping[str, Any] | None, held_out: list[Run] | None
) -> FitsLeft:
    """What is left of the downstream stage; all of it where the verification on disk is not that of the plan."""
    try:
        asked = read_json(study.file("settings/downstream.json")) if settings is None else settings["downstream"]
    except InputError:
        return FitsLeft(0, 0, 0)
    try:
        verification = read_json(study.file("verification.json"))
        there = {row["key"] for row in verification["runs"]}
        if held_out is None or not {run.key for run in held_out} <= there | {plan.former_key(run) for run in held_out}:
            verification = None
        known = read_json(study.file("downstream.json"))["tasks"]
        return fits_left(asked, plan, verification, known, workspace.store)
    except (InputError, LookupError, TypeError):
        return fits_left(asked, plan, None, {}, workspace.store)


def _settled_failures(study: Study, found: Progress) -> bool:
    """Whether all probe runs without losses are those that the committed table does without."""
    try:
        failed = {item["key"] for item in read_json(study.file("runs.json")).get("failed", [])}
    except (InputError, AttributeError, TypeError):
        return False
    return {*(run.key for run in found.waiting), *found.unmeasured} <= failed


def _sum(first: Work | None, second: Work) -> Work:
    if first is None:
        return second
    added = {
        item.name: getattr(first, item.name) + getattr(second, item.name)
        for item in fields(Work)
        if item.name != "known"
    }
    return Work(**added, known=first.known)


def estimate(workspace: Workspace, plan: Plan, left: Left, manifest: DataManifest) -> Estimate:
    """What the work that is left costs on this machine.

    The rate is that of the study's own runs where this store has timed any, else that of a calibration.
    """
    rows = left.work.values()
    speed, unknown = _speed(workspace, plan, left.progress)
    hours = evaluation = None
    if speed is not None:
        evaluation = sum(row.crops_left for row in rows) * speed.evaluate / 3600
        # A task's encoder sees all tokens of a crop, not the visible ones alone.
        seconds = left.fits.crops * speed.evaluate / (1 - plan.training["model"]["mask_ratio"])
        hours = sum(row.samples_left for row in rows) * speed.train / 3600 + evaluation + seconds / 3600
    return Estimate(
        hours,
        evaluation,
        unknown,
        speed,
        _volume_bytes(workspace, plan, manifest),
        checkpoint_bytes(plan.training, sum(row.runs for row in rows)),
    )


def _speed(workspace: Workspace, plan: Plan, progress: Progress) -> tuple[Speed | None, str]:
    keys = {run.key for run in plan.runs}
    # A branch, or a run that was taken up again, did not train all of its samples in the seconds it names.
    timed = [
        row
        for key, row in progress.rows.items()
        if key in keys and "seconds" in row and not row.get("resumed_at_step") and row.get("crops_evaluated")
    ]
    trained = sum(row["budget"] for row in timed)
    if trained:
        train = sum(row["seconds"]["train"] for row in timed) / trained
        evaluate = sum(row["seconds"]["evaluate"] for row in timed) / sum(row["crops_evaluated"] for row in timed)
        return Speed(train, evaluate, f"{len(timed)} runs of this study", ""), ""
    try:
        return calibrate(plan.training, workspace.store), ""
    except StageError as error:
        return None, str(error)


def _volume_bytes(workspace: Workspace, plan: Plan, manifest: DataManifest, there: bool = False) -> int:
    """Disk for the prepared volumes: as they are, or at most, before they are; or of those alone that are `there`."""
    records = {(name, volume.path): volume for name, data in manifest.domains.items() for volume in data.volumes}
    total = 0
    for key, entry in plan.volumes.items():
        record = records[entry["domain"], entry["path"]]
        try:
            total += volume_path(workspace.store, key).stat().st_size
        except OSError:
            if not there:
                total += volume_bytes(record.shape, record.spacing, entry["preprocessing"]["spacing"])
    return total


def refuse_over_limits(
    workspace: Workspace, study: Study, loaded: LoadedSpec, plan: Plan, manifest: DataManifest
) -> None:
    """Stop before anything is trained when what is left exceeds the spec's limits.

    Raises:
        SpecError: at the limit's place.
    """
    if loaded.spec.limits == Limits():
        return
    left = left_of(workspace, study, loaded.spec, plan)
    problems = over_limits(loaded, estimate(workspace, plan, left, manifest))
    if problems:
        raise SpecError(problems)


def refuse_without_room(workspace: Workspace, study: Study, spec: Spec, plan: Plan, manifest: DataManifest) -> None:
    """Stop before anything is written when the store's disk cannot hold the volumes and weights that are still to come.

    A disk that does not say what is free is believed to have room.

    Raises:
        InputError: with what is needed and what there is.
    """
    work = left_of(workspace, study, spec, plan).work
    volumes = _volume_bytes(workspace, plan, manifest) - _volume_bytes(workspace, plan, manifest, there=True)
    runs = sum(row.train for row in work.values())
    if not runs:
        return  # then no volume is needed either
    require_room(workspace.store, volumes, checkpoint_bytes(plan.training, runs), runs)


def over_limits(loaded: LoadedSpec, found: Estimate) -> list[Diagnostic]:
    """What exceeds the spec's `limits`, each at its place; hours that could not be measured count as too many."""
    limits, problems = loaded.spec.limits, []

    def refuse(key: str, message: str, help: str) -> None:
        problems.append(loaded.marked.diagnostic("MX0401", ("limits", key), message, help))

    if limits.max_device_hours is not None:
        help = "raise limits.max_device_hours, or plan fewer or smaller runs; see 'mixlang plan'"
        if found.device_hours is None:
            refuse("max_device_hours", f"whether the limit holds is not known: {found.unknown}", help)
        elif found.device_hours > limits.max_device_hours:
            message = (
                f"about {found.device_hours:.3g} device-hours are left to train, over the limit of "
                f"{limits.max_device_hours:g}"
            )
            refuse("max_device_hours", message, help)
    disk = found.volumes + found.checkpoints
    if limits.max_disk is not None and disk > limits.max_disk:
        message = f"the store would take about {show_bytes(disk)}, over the limit of {show_bytes(limits.max_disk)}"
        refuse("max_disk", message, "raise limits.max_disk, or prepare fewer or coarser volumes")
    return problems
