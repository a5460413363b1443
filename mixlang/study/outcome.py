"""What a study found, for people: the published mixture, what the laws predict of it, and what runs measured.

Each block says whether its numbers are predicted or measured, and with which shares and at which budget.
"""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mixlang.console import duration
from mixlang.documents import read
from mixlang.rivals import defined, in_order, same
from mixlang.study.workspace import Study, Workspace
from mixlang.terminal import line_width, matrix, table
from mixlang.verify.measured import PUBLISHED, broken, called, subjects, trained_there
from mixlang.words import (
    CHANGES,
    OPTIMISM,
    cell,
    decision_in_words,
    doubts_in_words,
    fitted_to,
    gain_in_words,
    heading,
    intervals_in_words,
    objective_in_words,
    signed,
)

Document = Mapping[str, Any]


def show_outcome(workspace: Workspace, study: Study, seconds: float) -> None:
    """Print the published mixture, its rivals and what was measured.

    Args:
        seconds: what it took to get here.
    """
    allocation, verification = read(study.build, "allocation.json"), read(study.build, "verification.json")
    published = read(study.build, "published.json")
    label = f"{published['name']}@v{published['version']}"
    relative_to = read(study.build, "settings/allocate.json")["objective"]["relative_to"]
    probe = [run["budget"] for run in read(study.build, "runs.json")["runs"]]
    for line in [
        "",
        *_mixture(label, allocation["target"], verification.get("verdict", [])),
        *_rivals(allocation["target"]),
        *_named(allocation["target"], relative_to, probe),
        *_measured(allocation, verification),
        *(_validated(read(study.build, "plan.json")["domains"]) if verification["runs"] else []),
        *_meaning(verification),
        *_tasks(read(study.build, "downstream.json")),
    ]:
        print(line)
    print(f"\nreport:  {study.file('report.html')}")
    print(f"version: {workspace.registry / published['name'] / ('v' + str(published['version']))}")
    print(f"took {duration(seconds)}")


def _mixture(label: str, target: Document, verdict: Sequence[Document]) -> list[str]:
    """The published shares, how sure they are, and what holds them back."""
    sure = target.get("intervals") or {}
    head = ["domain", "share", "samples"] + ([f"{sure['level']:.0%} interval of the optimal share"] if sure else [])
    rows = []
    for name, share in target["shares"].items():
        ends = [f"{low:.1%} to {high:.1%}" for low, high in [sure["shares"][name]]] if sure else []
        rows.append([name, f"{share:.1%}", f"{target['amounts'][name]:,.0f}", *ends])
    lines = [*_filled(f"{label}: {heading(target['budget'], 'samples', verdict)}", further="  "), *table(head, rows)]
    says = [*doubts_in_words(target), *filter(None, [decision_in_words(target)]), *gain_in_words(verdict)]
    lines += [line for sentence in says for line in ["", *_filled(sentence)]]
    lines += _told("what holds this mixture back, by the laws", target.get("binding", []))
    return lines + _told("domains with next to nothing", (target.get("dropped") or {}).get("says", []))


def _rivals(target: Document) -> list[str]:
    """The rivals at the target, where nothing was trained: shares, and the objective that the laws predict."""
    names = list(target["shares"])
    mixtures = {
        called(PUBLISHED, 0): target,
        **{name: target["baselines"][name] for name in in_order(target["baselines"])},
    }
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
    marked = {name: found["breaks"] for name, found in target["baselines"].items() if found.get("breaks")}
    return lines + _not_allowed(marked, target["budget"])


def _not_allowed(breaks: Mapping[str, Sequence[str]], budget: float) -> list[str]:
    """What the mark beside a rival means: the constraints it breaks at a budget."""
    title = f"* not allowed by the constraints at {budget:,.0f} samples"
    return _told(title, [f"{name}: {'; '.join(found)}" for name, found in breaks.items()])


def _named(target: Document, relative_to: str, probe: Sequence[float]) -> list[str]:
    """What the objective, each rival and each interval is.

    Args:
        probe: the budgets of the probe runs.
    """
    sure = target.get("intervals")
    rivals = in_order(target["baselines"])
    alike = same({called(PUBLISHED, 0): target["shares"], **{n: target["baselines"][n]["shares"] for n in rivals}})
    return _told(
        "what these names mean",
        [
            fitted_to(probe, target["budget"]),
            objective_in_words(target["measure"], relative_to),
            *defined(rivals),
            *(f"{says}, at {target['budget']:,.0f} samples" for says in alike),
            *([intervals_in_words(sure["level"], sure["draws"]), OPTIMISM] if sure else []),
        ],
    )


def _measured(allocation: Document, verification: Document) -> list[str]:
    """By held-out budget, what was trained there: shares, measured losses, and changes from the rivals."""
    lines: list[str] = []
    names = allocation["domains"]
    losses = [*names, *(name for name in allocation["target"]["predicted"] if name not in names)]
    for budget in sorted({int(run["budget_asked"]) for run in verification["runs"] if not run["grid"]}, reverse=True):
        trained = trained_there(verification, budget, allocation["costs"])
        runs = {
            mixture: [run for run in verification["runs"] if (run["budget_asked"], run["mixture"]) == (budget, mixture)]
            for mixture in trained
        }
        breaks = broken(allocation, budget)

        def marked(mixture: str, budget: int = budget, breaks: Mapping[str, Any] = breaks) -> str:
            return called(mixture, budget) + (" *" if mixture in breaks else "")

        seeds = max(len(found) for found in runs.values())
        title = f"measured at the held-out budget of {budget:,} samples, {seeds} seed{'s' * (seeds != 1)}"
        title += "" if PUBLISHED in trained else "; no run there had the published shares"
        lines += ["", *_filled(title), "  shares trained there, in whole samples"]
        shown = {marked(m): [f"{shares[name]:.1%}" for name in names] for m, shares in trained.items()}
        lines += matrix(names, shown, indent=4)
        lines += ["  measured loss there, mean over the seeds"]
        shown = {marked(m): [f"{_mean(found, name):.4f}" for name in losses] for m, found in runs.items()}
        lines += matrix(losses, shown, indent=4)
        for at, mixture, rivals in subjects(verification):
            if at == budget and mixture in trained:
                lines += _changes(mixture, budget, {marked(name): found for name, found in rivals.items()}, losses)
        lines += _not_allowed({name: breaks[name] for name in trained if name in breaks}, budget)
    if not verification["runs"]:
        lines += ["", "nothing was measured: the spec holds out no budget (budgets.holdout)"]
    return lines


def _changes(mixture: str, budget: int, rivals: Document, names: Sequence[str]) -> list[str]:
    shown = {
        f"against {kind}": [*(signed(found["domains"][name]["mean"]) for name in names), cell(found["overall"])]
        for kind, found in rivals.items()
    }
    what = f"measured change to {called(mixture, budget)}, of each loss and of the objective with its 95 % interval"
    lines = _filled(f"{what}; negative is better", "  ", "  ")
    return lines + matrix([*names, "objective"], shown, indent=4)


def _mean(rows: Sequence[Document], name: str) -> float:
    return sum(row["losses"][name] for row in rows) / len(rows)


def _validated(domains: Document) -> list[str]:
    """On what the losses were measured, and how the changes were taken."""
    volumes = ", ".join(f"{name} {len(found['validation']):,}" for name, found in domains.items())
    return ["", *_filled(f"losses are of the validation volumes: {volumes}; {CHANGES}")]


def _meaning(verification: Document) -> list[str]:
    """The findings; that no gain is shown was said at the top."""
    return _told("what it means", [item["says"] for item in verification.get("verdict", []) if item["about"] != "gain"])


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
