"""What is left of a study: runs, device-hours and disk; and the spec's limits on them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from mixlang.documents import RunResult
from mixlang.errors import StageError
from mixlang.plan.build import Plan, Run
from mixlang.plan.cost import checkpoint_bytes, held_out_work, samples_evaluated, volume_bytes
from mixlang.plan.data_manifest import DataManifest
from mixlang.plan.ladder import shared_samples, trunk_of
from mixlang.spec import Diagnostic, LoadedSpec, SpecError
from mixlang.spec.quantities import show_bytes
from mixlang.spec.schema import Limits, Spec
from mixlang.study.held_out import held_out_runs
from mixlang.study.status import results_of
from mixlang.study.workspace import Study, Workspace
from runners.data.volumes import volume_path
from runners.execute.calibrate import Speed, calibrate
from runners.execute.disk_room import require_room


@dataclass(frozen=True)
class Work:
    """Runs of one kind: how many, how many of them are done, their samples, and those that are left to train.

    A run that branches off another trains only what it does not share with it. Of runs that are not `known` before an
    allocation is solved, these are the most there can be, all of them to do.
    """

    runs: int
    done: int
    samples: int
    samples_left: int
    known: bool = True


@dataclass(frozen=True)
class Estimate:
    """What is left.

    Attributes:
        device_hours: of training and evaluation; None where the speed could not be measured, for the reason `unknown`.
        speed: seconds a sample and where that was measured.
        volumes, checkpoints: bytes in the store once all is done.
    """

    device_hours: float | None
    unknown: str
    speed: Speed | None
    volumes: int
    checkpoints: int


def work_of(plan: Plan, spec: Any, done: dict[str, RunResult], held_out: list[Run] | None) -> dict[str, Work]:
    """The runs of a study by kind. What is done is told by the keys of runs alone.

    Args:
        done: results by key.
        held_out: the runs of the verification; None where its mixtures are not known yet.
    """
    found: dict[str, Work] = {}
    waiting = {run.key for run in plan.runs if run.key not in done}
    for run in plan.runs:
        row = found.get(run.kind, Work(0, 0, 0, 0))
        left = 0
        if run.key in waiting:
            trunk = trunk_of(plan, run) if spec.launch.ladder == "branches" else None
            left = run.budget - (shared_samples(plan, run) if trunk is not None and trunk.key in waiting else 0)
        found[run.kind] = Work(
            row.runs + 1, row.done + (run.key not in waiting), row.samples + run.budget, row.samples_left + left
        )
    most, samples = held_out_work(spec)
    if most and held_out is None:
        found["verify"] = Work(most, 0, samples, samples, known=False)
    elif most and held_out:
        left = [run for run in held_out if run.key not in done]
        samples = sum(run.budget for run in held_out)
        found["verify"] = Work(len(held_out), len(held_out) - len(left), samples, sum(run.budget for run in left))
    return found


def estimate(
    workspace: Workspace, plan: Plan, work: dict[str, Work], done: dict[str, RunResult], manifest: DataManifest
) -> Estimate:
    """What the work that is left costs on this machine.

    The rate is that of the study's own runs where this store has timed any, else that of a calibration.
    """
    samples = sum(row.samples_left for row in work.values())
    runs = sum(row.runs - row.done for row in work.values())
    speed, unknown = _speed(workspace, plan, done)
    hours = None
    if speed is not None:
        hours = (samples * speed.train + runs * samples_evaluated(plan) * speed.evaluate) / 3600
    return Estimate(
        hours,
        unknown,
        speed,
        _volume_bytes(workspace, plan, manifest),
        checkpoint_bytes(plan.training, sum(row.runs for row in work.values())),
    )


def _speed(workspace: Workspace, plan: Plan, done: dict[str, RunResult]) -> tuple[Speed | None, str]:
    keys = {run.key for run in plan.runs}
    # A branch, or a run that was taken up again, did not train all of its samples in the seconds it names.
    timed = [row for key, row in done.items() if key in keys and "seconds" in row and not row["resumed_at_step"]]
    crops = samples_evaluated(plan)
    trained = sum(row["budget"] for row in timed)
    if trained and crops:
        train = sum(row["seconds"]["train"] for row in timed) / trained
        evaluate = sum(row["seconds"]["evaluate"] for row in timed) / (len(timed) * crops)
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
    done, work = _so_far(workspace, study, loaded.spec, plan)
    problems = over_limits(loaded, estimate(workspace, plan, work, done, manifest))
    if problems:
        raise SpecError(problems)


def _so_far(workspace: Workspace, study: Study, spec: Spec, plan: Plan) -> tuple[dict[str, RunResult], dict[str, Work]]:
    """Results by run key, and the runs of a study by kind."""
    held_out = held_out_runs(study, plan)
    done = results_of(workspace, study, [*plan.runs, *(held_out or [])])
    return done, work_of(plan, spec, done, held_out)


def refuse_without_room(workspace: Workspace, study: Study, spec: Spec, plan: Plan, manifest: DataManifest) -> None:
    """Stop before anything is written when the store's disk cannot hold the volumes and weights that are still to come.

    A disk that does not say what is free is believed to have room.

    Raises:
        InputError: with what is needed and what there is.
    """
    work = _so_far(workspace, study, spec, plan)[1]
    volumes = _volume_bytes(workspace, plan, manifest) - _volume_bytes(workspace, plan, manifest, there=True)
    runs = sum(row.runs - row.done for row in work.values())
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
