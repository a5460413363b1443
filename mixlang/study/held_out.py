"""The held-out runs of a study before they are trained: known only where its allocation is the one it would give now."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from mixlang.errors import MixlangError
from mixlang.files import json_text, read_json
from mixlang.plan.build import Plan, Run
from mixlang.study.workspace import Study

Settings = Mapping[str, Mapping[str, Any]]


def held_out_runs(study: Study, plan: Plan, settings: Settings | None = None) -> list[Run] | None:
    """The runs that verify a study under a plan, each once; None where its mixtures are not solved yet.

    They are where the laws were fitted to this plan's probe runs, and the allocation on disk was solved from these
    laws, both with these settings: DVC's lock has the hash of everything each of them was made from.

    Args:
        settings: of each stage; those written last if left out.
    """
    from mixlang.verify.trials import trials

    try:
        if settings is None:
            settings = {name: read_json(study.file(f"settings/{name}.json")) for name in ("fit", "allocate", "verify")}
        if not _probes_are(study, plan) or not _solved_from(study, settings):
            return None
        found = trials(plan, read_json(study.file("allocation.json")), settings["verify"])
    except (MixlangError, OSError, LookupError, TypeError, ValueError, AttributeError):
        return None  # not there, or of another form
    return list({trial.run.key: trial.run for trial in found}.values())


def _probes_are(study: Study, plan: Plan) -> bool:
    """Whether the table of probe runs is this plan's."""
    table = read_json(study.file("runs.json"))
    return {row["key"] for row in [*table["runs"], *table.get("failed", [])]} == {run.key for run in plan.runs}


def _solved_from(study: Study, settings: Settings) -> bool:
    """Whether laws and allocation on disk were made from what is on disk, with these settings."""
    lock = yaml.safe_load((study.root / "dvc.lock").read_text(encoding="utf-8"))["stages"]
    steps = (("fit", "runs.json", "fit.json"), ("allocate", "fit.json", "allocation.json"))
    for stage, source, result in steps:
        entry = lock[f"{stage}@{study.item}"]
        made = {item["path"]: item["md5"] for item in [*entry["deps"], *entry["outs"]]}
        wanted = {
            source: _md5(study.file(source)),
            result: _md5(study.file(result)),
            f"settings/{stage}.json": hashlib.md5(
                json_text(settings[stage]).encode(), usedforsecurity=False
            ).hexdigest(),
        }
        if any(made[f"build/{study.item}/{name}"] != value for name, value in wanted.items()):
            return False
    return True


def _md5(path: Path) -> str:
    return hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
