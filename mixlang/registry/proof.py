"""Proving a published version from its own files: nothing is trusted but the hashes and what can be computed again."""

from __future__ import annotations

import csv
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mixlang.documents import RunRow, Verification
from mixlang.errors import MixlangError
from mixlang.files import digest, read_json
from mixlang.names import EXPECTED
from mixlang.registry import Mixture, Registry
from mixlang.registry.content import content_of, summary
from mixlang.registry.sealed import compared, damage
from mixlang.verify.measured import PUBLISHED, furthest, shares_trained, subjects

_SAME_SHARE = 2e-3
"""Largest difference of a share between the published allocation and the one solved again from the same laws: near an
optimum the objective is flat, so solvers of other versions may stop at shares that differ a little."""

_SAME_LOSS = 0.01
"""Largest relative difference between what the published laws predict for the mixture, and those fitted again."""

_GAP = 1e-4
"""Largest gap to the optimum, relative to the objective, of a mixture that is given out (as in mixlang.allocate)."""

_ROUNDING = 1e-6


@dataclass
class Check:
    """One thing that was proven or refuted.

    Attributes:
        name: what was looked at, in a few words.
        detail: what was found, with numbers.
        problems: what does not hold, each naming the file it is about; empty when the check passed.
    """

    name: str
    detail: str = ""
    problems: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """The check as JSON."""
        return {"check": self.name, "ok": not self.problems, "detail": self.detail, "problems": self.problems}


def check_version(registry: Registry, name: str, version: int) -> list[Check]:
    """What holds of a version and what does not. Where files are damaged, nothing is computed from them."""
    folder = registry.folder_of(name, version)
    hashes = Check("hashes", problems=damage(folder))
    if hashes.problems:
        hashes.name = "line ends" if not compared(folder)[1] else hashes.name
        return [hashes]
    hashes.detail = f"{sum(1 for _ in folder.iterdir())} files as published"
    mixture = registry.get_version(name, version)
    parts: tuple[tuple[str, Callable[[Mixture, Check], None]], ...] = (
        ("contents", _contents),
        ("certificate", _certificate),
        ("laws", _laws),
        ("measurements", _measurements),
    )
    found = [hashes]
    for name, look in parts:
        check = Check(name)
        try:
            look(mixture, check)
        except (MixlangError, OSError, LookupError, TypeError, ValueError) as error:
            check.problems.append(f"{name} cannot be checked: {error}")
        found.append(check)
    return found


def _contents(mixture: Mixture, check: Check) -> None:
    """mixture.yaml says what its evidence says."""
    laws, problem = (read_json(mixture.folder / name) for name in ("laws.json", "problem.json"))
    losses = (mixture.folder / "losses.csv").read_text(encoding="utf-8")
    apart = ("version", "published", "status", "supersedes", "lineage", "content")
    core = {key: value for key, value in mixture.facts.items() if key not in apart}
    if content_of(core, laws, losses, problem) != mixture.facts["content"]:
        check.problems.append("mixture.yaml: its content hash is not that of its laws, losses and problem")
    if mixture.facts["lineage"]["laws"] != digest(laws):
        check.problems.append("mixture.yaml: the laws in its lineage are not laws.json")
    target = read_json(mixture.folder / "certificate.json")["target"]
    for name, share in mixture.shares.items():
        if abs(share - target["shares"][name]) > _ROUNDING:
            check.problems.append(f"mixture.yaml: the share of '{name}' is not that of certificate.json")
    check.detail = "mixture.yaml says what its laws, losses, problem and certificate say"


def _certificate(mixture: Mixture, check: Check) -> None:
    """The mixture keeps its constraints and is the optimum under its laws, by the gap computed again and a new solve."""
    from mixlang.allocate import Problem, solve
    from mixlang.allocate.certificate import certify
    from mixlang.laws import read_fit

    laws = read_fit(mixture.folder / "laws.json")
    problem = Problem.of(laws, read_json(mixture.folder / "problem.json"), mixture.budget)
    target = read_json(mixture.folder / "certificate.json")["target"]
    shares = np.array([target["shares"][name] for name in laws.domains])
    outside = (shares < problem.lower - _ROUNDING) | (shares > problem.upper + _ROUNDING)
    sums = [float(group.members @ shares) for group in problem.groups]
    broken = any(
        not group.lower - _ROUNDING <= total <= group.upper + _ROUNDING
        for group, total in zip(problem.groups, sums, strict=True)
    )
    if outside.any() or broken or abs(shares.sum() - 1) > _ROUNDING:
        check.problems.append("certificate.json: the mixture does not keep its constraints")
    pull = target["decision"]["pull"] if target.get("decision") else None
    held = problem if pull is None else problem.pulled(pull)
    proof = certify(held, shares)
    if not proof["gap"] <= _GAP * abs(held.value(shares)):
        check.problems.append(f"certificate.json: the gap to the optimum is {proof['gap']:.2g}, not the one it states")
    refuted = [condition for condition, held in proof["convex"].items() if not held]
    if refuted:
        check.problems.append(f"laws.json: not convex, so nothing is proven: {', '.join(refuted)}")
    again = solve(problem, pull).shares
    moved = _furthest(laws.domains, again, shares)
    if moved[1] > _SAME_SHARE:
        check.problems.append(
            f"mixture.yaml: the share of '{moved[0]}' is {mixture.shares[moved[0]]:.4f}; solved again from its laws it "
            f"differs by {moved[1]:.4f}"
        )
    check.detail = (
        f"gap {proof['gap']:.1e}, residual {proof['kkt_residual']:.1e}; solved again, shares differ by at most "
    )
    check.detail += f"{moved[1]:.1e}"


def _laws(mixture: Mixture, check: Check) -> None:
    """The laws follow from losses.csv, and so does the mixture, within its interval."""
    from mixlang.allocate import Problem, decided_by, solve
    from mixlang.laws import LossTable, fit_laws, read_fit

    published = read_fit(mixture.folder / "laws.json")
    settings = read_json(mixture.folder / "settings.json")
    problem = read_json(mixture.folder / "problem.json")
    how = settings["fit"]
    drawn = problem["objective"]["minimize"] == "robust" or decided_by(problem) == EXPECTED  # draws decide nothing else
    table = LossTable.of(published.domains, probe_rows(mixture, settings["mean_losses"]))
    again = fit_laws(table, how["family"], how["choose"], how["fixed_total"], how["draws"] if drawn else 0)
    amounts = np.array([mixture.shares[name] for name in published.domains]) * mixture.budget
    before, after = published.predict(amounts)[0], again.predict(amounts)[0]
    loss, error = _furthest(published.names, after / before, np.ones(len(before)))
    if error > _SAME_LOSS:
        check.problems.append(
            f"laws.json: fitted again from losses.csv, the law of '{loss}' predicts the mixture {error:.1%} differently"
        )
    target = read_json(mixture.folder / "certificate.json")["target"]
    solved = solve(Problem.of(again, problem, mixture.budget)).shares
    moved = _furthest(published.domains, solved, np.array([target["shares"][name] for name in published.domains]))
    sure = (target.get("intervals") or {}).get("shares", {})
    for name, share in zip(published.domains, solved.tolist(), strict=True):
        low, high = sure.get(name, (mixture.shares[name],) * 2)
        low, high = min(low, target["shares"][name]), max(high, target["shares"][name])
        if not low - _SAME_SHARE <= share <= high + _SAME_SHARE:
            check.problems.append(
                f"mixture.yaml: the share of '{name}' is {mixture.shares[name]:.4f}; computed again from losses.csv it is "
                f"{share:.4f}, outside its interval of {low:.4f} to {high:.4f}"
            )
    check.detail = (
        f"fitted again from {len(table.losses)} rows of losses.csv: predictions differ by at most {error:.1e}, "
        f"shares by at most {moved[1]:.1e}"
    )


def _measurements(mixture: Mixture, check: Check) -> None:
    """What is said of the held-out runs follows from their losses."""
    from mixlang.verify.objective import Objective

    verification = read_json(mixture.folder / "verification.json")
    costs = read_json(mixture.folder / "problem.json")["costs"]
    if mixture.facts["verified"] != summary(verification):
        check.problems.append("mixture.yaml: 'verified' does not say what verification.json says")
    if not verification["runs"]:
        check.detail = "no budget was held out"
        return
    losses = {row["key"]: row["losses"] for row in read_losses(mixture)}
    for run in verification["runs"]:
        if losses.get(run["key"]) != run["losses"]:
            check.problems.append(f"verification.json: the losses of run {run['key'][:12]} are not those of losses.csv")
    rows = {(str(run["budget_asked"]), run["mixture"], run["seed"]): run["losses"] for run in verification["runs"]}
    solved = read_json(mixture.folder / "certificate.json")["holdout"]
    for budget, subject, rivals in subjects(verification):
        names = list(solved[str(budget)]["measure"]["weights"])
        objective = Objective.of(names, solved[str(budget)])
        values = {
            key[1:]: objective.value(np.array([losses[name] for name in names]))
            for key, losses in rows.items()
            if key[0] == str(budget)
        }
        for kind, found in rivals.items():
            seeds = [seed for mixed, seed in values if mixed == kind]
            mean = float(np.mean([values[subject, seed] / values[kind, seed] - 1 for seed in seeds]))
            if abs(mean - found["overall"]["mean"]) > _ROUNDING:
                check.problems.append(
                    f"verification.json: the change from {kind} at {budget} is {mean:+.4f} by losses.csv"
                )
    check.problems += _other_shares(mixture, verification, costs)
    check.detail = f"{len(verification['runs'])} held-out runs, changes computed again from their losses"


def _other_shares(mixture: Mixture, verification: Verification, costs: dict[str, float]) -> list[str]:
    """Runs that are called those of the published shares and had others, beyond the rounding to whole samples."""
    found = []
    for budget in verification.get("published", {}):
        trained = shares_trained(verification["runs"], int(budget), costs)[PUBLISHED]
        name, apart = furthest(mixture.shares, trained)
        if apart > len(mixture.shares) * max(costs.values()) / int(budget) + _ROUNDING:
            found.append(f"verification.json: at {budget} the share of '{name}' is {apart:.4f} from the published one")
    return found


def read_losses(mixture: Mixture) -> list[RunRow]:
    """The rows of losses.csv: `key`, `kind`, `seed`, by domain `amounts` and by name `losses`."""
    with (mixture.folder / "losses.csv").open(encoding="utf-8", newline="") as file:
        reader = csv.DictReader(file)
        rows = list(reader)
    names = [column.removeprefix("loss_") for column in reader.fieldnames or () if column.startswith("loss_")]
    return [
        {
            "key": row["key"],
            "kind": row["kind"],
            "seed": int(row["seed"]),
            "amounts": {name: int(row[f"samples_{name}"]) for name in mixture.shares},
            "losses": {name: float(row[f"loss_{name}"]) for name in names},
        }
        for row in rows
    ]


def probe_rows(mixture: Mixture, means: dict[str, float]) -> list[RunRow]:
    """The rows the laws were fitted on: those of the runs that the plan names."""
    planned = {run["key"] for run in read_json(mixture.folder / "plan.json")["runs"]}
    found = {row["key"]: {**row, "mean_losses": means} for row in read_losses(mixture) if row["key"] in planned}
    missing = len(planned) - len(found)
    if missing:
        raise ValueError(f"losses.csv lacks {missing} of the {len(planned)} runs of plan.json")
    return list(found.values())


def _furthest(names: Any, found: Any, said: Any) -> tuple[str, float]:
    apart = np.abs(np.asarray(found) - np.asarray(said))
    index = int(np.argmax(apart))
    return names[index], float(apart[index])
