"""What a stranger wants to know of a published mixture, gathered from its files: `mixlang registry show`."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping
from typing import Any

from mixlang.files import read_json
from mixlang.registry.index import verified_in_words
from mixlang.registry.store import Mixture


def evidence(mixture: Mixture) -> dict[str, Any]:
    """How sure a mixture is, what it was compared with, on which data, by which code, and how to get it again.

    Returns:
        `intervals` of the shares; `certificate`: status, gap and residual; `compared`: by baseline its shares, its
        predicted gain and the probability that the mixture is better; `roles`: hubs and islands in words; `data`, `code`,
        `environment` and `reproduce` as recorded.
    """
    target = read_json(mixture.folder / "certificate.json")["target"]
    origin = read_json(mixture.folder / "provenance.json")
    sure = target.get("intervals") or {}
    gains = sure.get("gains", {})
    return {
        "intervals": sure.get("shares"),
        "level": sure.get("level"),
        "certificate": {key: target["certificate"][key] for key in ("status", "gap", "kkt_residual")},
        "compared": {
            name: {
                "shares": found["shares"],
                "gain": 1 - target["objective"] / found["objective"],
                "corrected": gains.get(name, {}).get("corrected"),
                "probability": gains.get(name, {}).get("probability"),
            }
            for name, found in target["baselines"].items()
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
    lines += ["", f"train on, for a budget of {mixture.budget:,.0f} {mixture.unit}"]
    level = "" if found["level"] is None else f"{found['level']:.0%} interval"
    lines.append(f"  {'':20} {'share':>8} {'samples':>12}   {level}".rstrip())
    for name, share in mixture.shares.items():
        ends = (found["intervals"] or {}).get(name)
        sure = "" if ends is None else f"{ends[0]:.1%} to {ends[1]:.1%}"
        lines.append(f"  {name:20} {share:8.1%} {mixture.amounts[name]:12,}   {sure}".rstrip())
    lines += ["", "how sure"]
    lines.append(f"  measured      {verified_in_words(facts['verified'])}")
    if facts["verified"]:
        r = facts["verified"]["pearson_r"]
        shown = "" if r is None else f"r = {r:.3f}, "
        error = facts["verified"]["mean_relative_error"]
        lines.append(f"  predictions   {shown}mean error {error:.1%} on held-out runs")
        for says in facts["verified"].get("findings", []):
            lines += textwrap.wrap(says, 116, initial_indent="  - ", subsequent_indent="    ")
    proof = found["certificate"]
    lines.append(f"  optimality    {proof['status']}, at most {proof['gap']:.1e} from the optimum under its laws")
    lines.append(f"  laws          {', '.join(f'{name} {law}' for name, law in facts['laws'].items())}")
    lines += ["", "compared with (predicted gain; less optimism; probability of being better)"]
    for name, rival in found["compared"].items():
        sure = "" if rival["corrected"] is None else f"; {rival['corrected']:+.1%}; {rival['probability']:.0%}"
        shares = "  ".join(f"{domain} {share:.1%}" for domain, share in rival["shares"].items())
        lines.append(f"  {name:14} {rival['gain']:+.1%}{sure}   {shares}")
    if found["roles"]:
        lines += ["", "who helps whom, at this mixture"]
    for says in found["roles"]:
        lines += textwrap.wrap(says, 116, initial_indent="  - ", subsequent_indent="    ")
    downstream = facts.get("downstream")
    if downstream:
        lines += ["", f"downstream, encoders of {downstream['budget']:,} samples"]
        for says in downstream["said"]:
            lines += textwrap.wrap(says, 116, initial_indent="  - ", subsequent_indent="    ")
        for name, task in downstream["tasks"].items():
            lines.append(f"  {name} ({task['kind']} of {task['domain']})")
            for says in task["said"]:
                lines += textwrap.wrap(says, 116, initial_indent="    - ", subsequent_indent="      ")
    lines += ["", "data"]
    for name, data in found["data"].items():
        lines.append(
            f"  {name:20} {data['volumes']:,} volumes of {data['subjects']:,} subjects, {data['set_aside']} set aside, "
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


def _code(found: Mapping[str, Any]) -> str:
    about = found["environment"]
    release = f"mixlang {about['mixlang']}, Python {about['python']}, {about['platform']}"
    return f"{release}; {_commit(found['code'])}" if found["code"].get("commit") else release


def _commit(state: Mapping[str, Any]) -> str:
    if state.get("commit") is None:
        return "nothing committed yet" if state.get("dirty") else "outside git"
    return f"commit {state['commit'][:12]}" + (" with uncommitted changes" if state["dirty"] else "")
