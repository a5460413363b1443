"""What a study found, for people: the published mixture, what the laws predict of it, and what runs measured.

Each block says whether its numbers are predicted or measured, and with which shares and at which budget.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mixlang.console import duration
from mixlang.files import read_json
from mixlang.plan.workspace import Study, Workspace
from mixlang.rivals import in_order
from mixlang.terminal import line_width, matrix, table
from mixlang.verify.measured import ALLOCATED, PUBLISHED, alike, called, shares_trained, subjects

Document = Mapping[str, Any]


def show_outcome(workspace: Workspace, study: Study, seconds: float) -> None:
    """Print the published mixture, its rivals and what was measured.

    Args:
        seconds: what it took to get here.
    """
    allocation, verification = read_json(study.file("allocation.json")), read_json(study.file("verification.json"))
    published = read_json(study.file("published.json"))
    label = f"{published['name']}@v{published['version']}"
    for line in [
        "",
        *_mixture(label, allocation["target"]),
        *_rivals(allocation["target"]),
        *_measured(allocation, verification),
        *_meaning(verification),
        *_tasks(read_json(study.file("downstream.json"))),
    ]:
        print(line)
    print(f"\nreport:  {study.file('report.html')}")
    print(f"version: {workspace.registry / published['name'] / ('v' + str(published['version']))}")
    print(f"took {duration(seconds)}")


def _mixture(label: str, target: Document) -> list[str]:
    """The shares to train on, how sure they are, and what holds them back."""
    sure = target.get("intervals") or {}
    head = ["domain", "share", "samples"] + ([f"{sure['level']:.0%} interval"] if sure else [])
    rows = []
    for name, share in target["shares"].items():
        ends = [f"{low:.1%} to {high:.1%}" for low, high in [sure["shares"][name]]] if sure else []
        rows.append([name, f"{share:.1%}", f"{target['amounts'][name]:,.0f}", *ends])
    lines = [f"{label}: train on these shares of {target['budget']:,.0f} samples", *table(head, rows)]
    lines += _told("what holds this mixture back, by the laws", target.get("binding", []))
    return lines + _told("domains with next to nothing", (target.get("dropped") or {}).get("says", []))


def _rivals(target: Document) -> list[str]:
    """The rivals at the target, where nothing was trained: shares, and the objective that the laws predict."""
    names = list(target["shares"])
    mixtures = {PUBLISHED: target, **{name: target["baselines"][name] for name in in_order(target["baselines"])}}
    rows = {}
    for name, found in mixtures.items():
        mark = "" if found.get("feasible", True) else " *"
        rows[name + mark] = [f"{found['objective']:.4f}", *(f"{found['shares'][one]:.1%}" for one in names)]
    lines = [
        "",
        *_filled(
            f"predicted by the laws at {target['budget']:,.0f} samples, where nothing was trained: objective (lower is better) "
            "and shares"
        ),
    ]
    lines += matrix(["objective", *names], rows)
    broken = {name: found["breaks"] for name, found in target["baselines"].items() if found.get("breaks")}
    return lines + _told(
        "* not allowed by the constraints", [f"{name}: {'; '.join(breaks)}" for name, breaks in broken.items()]
    )


def _measured(allocation: Document, verification: Document) -> list[str]:
    """By held-out budget, what was trained there: shares, measured losses, and changes from the rivals."""
    lines: list[str] = []
    names = allocation["domains"]
    for budget in sorted({int(run["budget_asked"]) for run in verification["runs"] if not run["grid"]}, reverse=True):
        trained = shares_trained(verification["runs"], budget, allocation["costs"])
        if PUBLISHED in trained and alike(trained[PUBLISHED], trained[ALLOCATED]):
            del trained[ALLOCATED]
        rows = {
            mixture: [run for run in verification["runs"] if (run["budget_asked"], run["mixture"]) == (budget, mixture)]
            for mixture in trained
        }
        seeds = max(len(found) for found in rows.values())
        lines += ["", f"measured at the held-out budget of {budget:,} samples, {seeds} seed{'s' * (seeds != 1)}"]
        lines += ["  shares trained there"]
        shown = {called(m, budget): [f"{shares[name]:.1%}" for name in names] for m, shares in trained.items()}
        lines += matrix(names, shown, indent=4)
        lines += ["  measured loss there, mean over the seeds"]
        shown = {called(m, budget): [f"{_mean(found, name):.4f}" for name in names] for m, found in rows.items()}
        lines += matrix(names, shown, indent=4)
        for at, mixture, rivals in subjects(verification):
            if at == budget and mixture in trained:
                lines += _changes(mixture, budget, rivals, names)
    if not verification["runs"]:
        lines += ["", "nothing was measured: the spec holds out no budget (budgets.holdout)"]
    return lines


def _changes(mixture: str, budget: int, rivals: Document, names: Sequence[str]) -> list[str]:
    shown = {
        f"against {kind}": [*(f"{found['domains'][name]['mean']:+.1%}" for name in names), _interval(found["overall"])]
        for kind, found in rivals.items()
    }
    what = f"measured change of the loss to {called(mixture, budget)}, and of the objective (95 % interval)"
    lines = _filled(f"{what}; negative is better", "  ", "  ")
    return lines + matrix([*names, "objective"], shown, indent=4)


def _mean(rows: Sequence[Document], name: str) -> float:
    return sum(row["losses"][name] for row in rows) / len(rows)


def _interval(found: Document) -> str:
    if found["low"] is None:
        return f"{found['mean']:+.1%} (one seed)"
    return f"{found['mean']:+.1%} ({found['low']:+.1%} to {found['high']:+.1%})"


def _meaning(verification: Document) -> list[str]:
    return _told("what it means", [finding["says"] for finding in verification.get("verdict", [])])


def _tasks(document: Document) -> list[str]:
    lines: list[str] = []
    for name, task in document["tasks"].items():
        lines += _told(f"{name} ({task['kind']} of {task['domain']})", task["sentences"])
    encoders = document.get("mixtures", [])
    return (_told("the encoders of the downstream tasks", encoders) if lines else []) + lines


def _told(title: str, sentences: Sequence[str]) -> list[str]:
    """Sentences below a title; nothing where there are none."""
    if not sentences:
        return []
    lines = ["", title]
    for says in sentences:
        lines += _filled(says, "  - ", "    ")
    return lines


def _filled(text: str, first: str = "", further: str = "") -> list[str]:
    width = min(118, line_width())
    return textwrap.wrap(text, width, initial_indent=first, subsequent_indent=further, break_long_words=False)
