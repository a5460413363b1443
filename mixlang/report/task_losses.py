"""The report's section on the tasks of the objective: whose data help which task, and what the mixtures cost each."""

from __future__ import annotations

from html import escape

from mixlang.documents import Link, ProbeTask
from mixlang.report.html import soft, table
from mixlang.report.results import Results
from mixlang.words import signed


def tasks_section(results: Results) -> list[str]:
    """Of each task that the objective names: the domains that help it, its predicted loss, how well its law is known."""
    tasks = results.tasks
    if not tasks:
        return []
    target = results.allocation["target"]
    links = (target.get("structure") or {"links": {}})["links"]
    helps = [[name, *(_part(links.get(name, {}).get(domain)) for domain in results.domains)] for name in tasks]
    rivals = target["baselines"]
    against = ["proportional", *(name for name in rivals if name != "proportional")]
    predicted = [
        [
            name,
            f"{target['predicted'][name]:.4f}",
            *(signed(target["predicted"][name] / rivals[rival]["predicted"][name] - 1) for rival in against),
        ]
        for name in results.losses
    ]
    laws = {law.name: law for law in results.laws.laws}
    declared = results.read("settings/evaluate.json")["tasks"]
    known = [
        [
            name,
            f"{declared[name]['kind']} of {', '.join(declared[name]['classes'])} in {declared[name]['domain']}",
            _tested(declared[name]),
            laws[name].called,
            f"{laws[name].error:.1%}",
            _noise(laws[name].noise),
            f"{laws[name].used:,}",
        ]
        for name in tasks
    ]
    return [
        "<h2>Tasks of the objective</h2>",
        table(["task: helped by", *results.domains], helps),
        soft(
            "The part of the improvement of each task's loss that each domain's data bring at the published shares, by the "
            "fitted laws, with its 90 % interval. A task belongs to no domain: data of other domains than its own may help it."
        ),
        table(["predicted loss", "published shares", *(f"change from {escape(name)}" for name in against)], predicted),
        soft(
            f"At {target['budget']:,.0f} samples. Loss of a segmentation task: 1 - soft Dice, mean over its classes; of a "
            "classification task: cross-entropy; each of a frozen probe. Negative changes are better: what an objective of "
            "some losses costs the others is in the same table."
        ),
        table(["task", "what", "tested on", "law", "fit error", "noise between seeds", "runs"], known),
        soft(
            "A frozen probe tells what is linearly available of an encoder. At small budgets that need not grow with "
            "pretraining, nor be best after training on the task's own domain: look at the curves of the task before you "
            "rely on it."
        ),
    ]


def _part(link: Link | None) -> str:
    if link is None:
        return "-"
    part, *ends = (max(0.0, value) for value in (link["part"], *(link["interval"] or ())))  # no -0 %
    return f"{part:.0%}" + (f" ({ends[0]:.0%} to {ends[1]:.0%})" if ends else "")


def _tested(task: ProbeTask) -> str:
    """The subjects a task's loss is measured on."""
    cases = task["cases"]
    tested = {case["subject"] for case in cases if task["folds"] or case["held_out"]}
    how = f", in {task['folds']} folds" if task["folds"] else ""
    return f"{len(tested):,} subjects{how}, of {len({case['subject'] for case in cases}):,} with labels"


def _noise(value: float) -> str:
    return "unknown" if value != value else f"{value:.1%}"
