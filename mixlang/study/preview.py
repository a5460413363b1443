"""What a plan amounts to before it runs."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from mixlang.console import duration
from mixlang.documents import read
from mixlang.errors import InputError, StageError
from mixlang.files import read_json
from mixlang.plan.changes import Before, Reasons, grouped, touched
from mixlang.plan.cost import flops_per_sample
from mixlang.plan.stages import RESULTS, STAGES, directly_before
from mixlang.spec.local_launch import launch_here
from mixlang.spec.quantities import show_bytes
from mixlang.study.compile import CompiledStudy
from mixlang.study.estimate import estimate, left_of, over_limits
from mixlang.study.reuse import reused
from mixlang.study.workspace import Study
from mixlang.terminal import table
from mixlang.words import design_in_words
from runners.execute.devices import Devices, devices
from runners.execute.engines.local import runs_at_once

Preview = dict[str, Any]
"""What `overview` returns; its keys are said there."""

_SHOWN = 12
"""Reasons listed for people; the JSON has them all."""


def overview(study: CompiledStudy) -> Preview:
    """What running a study would do: runs by kind and why each is new, cost, data, and the stages with their state."""
    plan, spec = study.compiled.plan, study.loaded.spec
    found = left_of(study.workspace, study.study, spec, plan, study.compiled.settings)
    left = estimate(study.workspace, plan, found, study.manifest)
    before = _before(study.study)
    reasons = Reasons(before.plan, plan)
    again = {run.key for run in found.progress.gone}
    lacks = {key: [one.name for one in lacking] for key, lacking in found.progress.unmeasured.items()}
    waiting = {run.key for run in found.progress.to_train}
    why = {
        run.key: f"weights are gone; to be measured: {_names(lacks[run.key])}"
        if run.key in again
        else reasons.of(run) or "planned before, not trained yet"
        for run in plan.runs
        if run.key in waiting
    }
    measured = {key: f"not measured yet: {_names(names)}" for key, names in lacks.items() if key not in again}
    each = flops_per_sample(plan.training)
    untrained = sum(run.key not in again for run in found.progress.to_train if run.key in why)
    lacking = sum(run.key in lacks for run in plan.runs)
    stages = touched(before, study.compiled, untrained, lacking)
    planned = {run.key for run in before.plan.runs} if before.plan is not None else set()
    return {
        "study": study.study.item,
        "kinds": {kind: {**asdict(row), "flops": row.samples * each} for kind, row in found.work.items()},
        "flops_per_sample": each,
        "cost": {
            "device_hours": left.device_hours,
            "evaluation_hours": left.evaluation_hours,
            "unknown": left.unknown,
            "speed": None if left.speed is None else asdict(left.speed),
            "at_once": _at_once(study),
            "disk": {"volumes": left.volumes, "checkpoints": left.checkpoints},
        },
        "limits": [item.as_dict() for item in over_limits(study.loaded, left)],
        "available": study.compiled.settings["allocate"]["available"],
        "quarantined": {name: len(data.quarantined) for name, data in study.manifest.domains.items()},
        "runs": [
            {
                **run.as_dict(),
                "done": run.key in found.progress.rows,
                "todo": "train" if run.key in why else "evaluate" if run.key in measured else "",
                "why": why.get(run.key) or measured.get(run.key, ""),
            }
            for run in plan.runs
        ],
        "fits": {"fits": found.fits.fits, "left": found.fits.left},
        "reused": [
            {"version": one.label, "runs": len(one.runs), "left_out": one.left}
            for one in reused(study.workspace, spec.design.reuse, plan)
        ],
        "design": plan.design,
        "power": _power(study),
        "no_longer_planned": len(planned - {run.key for run in plan.runs}),
        "stages": [
            {"name": name, "after": directly_before(name), "runs": bool(stages[name]), "why": stages[name]}
            for name in STAGES
        ],
    }


def _power(study: CompiledStudy) -> str | None:
    """What the verification could show, in words, where the runs of before tell the noise."""
    if not study.loaded.spec.budgets.holdout:
        return None
    try:
        rows = read(study.study.build, "runs.json")["runs"]
    except InputError:
        return None
    from mixlang.verify.power import noise_of, power_in_words

    noise = noise_of(rows, study.compiled.settings["allocate"]["objective"]["weights"])
    return None if noise is None else power_in_words(noise, study.loaded.spec.verify.seeds)


def _names(losses: list[str]) -> str:
    """Losses in words; of many the first ones."""
    shown = ", ".join(losses[:4])
    return f"{shown} and {len(losses) - 4} more" if len(losses) > 4 else shown


def _before(study: Study) -> Before:
    """What was compiled and computed last."""
    from mixlang.study.status import planned_before

    settings = {}
    for name in (name for name, stage in STAGES.items() if stage.settings):
        try:
            settings[name] = read_json(study.file(f"settings/{name}.json"))
        except InputError:
            continue
    files = {name for name in RESULTS if study.file(name).exists()}
    return Before(planned_before(study), settings, frozenset(files))


def _at_once(study: CompiledStudy) -> int:
    launch, threads = launch_here(study.loaded.spec, study.workspace.root), study.loaded.spec.train.threads
    if launch.executor == "slurm":
        return launch.slurm.jobs * (1 if launch.max_parallel == "auto" else launch.max_parallel)
    try:
        return runs_at_once(launch, threads, devices())
    except StageError:  # of the devices: said when runs are to be started
        return runs_at_once(launch, threads, Devices())


def show_overview(found: Preview) -> None:
    """Print an overview for people."""
    print(f"{found['study']}: {found['flops_per_sample'] / 1e9:.3g} GFLOP a sample")
    kinds = [
        [kind, *(f"{row[name]:,}" for name in ("runs", "done", "evaluate", "train", "samples", "samples_left"))]
        for kind, row in found["kinds"].items()
    ]
    _print_table(["kind", "runs", "done", "to evaluate", "to train", "samples", "samples to train"], kinds)
    if found["design"] is not None:
        print(design_in_words(found["design"]))
    for kind, row in found["kinds"].items():
        if not row["known"]:
            print(f"{kind}: which runs is not known before the allocation; at most these, counted as to do")
    if found["power"] is not None:
        print(f"verify: {found['power']}")
    if found["fits"]["fits"]:
        print(f"downstream: {found['fits']['fits']:,} fits of tasks, {found['fits']['left']:,} of them to do")
    domains = [
        [name, f"{data['volumes']:,}", f"{data['crops']:,.0f}", f"{found['quarantined'][name]:,}"]
        for name, data in found["available"].items()
    ]
    print("\ntraining side", end="")
    _print_table(["domain", "volumes", "crops", "quarantined"], domains)
    print()
    _show_cost(found["cost"])
    for item in found["limits"]:
        print(f"{item['file']}:{item['line']}:{item['column']}: over the limit[{item['code']}]: {item['message']}")
    _show_reasons(found)
    for one in found["reused"]:
        print(f"\n{one['version']}: {one['runs']:,} of its probe runs are kept")
        for why, count in one["left_out"].items():
            print(f"  {count:,} are not: {why}")
    print("\nstages", end="")
    stages = []
    for stage in found["stages"]:
        after = f" (after {', '.join(stage['after'])})" if stage["after"] else ""
        stages.append(["runs" if stage["runs"] else "stays", stage["name"] + after, stage["why"]])
    _print_table(["", "", ""], stages, "lll", indent=2)


def _print_table(head: list[str], rows: list[list[str]], align: str = "", indent: int = 0) -> None:
    print()
    for line in table(head, rows, align, indent):
        print(line)


def _show_cost(cost: dict[str, Any]) -> None:
    disk = cost["disk"]
    if cost["device_hours"] is None:
        print(f"time: unknown; {cost['unknown']}")
    else:
        hours, speed, part = cost["device_hours"], cost["speed"], cost["evaluation_hours"]
        when = f", measured {speed['measured']}" if speed["measured"] else ""
        rate = f"{1 / speed['train']:,.3g} samples/s on {speed['device']}{when}"
        at_once = f", {duration(hours * 3600 / cost['at_once'])} with {cost['at_once']} at once" if hours else ""
        measuring = f" ({part:.2g} of them evaluation)" if part else ""
        print(f"time: {hours:.2g} device-hours left{measuring}{at_once}; {rate}")
    print(f"disk: {show_bytes(disk['volumes'])} of prepared volumes, {show_bytes(disk['checkpoints'])} of weights")


def _show_reasons(found: Preview) -> None:
    for todo, head in (("train", "probe runs to train, and why"), ("evaluate", "probe runs to evaluate, and why")):
        reasons = grouped(run["why"] for run in found["runs"] if run["todo"] == todo)
        if reasons:
            print(f"\n{head}", end="")
            _print_table(
                ["", ""], [[f"{count:,}", reason] for reason, count in list(reasons.items())[:_SHOWN]], "rl", 2
            )
        if len(reasons) > _SHOWN:
            print(f"  ... and {len(reasons) - _SHOWN} more reasons (--format json lists every run)")
    if found["no_longer_planned"]:
        print(f"  {found['no_longer_planned']:,} of the last plan are no longer needed; their results are kept")
