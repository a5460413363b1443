"""Checks of meaning: what is well-formed but cannot work, or will disappoint. Needs no data and no training."""

from __future__ import annotations

import math

from mixlang.spec.diagnostics import Diagnostic, closest
from mixlang.spec.marks import Marked, Path_
from mixlang.spec.quantities import show_amount
from mixlang.spec.schema import Spec

_PLATEAU_STEPS = 128
"""Below this many steps a run is likely to have learned little more than the mean intensity."""


_FIXED_TOTAL = ("transfer_tilted", "additive", "exponential")
"""Laws that are convex only among mixtures of one total amount."""


class _Findings:
    def __init__(self, marked: Marked) -> None:
        self.marked = marked
        self.items: list[Diagnostic] = []

    def error(self, code: str, path: Path_, message: str, help: str = "", key: bool = False) -> None:
        self.items.append(self.marked.diagnostic(code, path, message, help, key=key))

    def warn(self, code: str, path: Path_, message: str, help: str = "", key: bool = False) -> None:
        self.items.append(self.marked.diagnostic(code, path, message, help, key=key, severity="warning"))


def check_meaning(spec: Spec, marked: Marked) -> list[Diagnostic]:
    """Everything that can be said about a valid spec before its data are looked at, in file order."""
    findings = _Findings(marked)
    for check in (_references, _grid, _budgets, _design, _shares, _law, _model, _subjects):
        check(spec, findings)
    return sorted(findings.items, key=lambda item: (item.position.line, item.position.column))


def _references(spec: Spec, findings: _Findings) -> None:
    names = list(spec.domains)
    for section, table in (
        (("objective", "weights"), spec.objective.weights),
        (("constraints", "share"), spec.constraints.share),
    ):
        for name in table:
            if name not in spec.domains:
                help = closest(name, names) or f"the domains are {', '.join(names)}"
                findings.error("MX0201", (*section, name), f"there is no domain '{name}'", help, key=True)
    for group, bound in spec.constraints.group.items():
        for index, name in enumerate(bound.domains):
            if name not in spec.domains:
                help = closest(name, names) or f"the domains are {', '.join(names)}"
                path: Path_ = ("constraints", "group", group, "domains", index)
                findings.error("MX0201", path, f"there is no domain '{name}'", help)
    weights = [spec.objective.weights.get(name, 1.0) for name in names]
    if not any(weights):
        findings.error("MX0202", ("objective", "weights"), "every weight is zero: nothing is left to minimise")


def _grid(spec: Spec, findings: _Findings) -> None:
    for axis, size in enumerate(spec.volume.crop):
        if size % spec.model.patch:
            nearest = max(1, round(size / spec.model.patch)) * spec.model.patch
            path: Path_ = ("volume", "crop", axis)
            findings.error(
                "MX0203",
                path,
                f"crop edge {size} is not divisible by the patch {spec.model.patch}",
                f"use {nearest}",
            )
    patches = math.prod(size // spec.model.patch for size in spec.volume.crop)
    visible = round(patches * (1 - spec.model.mask_ratio))
    if visible < 1 or visible >= patches:
        message = (
            f"a crop has {patches} patches, of which {visible} would be visible; at least one must be, and not all"
        )
        findings.error("MX0204", ("model", "mask_ratio"), message, "use a smaller patch or a larger crop")


def _budgets(spec: Spec, findings: _Findings) -> None:
    budgets, batch = spec.budgets, spec.train.batch_size
    for field in ("probe", "holdout"):
        amounts = getattr(budgets, field)
        for index, amount in enumerate(amounts):
            path: Path_ = ("budgets", field, index)
            if amount in amounts[:index]:
                findings.error("MX0205", path, f"the budget {show_amount(amount)} is listed twice")
            if amount % batch:
                nearest = max(1, round(amount / batch)) * batch
                message = f"{amount:,} samples are not a whole number of batches of {batch}"
                findings.error("MX0206", path, message, f"use {nearest}")
    top = max(budgets.probe)
    for index, amount in enumerate(budgets.holdout):
        path = ("budgets", "holdout", index)
        if amount in budgets.probe:
            findings.error("MX0207", path, f"{show_amount(amount)} is also a probe budget, so it is not held out")
        elif amount < top:
            message = f"{show_amount(amount)} lies inside the probe range: it proves interpolation, not extrapolation"
            findings.warn("MX0208", path, message, f"use a budget above {show_amount(top)}")
    if not budgets.holdout:
        findings.warn(
            "MX0209",
            ("budgets",),
            "no holdout budget: the mixture will be published unverified",
            "add budgets.holdout",
            key=True,
        )
    low = min(budgets.probe)
    if low < _PLATEAU_STEPS * batch:
        message = (
            f"{show_amount(low)} samples are {low // batch} steps; runs of fewer than {_PLATEAU_STEPS} steps "
            "are often still on the initial plateau and are then dropped from the fit"
        )
        path = ("budgets", "probe", budgets.probe.index(low))
        findings.warn("MX0210", path, message, f"start the ladder at {show_amount(_PLATEAU_STEPS * batch)}")
    if spec.train.warmup_steps * batch > low / 2:
        path = ("train", "warmup_steps") if ("train", "warmup_steps") in findings.marked.keys else ("budgets", "probe")
        message = f"warmup takes {spec.train.warmup_steps} of the {low // batch} steps of the smallest budget"
        findings.error("MX0211", path, message, "warm up for at most half of the smallest run")


def _design(spec: Spec, findings: _Findings) -> None:
    design, probe = spec.design, spec.budgets.probe
    domains = len(spec.domains)
    mixed_at = design.mixtures.budgets if design.mixtures.budgets is not None else probe
    for index, amount in enumerate(design.mixtures.budgets or []):
        if amount not in probe:
            path: Path_ = ("design", "mixtures", "budgets", index)
            shown = ", ".join(show_amount(item) for item in probe)
            findings.error(
                "MX0212",
                path,
                f"{show_amount(amount)} is not a probe budget",
                f"the probe budgets are {shown}",
            )
    if len(set(probe)) < 4:
        message = f"{len(set(probe))} probe budgets cannot identify a power law with a floor; at least 4 are needed"
        findings.error("MX0213", ("budgets", "probe"), message, "add budgets, each about 1.5 to 2 times the one before")
    points = design.single_domain * domains * len(probe) + design.mixtures.count * len(mixed_at)
    needed = 3 * (domains + 1)
    if points < needed:
        message = f"{points} distinct probe points cannot identify transfer among {domains} domains: {needed} needed"
        path = ("design",) if ("design",) in findings.marked.keys else ("budgets",)
        findings.error("MX0214", path, message, "raise design.mixtures.count or add probe budgets", key=True)
    if not design.single_domain and design.mixtures.count < domains:
        message = "without single-domain runs, fewer mixtures than domains leave some shares unvaried"
        findings.error("MX0215", ("design",), message, "set single_domain: true or raise mixtures.count", key=True)


def _shares(spec: Spec, findings: _Findings) -> None:
    bounds = spec.constraints.share
    least = sum(bound.min for bound in bounds.values())
    if least > 1 + 1e-12:
        findings.error(
            "MX0216", ("constraints", "share"), f"the minimum shares sum to {least:g}, more than 1", key=True
        )
    most = sum(bounds[name].max if name in bounds else 1.0 for name in spec.domains)
    if most < 1 - 1e-12:
        message = f"the maximum shares sum to {most:g}, so the budget cannot be filled"
        findings.error("MX0217", ("constraints", "share"), message, key=True)


def _law(spec: Spec, findings: _Findings) -> None:
    if spec.law.family in _FIXED_TOTAL and len({domain.cost for domain in spec.domains.values()}) > 1:
        message = f"the law '{spec.law.family}' can only be solved where all costs are equal"
        findings.error("MX0221", ("law", "family"), message, "use a law of amounts, such as transfer, or auto")
    if spec.objective.minimize == "robust" and spec.law.draws < 10:
        message = f"a robust objective needs bootstrap draws; {spec.law.draws} are too few"
        findings.error("MX0222", ("law", "draws"), message, "use at least 10")


def _model(spec: Spec, findings: _Findings) -> None:
    model = spec.model
    for part in ("", "decoder_"):
        width, heads = getattr(model, f"{part}width"), getattr(model, f"{part}heads")
        if width is not None and heads is not None and width % heads:
            path: Path_ = ("model", f"{part}heads")
            findings.error("MX0218", path, f"{heads} heads do not divide the {part.replace('_', ' ')}width {width}")
    batch, processes, parts = spec.train.batch_size, spec.launch.processes_per_run, spec.launch.accumulate
    if batch % processes:
        message = f"the batch of {batch} does not divide over {processes} processes"
        findings.error("MX0219", ("launch", "processes_per_run"), message)
    elif batch // processes % parts:
        message = f"the {batch // processes} crops a process computes in each step do not divide into {parts} parts"
        findings.error("MX0219", ("launch", "accumulate"), message)


def _subjects(spec: Spec, findings: _Findings) -> None:
    for name, domain in spec.domains.items():
        if domain.source.nifti is not None and domain.source.subject is None:
            path: Path_ = ("domains", name, "source", "nifti")
            message = "each file counts as its own subject; scans of one patient may fall on both sides of the split"
            help = r"give source.subject, a regular expression such as '(sub-\w+?)_'"
            findings.warn("MX0220", path, message, help)
