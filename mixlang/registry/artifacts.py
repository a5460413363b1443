"""The registry for DVC: each mixture's newest version as an artifact, and the git tags that make versions of it.

`dvc artifacts get URL registry:NAME` takes version and stage from annotated git tags in the form of GTO,
`registry=NAME@v2.0.0` and `registry=NAME#stable#1`, and the path from registry/dvc.yaml as it was in the tagged commit.
Tags are a person's to set: mixlang only says how.
"""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from mixlang.registry.mixture import Mixture

ARTIFACTS = "dvc.yaml"

_HEAD = (
    "# Written by mixlang; do not edit. Git tags say which commit has which version: docs/registry.md, Through DVC.\n"
)


def artifacts_text(latest: Mapping[str, Mixture]) -> str:
    """The text of registry/dvc.yaml: an artifact for each mixture, at its newest version."""
    lines = []
    for name, mixture in latest.items():
        about = str(mixture.facts.get("description") or f"a data mixture of {', '.join(mixture.shares)}")
        lines += [f"  {name}:", f"    path: {name}/v{mixture.version}", "    type: mixture"]
        lines.append(f"    desc: {json.dumps(about, ensure_ascii=False)}")
    return _HEAD + ("artifacts:\n" + "\n".join(lines) + "\n" if lines else "artifacts: {}\n")


def artifact(root: Path, name: str) -> str:
    """What DVC calls a mixture: the registry's folder below the top of its git repository, and the name."""
    return f"{_place(root)}:{name}"


def tag_command(root: Path, mixture: Mixture) -> str:
    """The command that tags a committed version for DVC; `root` is the registry's folder."""
    tag = f"{artifact(root, mixture.name).replace(':', '=')}@v{mixture.version}.0.0"
    return shlex.join(["git", "tag", "-a", "-m", mixture.label, tag])


def stage_command(root: Path, mixture: Mixture, stage: str) -> str:
    """The command that gives a version that is tagged for DVC a stage, which is what a tag is called there."""
    version = ["--version", f"v{mixture.version}.0.0", "--stage", stage]
    return shlex.join(["gto", "assign", artifact(root, mixture.name), *version])


def _place(folder: Path) -> str:
    try:
        command = ["git", "rev-parse", "--show-prefix"]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)
    except OSError:
        return folder.resolve().name
    return done.stdout.strip().rstrip("/") or folder.resolve().name
