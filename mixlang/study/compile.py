"""Compiling a study in its workspace: check, find the sources, scan the data, plan, and register with DVC."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from mixlang.console import Progress, say
from mixlang.errors import InputError, MixlangError
from mixlang.files import read_json, write_json
from mixlang.hardware import cores
from mixlang.plan.build import Compiled, Plan, Run, compile_plan, unusable
from mixlang.plan.data_manifest import DataManifest, Sides, committed_manifest, in_two_domains, scanned_by
from mixlang.plan.dominance import dominated
from mixlang.plan.split import Unsplittable, held_out, split_subjects
from mixlang.plan.tasks import task_problems
from mixlang.spec import Diagnostic, LoadedSpec, SpecError, load_spec
from mixlang.spec.checks import points_needed
from mixlang.spec.diagnostics import in_file_order, rendered
from mixlang.spec.feasibility import infeasible
from mixlang.spec.local_launch import absent_tracker, launch_here
from mixlang.spec.locations import Locations, absent_data, check_sources
from mixlang.spec.positions import Path_
from mixlang.spec.schema import Spec, Split
from mixlang.study.askers import ask, ask_again
from mixlang.study.committed import keep_line_ends, left_out
from mixlang.study.pipeline import register
from mixlang.study.reuse import NotReusable, earlier_sides, reused
from mixlang.study.workspace import Study, Workspace
from runners.data.patterns import Use, idle, uses
from runners.data.sources.candidates import fits
from runners.data.sources.texts import same_person
from runners.data.tally import tally

_REPETITION_SHOWS = 64
"""Views of each distinct crop from which repetition shows: random crops and flips cost 3 % by 76, 4 to 16 % by 300."""


@dataclass(frozen=True)
class CompiledStudy:
    """A study and its plan."""

    workspace: Workspace
    study: Study
    loaded: LoadedSpec
    manifest: DataManifest
    compiled: Compiled


def compile_study(spec: Path, *, write: bool, overrides: Sequence[str] = ()) -> CompiledStudy:
    """Check a spec and its data and make its plan.

    Args:
        write: write the data manifest and the plan to the build folder and register the spec in dvc.yaml; without
            it nothing in the workspace changes.
        overrides: texts `key.path=value` that go before what the spec says.

    Raises:
        SpecError: everything wrong with the spec, its sources or its constraints, each at its place.
        InputError: the spec is not in a workspace, or its data cannot be used.
    """
    loaded = load_spec(spec, overrides=overrides)
    workspace = Workspace.find(spec.resolve().parent)
    study = workspace.study(spec)
    if write:
        for line in [*keep_line_ends(workspace), *left_out(workspace, [study])]:
            say(line)
    manifest, compiled, absent = _compiled(loaded, workspace, study)
    warnings = [*loaded.warnings, *absent, *_alike_subjects(loaded, manifest)]
    warnings += [*_repetition(loaded, compiled), *_same_name(loaded, workspace, study)]
    warnings += dominated(loaded, manifest)
    launch = launch_here(loaded.spec, workspace.root)
    refused = absent_tracker(loaded, launch, "error" if write and launch.executor == "local" else "warning")
    if any(item.severity == "error" for item in refused):
        raise SpecError([*warnings, *refused])
    warnings += refused
    for text in rendered(in_file_order(warnings)):
        say(text)
    if write:
        ask(workspace, study, "probe", (run.key for run in compiled.plan.runs))
        ask_again(workspace, study)
        workspace.bases.mkdir(parents=True, exist_ok=True)
        write_json(study.file("overrides.json"), {"version": 1, "set": list(overrides)})
        manifest.write(study.file("data.json"))
        for name, settings in compiled.settings.items():
            write_json(study.file(f"settings/{name}.json"), settings)
        write_json(study.file("plan.json"), compiled.plan.as_dict())
        register(workspace, study)
    return CompiledStudy(workspace, study, loaded, manifest, compiled)


def compile_alone(spec: Path) -> Compiled:
    """The plan and settings of a spec anywhere; its sources are found from the workspace around it, or around here.

    Raises:
        SpecError, InputError: as `compile_study`.
    """
    loaded = load_spec(spec)
    try:
        workspace = Workspace.find(spec.resolve().parent)
    except InputError:
        workspace = Workspace.find(Path.cwd())
    return _compiled(loaded, workspace, None)[1]


def _compiled(
    loaded: LoadedSpec, workspace: Workspace, study: Study | None
) -> tuple[DataManifest, Compiled, list[Diagnostic]]:
    """Scan the data of a spec that is well-formed, and plan.

    Where data are not here, the manifest that an earlier scan left in the study's build folder is taken, if it is of the
    very same sources: planning and solving need no voxel.

    Returns:
        The manifest, the plan, and warnings of data that are not here.

    Raises:
        SpecError: sources that are missing, domains that cannot be split, constraints that cannot hold.
        InputError: data that cannot be used.
    """
    locations = Locations.of(workspace.root)
    missing = check_sources(loaded, locations)
    known = committed_manifest(study.file("data.json"), loaded.spec) if missing and study is not None else None
    absent = absent_data(missing) if known is not None else []
    problems = [*workspace.misplaced(loaded), *([] if known is not None else missing)]
    if problems:
        raise SpecError([*loaded.warnings, *problems])
    if known is not None:
        manifest = known
    else:
        found = [use for name, domain in loaded.spec.domains.items() for use in uses(name, domain, locations)]
        if problems := idle(loaded, found):
            raise SpecError([*loaded.warnings, *problems])
        manifest = _scan(loaded, locations, workspace, found)
    lost = [*_unusable(loaded, manifest), *_idle_files(loaded, manifest)]
    if lost:
        raise SpecError(lost)
    if known is None:
        manifest = replace(_annotated(loaded, manifest, locations, workspace), scanned=scanned_by(loaded.spec))
    if problems := _naming_nobody(loaded, manifest):
        raise SpecError(problems)
    try:
        manifest = with_sides(loaded.spec, manifest, workspace, study)
        compiled = compile_plan(loaded.spec, manifest, reuse_of(loaded.spec, workspace))
    except Unsplittable as error:
        path: Path_ = ("domains", error.domain, "source")
        raise SpecError([loaded.marked.diagnostic("MX0305", path, str(error), error.hint, key=True)]) from error
    except NotReusable as error:
        raise SpecError([error.diagnostic(loaded)]) from error
    crops = {name: data["crops"] for name, data in compiled.settings["allocate"]["available"].items()}
    few = _few_points(loaded, compiled.plan)
    problems = few + [
        loaded.marked.diagnostic(code, path, text, help) for code, path, text, help in infeasible(loaded.spec, crops)
    ]
    for code, path, text, help in task_problems(loaded.spec, compiled.tasks):
        problems.append(loaded.marked.diagnostic(code, path, text, help, key=code == "MX0312"))
    if problems:
        raise SpecError(problems)
    return manifest, compiled, absent


def with_sides(spec: Spec, manifest: DataManifest, workspace: Workspace, study: Study | None) -> DataManifest:
    """A manifest with the split of its subjects, each of whom keeps the side he had in the study or in what it reuses.

    Raises:
        Unsplittable: a domain would be left without a training or a validation subject.
        NotReusable: a version that is not there.
    """
    own = None if study is None else recorded_sides(study, spec.data.split)
    earlier = earlier_sides(workspace, spec.design.reuse, manifest, spec.data.split, own)
    return replace(manifest, sides=split_subjects(manifest, spec.data.split, earlier))


def recorded_sides(study: Study, split: Split) -> Sides | None:
    """The split of a study's last compile; None where there is none, or another one was asked for.

    A data.json of before it was recorded was split by its own subjects alone, which is done again.
    """
    try:
        manifest = DataManifest.read(study.file("data.json"))
        sides = manifest.sides or split_subjects(manifest, split)
    except InputError:
        return None
    return sides if (sides.fraction, sides.seed) == (split.validation, split.seed) else None


def reuse_of(spec: Spec, workspace: Workspace) -> Callable[[Plan], list[Run]]:
    """What gives a plan the runs of the versions that a spec reuses."""
    return lambda plan: [run for found in reused(workspace, spec.design.reuse, plan) for run in found.runs]


def _few_points(loaded: LoadedSpec, plan: Plan) -> list[Diagnostic]:
    """That a design with reused runs has too few points; one without is judged before its data are looked at."""
    points = len({tuple(sorted(run.amounts.items())) for run in plan.runs})
    needed = points_needed(len(plan.domains))
    if points >= needed or (not loaded.spec.design.reuse and loaded.spec.design.kind == "sobol"):
        return []
    if loaded.spec.design.kind == "optimal":
        message = f"the runs chosen are {points} distinct probe points, which cannot identify transfer: {needed} needed"
        help = "raise design.samples"
    else:
        message = (
            f"with the runs that are kept, {points} distinct probe points cannot identify transfer: {needed} needed"
        )
        help = "raise design.mixtures.count or add probe budgets"
    return [loaded.marked.diagnostic("MX0214", ("design",), message, help, key=True)]


def _naming_nobody(loaded: LoadedSpec, manifest: DataManifest) -> list[Diagnostic]:
    """The patterns of data.split.hold_out that name no subject."""
    subjects = {volume.subject for data in manifest.domains.values() for volume in data.volumes}
    return [
        loaded.marked.diagnostic(
            "MX0318",
            ("data", "split", "hold_out", index),
            f"'{pattern}' names no subject",
            f"subjects are called, for example, {', '.join(sorted(subjects)[:3])}",
        )
        for index, pattern in enumerate(loaded.spec.data.split.hold_out)
        if not any(held_out(subject, [pattern]) for subject in subjects)
    ]


def _unusable(loaded: LoadedSpec, manifest: DataManifest) -> list[Diagnostic]:
    """Domains that lost too much to quarantine, and files that are in two domains."""
    found = []
    for name, message in unusable(manifest, loaded.spec.data.max_quarantined).items():
        converts = any("factors" in why or "offset" in why for _, why in manifest.domains[name].quarantined)
        help = "give intensity.factors or an offset, fix or exclude them" if converts else "fix or exclude them"
        if manifest.domains[name].volumes:
            help += ", or raise data.max_quarantined"
        found.append(loaded.marked.diagnostic("MX0307", ("domains", name, "source"), message, help, key=True))
    return found + [
        loaded.marked.diagnostic(
            "MX0308",
            ("domains", name, "source"),
            message,
            "leave them out of one of the two (where, exclude)",
            key=True,
        )
        for name, message in in_two_domains(manifest).items()
    ]


def _annotated(loaded: LoadedSpec, manifest: DataManifest, locations: Locations, workspace: Workspace) -> DataManifest:
    """The manifest with what the labels of downstream tasks say.

    Raises:
        SpecError: labels that cannot be used.
    """
    if not loaded.spec.tasks:
        return manifest
    from runners.data.labels import UnusableLabels, annotate

    progress = Progress("labels")
    try:
        return annotate(
            loaded.spec,
            manifest,
            locations,
            workspace.store,
            cores(),
            lambda done, total: progress.count(done, total, "label maps"),
        )
    except UnusableLabels as error:
        place: Path_ = ("tasks", error.task, error.key)
        raise SpecError([loaded.marked.diagnostic("MX0311", place, str(error), error.hint)]) from error


def _alike_subjects(loaded: LoadedSpec, manifest: DataManifest) -> list[Diagnostic]:
    """A warning of subjects that differ only in writing: one patient of two names may be on both sides of the split."""
    groups: dict[str, dict[str, str]] = {}
    for name, data in manifest.domains.items():
        for volume in data.volumes:
            if not volume.path.startswith("phantom/"):
                groups.setdefault(same_person(volume.subject), {}).setdefault(volume.subject, name)
    alike = [names for names in groups.values() if len(names) > 1]
    if not alike:
        return []
    shown = "; ".join(" and ".join(repr(subject) for subject in sorted(names)) for names in alike[:5])
    more = f"; and {len(alike) - 5} more" if len(alike) > 5 else ""
    message = f"subjects differ only by case, blanks, leading zeros or 'sub-': {shown}{more}; each counts as a patient"
    help = "where they are one, write them alike: one could be trained on while the other is validated on"
    place: Path_ = ("domains", next(iter(alike[0].values())), "source")
    return [loaded.marked.diagnostic("MX0315", place, message, help, key=True, severity="warning")]


def _idle_files(loaded: LoadedSpec, manifest: DataManifest) -> list[Diagnostic]:
    """The file name patterns of tasks that match no volume of their domain."""
    found: list[Diagnostic] = []
    for name, task in loaded.spec.tasks.items():
        paths = [volume.path for volume in manifest.domains[task.domain].volumes]
        for index, pattern in enumerate(task.files):
            if not any(fits(path, pattern) for path in paths):
                message = f"'{pattern}' matches no volume of '{task.domain}'"
                place: Path_ = ("tasks", name, "files", index)
                found.append(loaded.marked.diagnostic("MX0309", place, message))
    return found


def _same_name(loaded: LoadedSpec, workspace: Workspace, study: Study) -> list[Diagnostic]:
    """A warning where another study of the workspace publishes under the same name."""
    for other in workspace.studies():
        try:
            name = read_json(other.file("settings/publish.json"))["name"]
        except (MixlangError, KeyError, TypeError):
            continue
        if other.item != study.item and other.spec.exists() and name == loaded.spec.registry_name:
            message = f"specs/{other.item}.yaml publishes as '{name}' too"
            help = "give one of them another publish.as, unless they are to be versions of one mixture"
            return [loaded.marked.diagnostic("MX0310", ("name",), message, help, severity="warning")]
    return []


def _repetition(loaded: LoadedSpec, compiled: Compiled) -> list[Diagnostic]:
    """Warnings of domains that the probe runs repeat so often that it shows in the losses."""
    found = []
    for name, data in compiled.settings["allocate"]["available"].items():
        most = max((run.amounts[name] for run in compiled.plan.runs), default=0)
        times = most / max(data["crops"], 1e-9)
        if times > _REPETITION_SHOWS:
            message = (
                f"a probe run shows each distinct crop of '{name}' {times:.0f} times; from about {_REPETITION_SHOWS} on "
                "repetition costs some percent of loss, which the laws would take for the domain's own"
            )
            help = "bring more data, lower the probe budgets, or set train.repetition: match"
            place = ("domains", name)
            found.append(loaded.marked.diagnostic("MX0306", place, message, help, key=True, severity="warning"))
    return found


def _scan(loaded: LoadedSpec, locations: Locations, workspace: Workspace, found: list[Use]) -> DataManifest:
    from runners.data.scan import scan

    progress = Progress("scan")
    manifest = scan(
        loaded.spec,
        locations,
        workspace.store,
        cores(),
        lambda done, total: progress.count(done, total, "files"),
    )
    usable = sum(len(data.volumes) for data in manifest.domains.values())
    lost = sum(len(data.quarantined) for data in manifest.domains.values())
    progress.close(f"{usable} volumes" + (f", {lost} quarantined" if lost else ""))
    for line in tally(manifest, found, f"build/{loaded.path.stem}/data.json"):
        say(line)
    return manifest
