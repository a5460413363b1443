"""The portable worker: trains and measures one of n parts of a plan, claiming each run by lease: for whatever sets an index."""

from __future__ import annotations

from pathlib import Path

from mixlang.errors import InputError
from mixlang.plan.build import Plan
from mixlang.study.known import known_scores
from mixlang.study.stage_work import Context, prepared
from mixlang.study.workspace import Study, Workspace
from runners.execute.batch import Batch
from runners.execute.shards import shard
from runners.execute.store import RunStore


def work(path: Path, index: int, count: int) -> None:
    """Train one part of a plan's runs, of about the same work as the others; results go to the run store only.

    Raises:
        InputError: not a plan of a workspace.
        StageError: some runs failed; the others are kept.
    """
    workspace = Workspace.find(path.resolve().parent)
    study = Study(workspace.root, path.resolve().parent.name)
    if path.resolve() != study.file("plan.json") or not path.is_file():
        raise InputError(
            f"{path} is not the plan of a study", "Give build/SPEC/plan.json, written by 'mixlang compile'."
        )
    plan = Plan.read(path)
    context = Context(workspace, study)
    context.ask("probe", plan.runs)
    launch = context.launch().model_copy(update={"executor": "local"})
    part = shard(plan, plan.runs, index, count, launch.ladder == "branches")
    title, store, known = f"worker {index}/{count}", RunStore(workspace.store), known_scores(study, plan)
    Batch(
        plan, path.resolve(), part, store, launch, title, known=known, before=lambda: prepared(context, plan)
    ).execute()
    trained = [run for run in part if run.key in known or store.result(run.key) is not None]
    wanted = context.evaluations(plan)
    here = [run for run in trained if store.has_weights(run.key)]
    job = Batch(plan, path.resolve(), here, store, launch, title, evaluations=wanted, known=known)
    job.before = lambda: prepared(context, plan, wanted)
    job.execute()
