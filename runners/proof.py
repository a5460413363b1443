"""Checking a published version from its own files: hashes, and the allocation solved again from the laws in it."""

from __future__ import annotations

from mixlang.errors import MixlangError
from mixlang.files import read_json
from mixlang.registry import Mixture, Registry

_TOLERANCE = 2e-3
"""Largest difference of a share between the published and the recomputed allocation: near an optimum the objective
is flat, so solvers of other versions may stop at shares that differ a little."""


def check_version(registry: Registry, mixture: Mixture) -> list[str]:
    """What does not hold of a version; empty when it is intact and its allocation follows from its laws."""
    problems = registry.damage(mixture)
    if problems:
        return problems
    try:
        return _allocation_differs(mixture)
    except (MixlangError, KeyError, TypeError) as error:
        return [f"the allocation cannot be recomputed: {error}"]


def _allocation_differs(mixture: Mixture) -> list[str]:
    from mixlang.allocate import Problem, solve
    from mixlang.laws import read_fit

    laws = read_fit(mixture.folder / "laws.json")
    settings = read_json(mixture.folder / "problem.json")
    problem = Problem.of(laws, settings, mixture.budget)
    again = dict(zip(laws.domains, solve(problem).shares.tolist(), strict=True))
    return [
        f"mixture.yaml: the share of '{name}' is {mixture.shares[name]:.4f}, but its laws give {share:.4f}"
        for name, share in again.items()
        if abs(share - mixture.shares[name]) > _TOLERANCE
    ]
