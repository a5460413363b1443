"""What a stranger wants to know of a published mixture, gathered from its files: `mixlang registry show`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from mixlang.files import read_json
from mixlang.registry.index import verified_in_words
from mixlang.registry.measured import headline_change
from mixlang.registry.store import Mixture
from mixlang.rivals import in_order
from mixlang.terminal import line_width, matrix, table


def evidence(mixture: Mixture) -> dict[str, Any]:
    """How sure a mixture is, what it was compared with, on which data, by which code, and how to get it again.

    Returns:
        `intervals` of the shares; `certificate`: status, gap and residual; `measured_shares`: those of the runs solved for
        the largest held-out budget, None where there are none; `binding` and `dropped`: the constraints that hold the mixture
        back and the domains it leaves with next to nothing, in sentences; `compared`: by baseline its shares, the constraints
        it breaks, its predicted gain and the probability that the mixture is better; `roles`: hubs and islands in words;
        `data`, `code`, `environment` and `reproduce` as recorded.
    """
    target = read_json(mixture.folder / "certificate.json")["target"]
    origin = read_json(mixture.folder / "provenance.json")
    sure = target.get("intervals") or {}
    gains = sure.get("gains", {})
    return {
        "intervals": sure.get("shares"),
        "level": sure.get("level"),
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
    lines = [f"{mixture.label}  {mixture.status}{names}  published {facts['published']}"]
    if facts.get("description"):
        lines.append(facts["description"])
    lines += ["", f"train on these shares of {mixture.budget:,.0f} {mixture.unit}"]
    sure = found["intervals"] or {}
    head = ["domain", "share", "samples", *([f"{found['level']:.0%} interval of the share"] if sure else [])]
    rows = [
        [name, f"{share:.1%}", f"{mixture.amounts[name]:,}"]
        + ([f"{sure[name][0]:.1%} to {sure[name][1]:.1%}"] if sure else [])
        for name, share in mixture.shares.items()
    ]
    lines += table(head, rows)
    lines += _told("what holds this mixture back, by the laws", found["binding"])
    lines += _told("domains with next to nothing", found["dropped"])
    lines += _sure(mixture, found)
    lines += _rivals(mixture, found)
    lines += _told("who helps whom at this mixture, by the laws", found["roles"])
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
            f"{name}: {data['volumes']:,} volumes of {data['subjects']:,} subjects, {data['set_aside']} set aside, "
            f"fingerprint {data['fingerprint'][:12]}"
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
    lines = ["", "how sure", *_wrapped(f"measured change of the objective: {verified_in_words(verified)}")]
    if measured is not None and not measured.own:
        lines += _wrapped(f"shares of those runs: {_listed(found['measured_shares'])}")
        seeds = measured.changes[measured.usual]["seeds"]
        lines += _wrapped(
            f"to measure the shares above: verify: {{published: largest}} in the spec, and run it again: {seeds} "
            f"run{'s' * (seeds != 1)} of {measured.budget:,} samples"
        )
    if verified:
        r = verified["pearson_r"]
        shown = "" if r is None else f"r = {r:.3f}, "
        lines += _wrapped(
            f"predictions of the laws: {shown}mean error {verified['mean_relative_error']:.1%}, on the losses of all held-out "
            "runs"
        )
    proof = found["certificate"]
    lines += _wrapped(
        f"optimality: {proof['status']}, at most {proof['gap']:.1e} of the objective from the optimum under its laws"
    )
    lines += _wrapped(f"laws: {', '.join(f'{name} {law}' for name, law in mixture.facts['laws'].items())}")
    return lines + _told("what the held-out runs mean", (verified or {}).get("findings", []))


def _rivals(mixture: Mixture, found: Mapping[str, Any]) -> list[str]:
    """The rivals at the version's own budget, where nothing was trained."""
    rows, shares = [], {"published": [f"{share:.1%}" for share in mixture.shares.values()]}
    for name, rival in found["compared"].items():
        mark = " *" if rival["breaks"] else ""
        sure = ["", ""] if rival["corrected"] is None else [_signed(rival["corrected"]), f"{rival['probability']:.0%}"]
        rows.append([name + mark, _signed(rival["gain"]), *sure])
        shares[name + mark] = [f"{rival['shares'][domain]:.1%}" for domain in mixture.shares]
    at = f"{mixture.budget:,.0f} {mixture.unit}"
    title = f"objective compared with others at {at}, predicted by the laws; nothing was trained there"
    lines = ["", *_wrapped(title, "", "  ")]
    lines += table(["rival", "gain over it", "less optimism", "probability of a gain"], rows)
    lines += ["", "  their shares", *matrix(list(mixture.shares), shares)]
    broken = [f"{name}: {'; '.join(rival['breaks'])}" for name, rival in found["compared"].items() if rival["breaks"]]
    return lines + _told("* not allowed by the constraints", broken)


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


def _signed(part: float) -> str:
    return f"{round(part, 3) + 0.0:+.1%}"  # never a negative zero


def _binding(item: Mapping[str, Any]) -> str:
    """A binding constraint of a version of before these were sentences."""
    return f"{item['domain']} is at its {item['why']} ({item['share']:.2%})"


def _listed(shares: Mapping[str, float]) -> str:
    return ", ".join(f"{name} {share:.1%}" for name, share in shares.items())


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


def _commit(state: Mapping[str, Any]) -> str:
    if state.get("commit") is None:
        return "nothing committed yet" if state.get("dirty") else "outside git"
    return f"commit {state['commit'][:12]}" + (" with uncommitted changes" if state["dirty"] else "")
