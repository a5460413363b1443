"""The report: one self-contained HTML page, a function of a study's build folder."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from mixlang.files import read_json
from mixlang.laws import Fit, read_fit
from mixlang.report.data import data_section
from mixlang.report.downstream import downstream_section
from mixlang.report.parts import soft, table
from mixlang.report.svg import Chart, colour, heat_map, share_bars

_STYLE = """
:root { --page: #fff; --ink: #1d2433; --soft: #5b6578; --line: #d9dee7; --panel: #f5f7fa; color-scheme: light dark }
@media (prefers-color-scheme: dark) {
 :root { --page: #14181f; --ink: #e4e8ef; --soft: #9aa5b8; --line: #313949; --panel: #1c222c } }
* { box-sizing: border-box }
body { margin: 0 auto; max-width: 68rem; padding: 1.5rem 1rem 4rem; background: var(--page); color: var(--ink);
 font: 16px/1.5 system-ui, sans-serif }
h1 { margin-bottom: 0 } h2 { margin-top: 2.4rem; border-bottom: 1px solid var(--line); padding-bottom: .2rem }
p.lead { font-size: 1.1rem } .soft, figcaption { color: var(--soft); font-size: .9rem }
svg { max-width: 100%; height: auto; font: 11px system-ui, sans-serif }
svg text { fill: var(--ink) } svg text[fill] { fill: #fff } svg .title { font-size: 13px; font-weight: 600 }
svg .grid { stroke: var(--line); stroke-width: 1 } svg .cell { stroke: var(--line) }
.row { display: flex; flex-wrap: wrap; gap: .5rem 1rem } figure { margin: .5rem 0 }
.scroll { overflow-x: auto } table { border-collapse: collapse; margin: .6rem 0 }
th, td { text-align: right; padding: .25rem .7rem; border-bottom: 1px solid var(--line) }
th:first-child, td:first-child { text-align: left } th { font-weight: 600; background: var(--panel) }
pre { background: var(--panel); padding: .8rem; overflow-x: auto } .key { margin-right: 1rem; white-space: nowrap }
.swatch { display: inline-block; width: .8em; height: .8em; margin-right: .3em; vertical-align: -1px }
@media print { body { max-width: none } h2 { break-after: avoid } figure { break-inside: avoid } }
"""


def render_report(build: Path, label: str = "", published: str = "") -> str:
    """The page for a study.

    Args:
        build: the study's build folder, with its results up to verification.
        label: `name@vK` when the page is part of a published version.
        published: the date of that version.
    """
    study = _Study(build)
    name = study.publish["study"]
    parts = [
        f"<h1>{escape(label or name)}</h1>",
        f'<p class="soft">{escape(study.publish["description"])}{f" Published {published}." if published else ""}</p>',
        *study.answer(),
        *study.allocation_section(),
        *study.verification_section(),
        *downstream_section(read_json(build / "downstream.json")),
        *study.curves_section(),
        *study.transfer_section(),
        *study.structure_section(),
        *study.laws_section(),
        *study.certificate_section(),
        *study.data_section(),
        "<h2>Reproduce</h2>",
        f"<pre>mixlang run specs/{escape(build.name)}.yaml\ndvc repro    # the same stages, without a new scan</pre>",
    ]
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(label or name)}: data mixture</title><style>{_STYLE}</style></head>\n<body>\n"
        + "\n".join(parts)
        + "\n</body></html>\n"
    )


class _Study:
    """The results of a study and the sections drawn from them."""

    def __init__(self, build: Path) -> None:
        self.data = read_json(build / "data.json")["domains"]
        self.statistics = read_json(build / "statistics.json")["domains"]
        self.available = read_json(build / "settings" / "allocate.json")["available"]
        self.runs: list[dict[str, Any]] = read_json(build / "runs.json")["runs"]
        self.fit = read_json(build / "fit.json")
        self.laws: Fit = read_fit(build / "fit.json")
        self.allocation = read_json(build / "allocation.json")
        self.verification = read_json(build / "verification.json")
        self.publish = read_json(build / "settings" / "publish.json")
        self.domains: list[str] = self.allocation["domains"]

    def answer(self) -> list[str]:
        """The mixture and the gain, in words."""
        target = self.allocation["target"]
        mixture = ", ".join(f"{escape(name)} <b>{target['shares'][name]:.1%}</b>" for name in self.domains)
        gain = 1 - target["objective"] / target["baselines"]["proportional"]["objective"]
        text = [
            f'<p class="lead">For a budget of {target["budget"]:,.0f} samples train on {mixture}. The laws predict an '
            f"objective {gain:.1%} below proportional sampling.</p>"
        ]
        for budget, found in self.verification.get("improvements", {}).items():
            change = found.get("proportional", next(iter(found.values())))["overall"]
            against = "proportional" if "proportional" in found else next(iter(found))
            interval = (
                "" if change["low"] is None else f" (95 % interval {change['low']:+.1%} to {change['high']:+.1%})"
            )
            word = "lower" if change["mean"] < 0 else "higher"
            text.append(
                f'<p class="lead">Measured at the held-out budget of {int(budget):,} samples over {change["seeds"]} seeds: '
                f"mean relative loss <b>{abs(change['mean']):.1%} {word}</b> than {against}{interval}.</p>"
            )
        if not self.verification["runs"]:
            text.append('<p class="lead"><b>Not verified:</b> the spec holds out no budget.</p>')
        return text

    def allocation_section(self) -> list[str]:
        """Bars and a table of the mixture beside the baselines."""
        target = self.allocation["target"]
        mixtures = {"allocated": target["shares"]}
        mixtures |= {kind: found["shares"] for kind, found in target["baselines"].items()}
        rows = [["allocated", f"{target['objective']:.4f}", *_percent(target["shares"], self.domains)]]
        rows += [
            [kind, f"{found['objective']:.4f}", *_percent(found["shares"], self.domains)]
            for kind, found in target["baselines"].items()
        ]
        sure = target["intervals"]
        if sure:
            ranges = [f"{low:.0%} to {high:.0%}" for low, high in (sure["shares"][name] for name in self.domains)]
            rows.insert(1, [f"{sure['level']:.0%} interval", "", *ranges])
        parts = [
            "<h2>Allocation</h2>",
            self._key(),
            f"<figure>{share_bars('Shares of the budget', mixtures, self.domains, 'Shares by mixture')}</figure>",
            table(["mixture", "predicted objective", *self.domains], rows),
            soft(
                "The objective is relative: 1 is its reference. Lower is better. best_observed is the mixture among the "
                "probe runs with the lowest predicted objective, no_transfer the optimum of laws of own data only."
            ),
        ]
        return parts + (self._gains(sure) if sure else []) + self._path()

    def _gains(self, sure: dict[str, Any]) -> list[str]:
        rows = [
            [
                name,
                f"{gain['apparent']:+.1%}",
                f"{gain['corrected']:+.1%}",
                f"{gain['interval'][0]:+.1%} to {gain['interval'][1]:+.1%}",
                f"{gain['probability']:.0%}",
                ", ".join(self.allocation["target"]["baselines"][name]["within_noise"]) or "none",
            ]
            for name, gain in sure["gains"].items()
        ]
        head = ["predicted gain over", "apparent", "corrected", f"{sure['level']:.0%} interval", "probability"]
        note = (
            f"From {sure['draws']} bootstrap draws of the laws. Corrected: less what an optimum of noisy laws flatters "
            "itself by. Probability: how often the allocation is better under a draw. The last column names losses whose "
            "predicted difference is smaller than the noise between seeds."
        )
        return [table([*head, "within seed noise"], rows), soft(note)]

    def _path(self) -> list[str]:
        found = [step for step in self.allocation["path"] if "shares" in step]
        if len(found) < 2:
            return []
        budgets = [step["budget"] for step in found]
        alt = "Optimal share of each domain against the budget, on a logarithmic axis"
        chart = Chart(
            "Optimal shares by budget", alt, (budgets[0], budgets[-1]), (0.0, 1.0), "budget", "share", linear_y=True
        )
        for index, name in enumerate(self.domains):
            chart.line(budgets, [step["shares"][name] for step in found], index)
        lost = [step for step in self.allocation["path"] if "reason" in step]
        note = f" Not solved at {lost[0]['budget']:,.0f}: {escape(lost[0]['reason'])}." if lost else ""
        return [f"<figure>{chart.render()}</figure>", soft(f"Beyond the probed budgets this is extrapolation.{note}")]

    def verification_section(self) -> list[str]:
        """Measured losses of the mixtures, and predicted against measured."""
        if not self.verification["runs"]:
            return []
        agreement = self.verification["agreement"]
        parts = [
            "<h2>Predicted against measured</h2>",
            '<div class="row">',
            f"<figure>{self._scatter()}</figure>",
            "<div>",
        ]
        rows = [
            [name, _number(found["pearson_r"], ".3f"), f"{found['mean_relative_error']:.1%}", f"{found['bias']:+.1%}"]
            for name, found in [("all domains", agreement["pooled"]), *agreement["domains"].items()]
        ]
        parts += [table(["held-out runs", "Pearson r", "mean error", "bias"], rows), "</div></div>"]
        for budget, baselines in self.verification["improvements"].items():
            parts.append(f"<h3>Measured losses at {int(budget):,} samples</h3>")
            parts.append(table(["mixture", *self.domains], self._measured(int(budget))))
            rows = [
                [f"allocated against {kind}", *(_change(found["domains"][name]) for name in self.domains)]
                + [_change(found["overall"])]
                for kind, found in baselines.items()
            ]
            parts.append(table(["change, paired by seed", *self.domains, "weighted mean"], rows))
        parts.append(
            '<p class="soft">Changes are relative losses, negative is better; brackets are 95 % t-intervals over seeds, '
            "wide when seeds are few.</p>"
        )
        return parts

    def _measured(self, budget: int) -> list[list[str]]:
        rows: dict[str, list[dict[str, float]]] = {}
        for run in self.verification["runs"]:
            if run["budget_asked"] == budget:
                rows.setdefault(run["mixture"], []).append(run["losses"])
        return [
            [mixture, *(_spread([losses[name] for losses in found]) for name in self.domains)]
            for mixture, found in rows.items()
        ]

    def _scatter(self) -> str:
        points = self.verification["agreement"]["points"]
        values = [point[kind] for point in points for kind in ("predicted", "measured")]
        chart = Chart(
            "Held-out runs",
            "Predicted against measured loss of every held-out run, by domain",
            (min(values), max(values)),
            (min(values), max(values)),
            "predicted loss",
            "measured loss",
            height=320,
        )
        chart.diagonal()
        for index, name in enumerate(self.domains):
            mine = [point for point in points if point["domain"] == name]
            chart.points([point["predicted"] for point in mine], [point["measured"] for point in mine], index)
        return chart.render()

    def curves_section(self) -> list[str]:
        """Loss against budget, a chart for each evaluated domain, a series for each training domain."""
        charts = [f"<figure>{self._curve(index, name)}</figure>" for index, name in enumerate(self.domains)]
        note = (
            "Held-out loss of single-domain runs, a point a run, by training domain; lines join seed means. The solid "
            "thin line is the fitted law for the domain's own data."
        )
        return [
            "<h2>Loss curves</h2>",
            self._key("trained on "),
            f'<div class="row">{"".join(charts)}</div>',
            soft(note),
        ]

    def _curve(self, index: int, name: str) -> str:
        series = {source: self._single(source, name) for source in self.domains}
        budgets = [budget for found in series.values() for budget, _ in found]
        losses = [loss for found in series.values() for _, loss in found]
        if not losses:
            budgets = [run["budget"] for run in self.runs]
            losses = [run["losses"][name] for run in self.runs]
        alt = f"Held-out loss on {name} against samples, by training domain, both axes logarithmic"
        ranges = (min(budgets), max(budgets)), (min(losses), max(losses))
        chart = Chart(f"loss on {name}", alt, *ranges, "samples seen", "held-out loss")
        for number, (_, found) in enumerate(series.items()):
            chart.points([budget for budget, _ in found], [loss for _, loss in found], number)
            means = sorted(
                {b: float(np.mean([loss for budget, loss in found if budget == b])) for b, _ in found}.items()
            )
            if means:
                chart.line([budget for budget, _ in means], [loss for _, loss in means], number)
        grid = np.geomspace(min(budgets), max(budgets), 30)
        alone = np.zeros((len(grid), len(self.domains)))
        alone[:, index] = grid
        fitted = self.laws[name].predict(alone)
        keep = (fitted >= chart.y_range[0]) & (fitted <= chart.y_range[1])
        if keep.any():
            chart.line(grid[keep].tolist(), fitted[keep].tolist(), 0, width=0.8)
        return chart.render()

    def _single(self, source: str, name: str) -> list[tuple[float, float]]:
        return [
            (run["budget"], run["losses"][name])
            for run in self.runs
            if run["kind"] == "single" and run["amounts"][source] == run["budget"]
        ]

    def transfer_section(self) -> list[str]:
        """What is measured of transfer, and what the laws make of it."""
        parts = ["<h2>Transfer</h2>", '<div class="row">']
        largest = max((run["budget"] for run in self.runs if run["kind"] == "single"), default=0)
        if largest:
            alone = {
                source: {
                    name: float(np.mean([loss for budget, loss in self._single(source, name) if budget == largest]))
                    for name in self.domains
                }
                for source in self.domains
            }
            ratio = [[alone[name][name] / alone[source][name] for source in self.domains] for name in self.domains]
            alt = "Specialist loss divided by the loss after training on another domain alone"
            heading = f"Measured at {largest:,}: specialist / other"
            parts.append(f"<figure>{heat_map(heading, self.domains, self.domains, ratio, alt)}</figure>")
        amounts = np.array([self.allocation["target"]["amounts"][name] for name in self.domains])
        worth = [law.law.exchange(law.theta, amounts / law.scale).tolist() for law in self.laws.laws]
        alt = "Fitted worth of one more sample of each domain, in samples of the evaluated domain, at the optimum"
        figure = heat_map("Worth of one sample at the optimum", self.domains, self.domains, worth, alt)
        parts += [f"<figure>{figure}</figure>", "</div>"]
        note = (
            "Rows: evaluated domain; columns: trained domain. Left: 1 means as good as the domain's own data. Right: "
            "samples of the row's domain that one more sample of the column's is worth, by the fitted laws."
        )
        return [*parts, soft(note)]

    def structure_section(self) -> list[str]:
        """Hubs and islands."""
        found = self.allocation["target"].get("structure")
        if not found:
            return []
        rows = []
        for name, entry in found["domains"].items():
            row = [name]
            for side in ("giving", "receiving"):
                value, ends = entry[side], entry.get(f"{side}_interval")
                row.append(
                    "-" if value is None else f"{value:.0%}" + (f" [{ends[0]:.0%}, {ends[1]:.0%}]" if ends else "")
                )
            rows.append([*row, entry["kind"] or "neither shown"])
        note = (
            "Giving: the part of a domain's worth at the optimum that goes to other domains' losses. Receiving: the part of "
            "its own improvement that others' data bring. A hub gives more than half, an island gives and receives less "
            "than a tenth, each with its whole 90 % interval."
        )
        return ["<h2>Hubs and islands</h2>", table(["domain", "giving", "receiving", "kind"], rows), soft(note)]

    def laws_section(self) -> list[str]:
        """Which law won where, and by how much."""
        families = sorted({family for law in self.laws.laws for family in law.scores})
        rows = [
            [
                law.name,
                law.law.family.name,
                f"{law.error:.1%}",
                _number(None if np.isnan(law.noise) else law.noise, ".1%"),
                f"{law.used}",
                f"{law.dropped}",
                *(_number(law.scores.get(family, {}).get("score"), ".1%") for family in families),
            ]
            for law in self.laws.laws
        ]
        head = [
            "domain",
            "law",
            "fit error",
            "seed noise",
            "rows",
            "set aside",
            *(f"CV {family}" for family in families),
        ]
        note = (
            "CV is the mean of two errors: each mixture left out in turn, and the largest budget left out whole; the law "
            "with the smallest is used. Rows are set aside for a domain when the run had none of its data, or learned no more "
            "than the mean intensity."
        )
        notes = "".join(f"<li>{escape(item)}</li>" for item in self.laws.notes)
        return ["<h2>Laws</h2>", table(head, rows), soft(note), f"<ul>{notes}</ul>" if notes else ""]

    def certificate_section(self) -> list[str]:
        """What proves the allocation."""
        certificate = self.allocation["target"]["certificate"]
        active = "; ".join(
            f"{item['domain']} at its {item['why']} ({item['share']:.1%})" for item in certificate["active"]
        )
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
        return ["<h2>Certificate</h2>", table(["", ""], rows)]

    def data_section(self) -> list[str]:
        """What it was trained on, and what was set aside."""
        return data_section(
            self.data, self.statistics, self.available, self.allocation["target"]["amounts"], self.domains
        )

    def _key(self, prefix: str = "") -> str:
        items = "".join(
            f'<span class="key"><span class="swatch" style="background:{colour(index)}"></span>{prefix}{escape(name)}</span>'
            for index, name in enumerate(self.domains)
        )
        return f"<p>{items}</p>"


def _percent(shares: dict[str, float], domains: Sequence[str]) -> list[str]:
    return [f"{shares[name]:.1%}" for name in domains]


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _spread(values: Sequence[float]) -> str:
    mean = float(np.mean(values))
    return f"{mean:.4g}" if len(values) < 2 else f"{mean:.4g} ± {float(np.std(values, ddof=1)):.1g}"


def _change(found: dict[str, Any]) -> str:
    if found["low"] is None:
        return f"{found['mean']:+.1%}"
    return f"{found['mean']:+.1%} [{found['low']:+.1%}, {found['high']:+.1%}]"
