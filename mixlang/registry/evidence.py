"""What a stranger wants to know of a published mixture, gathered from its files: `mixlang registry show`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mixlang.documents import Active, GitState, Scores, Verification
from mixlang.files import read_json
from mixlang.registry.headline import doubts, headline_change
from mixlang.registry.index import verified_in_words
from mixlang.registry.versions import Mixture
from mixlang.rivals import defined, in_order, same
from mixlang.terminal import line_width, matrix, table
from mixlang.words import (
    OPTIMISM,
    between,
    decision_in_words,
    doubts_in_words,
    fitted_to,
    gain_in_words,
    heading,
    intervals_in_words,
    listed,
    objective_in_words,
    signed,
)


def evidence(mixture: Mixture) -> dict[str, Any]:
    """How sure a mixture is, what it was compared with, on which data, by which code, and how to get it again.

    Returns:
        `verdict`: the findings of the verification; `held_out`: how many runs it had, their budgets, and how well the laws
        predicted their losses (`r`, `mean_error`; None without runs); `probe`: budgets of the runs fitted; `objective`: what
        is minimised, in words; `candidate`: why it is one, empty where it is none; `doubts` of the laws, in sentences, and
        `decision`, which of the mixtures that cannot be told from the best was taken, '' for the best; `intervals` of the
        shares, with their `level` and `draws`; `certificate`: status, gap and residual; `measured_shares`: those of the
        runs solved for the largest held-out budget, None where there are none; `binding` and `dropped`: the constraints
        that hold the mixture
        back and the domains it leaves with next to nothing, in sentences; `compared`: by baseline its shares, the constraints
        it breaks, the predicted relative reduction of the objective from it (`gain`, `corrected` for optimism, `interval` of
        the uncorrected one) and the `probability` that the mixture is better; `roles`: hubs and islands in words; `data`,
        `code`, `environment` and `reproduce` as recorded.
    """
    target = read_json(mixture.folder / "certificate.json")["target"]
    verification = read_json(mixture.folder / "verification.json")
    relative_to = read_json(mixture.folder / "problem.json")["objective"]["relative_to"]
    plan = read_json(mixture.folder / "plan.json")
    origin = read_json(mixture.folder / "provenance.json")
    sure = target.get("intervals") or {}
    gains = sure.get("gains", {})
    return {
        "verdict": verification.get("verdict", []),
        "held_out": _held_out(verification),
        "objective": objective_in_words(target["measure"], relative_to) if "measure" in target else "",
        "candidate": doubts(mixture.facts["verified"]) if mixture.status == "candidate" else "",
        "doubts": doubts_in_words(target),
        "decision": decision_in_words(target),
        "intervals": sure.get("shares"),
        "level": sure.get("level"),
        "draws": sure.get("draws"),
        "probe": [sum(run["amounts"].values()) for run in plan["runs"]],
        "certificate": {key: target["certificate"][key] for key in ("status", "gap", "kkt_residual")},
        "measured_shares": _measured_shares(mixture),
        "binding": target.get("binding") or [_binding(item) for item in target["certificate"].get("active", [])],
        "dropped": (target.get("dropped") or {}).get("says", []),
        "compared": {
            name: {
                "shares": found["shares"],
                "breaks": found.get("breaks", []),
                "gain": 1 - target["objective"] / found["objective"],
                "corrected": gains.get(name, {}).get("corrected"),
                "interval": gains.get(name, {}).get("interval"),
                "probability": gains.get(name, {}).get("probability"),
            }
            for name, found in ((name, target["baselines"][name]) for name in in_order(target["baselines"]))
        },
        "roles": [entry["says"] for entry in (target.get("structure") or {}).get("domains", {}).values()],
        "data": {
            name: {
                "volumes": found["volumes"],
                "subjects": found["subjects"],
                "set_aside": len(found["quarantined"]),
                "training": len(plan["domains"][name]["train"]),
                "validation": len(plan["domains"][name]["validation"]),
                "fingerprint": found["fingerprint"],
            }
            for name, found in origin["data"].items()
        },
        "code": origin.get("code", {}),
        "workspace": origin["git"],
        "environment": {key: origin["environment"][key] for key in ("mixlang", "python", "platform")},
        "spec": origin["spec"]["file"],
        "reproduce": origin["reproduce"],
    }


def evidence_in_words(mixture: Mixture, found: Mapping[str, Any]) -> list[str]:
    """The same for people, in lines."""
    facts = mixture.facts
    names = f" {' '.join(mixture.tags)}" if mixture.tags else ""
    lines = [f"{mixture.label}  {mixture.status}{names}  dated {facts['published']}"]
    if facts.get("description"):
        lines.append(facts["description"])
    if found["candidate"]:
        lines += _wrapped(f"a candidate until a tag makes it published: {found['candidate']}", "", "  ")
    lines += ["", *_wrapped(heading(mixture.budget, mixture.unit, found["verdict"]), "", "  ")]
    sure = found["intervals"] or {}
    head = ["domain", "share", "samples", *([f"{found['level']:.0%} interval of the optimal share"] if sure else [])]
    rows = [
        [name, f"{share:.1%}", f"{mixture.amounts[name]:,}"]
        + ([f"{sure[name][0]:.1%} to {sure[name][1]:.1%}"] if sure else [])
        for name, share in mixture.shares.items()
    ]
    lines += table(head, rows)
    said = [*found["doubts"], *filter(None, [found["decision"]]), *gain_in_words(found["verdict"])]
    lines += [line for says in said for line in ["", *_wrapped(says, "", "")]]
    lines += _told("what holds this mixture back, by the laws", found["binding"])
    lines += _told("domains with next to nothing", found["dropped"])
    lines += _sure(mixture, found)
    lines += _rivals(mixture, found)
    lines += _told(
        f"who helps whom at these shares of {mixture.budget:,.0f} {mixture.unit}, by the laws", found["roles"]
    )
    downstream = facts.get("downstream")
    if downstream:
        lines += _told(f"downstream, encoders of {downstream['budget']:,} samples", downstream["said"])
        lines += [line for says in downstream.get("mixtures", []) for line in _wrapped(says)]
        for name, task in downstream["tasks"].items():
            lines.append(f"  {name} ({task['kind']} of {task['domain']})")
            lines += [line for says in task["said"] for line in _wrapped(says, "    ")]
    lines += ["", "data"]
    for name, data in found["data"].items():
        lines += _wrapped(
            f"{name}: {data['volumes']:,} volumes of {data['subjects']:,} subjects ({data['training']:,} to train on, "
            f"{data['validation']:,} to validate on), {data['set_aside']} set aside, fingerprint {data['fingerprint'][:12]}"
        )
    lines += ["", f"code     {_code(found)}", f"spec     {found['spec']}, {_commit(found['workspace'])}"]
    before = [f"supersedes v{mixture.supersedes}" if mixture.supersedes else "the first of its name"]
    since = facts.get("lineage", {}).get("laws_since")
    before += [f"same laws as {since}"] if since else []
    lines.append(f"lineage  {', '.join(before)}")
    lines.append(f"again    {found['reproduce']}")
    lines.append(f"report   {mixture.folder / 'report.html'}")
    return lines


def _sure(mixture: Mixture, found: Mapping[str, Any]) -> list[str]:
    """What was measured, with which shares, and what the laws and the solver are worth."""
    verified, measured = mixture.facts["verified"], headline_change(mixture.facts["verified"])
    says = verified_in_words(verified)
    lines = ["", "how sure", *_wrapped(f"measured change of the objective, negative is better: {says}")]
    if measured is not None and not measured.own:
        lines += _wrapped(f"shares of those runs: {listed(found['measured_shares'])}")
        seeds = measured.changes[measured.usual]["seeds"]
        lines += _wrapped(
            f"to measure the shares above: verify: {{published: largest}} in the spec, and run it again: {seeds} "
            f"run{'s' * (seeds != 1)} of {measured.budget:,} samples"
        )
    if verified:
        held, known = found["held_out"], verified.get("pairs")
        shown = "" if held["r"] is None else f"r of predicted and measured pooled over domains {held['r']:.3f}, "
        which = f"the losses of the {held['runs']} held-out runs, of {_budgets(held['budgets'])} samples"
        less = known is not None and known < verified["held_out"]
        which += f" ({known} of {verified['held_out']}, where the laws say anything)" if less else ""
        lines += _wrapped(f"predictions of the laws: {shown}mean relative error {held['mean_error']:.1%}, on {which}")
    proof = found["certificate"]
    lines += _wrapped(
        f"solver: {proof['status']}, at most {proof['gap']:.1e} of the objective from the optimum under its laws; that says "
        "nothing of whether the laws are right"
    )
    lines += _wrapped(f"laws: {', '.join(f'{name} {law}' for name, law in mixture.facts['laws'].items())}")
    said = gain_in_words(found["verdict"])
    findings = [says for says in (verified or {}).get("findings", []) if says not in said]
    return lines + _told("what the held-out runs mean", findings)


def _budgets(budgets: Sequence[int]) -> str:
    return ", ".join(f"{budget:,}" for budget in budgets)


def _rivals(mixture: Mixture, found: Mapping[str, Any]) -> list[str]:
    """The rivals at the version's own budget, where nothing was trained."""
    rows, shares = [], {"published shares": [f"{share:.1%}" for share in mixture.shares.values()]}
    for name, rival in found["compared"].items():
        mark = " *" if rival["breaks"] else ""
        sure = ["", "", ""]
        if rival["corrected"] is not None:
            low, high = rival["interval"]
            sure = [signed(-rival["corrected"]), between(-high, -low), f"{rival['probability']:.0%}"]
        rows.append([name + mark, signed(-rival["gain"]), *sure])
        shares[name + mark] = [f"{rival['shares'][domain]:.1%}" for domain in mixture.shares]
    at = f"{mixture.budget:,.0f} {mixture.unit}"
    title = (
        f"change of the objective from others to the published shares at {at}, predicted by the laws; nothing was trained "
        "there; negative is better"
    )
    lines = ["", *_wrapped(title, "", "  ")]
    level = "" if found["level"] is None else f"{found['level']:.0%} "
    head = [
        "rival",
        "as fitted",
        "corrected for optimism",
        f"{level}interval as fitted",
        "probability of a gain as fitted",
    ]
    lines += table(head, rows)
    lines += ["", "  their shares", *matrix(list(mixture.shares), shares)]
    broken = [f"{name}: {'; '.join(rival['breaks'])}" for name, rival in found["compared"].items() if rival["breaks"]]
    lines += _told(f"* not allowed by the constraints at {at}", broken)
    alike = same({"published shares": mixture.shares, **{n: rival["shares"] for n, rival in found["compared"].items()}})
    means = [fitted_to(found["probe"], mixture.budget), *([found["objective"]] if found["objective"] else [])]
    means += [*defined(found["compared"]), *(f"{says}, at {at}" for says in alike)]
    if found["level"]:
        means += [intervals_in_words(found["level"], found["draws"]), OPTIMISM]
        means.append(
            "interval and probability of a change are of the change as fitted; the corrected one may be outside"
        )
    return lines + _told("what these names mean", means)


def _held_out(verification: Verification) -> dict[str, Any]:
    """The held-out runs, and how well their losses were predicted where the laws say anything."""
    known: Scores | dict[str, None] = {}
    if verification["runs"]:
        known = verification["agreement"].get("supported") or verification["agreement"]["pooled"]
    return {
        "runs": len(verification["runs"]),
        "budgets": sorted({int(run["budget_asked"]) for run in verification["runs"]}),
        "r": known.get("pearson_r"),
        "mean_error": known.get("mean_relative_error"),
    }


def _measured_shares(mixture: Mixture) -> dict[str, float] | None:
    """Shares of the runs of the mixture solved for the largest held-out budget, as trained: versions of before published
    shares were measured state them nowhere else."""
    rows = [row for row in read_json(mixture.folder / "verification.json")["runs"] if row["mixture"] == "allocated"]
    if not rows:
        return None
    costs = read_json(mixture.folder / "problem.json")["costs"]
    amounts = max(rows, key=lambda row: row["budget_asked"])["amounts"]
    total = sum(amount * costs[name] for name, amount in amounts.items())
    return {name: amount * costs[name] / total for name, amount in amounts.items()}


def _binding(item: Active) -> str:
    """A binding constraint of a version of before these were sentences."""
    return f"{item['domain']} is at its {item['why']} ({item['share']:.2%})"


def _told(title: str, sentences: Sequence[str]) -> list[str]:
    """Sentences below a title; nothing where there are none."""
    return ["", title, *(line for says in sentences for line in _wrapped(says))] if sentences else []


def _wrapped(says: str, indent: str = "  ", further: str = "    ") -> list[str]:
    first = f"{indent}- " if indent else ""
    return textwrap.wrap(says, min(118, line_width()), initial_indent=first, subsequent_indent=indent + further)


def _code(found: Mapping[str, Any]) -> str:
    about = found["environment"]
    release = f"mixlang {about['mixlang']}, Python {about['python']}, {about['platform']}"
    return f"{release}; {_commit(found['code'])}" if found["code"].get("commit") else release


def _commit(state: GitState) -> str:
    if state.get("commit") is None:
        return "nothing committed yet" if state.get("dirty") else "outside git"
    return f"commit {state['commit'][:12]}" + (" with uncommitted changes" if state["dirty"] else "")
