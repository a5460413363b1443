"""The runs of published versions in another study: which are kept, what is known of them, and why others are not.

A run is kept where it would be the same run here: the same recipe, model and crop, and of each domain it holds the same
training volumes. It keeps its place in the table; only what is new is measured of it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from mixlang.documents import Score, Training
from mixlang.errors import InputError, MixlangError
from mixlang.files import read_json
from mixlang.plan.build import Plan, Run, training_of
from mixlang.plan.changes import Change, differences
from mixlang.plan.data_manifest import DataManifest, Sides
from mixlang.plan.evaluations import evaluations_of, keys_of
from mixlang.registry import Mixture, Registry
from mixlang.registry.proof import read_losses
from mixlang.spec import Diagnostic, LoadedSpec
from mixlang.spec.schema import Spec, Split
from mixlang.study.workspace import Workspace


class NotReusable(InputError):
    """A version whose runs teach a study nothing."""

    def __init__(self, label: str, message: str, hint: str) -> None:
        super().__init__(message, hint)
        self.label = label

    def diagnostic(self, loaded: LoadedSpec) -> Diagnostic:
        """The same at its place in a spec."""
        place = ("design", "reuse", loaded.spec.design.reuse.index(self.label))
        return loaded.marked.diagnostic("MX0317", place, str(self), self.hint)


@dataclass(frozen=True)
class Reused:
    """What a version gives to a plan.

    Attributes:
        runs: its probe runs that are kept, with their addresses in the plan.
        scores: what is known of them and of its held-out runs, by run and evaluation.
        left: by reason, how many of its probe runs are not kept.
    """

    label: str
    runs: list[Run]
    scores: dict[str, dict[str, Score]]
    left: dict[str, int] = field(default_factory=dict)


def reused(workspace: Workspace, labels: Iterable[str], plan: Plan) -> list[Reused]:
    """What versions of the workspace's registry give to a plan.

    Raises:
        NotReusable: there is no such version, it carries no plan, it was trained otherwise, or none of its runs is kept.
    """
    return [_of_version(_version(workspace, label), label, plan) for label in labels]


def earlier_sides(
    workspace: Workspace, labels: Sequence[str], manifest: DataManifest, split: Split, own: Sides | None
) -> Sides:
    """The sides that subjects have had: in the study itself, as far as they were given for the same fraction and seed, and
    in versions that it takes runs from, whatever these were split by.

    Raises:
        NotReusable: there is no such version, or it carries no plan.
    """
    found: dict[str, bool] = {}
    for label in labels:
        plan = _plan(_version(workspace, label), label)
        on = {
            (name, plan.volumes[key]["content"]): side == "validation"
            for name, data in plan.domains.items()
            for side in ("train", "validation")
            for key in data[side]
        }
        for name, data in manifest.domains.items():
            for volume in data.volumes:
                held = on.get((name, volume.content))
                if held is not None:
                    found.setdefault(volume.subject, held)
    if own is not None:
        found |= dict.fromkeys(own.validation, True) | dict.fromkeys(own.training, False)
    return Sides(
        split.validation,
        split.seed,
        tuple(sorted(name for name, held in found.items() if held)),
        tuple(sorted(name for name, held in found.items() if not held)),
    )


def require_reusable(workspace: Workspace, spec: Spec) -> None:
    """Make sure that the versions a spec reuses are there and were trained as it says; needs no data.

    Raises:
        NotReusable: the first that is not.
    """
    for label in spec.design.reuse:
        _same_training(_plan(_version(workspace, label), label), training_of(spec), label)


def _same_training(old: Plan, training: Training, label: str) -> None:
    changed = differences(old.training, training)
    if changed:
        raise NotReusable(
            label,
            f"{label} was trained otherwise: {'; '.join(map(_in_the_spec, changed[:3]))}",
            f"Set these as {label} had them, or leave it out of design.reuse.",
        )


def _version(workspace: Workspace, label: str) -> Mixture:
    name, _, number = label.partition("@v")
    registry = Registry(workspace.registry)
    there = registry.versions(name)
    if int(number) not in there:
        listed = ", ".join(f"{name}@v{version}" for version in there)
        hint = (
            f"There are {listed}." if there else f"The registry has {', '.join(registry.names()) or 'no mixture yet'}."
        )
        raise NotReusable(label, f"the registry has no version {label}", hint)
    return registry.get_version(name, int(number))


def _plan(mixture: Mixture, label: str) -> Plan:
    try:
        return Plan.read(mixture.folder / "plan.json")
    except MixlangError as error:
        raise NotReusable(label, f"the plan of {label} cannot be read: {error}", error.hint) from error


def _of_version(mixture: Mixture, label: str, plan: Plan) -> Reused:
    old = _plan(mixture, label)
    _same_training(old, plan.training, label)
    kept: list[Run] = []
    left: Counter[str] = Counter()
    addresses: dict[str, Run] = {}
    for run in old.runs:
        why = _why_not(old, plan, run)
        if why:
            left[why] += 1
            continue
        again = plan.run(run.kind, _used(run), run.seed)
        if run.key not in (again.key, old.former_key(run)):
            left["trained by a version of mixlang that gave other results"] += 1
            continue
        kept.append(again)
        addresses[run.key] = again
    if not kept:
        reasons = "; ".join(f"{count} runs: {why}" for why, count in left.most_common(3))
        raise NotReusable(label, f"no run of {label} can be kept ({reasons})", "Leave it out of design.reuse.")
    return Reused(label, kept, _scores(mixture, old, plan, addresses), dict(left))


def _in_the_spec(change: Change) -> str:
    """A change by the key that the spec has for it."""
    section, _, key = change.path.partition(".")
    named = {"recipe": "train", "crop": "volume.crop"}.get(section, section)
    return str(replace(change, path=f"{named}.{key}" if key else named))


def _used(run: Run) -> dict[str, int]:
    return {name: amount for name, amount in run.amounts.items() if amount}


def _why_not(old: Plan, plan: Plan, run: Run) -> str:
    """Why a run of an earlier plan would be another run in this one; '' where it would not."""
    for name in _used(run):
        if name not in plan.domains:
            return f"samples of '{name}', which is no domain of this spec"
        before, after = old.volumes_for(name, run.budget), plan.volumes_for(name, run.budget)
        if before != after:
            gone, come = len(set(before) - set(after)), len(set(after) - set(before))
            if not gone and not come:
                return f"the training volumes of '{name}' are in another order (data.split.seed)"
            return f"the training volumes of '{name}' are others: {come} new, {gone} gone"
        if old.subjects_for(name, run.budget) != plan.subjects_for(name, run.budget):
            return f"volumes of '{name}' are drawn otherwise (train.sampling)"
    return ""


def _scores(mixture: Mixture, old: Plan, plan: Plan, kept: dict[str, Run]) -> dict[str, dict[str, Score]]:
    """What the version's table says of the runs that are kept, and of its held-out runs that would be the same here."""
    settings = read_json(mixture.folder / "settings.json")
    evaluations = settings.get("evaluations") or keys_of(evaluations_of(old))
    means = settings.get("mean_losses", {})
    found: dict[str, dict[str, Score]] = {}
    for row in read_losses(mixture):
        run = kept.get(row["key"])
        if run is None:
            was = old.run(row["kind"], row["amounts"], row["seed"])
            if row["key"] not in (was.key, old.former_key(was)) or _why_not(old, plan, was):
                continue
            run = plan.run(was.kind, _used(was), was.seed)
        scores = found.setdefault(run.key, {})
        for name, loss in row["losses"].items():
            score: Score = {"loss": loss}
            if name in means:
                score["mean_loss"] = means[name]
            scores[evaluations[name]] = score
    return found
