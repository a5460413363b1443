"""Commands about published mixtures: list, show, diff, verify, tag, deprecate, export; and report."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mixlang.console import print_json, say
from mixlang.errors import InputError


def _open_registry(arguments: argparse.Namespace) -> Any:
    import warnings

    from mixlang.registry import Deprecated, Registry
    from mixlang.study.workspace import Workspace

    warnings.simplefilter("ignore", Deprecated)  # said in our own words instead
    return Registry(arguments.registry or Workspace.find(Path.cwd()).registry)


def _get(registry: Any, reference: str) -> Any:
    mixture = registry.get(reference)
    if mixture.warning():
        say(f"warning: {mixture.warning()}")
    return mixture


def list_mixtures(arguments: argparse.Namespace) -> None:
    """All mixtures and their versions."""
    from mixlang.terminal import table

    registry = _open_registry(arguments)
    found = registry.all()
    if arguments.format == "json":
        print_json([mixture.as_dict() for mixture in found])
        return
    rows = []
    for mixture in found:
        shares = ", ".join(f"{name} {share:.1%}" for name, share in mixture.shares.items())
        standing = " ".join([mixture.status, *mixture.tags])
        rows.append([mixture.label, str(mixture.facts["published"]), standing, f"budget {mixture.budget:,.0f}", shares])
    for line in table([""] * 5, rows, "lllrl", indent=0):
        print(line)
    if not found:
        say(f"nothing is published in {registry.root} yet")


def show_mixture(arguments: argparse.Namespace) -> None:
    """One mixture: what to train on, how sure that is, what it was compared with, and where it comes from."""
    from mixlang.registry.evidence import evidence, evidence_in_words

    mixture = _get(_open_registry(arguments), arguments.mixture)
    if arguments.format == "json":
        print_json({**mixture.as_dict(), "evidence": evidence(mixture)})
        return
    for line in evidence_in_words(mixture, evidence(mixture)):
        print(line)


def diff_mixtures(arguments: argparse.Namespace) -> None:
    """What changed between two versions, and which input moved which share."""
    from mixlang.registry.difference import compare, difference_in_words

    registry = _open_registry(arguments)
    found = compare(registry.get(arguments.before), registry.get(arguments.after))
    if arguments.format == "json":
        print_json(found)
        return
    for line in difference_in_words(found):
        print(line)


def verify_mixtures(arguments: argparse.Namespace) -> int:
    """Whether versions are as published and follow from their files; 1 where one does not."""
    from mixlang.registry.proof import check_version

    registry = _open_registry(arguments)
    if arguments.mixture:
        chosen = [registry.resolve(arguments.mixture)]
    else:
        chosen = [(name, version) for name in registry.names() for version in registry.versions(name)]
    results = {f"{name}@v{version}": check_version(registry, name, version) for name, version in chosen}
    if arguments.rerun:
        _rerun(registry, chosen, results)
    around = [] if arguments.mixture else registry.problems()
    if arguments.format == "json":
        _print_checks(results, around)
    else:
        _say_checks(results, around)
    return 1 if around or any(check.problems for found in results.values() for check in found) else 0


def _rerun(registry: Any, chosen: list[tuple[str, int]], results: dict[str, list[Any]]) -> None:
    from mixlang.study.rerun import rerun
    from mixlang.study.workspace import Workspace

    workspace = Workspace.find(Path.cwd())
    for name, version in chosen:
        checks = results[f"{name}@v{version}"]
        if not any(check.problems for check in checks):  # nothing is trained for a version that is not intact
            checks.append(rerun(workspace, registry.get_version(name, version)))


def _print_checks(results: dict[str, list[Any]], around: list[str]) -> None:
    document: dict[str, Any] = {
        label: {
            "ok": not any(check.problems for check in found),
            "problems": [problem for check in found for problem in check.problems],
            "checks": [check.as_dict() for check in found],
        }
        for label, found in results.items()
    }
    if around:
        document["registry"] = {"ok": False, "problems": around, "checks": []}
    print_json(document)


def _say_checks(results: dict[str, list[Any]], around: list[str]) -> None:
    for label, found in results.items():
        broken = {check.name for check in found if check.problems}
        verdict = "OTHER LINE ENDS, else as published" if broken == {"line ends"} else "NOT INTACT"
        print(f"{label}: {verdict if broken else 'as published, and it follows from its files'}")
        for check in found:
            for text in check.problems or [check.detail]:
                print(f"  {check.name:14} {text}")
    for problem in around:
        print(f"registry: {problem}")


def tag_mixture(arguments: argparse.Namespace) -> None:
    """Let a tag name a version, or remove it."""
    registry = _open_registry(arguments)
    name, _, version = arguments.mixture.partition("@")
    if arguments.remove:
        if version:
            raise InputError("a tag is removed from a mixture, not from a version", f"Give {name} alone.")
        registry.untag(name, arguments.tag)
        print(f"{name}: no tag '{arguments.tag}' any more")
        return
    found = registry.tag(arguments.mixture, arguments.tag)
    print(f"{name}@{arguments.tag} is {found.label}")
    from mixlang.registry.artifacts import stage_command

    say(f"   for DVC, once it is committed and tagged: {stage_command(registry.root, found, arguments.tag)}")


def deprecate_mixture(arguments: argparse.Namespace) -> None:
    """Say that a version is not to be used any more."""
    found = _open_registry(arguments).deprecate(arguments.mixture, arguments.by, arguments.reason)
    print(found.warning())
    for tag in found.tags:
        say(f"warning: the tag '{tag}' still names it; move it with: mixlang registry tag {found.name}@VERSION {tag}")


def export_mixture(arguments: argparse.Namespace) -> None:
    """A mixture in the form that training code reads."""
    from mixlang.files import refuse_unwritable, write_text
    from mixlang.registry.export import exported, read_items

    mixture = _get(_open_registry(arguments), arguments.mixture)
    if arguments.data and arguments.to in ("csv", "json"):
        raise InputError(f"--data has no meaning for --to {arguments.to}, which has no items")
    text = exported(mixture, arguments.to, read_items(arguments.data) if arguments.data else None)
    if arguments.out is None:
        print(text, end="")
        return
    refuse_unwritable(arguments.out)
    write_text(arguments.out, text)


def report(arguments: argparse.Namespace) -> None:
    """Where the page of a published version or of a study lies."""
    from mixlang.registry import NotPublished
    from mixlang.study.workspace import Study, Workspace

    registry = _open_registry(arguments)
    try:
        path = registry.get(arguments.mixture).folder / "report.html"
    except NotPublished as missing:
        if arguments.registry or "@" in arguments.mixture:
            raise
        path = Study(Workspace.find(Path.cwd()).root, arguments.mixture).file("report.html")
        if not path.is_file():
            raise missing from None
    print(path)
    if arguments.open:
        import webbrowser

        if not webbrowser.open(path.resolve().as_uri()):
            say("no browser could be opened")
