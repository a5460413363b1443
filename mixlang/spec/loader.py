"""From a spec file to a checked `Spec`: compose, validate, check the meaning, and report everything at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pydantic import ValidationError

from mixlang.spec.checks import check_meaning
from mixlang.spec.compose import compose
from mixlang.spec.diagnostics import Diagnostic, SpecError, in_file_order
from mixlang.spec.positions import Marked
from mixlang.spec.schema import LANGUAGE_VERSION, Spec


@dataclass(frozen=True)
class LoadedSpec:
    """A spec that compiles, with what is needed to point into its files.

    Attributes:
        path: the spec file.
        spec: the spec, defaults filled in.
        marked: positions, for diagnostics found later (missing data, infeasible caps).
        warnings: what compiles but will probably disappoint.
        texts: the text of the spec and of each file it extends, by name.
        bases: the files it extends, with the diagnostic for one that may not be extended.
        overrides: what was set on the command line, as given.
    """

    path: Path
    spec: Spec
    marked: Marked
    warnings: list[Diagnostic]
    texts: dict[str, str]
    bases: dict[Path, Diagnostic]
    overrides: tuple[str, ...]

    @property
    def text(self) -> str:
        """The spec file as it was read."""
        return next(iter(self.texts.values()))


def load_spec(path: Path, *, strict: bool = False, overrides: Sequence[str] = ()) -> LoadedSpec:
    """Read, validate and check a spec.

    Args:
        path: the YAML file.
        strict: treat warnings as errors.
        overrides: texts `key.path=value` that go before what the file says.

    Raises:
        SpecError: with every problem found, each at its place.
    """
    composed = compose(path, overrides)
    marked = composed.marked
    found = [*marked.problems, *composed.warnings]
    if not isinstance(marked.value, dict):
        message = "the spec is empty" if marked.value is None else "a spec is a mapping of sections"
        raise SpecError([*found, marked.diagnostic("MX0100", (), message, "start from one made by 'mixlang init'")])
    spec, broken, mistakes = _validated(marked)
    found += mistakes
    found += check_meaning(spec, marked, broken)
    if strict:
        found = [replace(item, severity="error") for item in found]
    if any(item.severity == "error" for item in found):
        raise SpecError(found, list(composed.texts))
    return LoadedSpec(
        path, spec, marked, in_file_order(found, list(composed.texts)), composed.texts, composed.bases, tuple(overrides)
    )


def _validated(marked: Marked) -> tuple[Spec, set[str], list[Diagnostic]]:
    """The spec, its sections that are broken (which it lacks), and what is wrong with them."""
    try:
        return Spec.model_validate(marked.value), set(), []
    except ValidationError as error:
        from mixlang.spec.validation import diagnose, without, wrong_version  # not needed for a spec that is right

        if marked.value.get("mixlang") != LANGUAGE_VERSION and (other := wrong_version(marked)):
            raise SpecError([other]) from None
        broken = {str(item["loc"][0]) for item in error.errors(include_url=False, include_context=False)}
        return without(broken, marked), broken, diagnose(error, marked)
