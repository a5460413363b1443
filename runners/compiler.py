"""Compiling a study in its workspace: check, find the sources, scan the data, plan, and register with DVC."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mixlang.console import Progress, say
from mixlang.errors import InputError
from mixlang.files import write_json
from mixlang.hardware import cores
from mixlang.plan.build import Compiled, compile_plan, refuse_empty, require_feasible
from mixlang.plan.manifest import DataManifest
from mixlang.plan.pipeline import register
from mixlang.plan.split import Unsplittable
from mixlang.plan.workspace import Study, Workspace
from mixlang.spec import Diagnostic, LoadedSpec, SpecError, load_spec
from mixlang.spec.diagnostics import rendered
from mixlang.spec.locations import Locations, check_sources

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
    manifest, compiled = _compiled(loaded, workspace)
    for text in rendered([*loaded.warnings, *_repetition(loaded, compiled)]):
        say(text)
    if write:
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
    return _compiled(loaded, workspace)[1]


def _compiled(loaded: LoadedSpec, workspace: Workspace) -> tuple[DataManifest, Compiled]:
    """Scan the data of a spec that is well-formed, and plan.

    Raises:
        SpecError: sources that are missing, domains that cannot be split, constraints that cannot hold.
        InputError: data that cannot be used.
    """
    locations = Locations.of(workspace.root)
    problems = [*workspace.misplaced(loaded), *check_sources(loaded, locations)]
    if problems:
        raise SpecError([*loaded.warnings, *problems])
    manifest = _scan(loaded, locations, workspace)
    refuse_empty(manifest, loaded.spec.data.max_quarantined)
    try:
        compiled = compile_plan(loaded.spec, manifest)
    except Unsplittable as error:
        path = ("domains", error.domain, "source")
        raise SpecError([loaded.marked.diagnostic("MX0305", path, str(error), error.hint, key=True)]) from error
    impossible = require_feasible(loaded.spec, compiled)
    if impossible:
        raise SpecError([loaded.marked.diagnostic(code, path, text, help) for code, path, text, help in impossible])
    return manifest, compiled


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


def _scan(loaded: LoadedSpec, locations: Locations, workspace: Workspace) -> DataManifest:
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
    lost = [(name, *item) for name, data in manifest.domains.items() for item in data.quarantined]
    progress.close(f"{usable} volumes" + (f", {len(lost)} quarantined" if lost else ""))
    for name, path, why in lost[:10]:
        say(f"    quarantined from {name}: {path}: {why}")
    if len(lost) > 10:
        say(f"    ... and {len(lost) - 10} more, all listed in build/{loaded.path.stem}/data.json")
    return manifest
