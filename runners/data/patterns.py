"""What the file name patterns of a domain take: a pattern that takes nothing is a mistake, not a preference."""

from __future__ import annotations

from dataclasses import dataclass

from mixlang.spec.diagnostics import Diagnostic
from mixlang.spec.loader import LoadedSpec
from mixlang.spec.locations import Locations
from mixlang.spec.positions import Path_
from mixlang.spec.schema import Domain
from runners.data.sources.candidates import Candidate, fits
from runners.data.sources.find import find_candidates


@dataclass(frozen=True)
class Use:
    """One pattern of a spec and how many files it takes.

    Attributes:
        place: of the pattern in the spec; `pattern`: as written there; `effect`: what it does to a file, in words.
        files: how many it takes.
        hidden: how many it fits that an earlier rule has taken.
        domain: whose files they are.
    """

    place: Path_
    pattern: str
    effect: str
    files: int
    hidden: int = 0
    domain: str = ""


def uses(name: str, domain: Domain, locations: Locations) -> list[Use]:
    """What the filters of `where` and the patterns of `exclude` and `intensity.factors` of domain `name` take; a filter that
    keeps no file is an error of its source.

    Raises:
        InputError: the source cannot be used.
    """
    source = domain.source
    if not source.exclude and not domain.intensity.factors and not source.where:
        return []
    whole = domain.model_copy(update={"source": source.model_copy(update={"exclude": [], "subject": None})})
    listed = find_candidates(name, whole, locations)
    found = []
    if source.where:
        filters = ", ".join(f"{key}: {value}" for key, value in source.where.items())
        found.append(Use(("domains", name, "source", "where"), f"where {filters}", "kept", len(listed), domain=name))
    for index, pattern in enumerate(source.exclude):
        taken = sum(fits(item.portable, pattern) for item in listed)
        found.append(Use(("domains", name, "source", "exclude", index), pattern, "left out", taken, domain=name))
    kept = [item for item in listed if not any(fits(item.portable, pattern) for pattern in source.exclude)]
    return found + _conversions(name, domain, kept)


def _conversions(name: str, domain: Domain, kept: list[Candidate]) -> list[Use]:
    found, free = [], kept
    for index, rule in enumerate(domain.intensity.factors):
        shifted = "" if rule.offset is None else f" and shifted by {rule.offset:g}"
        effect = f"multiplied by {rule.factor:g}{shifted}"
        taken = [item for item in free if fits(item.portable, rule.files)]
        hidden = sum(fits(item.portable, rule.files) for item in kept) - len(taken)
        place: Path_ = ("domains", name, "intensity", "factors", index, "files")
        found.append(Use(place, rule.files, effect, len(taken), hidden, name))
        free = [item for item in free if not fits(item.portable, rule.files)]
    return found


def idle(loaded: LoadedSpec, found: list[Use]) -> list[Diagnostic]:
    """Errors of the patterns that take no file."""
    problems = []
    for use in found:
        if use.files:
            continue
        message = f"'{use.pattern}' takes no file of domain '{use.domain}', so nothing is {use.effect}"
        help = "correct it, or take it out"
        if use.hidden:
            message += f": the {use.hidden} files that it fits are taken by an earlier rule"
            help = "put it before that rule, or take it out"
        problems.append(loaded.marked.diagnostic("MX0309", use.place, message, help))
    return problems
