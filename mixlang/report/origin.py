"""The report's sections on where a published version comes from, and how to check it and get it again."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from mixlang.documents import Environment, GitState
from mixlang.report.html import code, soft, table
from mixlang.report.results import Results


def provenance_section(results: Results) -> list[str]:
    """What was recorded when the version was published; a study's own page, which is not published, has none."""
    origin = results.provenance
    if origin is None:
        return []
    spec, training = origin["spec"], origin["hardware"]["training"]
    rows = [
        ["spec", spec["file"] + (f", with {', '.join(spec['set'])}" if spec["set"] else "")],
        ["plan", f"{origin['plan']['runs']} probe runs, hash {origin['plan']['hash'][:16]}"],
        ["workspace", _commit(origin["git"])],
        ["mixlang", f"{origin['environment']['mixlang']}, {_commit(origin['code'])}"],
        ["Python", f"{origin['environment']['python']} on {origin['environment']['platform']}"],
        ["packages", _packages(origin["environment"])],
        [
            "trained on",
            f"{', '.join(training['devices']) or 'not recorded here'}; {training['runs']} runs, "
            f"{training['seconds']:,.0f} s of training in all",
        ],
        *([f"data of {name}", _data(found)] for name, found in origin["data"].items()),
    ]
    return [
        "<h2>Provenance</h2>",
        f'<div class="text">{table(["what", "recorded"], rows)}</div>',
        soft("Fingerprint: SHA-256 over the contents of all usable files of a domain. provenance.json has everything."),
        f"<details><summary>The spec, {escape(spec['file'])}</summary>{code(spec['text'])}</details>",
    ]


def _commit(state: GitState) -> str:
    if state["commit"] is None:
        return "nothing committed yet" if state["dirty"] else "not under git"
    return f"git commit {state['commit'][:16]}" + (" with uncommitted changes" if state["dirty"] else "")


def _packages(environment: Environment) -> str:
    return ", ".join(f"{name} {version}" for name, version in environment["packages"].items() if version)


def _data(found: Mapping[str, Any]) -> str:
    lost = len(found["quarantined"])
    return (
        f"{found['volumes']:,} volumes of {found['subjects']:,} subjects, {lost} set aside, fingerprint "
        f"{found['fingerprint'][:16]}"
    )


def reproduce_section(results: Results) -> list[str]:
    """The commands."""
    again = f"mixlang run specs/{results.build.name}.yaml"
    parts = ["<h2>Reproduce</h2>"]
    if results.label and results.provenance is not None:
        parts += [
            code(
                f"mixlang registry verify {results.label}           # from its files: hashes, certificate, laws from losses.csv\n"
                f"mixlang registry verify {results.label} --rerun   # train every run again and compare the losses\n"
                f"{results.provenance['reproduce']}   # the whole study"
            ),
            soft("In the workspace, with the data where mixlang.local.yaml says; runs that are in the store are kept."),
        ]
    else:
        parts.append(code(f"{again}\ndvc repro    # the same stages, without a new scan"))
    return parts
