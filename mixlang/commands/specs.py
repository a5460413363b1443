"""Commands about specs: init, check, schema, plan, compile, diff-spec."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from mixlang.console import print_json, say


def init(arguments: argparse.Namespace) -> None:
    """Make a workspace, with a starting spec for data if there are any."""
    from mixlang.study.scaffold import make_workspace, quickstart

    if arguments.source is None:
        done = make_workspace(arguments.path, {"quickstart": quickstart()})
    else:
        from runners.data.discover import discover
        from runners.data.starting_spec import starting_spec

        found = discover(arguments.source)
        for domain in found.domains:
            say(
                f"{domain.name}: {domain.modality}, {domain.volumes} volumes, {domain.subjects} subjects; {domain.evidence}"
            )
            for note in domain.notes:
                say(f"  {note}")
        for name, why in found.left_out:
            say(f"left out: {name}: {why}")
        done = make_workspace(arguments.path, {"study": starting_spec(found, "study")}, found.root)
    for line in done:
        say(line)


def check(arguments: argparse.Namespace) -> int:
    """Say everything that is wrong with a spec."""
    from mixlang.spec import SpecError

    try:
        loaded = _checked(arguments)
    except SpecError as error:
        _show_diagnostics(error.diagnostics, arguments.format, ok=False)
        return error.exit_code
    resolved = None
    if arguments.resolved:
        from mixlang.spec.presets import resolved as resolve

        resolved = resolve(loaded.spec)
    _show_diagnostics(loaded.warnings, arguments.format, ok=True, resolved=resolved)
    if arguments.format != "text":
        return 0
    if resolved is not None:
        import yaml

        print(yaml.safe_dump(resolved, sort_keys=False, width=100, allow_unicode=True), end="")
    else:
        count = len(loaded.warnings)
        print(f"{arguments.spec}: well-formed" + (f", {count} warning{'s' * (count != 1)}" if count else ""))
    return 0


def _checked(arguments: argparse.Namespace) -> Any:

    from mixlang.errors import InputError
    from mixlang.plan.data_manifest import committed_manifest
    from mixlang.spec import SpecError, load_spec
    from mixlang.spec.diagnostics import in_file_order
    from mixlang.spec.local_launch import absent_tracker, launch_here
    from mixlang.spec.locations import Locations, absent_data, check_sources
    from mixlang.study.workspace import Workspace

    loaded = load_spec(arguments.spec, strict=arguments.strict, overrides=arguments.set)
    problems = []
    try:
        workspace = Workspace.find(arguments.spec.resolve().parent)
    except InputError:  # a spec outside a workspace can be checked all the same
        root = arguments.spec.resolve().parent
    else:
        root = workspace.root
        problems += workspace.misplaced(loaded)
        problems += _dominated(loaded, workspace)
        problems += _not_reusable(loaded, workspace)
    locations = Locations.of(root)
    problems += absent_tracker(loaded, launch_here(loaded.spec, root))
    missing = check_sources(loaded, locations)
    if missing and committed_manifest(root / "build" / loaded.path.stem / "data.json", loaded.spec) is not None:
        problems += absent_data(missing)
    else:
        problems += missing or _unlisted(loaded, locations)
    if arguments.strict:
        problems = [replace(item, severity="error") for item in problems]
    if any(item.severity == "error" for item in problems):
        raise SpecError([*loaded.warnings, *problems])
    return replace(loaded, warnings=in_file_order([*loaded.warnings, *problems]))


def _not_reusable(loaded: Any, workspace: Any) -> list[Any]:
    """A version of design.reuse that is not there, or was trained otherwise."""
    if not loaded.spec.design.reuse:
        return []
    from mixlang.study.reuse import NotReusable, require_reusable

    try:
        require_reusable(workspace, loaded.spec)
    except NotReusable as error:
        return [error.diagnostic(loaded)]
    return []


def _dominated(loaded: Any, workspace: Any) -> list[Any]:
    """What the last scan, if there was one, says of subjects and sites that dominate a domain."""
    from mixlang.errors import InputError
    from mixlang.plan.data_manifest import DataManifest
    from mixlang.plan.dominance import dominated

    manifest = workspace.root / "build" / loaded.path.stem / "data.json"
    if not manifest.is_file():
        return []
    try:
        return dominated(loaded, DataManifest.read(manifest), ", as last scanned")
    except InputError:  # damaged: a matter of the next scan, not of the spec
        return []


def _unlisted(loaded: Any, locations: Any) -> list[Any]:
    """Sources that are there and list nothing usable, and columns of tasks that are not there: a wrong column, filter,
    channel or suffix, a pattern that takes nothing. Of a BIDS data set the file names are read; other folders are walked
    only where a pattern says something of their files."""
    from mixlang.errors import InputError
    from runners.data.patterns import idle, uses
    from runners.data.sources import find_candidates
    from runners.data.sources.manifest import column_values

    found = []
    for name, domain in loaded.spec.domains.items():
        source, patterns = domain.source, domain.source.exclude or domain.intensity.factors
        if source.kind not in ("manifest", "nnunet", "monai_datalist", "bids") and not patterns:
            continue
        try:
            find_candidates(name, domain, locations)
            found += idle(loaded, uses(name, domain, locations))
        except InputError as error:
            place = ("domains", name, "source", source.kind)
            found.append(loaded.marked.diagnostic("MX0302", place, str(error), error.hint))
    for name, task in loaded.spec.tasks.items():
        if task.column is None or found:
            continue
        try:
            column_values(loaded.spec.domains[task.domain], task.column, locations)
        except InputError as error:
            place = ("tasks", name, "column")
            found.append(loaded.marked.diagnostic("MX0311", place, str(error), error.hint))
    return found


def _show_diagnostics(found: Sequence[Any], form: str, *, ok: bool, resolved: dict[str, Any] | None = None) -> None:
    if form == "json":
        document: dict[str, Any] = {"ok": ok, "diagnostics": [item.as_dict() for item in found]}
        print_json(document if resolved is None else {**document, "resolved": resolved})
        return
    if form == "github":
        for item in found:
            print(item.as_github())
        return
    from mixlang.spec.diagnostics import rendered

    for text in rendered(found):
        say(text)


def schema(_arguments: argparse.Namespace) -> None:
    """The language as JSON Schema."""
    from mixlang.spec.lookup import schema_text

    print(schema_text(), end="")


def plan(arguments: argparse.Namespace) -> None:
    """What would run and what it costs; changes nothing."""
    from mixlang.study.compile import compile_study
    from mixlang.study.preview import overview, show_overview

    compiled = compile_study(arguments.spec, write=False, overrides=arguments.set)
    found = overview(compiled)
    if arguments.format == "json":
        print_json(found)
    else:
        show_overview(found)


def compile_spec(arguments: argparse.Namespace) -> None:
    """Register a spec and write its plan; trains nothing."""
    from mixlang.study.compile import compile_study

    compiled = compile_study(arguments.spec, write=True, overrides=arguments.set)
    runs = compiled.compiled.plan.runs
    print(f"{arguments.spec}: {len(runs)} probe runs, {sum(run.budget for run in runs):,} samples; nothing trained yet")


def diff_spec(arguments: argparse.Namespace) -> None:
    """What going from one spec to another would train and solve again."""
    from mixlang.study.compare import compare_specs, show_changes

    found = compare_specs(arguments.before, arguments.after)
    if arguments.format == "json":
        print_json(found)
    else:
        show_changes(found)


def doctor(arguments: argparse.Namespace) -> None:
    """Judge the scans of a folder, manifest or data set without a spec."""
    from mixlang.console import Progress
    from mixlang.files import refuse_unwritable
    from mixlang.hardware import cores
    from runners.data.doctor import diagnose, worst, write_page
    from runners.data.tally import tally

    refuse_unwritable(arguments.out)
    progress = Progress("doctor")
    found = diagnose(arguments.data, cores(), lambda done, total: progress.count(done, total, "files"))
    for domain in found.found.domains:
        print(
            f"{domain.name}: {domain.volumes} scans of {domain.subjects} subjects, {domain.modality} ({domain.evidence})"
        )
        print("    " + ", ".join(f"{name} -> {subject}" for name, subject in domain.names))
    for name, why in found.found.left_out:
        print(f"{name}: left out, {why}")
    for line in tally(found.manifest, [], str(arguments.out)):
        print(line)
    if found.apart:
        print(f"    in no domain, {len(found.apart)} files, such as {found.apart[0].name!a}: label maps, or left out")
    write_page(found, arguments.out)
    print(f"{len(worst(found.manifest))} pictures: {arguments.out}")
