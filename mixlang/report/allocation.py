"""The report's section on the mixture beside its rivals, and how sure it is."""

from __future__ import annotations

from html import escape

from mixlang.documents import Compared, Intervals, Solved
from mixlang.report.html import percent, soft, table
from mixlang.report.results import Results
from mixlang.report.svg import Chart, share_bars
from mixlang.rivals import defined, in_order, same
from mixlang.words import OPTIMISM, between, objective_in_words, signed

_OURS = "published shares"


def allocation_section(results: Results) -> list[str]:
    """Bars and a table of the mixture beside the baselines."""
    target = results.allocation["target"]
    rivals = {name: target["baselines"][name] for name in in_order(target["baselines"])}
    mixtures = {_OURS: target["shares"]} | {kind: found["shares"] for kind, found in rivals.items()}
    rows = [[_OURS, f"{target['objective']:.4f}", *percent(target["shares"], results.domains)]]
    rows += [
        [
            kind + ("" if found["feasible"] else " *"),
            f"{found['objective']:.4f}",
            *percent(found["shares"], results.domains),
        ]
        for kind, found in rivals.items()
    ]
    sure = target["intervals"]
    if sure:
        ranges = [f"{low:.1%} to {high:.1%}" for low, high in (sure["shares"][name] for name in results.domains)]
        rows.insert(1, [f"{sure['level']:.0%} interval of the optimal shares", "", *ranges])
    parts = [
        "<h2>Allocation</h2>",
        results.key(),
        f"<figure>{share_bars('Shares of the budget', mixtures, results.domains, 'Shares by mixture')}</figure>",
        table(["mixture", "predicted objective", *results.domains], rows),
        soft(
            f"Objectives are predicted by the laws for {target['budget']:,.0f} samples, where nothing was trained; lower is "
            "better. What the names mean:"
        ),
        _names(results, mixtures),
        *_not_allowed(target),
    ]
    return parts + (_gains(results, sure) if sure else []) + _path(results)


def _names(results: Results, mixtures: dict[str, dict[str, float]]) -> str:
    """What the objective and each rival is."""
    measure, relative_to = results.allocation["target"]["measure"], results.problem["objective"]["relative_to"]
    at = f"at {results.allocation['target']['budget']:,.0f} samples"
    says = [objective_in_words(measure, relative_to), *defined(mixtures), *(f"{text}, {at}" for text in same(mixtures))]
    return f"<ul>{''.join(f'<li>{escape(text)}</li>' for text in says)}</ul>"


def _not_allowed(target: Solved) -> list[str]:
    """Which rivals break the constraints, and how."""
    broken = {name: found["breaks"] for name, found in target["baselines"].items() if found.get("breaks")}
    if not broken:
        return []
    items = "".join(f"<li>{escape(name)}: {escape('; '.join(breaks))}</li>" for name, breaks in broken.items())
    return [
        soft(
            f"* not allowed by the constraints at {target['budget']:,.0f} samples; the row 'nearest to ...' of each is the "
            "nearest mixture that is:"
        ),
        f"<ul>{items}</ul>",
    ]


def _gains(results: Results, sure: Intervals) -> list[str]:
    """Predicted changes of the objective from the rivals to the published shares; negative is better."""
    baselines = results.allocation["target"]["baselines"]
    rows = [
        [
            name + ("" if baselines[name]["feasible"] else " *"),
            signed(-gain["apparent"]),
            signed(-gain["corrected"]),
            between(-gain["interval"][1], -gain["interval"][0]),
            f"{gain['probability']:.0%}",
            _noise(baselines[name]),
        ]
        for name, gain in sure["gains"].items()
    ]
    head = [
        "predicted change of the objective from",
        "as fitted",
        "corrected for optimism",
        f"{sure['level']:.0%} interval as fitted",
        "probability of a gain as fitted",
        "losses within the noise between seeds",
    ]
    note = (
        f"To the published shares at {results.allocation['target']['budget']:,.0f} samples; negative is better. "
        f"{OPTIMISM[0].upper()}{OPTIMISM[1:]}. Interval and probability are of the change as fitted, from "
        f"{sure['draws']} bootstrap draws of the laws, so the corrected change may be outside. The last column names losses "
        "whose predicted difference is no larger than the noise between seeds, as estimated from repeated probe runs."
    )
    return [table(head, rows), soft(note)]


def _noise(rival: Compared) -> str:
    """The losses that do not differ by more than their noise; of some the noise may not be known."""
    unknown = rival.get("noise_unknown", [])
    found = [", ".join(rival["within_noise"]) or ("none" if not unknown else "")]
    return "; ".join([*filter(None, found), *([f"not known of {', '.join(unknown)}"] if unknown else [])])


def _path(results: Results) -> list[str]:
    found = [step for step in results.allocation["path"] if "shares" in step]
    if len(found) < 2:
        return []
    budgets = [step["budget"] for step in found]
    alt = "Optimal share of each domain against the budget, on a logarithmic axis"
    chart = Chart(
        "Optimal shares by budget", alt, (budgets[0], budgets[-1]), (0.0, 1.0), "budget", "share", linear_y=True
    )
    for index, name in enumerate(results.domains):
        chart.line(budgets, [step["shares"][name] for step in found], index, name=name)
    lost = [step for step in results.allocation["path"] if "reason" in step]
    note = f" Not solved at {lost[0]['budget']:,.0f}: {escape(lost[0]['reason'])}." if lost else ""
    return [f"<figure>{chart.render()}</figure>", soft(f"Beyond the probed budgets this is extrapolation.{note}")]


def certificate_section(results: Results) -> list[str]:
    """What proves the allocation."""
    certificate = results.allocation["target"]["certificate"]
    active = "; ".join(f"{item['domain']} at its {item['why']} ({item['share']:.1%})" for item in certificate["active"])
    prices = "; ".join(f"{name}: {price:+.3g}" for name, price in certificate["shadow_prices"].items())
    rows = [
        ["solver status", f"{certificate['status']} ({certificate['solver']})"],
        ["certified gap to the optimum", f"{certificate['gap']:.2g}"],
        ["stationarity residual", f"{certificate['kkt_residual']:.2g}"],
        [
            "convexity",
            "; ".join(f"{name}: {'yes' if held else 'NO'}" for name, held in certificate["convex"].items()),
        ],
        ["active bounds", active or "none"],
        ["shadow prices, by unit of share", prices or "none"],
    ]
    note = (
        "The gap bounds from below what any mixture that keeps the constraints could reach under these laws; it and the "
        "residual are computed from our own losses and gradients, apart from the solver. It says nothing of how true the "
        "laws are: that is what the held-out runs are for."
    )
    return ["<h2>Certificate</h2>", f'<div class="text">{table(["what", "found"], rows)}</div>', soft(note)]
