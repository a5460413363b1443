"""Commands that read the registry: list, show, verify."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mixlang.console import print_json, say


def _open_registry(arguments: argparse.Namespace) -> Any:
    from mixlang.plan.workspace import Workspace
    from mixlang.registry import Registry

    return Registry(arguments.registry or Workspace.find(Path.cwd()).registry)


def list_mixtures(arguments: argparse.Namespace) -> None:
    """All mixtures and their versions."""
    registry = _open_registry(arguments)
    found = [registry.get(f"{name}@v{k}") for name in registry.names() for k in registry.versions(name)]
    if arguments.format == "json":
        print_json([mixture.facts for mixture in found])
        return
    for mixture in found:
        shares = "  ".join(f"{name} {share:.1%}" for name, share in mixture.shares.items())
        print(f"{mixture.label:24} {mixture.facts['published']}  budget {mixture.budget:,.0f}  {shares}")
    if not found:
        say(f"nothing is published in {registry.root} yet")


def show_mixture(arguments: argparse.Namespace) -> None:
    """One mixture."""
    import yaml

    mixture = _open_registry(arguments).get(arguments.mixture)
    if arguments.format == "json":
        print_json(mixture.facts)
    else:
        print(yaml.safe_dump(mixture.facts, sort_keys=False, allow_unicode=True, width=100), end="")
        print(f"report: {mixture.folder / 'report.html'}")


def verify_mixtures(arguments: argparse.Namespace) -> int:
    """Whether versions are as published; 1 where one is not."""
    from runners.proof import check_version

    registry = _open_registry(arguments)
    if arguments.mixture:
        found = [registry.get(arguments.mixture)]
    else:
        found = [registry.get(f"{name}@v{k}") for name in registry.names() for k in registry.versions(name)]
    results = {mixture.label: check_version(registry, mixture) for mixture in found}
    if arguments.format == "json":
        print_json({label: {"ok": not problems, "problems": problems} for label, problems in results.items()})
    else:
        for label, problems in results.items():
            print(
                f"{label}: {'as published, and the allocation follows from its laws' if not problems else 'NOT INTACT'}"
            )
            for problem in problems:
                print(f"  {problem}")
    return 1 if any(results.values()) else 0
