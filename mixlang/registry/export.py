"""A mixture in the forms that training code reads: weights of samples, datalists, tables of fractions."""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixlang.errors import InputError
from mixlang.files import read_json
from mixlang.registry.versions import Mixture

FORMATS = ("torch", "monai", "nnunet", "csv", "json")


@dataclass(frozen=True)
class Item:
    """One volume of a training set: where it lies, of which domain it is, and what part of the domain's samples it gives
    (None: as much as each other volume)."""

    path: str
    domain: str
    part: float | None = None


def sample_weights(mixture: Mixture, domains: Sequence[str]) -> list[float]:
    """How likely each sample of a data set is to be drawn, so that domains are drawn by the mixture.

    Args:
        domains: the domain of each sample, in the order of the data set.

    Returns:
        Weights that sum to 1: the domain's part of all samples, divided among the samples of the domain. For
        `torch.utils.data.WeightedRandomSampler(weights, num_samples, replacement=True)`.

    Raises:
        InputError: a domain the mixture does not know, or one of its domains has no sample at all.
    """
    count = Counter(domains)
    unknown = [name for name in count if name not in mixture.shares]
    if unknown:
        raise InputError(
            f"{mixture.label} does not mix '{unknown[0]}'; its domains are {', '.join(mixture.shares)}",
            "Name each sample's domain as the mixture does.",
        )
    fractions = sample_fractions(mixture)
    missing = [name for name, part in fractions.items() if part > 0 and not count[name]]
    if missing:
        raise InputError(
            f"{mixture.label} gives '{missing[0]}' {fractions[missing[0]]:.1%} of the samples, and there are none of it",
            "Add its data; without them this is another mixture.",
        )
    return [fractions[name] / count[name] for name in domains]


def sample_fractions(mixture: Mixture) -> dict[str, float]:
    """The part of all samples that each domain gets. Shares are of the budget; where domains differ in cost they are
    not the same."""
    total = sum(mixture.amounts.values())
    return {name: amount / total for name, amount in mixture.amounts.items()}


def study_items(mixture: Mixture) -> list[Item]:
    """The training volumes of the study that the mixture comes from, as their portable paths."""
    plan = read_json(mixture.folder / "plan.json")
    return [
        Item(plan["volumes"][key]["path"], name, part)
        for name, members in plan["domains"].items()
        for key, part in _parts(members).items()
    ]


def _parts(members: Mapping[str, Any]) -> dict[str, float | None]:
    """The training volumes of a domain, each once, with its part where each subject is drawn equally often."""
    subjects = members.get("subjects")
    if subjects is None:
        return dict.fromkeys(members["train"])
    count = Counter(subjects)
    found: dict[str, float | None] = {}
    for key, subject in zip(members["train"], subjects, strict=True):
        found[key] = (found.get(key) or 0.0) + 1 / (len(count) * count[subject])
    return found


def read_items(path: Path) -> list[Item]:
    """A training set of one's own, from a CSV with the columns `path` and `domain`.

    Raises:
        InputError: unreadable, or not such a table; says the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file)
            missing = {"path", "domain"} - set(rows.fieldnames or [])
            if missing:
                raise InputError(
                    f"{path}:1: there is no column '{min(missing)}'", "Expected the columns path and domain."
                )
            found = []
            for row in rows:
                if not row["path"] or not row["domain"]:
                    raise InputError(f"{path}:{rows.line_num}: path or domain is empty")
                found.append(Item(row["path"], row["domain"]))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"cannot read {path}: {getattr(error, 'strerror', None) or error}") from error
    if not found:
        raise InputError(f"{path} lists no volume")
    return found


def exported(mixture: Mixture, form: str, items: Sequence[Item] | None = None) -> str:
    """The text of an export.

    Args:
        form: one of FORMATS. `torch`: JSON with `weights` in the order of `items`, and `num_samples`; `monai`: a MONAI
            datalist whose items have a `domain` and a `weight`; `nnunet`: JSON with each data set's fraction of the
            samples and its cases; `csv` and `json`: the mixture itself.
        items: the training set, for `torch`, `monai` and `nnunet`; the study's own if left out.

    Raises:
        InputError: see `sample_weights`.
    """
    fractions = sample_fractions(mixture)
    if form == "csv":
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(["domain", "share", "fraction", "amount"])
        writer.writerows(
            [name, mixture.shares[name], fractions[name], mixture.amounts[name]] for name in mixture.shares
        )
        return out.getvalue()
    return json.dumps(_document(mixture, form, fractions, items), indent=1, ensure_ascii=False) + "\n"


def _document(mixture: Mixture, form: str, fractions: dict[str, float], items: Sequence[Item] | None) -> dict[str, Any]:
    head = {"mixture": mixture.label, "status": mixture.status}
    total = sum(mixture.amounts.values())
    if form == "json":
        domains = {
            name: {"share": share, "fraction": fractions[name], "amount": mixture.amounts[name]}
            for name, share in mixture.shares.items()
        }
        return {**head, "budget": mixture.budget, "unit": mixture.unit, "domains": domains}
    items = study_items(mixture) if items is None else items
    equal = sample_weights(mixture, [item.domain for item in items])
    weights = [
        weight if item.part is None else fractions[item.domain] * item.part
        for item, weight in zip(items, equal, strict=True)
    ]
    pairs = list(zip(items, weights, strict=True))
    if form == "torch":
        listed = [{"path": item.path, "domain": item.domain} for item in items]
        return {**head, "num_samples": total, "weights": weights, "items": listed}
    if form == "monai":
        training = [{"image": item.path, "domain": item.domain, "weight": weight} for item, weight in pairs]
        return {**head, "name": mixture.label, "num_samples": total, "training": training}
    cases = {name: [item.path for item in items if item.domain == name] for name in fractions}
    return {
        **head,
        "num_samples": total,
        "datasets": {
            name: {"fraction": part, "samples": mixture.amounts[name], "cases": cases[name]}
            for name, part in fractions.items()
        },
    }
