"""The report's section on the data: what there is of each domain, what it looks like, and what was set aside."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np

from mixlang.documents import DomainFiles, DomainLook
from mixlang.plan.dominance import in_words, parts_of
from mixlang.report.html import soft, table
from mixlang.report.results import Results
from mixlang.report.svg import histogram

_BINS = 16
"""Bins of the histogram of voxel sizes."""

_FEW = 5
"""Validation subjects below which the report says that they are few."""

_SHOWN = 50
"""Files set aside that are listed; the rest is counted by reason."""


def data_section(results: Results) -> list[str]:
    """What it was trained on, and what was set aside."""
    amounts = results.allocation["target"]["amounts"]
    parts = describe_data(results.data, results.statistics, results.problem["available"], amounts, results.domains)
    return [*parts, *_sides(results), *_weights(results)]


def describe_data(
    data: Mapping[str, DomainFiles],
    statistics: Mapping[str, DomainLook],
    available: Mapping[str, Mapping[str, float]],
    amounts: Mapping[str, float],
    domains: Sequence[str],
) -> list[str]:
    """The section, from the data manifest, the statistics of the prepared volumes and the allocation.

    Args:
        available: training volumes and distinct crops by domain.
        amounts: samples of each domain at the target.
    """
    head = ["domain", "volumes", "subjects", "set aside", "training", "distinct crops", "samples at target"]
    rows = [
        [
            name,
            f"{len(data[name]['volumes']):,}",
            f"{len({volume['subject'] for volume in data[name]['volumes']}):,}",
            f"{len(data[name]['quarantined']):,}",
            f"{available[name]['volumes']:,.0f}",
            f"{available[name]['crops']:,.6g}",
            f"{amounts[name]:,.0f}",
            f"{amounts[name] / available[name]['crops']:.3g}",
        ]
        for name in domains
    ]
    parts = ["<h2>Data</h2>", table([*head, "repetition"], rows)]
    parts.append(
        soft("Repetition: how often the target shows each distinct crop. Crops are moved and flipped at random.")
    )
    for index, name in enumerate(domains):
        parts += _domain(name, data[name], statistics[name], index)
    return parts + _set_aside(data)


def _sides(results: Results) -> list[str]:
    """How many volumes and subjects each domain is trained on, and how many its loss is measured on."""
    plan = results.read("plan.json")
    crops = plan["evaluation"]["crops"]
    rows, few = [], []
    for name in results.domains:
        subjects = {item["content"]: item["subject"] for item in results.data[name]["volumes"]}
        row = [name]
        for side in ("train", "validation"):
            keys = plan["domains"][name][side]
            whose = {subjects.get(plan["volumes"][key]["content"], key) for key in keys}
            row += [f"{len(keys):,}", f"{len(whose):,}"]
        rows.append([*row, f"{crops * len(plan['domains'][name]['validation']):,}"])
        if len(whose) < _FEW:
            few.append(f"{name} ({len(whose)})")
    head = ["domain", "training volumes", "training subjects", "validation volumes", "validation subjects"]
    note = (
        "A subject is on one side only. Every loss in this report is measured on the same validation crops. The volumes set "
        "aside above are in neither."
    )
    note += f" Losses of few subjects say little about others: {escape(', '.join(few))}." if few else ""
    return ["<h3>Training and validation</h3>", table([*head, "validation crops"], rows), soft(note)]


def _weights(results: Results) -> list[str]:
    """Whose the training draws and validation crops of each domain are."""
    plan = results.read("plan.json")
    rows, said = [], []
    for name in results.domains:
        members, known = plan["domains"][name], {item["content"]: item for item in results.data[name]["volumes"]}
        for side, what in (("train", "training draws"), ("validation", "validation crops")):
            contents = [plan["volumes"][key]["content"] for key in members[side]]
            volumes = [known[content] for content in contents if content in known]
            sampling = "subject" if side == "train" and "subjects" in members else "volume"
            for parts in (found for found in parts_of(volumes, sampling) if found.parts):
                who, part = parts.largest
                rows.append(
                    [
                        name,
                        what,
                        f"{parts.kind}s",
                        f"{len(parts.parts):,}",
                        f"{parts.effective:.1f}",
                        who,
                        f"{part:.0%}",
                    ]
                )
                if parts.dominates:
                    said.append(f"{part:.0%} of the {what} of {name} are of the {parts.kind} {who}: {in_words(parts)}.")
    note = (
        "Effective: as many of equal weight would count as much. Training draws: each volume is drawn equally often, or each "
        "subject where train.sampling is subject. Sites are shown where the source names them for every volume."
    )
    warned = ["<ul>" + "".join(f"<li>{escape(text)}</li>" for text in said) + "</ul>"] if said else []
    head = ["domain", "of its", "counted", "there are", "effective", "the largest", "its part"]
    return ["<h3>Whose data they are</h3>", *warned, table(head, rows), soft(note)]


def _domain(name: str, data: Mapping[str, DomainFiles], seen: Mapping[str, Any], index: int) -> list[str]:
    edges = np.array([volume["spacing"] for volume in data["volumes"]]).ravel()
    counts, ends = np.histogram(edges, _BINS, (0.0, float(edges.max())))
    values, shapes = seen["histogram"], seen["shapes"]
    pictures = [
        histogram(
            "voxel edges as scanned, mm",
            f"Histogram of the edges of the voxels of {name} in millimetres",
            (float(ends[0]), float(ends[-1])),
            (counts / counts.sum()).tolist(),
            index,
        ),
        histogram(
            "network inputs",
            f"Histogram of the prepared voxels of {name}",
            (values["from"], values["to"]),
            values["fractions"],
            index,
        ),
    ]
    pictures += [
        f'<img src="data:image/png;base64,{item["png"]}" alt="Middle slices of {escape(item["path"], quote=True)}" '
        f'title="{escape(item["path"], quote=True)}">'
        for item in seen["thumbnails"]
    ]
    by = " x ".join
    padded = f" {seen['padded']:,} are shorter than a crop along some axis and padded." if seen["padded"] else ""
    text = (
        f"Prepared: {by(f'{size:.0f}' for size in shapes['median'])} voxels at the median, from "
        f"{by(map(str, shapes['smallest']))} to {by(map(str, shapes['largest']))} (each axis by itself).{padded}"
    )
    figures = "".join(f"<figure>{picture}</figure>" for picture in pictures)
    return [f"<h3>{escape(name)}</h3>", f'<div class="row">{figures}</div>', soft(text)]


def _set_aside(data: Mapping[str, DomainFiles]) -> list[str]:
    lost = [(name, item["path"], item["reason"]) for name, found in data.items() for item in found["quarantined"]]
    parts = [table(["domain", "set aside", "why"], lost[:_SHOWN])] if lost else []
    if len(lost) > _SHOWN:
        more = Counter((name, why) for name, _, why in lost[_SHOWN:])
        parts.append(
            table(["domain", "further files", "why"], [(n, str(c), why) for (n, why), c in more.most_common(_SHOWN)])
        )
    return parts
