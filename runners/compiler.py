"""Compiling a study in its workspace: check, find the sources, scan the data, plan, and register with DVC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mixlang.console import Progress, say
from mixlang.files import write_json
from mixlang.hardware import cores
from mixlang.plan.build import Compiled, compile_plan, refuse_empty, require_feasible
from mixlang.plan.manifest import DataManifest
from mixlang.plan.pipeline import register
from mixlang.plan.workspace import Study, Workspace
from mixlang.spec import LoadedSpec, SpecError, load_spec
from mixlang.spec.locations import Locations, check_sources


@dataclass(frozen=True)
class CompiledStudy:
    """A study and its plan."""

    workspace: Workspace
    study: Study
    loaded: LoadedSpec
    manifest: DataManifest
    compiled: Compiled


def compile_study(spec: Path, *, write: bool) -> CompiledStudy:
    """Check a spec and its data and make its plan.

    Args:
        write: write the data manifest and the plan to the build folder and register the spec in dvc.yaml; without
            it nothing in the workspace changes.

    Raises:
        SpecError: everything wrong with the spec, its sources or its constraints, each at its place.
        InputError: the spec is not in a workspace, or its data cannot be used.
    """
    loaded = load_spec(spec)
    workspace = Workspace.find(spec.resolve().parent)
    study = workspace.study(spec)
    locations = Locations.of(workspace.root)
    missing = check_sources(loaded, locations)
    if missing:
        raise SpecError([*loaded.warnings, *missing])
    for item in loaded.warnings:
        say(item.render())
    manifest = _scan(loaded, locations, workspace)
    refuse_empty(manifest, loaded.spec.data.max_quarantined)
    compiled = compile_plan(loaded.spec, manifest)
    impossible = require_feasible(loaded.spec, compiled)
    if impossible:
        raise SpecError([loaded.marked.diagnostic(code, path, text, help) for code, path, text, help in impossible])
    if write:
        manifest.write(study.file("data.json"))
        for name, settings in compiled.settings.items():
            write_json(study.file(f"settings/{name}.json"), settings)
        write_json(study.file("plan.json"), compiled.plan.as_dict())
        register(workspace, study)
    return CompiledStudy(workspace, study, loaded, manifest, compiled)


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
