"""Bring your own results: fit, predict and allocate from CSV tables, without a scan or a training run of ours."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mixlang.console import say
from mixlang.documents import ProblemSettings
from mixlang.errors import InputError
from mixlang.files import file_digest, read_json, refuse_unwritable, write_json, write_text
from mixlang.laws.roles import Columns, owner
from mixlang.names import EXPECTED, Unit, meant_or_known
from mixlang.terminal import paragraph
from mixlang.terminal import table as table_lines
from mixlang.words import decision_in_words, skill_in_words

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from mixlang.laws import Fit

    Floats = NDArray[np.float64]

Source = dict[str, Any]
"""How the tables of a fit were read, as the fit keeps it."""

Answer = dict[str, Any]
"""An allocation document (`mixlang.documents.Solved`) and what the command adds; see `allocate_fit`."""

_LEAST_DRAWS = 10
"""Fewer bootstrap draws than this make intervals that mislead."""

_TAIL = 0.2
"""The worst part of the draws that a robust objective averages."""


def fit_tables(
    mixtures: Path,
    losses: Path,
    out: Path,
    columns: Columns,
    law: str = "stacked",
    choose: str = "each",
    draws: int = 100,
    trees: bool = False,
) -> None:
    """Fit laws to two tables, or to one of both, and write them to `out`; says on standard error what each column was
    taken for, and what was found.

    Args:
        trees: also say how well gradient-boosted trees predict mixtures left out, for comparison.

    Raises:
        InputError: a table that cannot be trusted, or runs that cannot identify the laws.
    """
    from mixlang.laws import fit_laws
    from mixlang.laws.csv_tables import read_tables
    from mixlang.laws.quality import doubts_of

    refuse_unwritable(out, mixtures, losses)
    if 0 < draws < _LEAST_DRAWS:
        raise InputError(f"--draws: intervals need at least {_LEAST_DRAWS} draws, not {draws}", "Or 0, for none.")
    read = read_tables(mixtures, losses, columns)
    table, notes = read.table, read.notes
    say(f"{len(table.losses)} runs, {len(table.domains)} domains, {len(table.names)} losses, joined on '{columns.key}'")
    for line in read.roles:
        say("\n".join(paragraph(line)))
    anonymous = [name for loss, name in enumerate(table.names) if table.own(loss) is None]
    if anonymous:
        notes += (
            f"{len(anonymous)} of {len(table.names)} losses are not named as a domain ({', '.join(anonymous[:3])}"
            f"{', ...' if len(anonymous) > 3 else ''}); for these no domain counts as own data",
        )
    found = fit_laws(table, law, choose, draws=draws)  # type: ignore[arg-type]
    document = found.document()
    document["notes"] = [*notes, *found.notes]
    doubted = doubts_of(found)
    if trees:
        from mixlang.laws.trees import tree_errors

        document["trees"] = tree_errors(table)
    document["source"] = {
        "key": columns.key,
        "budget": columns.budget,
        "unit": columns.unit,
        "where": dict(columns.where),
        "ignored": _beside(columns, mixtures, losses, table.names),
        "mixtures": {"file": mixtures.name, "sha256": file_digest(mixtures)},
        "losses": {"file": losses.name, "sha256": file_digest(losses)},
    }
    write_json(out, document)
    for note in [*document["notes"], *doubted]:
        say(f"note: {note}")
    rows = []
    for one in found.laws:
        noise = "unknown" if np.isnan(one.noise) else f"{one.noise:.1%}"
        score = one.scores.get(one.family, {}).get("score")
        tested = "" if score is None else f", cross-validated {score:.2%}"
        if trees:
            left = one.scores.get(one.family, {}).get("mixture", float("nan"))
            tested += f" (mixtures left out: {left:.2%}, trees {document['trees'][one.name]:.2%})"
        tested += "" if one.skill is None else f", R^2 {skill_in_words(one.skill)}"
        rows.append([one.name, one.called, f"error {one.error:.2%}{tested}, seed noise {noise}"])
    for line in table_lines(["", "", ""], rows, "lll", indent=0):
        say(line)
    say(f"wrote {out}")


def _beside(columns: Columns, mixtures: Path, losses: Path, names: Sequence[str]) -> list[str]:
    """Columns beside shares and budget in the mixtures table, which a table to predict may have too."""
    both = list(names) if mixtures.resolve() == losses.resolve() else []
    return list(dict.fromkeys([*columns.ignored, *columns.where, *([columns.seed] if columns.seed else []), *both]))


def predict_table(
    fit: Path,
    mixtures: Path,
    out: Path | None,
    key: str | None = None,
    budget: str | None = None,
    at: float | None = None,
    ignored: Sequence[str] = (),
    seed: str | None = None,
    unit: Unit | None = None,
    intervals: float | None = None,
) -> None:
    """Predict the losses of a table of mixtures, as CSV: the key first, then a column a loss (or score, as fitted).

    Args:
        key, budget, seed, unit: of the columns; as the laws were fitted with, if left out. Predictions do not use the seed.
        ignored: columns to leave out, beside those that the fit left out. A column that is named must be there.
        at: one budget for all rows, instead of a column.
        intervals: also the ends of intervals of this level, in which the loss of a new run is expected: after each
            loss its columns `_low` and `_high`.

    Raises:
        InputError: a table that cannot be trusted, or a budget that the laws cannot speak of.
    """
    from mixlang.laws import read_fit
    from mixlang.laws.csv_tables import read_mixtures

    if out is not None:
        refuse_unwritable(out, fit, mixtures)
    if at is not None and not at > 0:
        raise InputError(f"--at: a budget is above 0, not {at:g}")
    laws, source = read_fit(fit), _source(fit)
    if intervals and not laws.draws:
        raise InputError("--intervals: these laws were fitted without draws", "Fit them with --draws 100.")
    key, unit = key or source.get("key") or "index", unit or source.get("unit") or "fractions"
    if unit == "amounts" and at is not None:
        raise InputError("--at: amounts have their own budget, the sum of each row", "Give shares, or leave --at out.")
    single = laws.budgets[1] - laws.budgets[0] <= 1e-6 * laws.budgets[1]
    if budget is None and at is None and unit != "amounts":
        budget = source.get("budget")
        if budget is None and not single:
            raise InputError("the laws were fitted at several budgets; which is meant here?", "Give --budget or --at.")
    column, given = (budget, laws.budgets[1]) if at is None else (None, at)
    left = [*ignored, *([seed] if seed else [])]
    where = _where_there(mixtures, key, source)
    columns = _columns_to_predict(mixtures, laws.domains, source, Columns(key, column, None, left, unit=unit), at)
    found = read_mixtures(mixtures, replace(columns, where=where), given)
    for name, value in where.items():
        say(f"note: only rows with {name} = {value} are predicted, as the laws were fitted to such runs")
    if single and not np.allclose(found.budgets, laws.budgets[1], rtol=0.01):
        raise InputError(f"all runs fitted had a budget of {laws.budgets[1]:g}, so nothing is known about others")
    meant_by = [owner(name, laws.domains) for name in found.domains]
    amounts = found.amounts[:, [meant_by.index(name) for name in laws.domains]]
    for note in [*found.notes, *_far_notes(laws, amounts)]:
        say(f"note: {note}")
    heads, predicted = _predictions(laws, amounts, intervals)
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([key, *heads])
    writer.writerows([label, *map(repr, row)] for label, row in zip(found.sheet.keys, predicted.tolist(), strict=True))
    if out is None:
        print(text.getvalue(), end="")
        return
    write_text(out, text.getvalue())
    say(f"wrote {out}: {len(predicted)} rows, {len(laws.names)} losses")


def _far_notes(laws: Fit, amounts: Floats) -> list[str]:
    """Which rows are beyond the budgets fitted, or far from the mixtures fitted."""
    from mixlang.laws.quality import far_in_words

    low, high = laws.budgets
    totals = amounts.sum(axis=1)
    outside = int(((totals < low / 1.01) | (totals > high * 1.01)).sum())
    told = f"{outside} of {len(totals)} rows lie outside the budgets fitted ({low:g} to {high:g}): extrapolated"
    return [*([told] if outside else []), *filter(None, [far_in_words(laws, amounts)])]


def _predictions(laws: Fit, amounts: Floats, level: float | None) -> tuple[list[str], Floats]:
    """Headings and values: a column a loss, in the terms of the table fitted, followed by the ends of its interval."""
    predicted = _given(laws, laws.predict(amounts))
    if not level:
        return list(laws.names), predicted
    ends = np.sort([_given(laws, end) for end in laws.prediction_interval(amounts, level)], axis=0)
    heads = [f"{name}{which}" for name in laws.names for which in ("", "_low", "_high")]
    return heads, np.stack([predicted, *ends], axis=2).reshape(len(predicted), -1)


def _given(laws: Fit, losses: Floats) -> Floats:
    """Losses, shape (rows, losses), in the terms of the table fitted."""
    return np.stack([law.given(losses[:, index]) for index, law in enumerate(laws.laws)], axis=1)


def _where_there(mixtures: Path, key: str, source: Source) -> dict[str, str]:
    """What the fit's runs were chosen by, as far as a table to predict has these columns."""
    from mixlang.laws.sheet import read_sheet

    there = read_sheet(mixtures, key).columns
    return {name: value for name, value in source.get("where", {}).items() if name in there}


def _columns_to_predict(
    mixtures: Path, domains: Sequence[str], source: Source, asked: Columns, at: float | None
) -> Columns:
    """The columns of a table to predict, without those that the fit left out; every other one has to be a domain.

    Raises:
        InputError: a column that is none, or a domain without a column.
    """
    from mixlang.laws.sheet import read_sheet

    sheet = read_sheet(mixtures, asked.key)
    for name in asked.beside:
        sheet.require(name)
    past = [*source.get("ignored", []), *([source.get("budget")] if at is not None or asked.unit == "amounts" else [])]
    left = list(dict.fromkeys([*asked.ignored, *(name for name in past if name in sheet.columns)]))
    left = [name for name in left if name != asked.budget]
    there: dict[str, str] = {}
    for name in sheet.columns:
        if name in (*left, asked.budget):
            continue
        domain = owner(name, domains)
        if domain is None:
            near = meant_or_known(name, domains, "domains")
            hint = f"{near} A column that is no domain is named with --seed or --ignore."
            raise InputError(f"{mixtures}:1: the laws have no domain '{name}'", hint)
        if domain in there:
            raise InputError(
                f"{mixtures}:1: the columns '{there[domain]}' and '{name}' are both of the domain '{domain}'",
                "Leave one out with --ignore.",
            )
        there[domain] = name
    missing = [name for name in domains if name not in there]
    if missing:
        raise InputError(f"{mixtures}:1: there is no column for '{missing[0]}'", "A share of 0 has to be said.")
    return replace(asked, ignored=left, kept=list(there.values()))


def _source(fit: Path) -> Source:
    """How the tables of a fit were read; empty where it came from a study."""
    source = read_json(fit).get("source", {})
    return source if isinstance(source, dict) else {}


@dataclass(frozen=True)
class Asked:
    """What an allocation is asked for.

    Attributes:
        budget: the largest one fitted, if None.
        weights: of losses, 1 where left out; floor: smallest share of every domain; shares: bounds by domain;
            groups: members and bounds by name; costs: of a unit, 1 where left out; prior: weight of the pull to it.
        available: a CSV of what there is of each domain; repetition: how often it may be seen.
        reach: goals for losses (for scores, where it was fitted to some); then the smallest budget that reaches them is
            the answer.
        tail: of the objective `robust` alone: the worst part of the draws, 0.2 if None.
        path: also solve at these budgets.
    """

    budget: float | None = None
    objective: str = "weighted_loss"
    weights: Mapping[str, float] = field(default_factory=dict)
    available: Path | None = None
    repetition: float | None = None
    floor: float = 0.0
    shares: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    groups: Mapping[str, tuple[Sequence[str], float, float]] = field(default_factory=dict)
    costs: Mapping[str, float] = field(default_factory=dict)
    prior: float = 0.0
    tail: float | None = None
    decide: str = EXPECTED
    worse: float | None = None
    reach: Mapping[str, float] = field(default_factory=dict)
    path: Sequence[float] = ()


def allocate_fit(fit: Path, out: Path | None, asked: Asked) -> Answer:
    """Solve an allocation under fitted laws; writes it to `out` if given.

    Returns:
        The answer, see `mixlang.allocate.answer`; `scores` has the predictions of losses that were fitted as scores.

    Raises:
        InputError: unknown names or values that make no sense.
        SolveError: no mixture satisfies the constraints, or no proven optimum.
    """
    from mixlang.allocate import answer, over_budgets, smallest_budget
    from mixlang.laws import read_fit
    from mixlang.laws.quality import doubts_of

    if out is not None:
        refuse_unwritable(out, *filter(None, (fit, asked.available)))
    laws = read_fit(fit)
    _refuse_contradictions(asked, laws)
    settings = _settings(asked, laws)
    if asked.reach:
        best = smallest_budget(laws, settings, _goals(asked.reach, laws))
        document = {**best.as_dict(), "reach": dict(asked.reach), "baselines": {}, "intervals": {}}
    else:
        document = answer(laws, settings, laws.budgets[1] if asked.budget is None else asked.budget)
    document["relative_to"] = "the goals" if asked.reach else settings["objective"]["relative_to"]
    scores = {law.name: law.best - document["predicted"][law.name] for law in laws.laws if law.best is not None}
    if scores:
        document["scores"] = scores
    if asked.path:
        document["path"] = over_budgets(laws, settings, asked.path)
    document["notes"] = [*laws.notes, *document.pop("doubts", doubts_of(laws))]
    if asked.decide == EXPECTED and laws.draws < 2 and not asked.reach:
        document["notes"].append("these laws were fitted without draws, so the optimum of the fitted laws is taken")
    low, high = laws.budgets
    if asked.reach and document["budget"] <= 1.01e-3 * low:
        document["notes"].append(
            f"the goals are reached at {document['budget']:g}, the smallest budget that was looked at"
        )
    if not low / 1.01 <= document["budget"] <= high * 1.01:
        document["notes"].append(f"the budget lies outside those fitted ({low:g} to {high:g}): this extrapolates")
    if out is not None:
        write_json(out, document)
        say(f"wrote {out}")
    return document


def _refuse_contradictions(asked: Asked, laws: Fit) -> None:
    """Refuse options that exclude each other, and names that the laws do not know."""
    if asked.reach and asked.budget is not None:
        raise InputError("--reach looks for the budget, so it cannot be given", "Leave --budget out.")
    if asked.tail is not None and asked.objective != "robust":
        raise InputError(
            f"--tail means nothing to the objective '{asked.objective}'", "Leave it out, or --objective robust."
        )
    if asked.objective == "worst_case" and len({asked.weights.get(name, 1.0) for name in laws.names} - {0}) > 1:
        raise InputError(
            "--weights: the objective 'worst_case' is the largest relative loss, to which a weight means nothing but 0",
            "Give weights of 0 and 1, or another objective.",
        )
    if asked.repetition is not None and asked.available is None:
        raise InputError("a repetition cap needs to know how much there is", "Give --available FILE.")
    for kind, names, known in (
        ("weights", asked.weights, laws.names),
        ("reach", asked.reach, laws.names),
        ("share", asked.shares, laws.domains),
        ("cost", asked.costs, laws.domains),
    ):
        for name in names:
            if name not in known:
                raise InputError(f"--{kind}: there is no '{name}'", meant_or_known(name, known, "names"))


def _settings(asked: Asked, laws: Fit) -> ProblemSettings:
    """What is asked, in the terms of `mixlang.allocate.Problem.of`."""
    from mixlang.laws.csv_tables import read_available

    return {
        "costs": {name: asked.costs.get(name, 1.0) for name in laws.domains},
        "available": read_available(asked.available, laws.domains) if asked.available else None,
        "objective": {
            "minimize": asked.objective,
            "weights": dict(asked.weights),
            "relative_to": "proportional" if asked.available else "uniform",
            "tail": _TAIL if asked.tail is None else asked.tail,
            "decide": asked.decide,
        },
        "constraints": {
            "repetition": asked.repetition,
            "floor": asked.floor,
            "share": {name: {"min": low, "max": high} for name, (low, high) in asked.shares.items()},
            "group": {
                name: {"members": list(members), "min": low, "max": high}
                for name, (members, low, high) in asked.groups.items()
            },
            "prior": asked.prior,
            **({} if asked.worse is None else {"worse": asked.worse}),
        },
    }


def _goals(reach: Mapping[str, float], laws: Fit) -> dict[str, float]:
    """Goals for losses; those of scores, which are given as scores, as their distance to the best one."""
    found = {}
    for name, goal in reach.items():
        best = laws[name].best
        if best is not None and not (1 if best > 1 else 0) < goal < best:
            raise InputError(f"--reach: '{name}' is a score out of {best:g}, not {goal:g}")
        found[name] = goal if best is None else best - goal
    return found


def show_allocation(document: Answer) -> None:
    """Print an allocation for people."""
    from mixlang.rivals import in_order

    sure = document["intervals"]
    names = list(document["shares"])
    says = decision_in_words(document)
    if says:
        print("\n".join(paragraph(says)))
    print(f"budget {document['budget']:g}: objective {document['objective']:.5f} (1 is {document['relative_to']})")
    rows = []
    for name in names:
        ends = sure.get("shares", {}).get(name)
        shown = f"[{ends[0]:6.1%}, {ends[1]:6.1%}]" if ends else ""
        rows.append([name, f"{document['shares'][name]:.2%}", shown, f"{document['amounts'][name]:.6g}"])
    for line in table_lines(["", "", "", ""], rows, "lrrr"):
        print(line)
    gains = sure.get("gains", {})
    for name in in_order(gains):
        gain, rival = gains[name], document["baselines"][name]
        outside = "" if rival["feasible"] else f" (not allowed: {'; '.join(rival['breaks'])})"
        if max(abs(rival["shares"][domain] - document["shares"][domain]) for domain in names) < 1e-4:
            print(f"  against {name}: the same mixture")
            continue
        low, high = gain["interval"]
        print(f"  against {name}{outside}: {gain['apparent']:+.2%} lower [{low:+.2%}, {high:+.2%}],", end=" ")
        print(f"corrected {gain['corrected']:+.2%}, better with probability {gain['probability']:.0%}")
    scores = document.get("scores", {})
    predicted = ", ".join(
        f"{name} {scores[name]:.4g} (a score)" if name in scores else f"{name} {loss:.4g}"
        for name, loss in document["predicted"].items()
    )
    print("\n".join(paragraph(f"predicted: {predicted}", "  ", "    ")))
    for name, entry in document.get("structure", {}).get("domains", {}).items():
        if entry["kind"]:
            print(f"  {name} is {'a hub' if entry['kind'] == 'hub' else 'an island'}")
    for step in document.get("path", []):
        shown = step.get("reason") or ", ".join(f"{name} {share:.1%}" for name, share in step["shares"].items())
        print("\n".join(paragraph(f"at {step['budget']:g}: {shown}", "  ", "    ")))
    for note in document["notes"]:
        print(f"  note: {note}")
    proof = document["certificate"]
    print(f"  proof: {proof['status']}, gap {proof['gap']:.1e}, KKT residual {proof['kkt_residual']:.1e}")
    for says in [*document.get("binding", []), *_dropped(document)]:
        print("\n".join(paragraph(says, "  ", "    ")))


def _dropped(document: Answer) -> list[str]:
    """Domains with next to nothing, and what keeping them would cost, in words of the command line."""
    from mixlang.allocate.binding import percent
    from mixlang.allocate.dropped import KEPT

    found = document.get("dropped") or {}
    said = []
    for name, entry in found.get("domains", {}).items():
        says = f"{name} gets {entry['share']:.1%}, next to nothing"
        if entry["cost"] is not None:
            says += f"; by the laws, --share {name}={KEPT:g}: would raise the objective by {percent(entry['cost'])}"
        said.append(says)
    if found.get("together") is not None:
        said.append(
            f"--floor {KEPT:g}, which keeps every domain at {KEPT:.0%}, would raise it by {percent(found['together'])}"
        )
    return said
