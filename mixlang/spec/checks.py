"""Checks of meaning: what is well-formed but cannot work, or will disappoint. Needs no data and no training."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Collection, Iterable

from mixlang.names import (
    ALLOCATED,
    AUTO,
    BASELINES,
    EXPECTED,
    FIXED_TOTAL,
    OWN_ENCODERS,
    OWN_MIXTURES,
    PUBLISHED,
    SCRATCH,
    published_budgets,
)
from mixlang.spec.diagnostics import Diagnostic
from mixlang.spec.feasibility import distinct_crops, infeasible
from mixlang.spec.positions import Marked, Path_
from mixlang.spec.presets import resolve_model
from mixlang.spec.quantities import show_amount
from mixlang.spec.schema import Objective, Spec
from mixlang.spec.suggest import did_you_mean

_PLATEAU_STEPS = 128
"""Below this many steps a run is likely to have learned little more than the mean intensity."""


_FAR = 100
"""Extrapolating further than so many times the largest probe budget gets a warning."""

_LEAST_DRAWS = 10
_SPREAD = 1.5
"""Probe budgets that span less than this factor get a warning."""
_ROUNDING = 1e-12


class _Findings:
    def __init__(self, marked: Marked) -> None:
        self.marked = marked
        self.items: list[Diagnostic] = []

    def error(self, code: str, path: Path_, message: str, help: str = "", key: bool = False) -> None:
        self.items.append(self.marked.diagnostic(code, path, message, help, key=key))

    def warn(self, code: str, path: Path_, message: str, help: str = "", key: bool = False) -> None:
        self.items.append(self.marked.diagnostic(code, path, message, help, key=key, severity="warning"))


def check_meaning(spec: Spec, marked: Marked, broken: Collection[str] = ()) -> list[Diagnostic]:
    """Everything that can be said about a spec before its data are looked at.

    Args:
        broken: sections that are not well-formed, which `spec` lacks; what depends on them is not checked.
    """
    findings = _Findings(marked)
    for check, sections in _CHECKS:
        if not set(sections) & set(broken):
            check(spec, findings)
    return findings.items


def _domain_names(marked: Marked) -> list[str]:
    """The names in the file, so that references can be checked while a domain itself is still wrong."""
    domains = marked.value.get("domains")
    return [str(name) for name in domains] if isinstance(domains, dict) else []


def _objective(spec: Spec, findings: _Findings) -> None:
    names = _domain_names(findings.marked)
    objective, place = spec.objective, ("objective", "weights")
    given = objective.of_domains
    where: Path_ = (*place, "domains") if objective.by_group else place
    for name in given if isinstance(given, dict) else ():
        if names and name not in names:
            help = did_you_mean(name, names) or f"the domains are {', '.join(names)}"
            if name in (findings.marked.value.get("tasks") or {}):
                help = f"'{name}' is a task: weights: {{domains: 0, tasks: {{{name}: 1}}}}"
            elif name in ("domains", "tasks"):
                help = "weights by group name tasks: {domains: 0, tasks: {organs: 1}}"
            findings.error("MX0201", (*where, name), f"there is no domain '{name}'", help, key=True)
    _known_tasks(spec, findings)
    weights = [*(objective.weight(name) for name in names), *objective.of_tasks.values()]
    if names and not any(weights):
        findings.error(
            "MX0202", ("objective", "weights"), "every weight is zero: nothing is left to minimise", key=True
        )
    if spec.objective.minimize != "robust" and spec.objective.tail != Objective().tail:
        message = f"'tail' means nothing to the objective '{spec.objective.minimize}'"
        findings.warn("MX0223", ("objective", "tail"), message, "take it out, or minimize: robust", key=True)


def _known_tasks(spec: Spec, findings: _Findings) -> None:
    """The tasks that the objective names, and names that a task shares with a domain."""
    names = [str(name) for name in findings.marked.value.get("tasks") or {}]
    for name in spec.objective.of_tasks:
        if name not in names:
            listed = f"the tasks are {', '.join(names)}" if names else "declare it under tasks"
            help = did_you_mean(name, names) or listed
            findings.error(
                "MX0248", ("objective", "weights", "tasks", name), f"there is no task '{name}'", help, key=True
            )
    for name in names:
        if name in spec.domains:
            message = f"'{name}' is a domain too; each loss has a name of its own"
            findings.error("MX0249", ("tasks", name), message, "give the task another name", key=True)
    for name, task in spec.tasks.items():
        if not task.modes and name not in spec.objective.of_tasks:
            message = f"the task '{name}' is measured nowhere: the objective does not name it, and its modes are empty"
            findings.warn(
                "MX0223", ("tasks", name), message, "name it in objective.weights, or give it modes", key=True
            )
    if spec.objective.relative_to == "specialist" and any(spec.objective.of_tasks.values()):
        message = "a task belongs to no domain, so it has no specialist; its loss is relative to proportional sampling"
        findings.warn(
            "MX0250", ("objective", "relative_to"), message, "relative_to: proportional treats all losses alike"
        )


def _ignored(spec: Spec, findings: _Findings) -> None:
    """Keys that are given and that another key makes meaningless."""
    cosine, named = spec.train.schedule == "cosine", spec.law.family != AUTO
    chosen = spec.design.kind == "optimal"
    bare = not any(task.modes for task in spec.tasks.values())
    wasted: list[tuple[bool, Path_, str]] = [
        (cosine, ("train", "decay_fraction"), "schedule cosine, which decays from the warmup on"),
        (named, ("law", "choose"), f"the law '{spec.law.family}'"),
        (not spec.verify.grid.count, ("verify", "grid", "seeds"), "a grid of no mixtures"),
        (not spec.design.mixtures.count and not chosen, ("design", "mixtures", "budgets"), "a design of no mixtures"),
        (chosen, ("design", "mixtures"), "a design of kind optimal, which chooses its mixtures"),
        (not chosen, ("design", "samples"), "a design of kind sobol, whose mixtures and budgets say what is trained"),
        *(
            (bare, ("downstream", key), "a study without tasks to measure at the end")
            for key in ("encoders", "budget", "seeds", "labels")
        ),
    ]
    for wrong, path, what in wasted:
        if wrong and path in findings.marked.keys:
            findings.warn("MX0223", path, f"'{path[-1]}' means nothing to {what}", "take it out", key=True)


def _known_domains(table: Iterable[str], section: Path_, names: list[str], findings: _Findings) -> None:
    for name in table:
        if names and name not in names:
            help = did_you_mean(name, names) or f"the domains are {', '.join(names)}"
            findings.error("MX0201", (*section, name), f"there is no domain '{name}'", help, key=True)


def _constrained(spec: Spec, findings: _Findings) -> None:
    names = _domain_names(findings.marked)
    _known_domains(spec.constraints.share, ("constraints", "share"), names, findings)
    for group, bound in spec.constraints.group.items():
        for index, name in enumerate(bound.domains):
            path: Path_ = ("constraints", "group", group, "domains", index)
            if names and name not in names:
                help = did_you_mean(name, names) or f"the domains are {', '.join(names)}"
                findings.error("MX0201", path, f"there is no domain '{name}'", help)
            if name in bound.domains[:index]:
                findings.error("MX0224", path, f"the domain '{name}' is in the group twice", "take one out")


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


def _target(spec: Spec, findings: _Findings) -> None:
    budgets = spec.budgets
    top = max(budgets.probe)
    if budgets.target > _FAR * top:
        message = (
            f"the target is {budgets.target / top:.0f} times the largest probe budget; laws of one or two decades say "
            "little so far out"
        )
        findings.warn("MX0232", ("budgets", "target"), message, f"probe up to {show_amount(budgets.target / _FAR)}")
    if len(set(budgets.probe)) > 1 and top < _SPREAD * min(budgets.probe):
        message = f"the probe budgets span a factor of {top / min(budgets.probe):.3g} only, which tells little about a power law"
        findings.warn("MX0235", ("budgets", "probe"), message, "let each be 1.4 to 2 times the one before", key=True)
    if budgets.target < min(budgets.probe):
        message = f"the target of {budgets.target:,} samples is below every probe budget"
        findings.warn("MX0236", ("budgets", "target"), message, "the laws say nothing of so little training")
    if budgets.seeds == 1:
        path: Path_ = ("budgets", "seeds")
        message = "with one seed the noise between seeds stays unknown, and with it whether a difference means anything"
        findings.warn("MX0233", path, message, "use 2 or 3")


def points_needed(domains: int) -> int:
    """Distinct points of a design that identify transfer among so many domains, at least."""
    return 3 * (domains + 1)


def _design(spec: Spec, findings: _Findings) -> None:
    design, probe = spec.design, spec.budgets.probe
    domains = len(spec.domains)
    if len(set(probe)) < 4:
        message = f"{len(set(probe))} probe budgets cannot identify a power law with a floor; at least 4 are needed"
        findings.error("MX0213", ("budgets", "probe"), message, "add budgets, each about 1.5 to 2 times the one before")
    if design.kind == "optimal":
        _samples(spec, findings)
        return
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
    if design.mixtures.count and len(set(mixed_at)) == 1 and spec.budgets.target > 1.05 * mixed_at[0]:
        message = (
            f"mixtures are probed at one budget only, {show_amount(mixed_at[0])}: nothing will say whether the advantage of one "
            f"lasts to the target of {show_amount(spec.budgets.target)}"
        )
        path = ("design", "mixtures", "budgets")
        if path not in findings.marked.keys:
            path = ("budgets", "probe")
        findings.warn("MX0251", path, message, "give design.mixtures.budgets two or more probe budgets", key=True)
    points = design.single_domain * domains * len(probe) + design.mixtures.count * len(mixed_at)
    needed = points_needed(domains)
    if design.reuse:
        return  # how many runs there are is known once those of the versions are
    if points < needed:
        message = f"{points} distinct probe points cannot identify transfer among {domains} domains: {needed} needed"
        path = ("design",) if ("design",) in findings.marked.keys else ("budgets",)
        findings.error("MX0214", path, message, "raise design.mixtures.count or add probe budgets", key=True)
    if not design.single_domain and design.mixtures.count < domains:
        message = "without single-domain runs, fewer mixtures than domains leave some shares unvaried"
        findings.error("MX0215", ("design",), message, "set single_domain: true or raise mixtures.count", key=True)


def _samples(spec: Spec, findings: _Findings) -> None:
    """What an optimal design may train."""
    samples, largest = spec.design.samples, max(spec.budgets.probe)
    if samples is None:
        help = "say how many samples may be trained in all, such as design: {kind: optimal, samples: 400k}"
        findings.error("MX0252", ("design", "kind"), "a design of kind optimal needs 'samples'", help, key=True)
        return
    needed = points_needed(len(spec.domains))
    least = 2 * largest + needed * min(spec.budgets.probe)
    if samples < least:
        message = (
            f"{show_amount(samples)} samples are too few to choose runs for: two of the largest probe budget and {needed} of the "
            f"smallest, which {len(spec.domains)} domains need, take {show_amount(least)}"
        )
        findings.error("MX0253", ("design", "samples"), message, "raise design.samples or lower the probe budgets")


def _shares(spec: Spec, findings: _Findings) -> None:
    bounds, names = spec.constraints.share, _domain_names(findings.marked)
    path: Path_ = ("constraints", "share")
    floor = spec.constraints.floor
    least = sum(bound.min for bound in bounds.values())
    with_floor = sum(max(floor, bounds[name].min if name in bounds else 0.0) for name in names)
    if least > 1 + _ROUNDING:
        message = f"the minimum shares sum to {least:g}, more than 1"
        findings.error("MX0216", path, message, "lower some of them", key=True)
    elif names and with_floor > 1 + _ROUNDING:
        message = f"with a floor of {floor:g} for each of {len(names)} domains the minimum shares sum to {with_floor:g}"
        findings.error("MX0216", ("constraints", "floor"), message, "lower the floor")
    for name, bound in bounds.items():
        if floor > bound.max:
            message = f"the largest share of '{name}', {bound.max:g}, is below the floor of {floor:g}"
            findings.error("MX0216", (*path, name, "max"), message, "raise it, or lower constraints.floor")
    most = sum(bounds[name].max if name in bounds else 1.0 for name in names)
    if names and most < 1 - _ROUNDING:
        message = f"the maximum shares sum to {most:g}, so the budget cannot be filled"
        findings.error("MX0217", path, message, "raise some of them", key=True)
    for group, bound in spec.constraints.group.items():
        members = [bounds[name] for name in bound.domains if name in bounds]
        free = len(bound.domains) - len(members)
        low, high = sum(item.min for item in members), sum(item.max for item in members) + free
        path = ("constraints", "group", group)
        if low > bound.max + _ROUNDING:
            message = f"the group '{group}' may have at most {bound.max:g}, but its minimum shares sum to {low:g}"
            findings.error("MX0225", path, message, "raise its max or lower the minimum shares", key=True)
        if high < bound.min - _ROUNDING:
            message = f"the group '{group}' must have at least {bound.min:g}, but its maximum shares sum to {high:g}"
            findings.error("MX0225", path, message, "lower its min or raise the maximum shares", key=True)


def _law(spec: Spec, findings: _Findings) -> None:
    if spec.law.family in FIXED_TOTAL and len({domain.cost for domain in spec.domains.values()}) > 1:
        message = f"the law '{spec.law.family}' can only be solved where all costs are equal"
        findings.error("MX0221", ("law", "family"), message, "use a law of amounts, such as transfer, or stacked")


def _draws(spec: Spec, findings: _Findings) -> None:
    objective, given = spec.objective, ("objective", "decide") in findings.marked.keys
    if objective.minimize == "robust" and spec.law.draws < _LEAST_DRAWS:
        message = f"a robust objective needs bootstrap draws; {spec.law.draws} are too few"
        findings.error("MX0222", ("law", "draws"), message, f"use at least {_LEAST_DRAWS}")
    elif objective.decide == EXPECTED and objective.minimize not in ("worst_case", "robust"):
        if spec.law.draws < _LEAST_DRAWS:
            message = f"what is expected is the mean over bootstrap draws; {spec.law.draws} are too few"
            hint = f"use at least {_LEAST_DRAWS}, or objective.decide: best_guess"
            findings.error("MX0222", ("law", "draws"), message, hint)
    elif given and objective.decide == EXPECTED:
        message = f"'decide' means nothing to the objective {objective.minimize}, of which there is only the optimum"
        findings.warn("MX0223", ("objective", "decide"), message, "take it out", key=True)


def _model(spec: Spec, findings: _Findings) -> None:
    sizes = resolve_model(spec.model)
    for part in ("", "decoder_"):
        width, heads = sizes[f"{part}width"], sizes[f"{part}heads"]
        if width % heads:
            name = part.replace("_", " ")
            given = ("model", f"{part}heads") in findings.marked.keys
            path: Path_ = ("model", f"{part}heads" if given else f"{part}width")
            divisors = [number for number in range(1, width + 1) if width % number == 0 and number <= 64]
            nearest = min(divisors, key=lambda number: (abs(number - heads), number))
            whose = "" if given else f" of the preset {spec.model.arch}"
            message = f"{heads} heads{whose} do not divide the {name}width {width}"
            findings.error("MX0218", path, message, f"use {part}heads: {nearest}")


def _processes(spec: Spec, findings: _Findings) -> None:
    processes, batch = spec.launch.processes_per_run, spec.train.batch_size
    nodes = spec.launch.slurm.nodes
    if processes % nodes:
        message = f"{processes} processes do not divide over {nodes} nodes"
        findings.error("MX0219", ("launch", "slurm", "nodes"), message, f"use processes_per_run: {nodes}, or nodes: 1")
    if batch % processes:
        message = f"the batch of {batch} does not divide over {processes} processes"
        divisors = [number for number in range(1, min(batch, 1024) + 1) if batch % number == 0]
        nearest = min(divisors, key=lambda number: (abs(number - processes), number))
        findings.error("MX0219", ("launch", "processes_per_run"), message, f"use {nearest}")
    elif batch // processes % spec.launch.accumulate:
        part, parts = batch // processes, spec.launch.accumulate
        message = f"the {part} crops a process computes in each step do not divide into {parts} parts"
        divisors = [number for number in range(1, part + 1) if part % number == 0]
        nearest = min(divisors, key=lambda number: (abs(number - parts), number))
        findings.error("MX0219", ("launch", "accumulate"), message, f"use {nearest}")


def _sources(spec: Spec, findings: _Findings) -> None:
    for name, domain in spec.domains.items():
        source, section = domain.source, ("domains", name, "source")
        if source.nifti is not None and source.subject is None:
            message = "each file counts as its own subject; scans of one patient may fall on both sides of the split"
            help = r"give source.subject, a regular expression such as '(sub-\w+?)_'"
            findings.warn("MX0220", (*section, "nifti"), message, help)
        if source.subject is not None:
            _pattern(source.subject, (*section, "subject"), findings)


def _pattern(text: str, path: Path_, findings: _Findings) -> None:
    try:
        groups = re.compile(text).groups
    except (re.error, OverflowError, RecursionError) as error:
        findings.error("MX0226", path, f"not a regular expression: {error}", r"for example '(sub-\w+?)_'")
        return
    if not groups:
        message = "the pattern has no group, so the whole match is the subject"
        findings.warn("MX0227", path, message, r"put the subject in parentheses, as in '(sub-\w+?)_'")


def _intensities(spec: Spec, findings: _Findings) -> None:
    units = {"ct": ("hu",), "pet": ("suv",), "mri": ("arbitrary",)}
    for name, domain in spec.domains.items():
        path: Path_ = ("domains", name, "intensity")
        unit = domain.intensity.unit
        if unit is not None and unit not in units[domain.modality]:
            message = f"values of {domain.modality} cannot be in '{unit}'"
            findings.error("MX0228", (*path, "unit"), message, f"did you mean '{units[domain.modality][0]}'?")
        if domain.intensity.clip is not None and domain.modality == "mri":
            message = "mri is clipped at percentiles of each volume; a fixed 'clip' means nothing to it"
            findings.error("MX0229", (*path, "clip"), message, "take it out", key=True)


def _phantoms(spec: Spec, findings: _Findings) -> None:
    for name, domain in spec.domains.items():
        phantom = domain.source.phantom
        if phantom is None:
            continue
        section: Path_ = ("domains", name, "source", "phantom")
        size = [
            have * step / want
            for have, step, want in zip(phantom.shape, phantom.spacing, spec.volume.spacing, strict=True)
        ]
        small = [axis for axis in range(3) if size[axis] < spec.volume.crop[axis] - 0.5]
        if small:
            shown = " x ".join(f"{edge:.0f}" for edge in size)
            crop = " x ".join(str(edge) for edge in spec.volume.crop)
            message = f"its volumes are {shown} voxels after resampling, smaller than the crop {crop}: they are padded"
            findings.warn("MX0230", section, message, "use a smaller crop or larger phantoms", key=True)


def _split(spec: Spec, findings: _Findings) -> None:
    for name, domain in spec.domains.items():
        phantom = domain.source.phantom
        if phantom is None:
            continue
        held = max(1, math.ceil(spec.data.split.validation * phantom.count - 1e-9))
        if held >= phantom.count:
            message = f"{phantom.count} subjects, {held} of them for validation: none would be left to train on"
            path: Path_ = ("domains", name, "source", "phantom", "count")
            findings.error("MX0231", path, message, "raise the count or lower data.split.validation")


def _room(spec: Spec, findings: _Findings) -> None:
    """Whether the caps hold, where all data are phantoms and therefore known."""
    crops = {}
    for name, domain in spec.domains.items():
        phantom = domain.source.phantom
        if phantom is None:
            return
        held = max(1, math.ceil(spec.data.split.validation * phantom.count - 1e-9))
        each = distinct_crops(phantom.shape, phantom.spacing, spec.volume.spacing, spec.volume.crop)
        crops[name] = max(0, phantom.count - held) * each
    if all(crops.values()) and set(spec.constraints.share) <= set(crops):
        for code, path, message, help in infeasible(spec, crops):
            findings.error(code, path, message, help)


def _baselines(spec: Spec, findings: _Findings) -> None:
    names, verify = _domain_names(findings.marked), spec.verify
    for name, shares in verify.mixtures.items():
        path: Path_ = ("verify", "mixtures", name)
        _known_domains(shares, path, names, findings)
        if abs(sum(shares.values()) - 1) > 1e-6:
            message = f"the shares of '{name}' sum to {sum(shares.values()):g}, not to 1"
            findings.error("MX0244", path, message, "name the share of every domain it has any of", key=True)
        if name in OWN_MIXTURES:
            message = f"'{name}' is what mixlang calls a mixture of its own"
            findings.error("MX0245", path, message, "choose another name", key=True)
    if verify.grid.count and verify.grid.seeds > verify.seeds:
        message = f"the grid has {verify.grid.seeds} seeds, the mixture it is compared with has {verify.seeds}"
        findings.error("MX0246", ("verify", "grid"), message, f"use seeds: {verify.seeds} or fewer", key=True)
    if verify.grid.count and not spec.budgets.holdout:
        message = "a grid is trained at the smallest holdout budget, and there is none"
        findings.error("MX0247", ("verify", "grid"), message, "add budgets.holdout", key=True)
    for index, name in enumerate(spec.verify.baselines):
        if name in spec.verify.baselines[:index]:
            findings.error(
                "MX0234", ("verify", "baselines", index), f"the baseline '{name}' is listed twice", "take one out"
            )


def _solved(spec: Spec) -> list[str]:
    """The solved mixtures of which runs at the downstream budget are trained."""
    held, budget = spec.budgets.holdout, spec.downstream.budget
    trained = published_budgets(spec.verify.published, held)
    return [PUBLISHED, ALLOCATED] if (budget or max(held, default=0)) in trained else [ALLOCATED]


def _encoders(spec: Spec, findings: _Findings) -> None:
    downstream, section = spec.downstream, ("downstream",)
    _encoder_names(spec, findings)
    if not any(task.modes for task in spec.tasks.values()):
        return
    if not spec.budgets.holdout:
        message = (
            "downstream tasks take their encoders from the verification, and there is no holdout budget to verify at"
        )
        findings.error("MX0237", ("tasks",), message, "add budgets.holdout", key=True)
    elif downstream.budget is not None and downstream.budget not in spec.budgets.holdout:
        shown = ", ".join(show_amount(amount) for amount in spec.budgets.holdout)
        message = f"{show_amount(downstream.budget)} is not a holdout budget, so no verification run has it"
        findings.error("MX0237", (*section, "budget"), message, f"the holdout budgets are {shown}")
    for field in ("encoders", "labels"):
        values = getattr(downstream, field) or []
        for index, value in enumerate(values):
            if value in values[:index]:
                message = f"{value if isinstance(value, str) else f'{value:g}'} is listed twice"
                findings.error("MX0239", (*section, field, index), message, "take one out")


def _encoder_names(spec: Spec, findings: _Findings) -> None:
    """Encoders that are named and that no verification run would give."""
    there = [*_solved(spec), *spec.verify.baselines, *spec.verify.mixtures, SCRATCH]
    for index, name in enumerate(spec.downstream.encoders or []):
        if name in there:
            continue
        message = f"no verification run gives the encoder '{name}': it is not among verify.baselines or verify.mixtures"
        if name in BASELINES:
            help = f"add '{name}' to verify.baselines; without it there are {', '.join(there)}"
        elif name == PUBLISHED:
            message = f"no verification run at the downstream budget has the published shares, so there is no encoder '{name}'"
            help = "set verify.published to 'all', or downstream.budget to the largest holdout budget"
        else:
            help = did_you_mean(name, there) or did_you_mean(name, OWN_ENCODERS) or f"there are {', '.join(there)}"
        findings.error("MX0238", ("downstream", "encoders", index), message, help)


def _tasks(spec: Spec, findings: _Findings) -> None:
    names = _domain_names(findings.marked)
    for name, task in spec.tasks.items():
        section: Path_ = ("tasks", name)
        if names and task.domain not in names:
            help = did_you_mean(task.domain, names) or f"the domains are {', '.join(names)}"
            findings.error("MX0201", (*section, "domain"), f"there is no domain '{task.domain}'", help)
        if len(task.modes) > len(set(task.modes)):
            findings.error("MX0239", (*section, "modes"), f"the mode '{task.modes[0]}' is listed twice", "take one out")
        seen: dict[int, str] = {}
        for kind, values in task.values.items():
            for value in values:
                if value in seen:
                    message = f"label {value} is in the class '{seen[value]}' already"
                    findings.error("MX0240", (*section, "classes", kind), message, "a voxel has one class")
                seen.setdefault(value, kind)
        if task.label_map is not None and "{stem}" not in task.label_map:
            message = f"'{task.label_map}' names one file for all volumes"
            findings.error("MX0241", (*section, "label_map"), message, "for example '{stem}_label.nii.gz'")


def _task_sources(spec: Spec, findings: _Findings) -> None:
    for name, task in spec.tasks.items():
        domain = spec.domains.get(task.domain)
        if domain is None:
            continue
        section, kind = ("tasks", name), domain.source.kind
        if task.column is not None and kind != "manifest":
            message = f"'column' needs a manifest, and the domain '{task.domain}' is a {kind} source"
            findings.error("MX0242", (*section, "column"), message, "use 'present', or write a manifest")
        if task.label_map is not None and kind == "phantom":
            message = "phantoms come with their label maps; a 'label_map' means nothing to them"
            findings.error("MX0242", (*section, "label_map"), message, "take it out", key=True)


def _task_patch(spec: Spec, findings: _Findings) -> None:
    patch = spec.model.patch
    for name, task in spec.tasks.items():
        if task.kind == "segmentation" and "finetune" in task.modes and (patch < 4 or patch & (patch - 1)):
            message = (
                f"the head for fine-tuning halves the patch down to a voxel, and {patch} is no power of two from 4 on"
            )
            path: Path_ = ("tasks", name, "kind")
            findings.error("MX0243", path, message, "use model.patch 4, 8, 16 or 32, or modes: [probe]")


_CHECKS: tuple[tuple[Callable[[Spec, _Findings], None], tuple[str, ...]], ...] = (
    (_objective, ("objective", "tasks", "domains")),
    (_ignored, ("train", "law", "verify", "design", "downstream", "tasks")),
    (_constrained, ("constraints",)),
    (_grid, ("volume", "model")),
    (_budgets, ("budgets", "train")),
    (_target, ("budgets",)),
    (_design, ("design", "budgets", "domains")),
    (_shares, ("constraints",)),
    (_law, ("law", "domains")),
    (_draws, ("law", "objective")),
    (_model, ("model",)),
    (_processes, ("launch", "train")),
    (_sources, ("domains",)),
    (_intensities, ("domains",)),
    (_phantoms, ("domains", "volume")),
    (_split, ("domains", "data")),
    (_room, ("domains", "data", "volume", "constraints", "budgets")),
    (_baselines, ("verify", "budgets", "domains")),
    (_encoders, ("downstream", "verify", "budgets", "tasks")),
    (_tasks, ("tasks",)),
    (_task_sources, ("tasks", "domains")),
    (_task_patch, ("tasks", "model")),
)
"""Each check with the sections it reads."""
