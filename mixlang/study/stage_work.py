"""The stages of the pipeline, each a function of the files it reads (see mixlang.study.pipeline)."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixlang.console import Progress, say
from mixlang.documents import RunsTable, TaskResults, Trained, VolumeFacts, read
from mixlang.errors import InputError, MixlangError, StageError, crash
from mixlang.files import write_json, write_text
from mixlang.hardware import cores
from mixlang.plan.build import Plan, Run, compile_plan, unusable
from mixlang.plan.cost import held_out_work
from mixlang.plan.data_manifest import DataManifest
from mixlang.plan.design import grid_points
from mixlang.plan.evaluations import Evaluation, keys_of, read_evaluations
from mixlang.plan.tasks import task_problems
from mixlang.spec.locations import Locations, check_sources
from mixlang.spec.schema import Launch
from mixlang.study.askers import Part, ask, published_keys
from mixlang.study.collect import runs_in_words
from mixlang.study.committed import left_out
from mixlang.study.compile import reuse_of
from mixlang.study.known import known_scores, trained_keys
from mixlang.study.reuse import reused
from mixlang.study.workspace import Study, Workspace
from mixlang.words import decision_in_words, design_in_words, signed, skill_in_words

if TYPE_CHECKING:
    from runners.execute.batch import Batch
    from runners.execute.store import RunStore


@dataclass(frozen=True)
class Context:
    """What every stage has at hand."""

    workspace: Workspace
    study: Study

    def launch(self) -> Launch:
        """How runs are started here: as the spec says, and where it does not, mixlang.local.yaml.

        Raises:
            SpecError: one of the two is wrong.
        """
        from mixlang.spec.local_launch import launch_here

        return launch_here(self.study.load().spec, self.workspace.root)

    def read(self, name: str) -> Any:
        """A document of the build folder.

        Raises:
            InputError: it is missing, damaged, or of another form than its name says.
        """
        return read(self.study.build, name)

    def write(self, name: str, value: Any) -> None:
        """Write a JSON file of the build folder, whole or not at all."""
        write_json(self.study.file(name), value)

    def ask(self, part: Part, runs: Iterable[Run]) -> None:
        """Note in the run store that this study asks for runs; comes before the first look for their results."""
        ask(self.workspace, self.study, part, (run.key for run in runs))

    @property
    def store(self) -> RunStore:
        """Where runs are kept."""
        from runners.execute.store import RunStore

        return RunStore(self.workspace.store)

    def planned(self) -> Plan:
        """The plan on disk."""
        return Plan.read(self.study.file("plan.json"))

    def evaluations(self, compiled: Plan) -> list[Evaluation]:
        """What is measured of every run."""
        return read_evaluations(compiled, self.study.file("plan.json"))


def plan(context: Context) -> None:
    """Spec and data manifest to runs and settings."""
    loaded = context.study.load()
    manifest = DataManifest.read(context.study.file("data.json"))
    if set(manifest.domains) != set(loaded.spec.domains):
        raise InputError(
            f"{context.study.file('data.json')} is of other domains than the spec",
            f"Run 'mixlang run specs/{context.study.item}.yaml': it scans the data again.",
        )
    for message in unusable(manifest, loaded.spec.data.max_quarantined).values():
        raise InputError(message, "Mend or exclude the files.")
    compiled = compile_plan(loaded.spec, manifest, reuse_of(loaded.spec, context.workspace))
    for _, _, message, hint in task_problems(loaded.spec, compiled.tasks):
        raise InputError(message, hint)
    for name, settings in compiled.settings.items():
        context.write(f"settings/{name}.json", settings)
    context.write("plan.json", compiled.plan.as_dict())
    versions = reused(context.workspace, loaded.spec.design.reuse, compiled.plan)
    of_others = "".join(f", {len(one.runs)} of them of {one.label}" for one in versions)
    samples = sum(run.budget for run in compiled.plan.runs)
    say(f"  plan: {len(compiled.plan.runs)} probe runs{of_others}, {samples:,} samples")
    if compiled.plan.design is not None:
        say(f"  plan: {design_in_words(compiled.plan.design)}")


def prepare(context: Context) -> None:
    """Volumes into the store, their table, and what each domain looks like."""
    from runners.data.statistics import describe

    compiled = Plan.read(context.study.file("plan.json"))
    volumes = prepared(context, compiled)
    shown = context.read("settings/prepare.json")["thumbnails"]
    context.write("statistics.json", describe(compiled, volumes, context.workspace.store, shown))
    table = {key: {name: fact for name, fact in facts.items() if name != "histogram"} for key, facts in volumes.items()}
    context.write("volumes.json", table)
    say(f"  prepare: {len(volumes)} volumes are ready")


def prepared(context: Context, compiled: Plan, evaluations: Sequence[Evaluation] = ()) -> dict[str, VolumeFacts]:
    """Fill the store with the volumes of a plan, and with the label maps of evaluations; returns the table of volumes."""
    from runners.data.volumes import prepare as fill

    progress = Progress("prepare")
    locations = Locations.of(context.workspace.root)
    missing = check_sources(context.study.load(), locations)
    if missing and not _all_prepared(context, compiled):
        raise StageError(
            f"there is something to train, and its data are not here: {missing[0].message}",
            "Run the same command where the data are. What was computed from committed results is kept in "
            f"build/{context.study.item}; to publish the solution without new held-out runs: --set 'budgets.holdout=[]'.",
        )
    found = fill(
        compiled.volumes,
        context.workspace.store,
        locations,
        cores(),
        lambda done, total: progress.count(done, total, "volumes"),
    )
    tasks = {one.name: one.task for one in evaluations if one.task is not None}
    if not tasks:
        return found
    from runners.downstream.annotated import prepare_labels

    prepare_labels(
        tasks,
        compiled.volumes,
        context.workspace.store,
        locations,
        cores(),
        lambda done, total: progress.count(done, total, "label maps"),
    )
    return found


def _all_prepared(context: Context, compiled: Plan) -> bool:
    """Whether the store has every volume of a plan, so that no scan is read again."""
    from runners.data.volumes import volume_path

    return all(volume_path(context.workspace.store, key).is_file() for key in compiled.volumes)


def sweep(context: Context) -> None:
    """The probe runs."""
    from runners.execute.batch import failures

    compiled = context.planned()
    context.ask("probe", compiled.runs)
    launch = context.launch()
    job = _training(context, compiled, compiled.runs, "sweep")
    job.max_failed, job.ahead = launch.max_failed, held_out_work(context.study.load().spec)[1]
    job.before = lambda: _begin_training(context, compiled)
    job.execute()
    failed = {run.key for run, _ in job.failed}
    trained = [run.key for run in compiled.runs if run.key not in failed]
    if not trained:
        raise StageError("every probe run failed; there is nothing to fit", "Fix the cause and run again.")
    document: Trained = {"version": 1, "runs": trained}
    context.write("trained.json", {**document, "failed": failures(job.failed)} if failed else document)


def _training(context: Context, compiled: Plan, runs: list[Run], title: str) -> Batch:
    """A batch that trains what neither the store nor a committed table has."""
    from runners.execute.batch import Batch
    from runners.execute.former import take_over

    take_over(context.store, compiled, runs)
    known = {key: {} for key in trained_keys(context.study)} | known_scores(context.study, compiled)
    return Batch(compiled, context.study.file("plan.json"), runs, context.store, context.launch(), title, known=known)


def evaluate(context: Context) -> None:
    """The losses of the probe runs: what is not known yet is measured from their weights."""
    from runners.execute.batch import failures

    compiled = context.planned()
    trained: Trained = context.read("trained.json")
    context.ask("probe", compiled.runs)
    without = {item["key"]: item for item in trained.get("failed", [])}
    runs = [run for run in compiled.runs if run.key not in without]
    job = _measuring(context, compiled, runs, "evaluate")
    job.max_failed = max(0, context.launch().max_failed - len(without))
    rows = job.execute()
    if not rows:
        raise StageError("no probe run could be evaluated; there is nothing to fit", "Fix the cause and run again.")
    failed = [*without.values(), *failures(job.failed)]
    table: RunsTable = {
        "version": 2,
        "domains": list(compiled.domains),
        "evaluations": keys_of(context.evaluations(compiled)),
        "runs": rows,
    }
    context.write("runs.json", {**table, "failed": failed} if failed else table)


def _measuring(context: Context, compiled: Plan, runs: list[Run], title: str) -> Batch:
    """A batch that measures what is not known of trained runs; those whose weights are gone are trained again first."""
    from runners.execute.batch import Batch
    from runners.execute.scores import missing

    path, store, launch = context.study.file("plan.json"), context.store, context.launch()
    evaluations, known = context.evaluations(compiled), known_scores(context.study, compiled)
    lacking = {run.key: found for run in runs if (found := missing(run.key, evaluations, store, known))}
    gone = [run for run in runs if run.key in lacking and not store.has_weights(run.key)]
    if gone:
        names = ", ".join(sorted({one.name for run in gone for one in lacking[run.key]}))
        _train_again(context, compiled, gone, title, f"to measure {names}")
    job = Batch(compiled, path, runs, store, launch, title, evaluations=evaluations, known=known)
    job.before = lambda: prepared(context, compiled, evaluations)
    return job


def _train_again(context: Context, compiled: Plan, gone: list[Run], title: str, why: str) -> None:
    """Train runs whose results are known but whose weights are needed and not in the store."""
    from runners.execute.batch import Batch

    say(
        f"  {title}: the weights of {runs_in_words(len(gone))} are not in {context.workspace.store}: trained again {why} "
        "(the run store of the machine that trained them would spare that; see MIXLANG_STORE)"
    )
    for run in gone:
        context.store.forget_result(run.key)
    path = context.study.file("plan.json")
    job = Batch(compiled, path, gone, context.store, context.launch(), f"{title}, again")
    job.before = lambda: _begin_training(context, compiled)
    job.execute()


def _begin_training(context: Context, compiled: Plan) -> None:
    """What comes before the first run: the spec's limits once more, for who calls DVC alone, and the volumes.

    Raises:
        SpecError: what is left exceeds the limits.
        InputError: the disk has no room for it.
    """
    from mixlang.study.estimate import refuse_over_limits, refuse_without_room

    manifest = DataManifest.read(context.study.file("data.json"))
    loaded = context.study.load()
    refuse_over_limits(context.workspace, context.study, loaded, compiled, manifest)
    refuse_without_room(context.workspace, context.study, loaded.spec, compiled, manifest)
    prepared(context, compiled)


def fit(context: Context) -> None:
    """Laws from the table of runs."""
    from mixlang.laws import LossTable, fit_laws
    from mixlang.laws.quality import doubts_of

    runs, settings = context.read("runs.json"), context.read("settings/fit.json")
    table = LossTable.of(runs["domains"], runs["runs"])
    without = _without(runs)
    try:
        laws = fit_laws(
            table, settings["family"], settings["choose"], fixed_total=settings["fixed_total"], draws=settings["draws"]
        )
    except InputError as error:
        if without:
            raise InputError(f"{without}, and without them {error}", error.hint) from error
        raise
    if without:
        laws = replace(laws, notes=(f"{without}; the laws are fitted without them", *laws.notes))
    context.write("fit.json", laws.document())
    for law in laws.laws:
        noise = "unknown" if np.isnan(law.noise) else f"{law.noise:.1%}"
        seen = "" if law.skill is None else f", R^2 {skill_in_words(law.skill)}"
        say(f"  fit: {law.name}: {law.called}, error {law.error:.1%}, seed noise {noise}{seen}")
    for note in [*laws.notes, *doubts_of(laws)]:
        say(f"  fit: note: {note}")


def _without(runs: RunsTable) -> str:
    """Which probe runs the table lacks, in words; '' where it is whole."""
    failed = runs.get("failed", [])
    if not failed:
        return ""
    return f"{len(failed)} of {len(failed) + len(runs['runs'])} probe runs failed ({'; '.join(item['run'] for item in failed)})"


def allocate(context: Context) -> None:
    """The optimal mixture at the target and at each holdout budget, with baselines."""
    from mixlang.allocate import answer, over_budgets
    from mixlang.laws import read_fit

    settings = context.read("settings/allocate.json")
    laws = read_fit(context.study.file("fit.json"))
    budget = settings["target"]
    target = answer(laws, settings, budget, settings["baselines"], named=settings["mixtures"])
    held = {}
    for number, holdout in enumerate(settings["holdout"]):
        points = np.array(grid_points(len(laws.domains), settings["grid"])) if settings["grid"] and not number else None
        held[str(holdout)] = answer(
            laws, settings, holdout, settings["baselines"], uncertain=False, named=settings["mixtures"], points=points
        )
    document = {
        "version": 1,
        "domains": list(laws.domains),
        "target": target,
        "holdout": held,
        "path": over_budgets(laws, settings, np.geomspace(laws.budgets[0], 4 * budget, 9).tolist()),
        "costs": settings["costs"],
        "weights": settings["objective"]["weights"],
    }
    context.write("allocation.json", document)
    shown = ", ".join(f"{name} {share:.1%}" for name, share in target["shares"].items())
    gain = 1 - target["objective"] / target["baselines"]["proportional"]["objective"]
    sure = (target.get("intervals") or {}).get("gains", {}).get("proportional")
    ends = "" if sure is None else f" (90 % interval {signed(-sure['interval'][1])} to {signed(-sure['interval'][0])})"
    says = decision_in_words(target)
    if says:
        say(f"  allocate: {says}")
    say(
        f"  allocate: {shown}; predicted {signed(-gain)} from proportional{ends}; gap {target['certificate']['gap']:.1e}"
    )
    _say_power(context, gain)


def _say_power(context: Context, gain: float) -> None:
    """Say what the held-out runs could show, before they are trained."""
    from mixlang.verify.power import noise_of, power_in_words

    rows, weights = context.read("runs.json")["runs"], context.read("settings/allocate.json")["objective"]["weights"]
    noise = noise_of(rows, weights)
    if noise is not None and context.read("settings/allocate.json")["holdout"]:
        say(f"  allocate: {power_in_words(noise, context.read('settings/verify.json')['seeds'], gain)}")


def verify(context: Context) -> None:
    """The allocated mixture, its rivals and the grid, trained at the holdout budgets."""
    from mixlang.laws import read_fit
    from mixlang.verify.trials import trials, verification

    compiled = context.planned()
    allocation, settings = context.read("allocation.json"), context.read("settings/verify.json")
    wanted = trials(compiled, allocation, settings)
    context.ask("verify", [trial.run for trial in wanted])
    rows = {}
    if wanted:
        runs = list({trial.run.key: trial.run for trial in wanted}.values())
        job = _training(context, compiled, runs, "verify")
        job.before = lambda: prepared(context, compiled)
        job.execute()
        rows = {row["key"]: row for row in _measuring(context, compiled, runs, "verify").execute()}
    laws = read_fit(context.study.file("fit.json"))
    document = verification(rows, wanted, laws, allocation, settings)
    document["evaluations"] = keys_of(context.evaluations(compiled))
    context.write("verification.json", document)
    if not wanted:
        say("  verify: no holdout budget, nothing to verify")
    for finding in document.get("verdict", []) if not _shown_at_the_end() else []:
        say(f"  verify: {finding['says']}")


def downstream(context: Context) -> None:
    """The encoders of the verification runs on tasks with labels."""
    from runners.downstream.stage import run_tasks

    settings, compiled = context.read("settings/downstream.json"), context.planned()

    def retrain(runs: list[Run]) -> None:
        context.ask("downstream", runs)
        _train_again(context, compiled, runs, "downstream", "for their encoders")

    asked = os.environ.get("MIXLANG_JOBS")
    document = run_tasks(
        settings,
        compiled,
        context.read("verification.json"),
        _known_tasks(context),
        context.workspace.store,
        Locations.of(context.workspace.root),
        lambda: prepared(context, compiled),
        retrain,
        int(asked) if asked else None,
    )
    context.write("downstream.json", document)
    if not document["tasks"]:
        say("  downstream: no task is declared")
    for sentence in document["sentences"]:
        say(f"  downstream: {sentence}")


def _shown_at_the_end() -> bool:
    """Whether a `mixlang run` has started this stage, which warns and shows the outcome itself: each once."""
    return bool(os.environ.get("MIXLANG_OUTCOME"))


def _known_tasks(context: Context) -> dict[str, TaskResults]:
    """The tasks of the committed document, so that what has not changed is not trained again without a store."""
    try:
        tasks = context.read("downstream.json")["tasks"]
        return tasks if isinstance(tasks, dict) else {}
    except (InputError, KeyError, TypeError):
        return {}


def report(context: Context) -> None:
    """The page a stranger can judge the mixture from, and what DVC shows of the results."""
    from mixlang.report.dvc_plots import curves, held_out, metrics
    from mixlang.report.page import render_report
    from mixlang.report.results import Results

    results = Results(context.study.build)
    context.write("metrics.json", metrics(results))
    write_text(context.study.file("curves.csv"), curves(results))
    write_text(context.study.file("heldout.csv"), held_out(results))
    write_text(context.study.file("report.html"), render_report(context.study.build))
    say(f"  report: {context.study.file('report.html').relative_to(context.workspace.root)}")


def publish(context: Context) -> None:
    """A new version in the registry, unless nothing has changed."""
    from mixlang.registry.artifacts import tag_command
    from mixlang.registry.headline import doubts
    from mixlang.study.publish import publish_study

    if not _shown_at_the_end():
        for line in left_out(context.workspace, [context.study]):
            say(line)
    mixture, new = publish_study(context.workspace, context.study)
    ask(context.workspace, context.study, "published", published_keys(context.workspace))
    content = mixture.facts["content"]
    context.write("published.json", {"name": mixture.name, "version": mixture.version, "content": content})
    if not new:
        say(f"  publish: unchanged, {mixture.label} stands")
        return
    why = doubts(mixture.facts["verified"])
    say(f"  publish: {mixture.label}" + (f", a candidate: {why}" if why else ""))
    say(f"  publish: for DVC, once it is committed: {tag_command(context.workspace.registry, mixture)}")


WORK: dict[str, Callable[[Context], None]] = {
    "plan": plan,
    "prepare": prepare,
    "sweep": sweep,
    "evaluate": evaluate,
    "fit": fit,
    "allocate": allocate,
    "verify": verify,
    "downstream": downstream,
    "report": report,
    "publish": publish,
}


def run_stage(name: str, item: str) -> None:
    """Execute one stage of one study; what DVC calls.

    Raises:
        MixlangError: after noting it where `mixlang run` looks, if that started us.
    """
    from runners.execute.liveness import end_with, masters

    workspace = Workspace.find(Path.cwd())
    end_with(masters())
    try:
        WORK[name](Context(workspace, Study(workspace.root, item)))
    except MixlangError as error:
        _tell_run(error)
        raise
    except Exception as error:
        failed = crash(error, f"stage {name} of {item}")
        _tell_run(failed)
        raise failed from error


def _tell_run(error: MixlangError) -> None:
    """Leave the error where the `mixlang run` that started us looks for it."""
    outcome = os.environ.get("MIXLANG_OUTCOME")
    if not outcome:
        return
    said = {"exit_code": error.exit_code, "message": str(error), "hint": error.hint}
    try:
        Path(outcome).write_text(json.dumps(said), encoding="utf-8")
    except OSError:  # a full disk: we have to say it ourselves
        del os.environ["MIXLANG_OUTCOME"]
