"""Assembling a version for the registry from a study's results."""

from __future__ import annotations

import csv
import io
import json
import shlex
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from mixlang.documents import Downstream, Origin, RunRow, RunsTable, read
from mixlang.files import digest
from mixlang.plan.build import Plan
from mixlang.plan.whole_samples import whole_mixture
from mixlang.registry import Mixture, Registry
from mixlang.registry.content import content_of, summary
from mixlang.registry.headline import doubts
from mixlang.registry.provenance import code_state, environment, git_state, hardware, hashes
from mixlang.report.page import render_report
from mixlang.spec.presets import resolved
from mixlang.study.workspace import Study, Workspace
from runners.execute.store import RunStore


def publish_study(workspace: Workspace, study: Study) -> tuple[Mixture, bool]:
    """Publish a study's allocation with its evidence.

    Returns:
        The version, and whether it is new.
    """
    settings = read(study.build, "settings/publish.json")
    allocation, laws = read(study.build, "allocation.json"), read(study.build, "fit.json")
    verification, runs = read(study.build, "verification.json"), read(study.build, "runs.json")
    downstream = read(study.build, "downstream.json")
    problem = read(study.build, "settings/allocate.json")
    losses = losses_csv(runs["domains"], list(runs["evaluations"]), [*runs["runs"], *verification["runs"]])
    target = allocation["target"]
    amounts = whole_mixture(target["shares"], allocation["costs"], target["budget"])
    core = {
        "name": settings["name"],
        "study": settings["study"],
        "description": settings["description"],
        "unit": "samples",
        "budget": target["budget"],
        "shares": {name: round(share, 6) for name, share in target["shares"].items()},
        "amounts": amounts,
        "predicted_losses": {name: float(f"{loss:.6g}") for name, loss in target["predicted"].items()},
        "laws": {name: law["family"] for name, law in laws["laws"].items()},
        "verified": summary(verification),
        **({"downstream": downstream_facts(downstream)} if downstream["tasks"] else {}),
    }
    content = content_of(core, laws, losses, problem)
    registry = Registry(workspace.registry)

    def render(version: int) -> dict[str, bytes]:
        previous = [number for number in registry.versions(settings["name"]) if number < version]
        published = datetime.now(UTC).strftime("%Y-%m-%d")
        facts = {
            **core,
            "version": version,
            "published": published,
            "status": "candidate" if doubts(core["verified"]) else "published",
            "supersedes": f"v{previous[-1]}" if previous else None,
            "lineage": _lineage(registry, settings["name"], previous, laws),
            "content": content,
        }
        label = f"{settings['name']}@v{version}"
        origin = _provenance(workspace, study)
        return {
            "mixture.yaml": yaml.safe_dump(facts, sort_keys=False, allow_unicode=True, width=100).encode(),
            "laws.json": _json(laws),
            "losses.csv": losses.encode(),
            "problem.json": _json(problem),
            "settings.json": _json(_settings(study, runs)),
            "plan.json": study.file("plan.json").read_bytes(),
            "certificate.json": _json({"target": target, "holdout": allocation["holdout"]}),
            "verification.json": _json(verification),
            **({"downstream.json": _json(downstream)} if downstream["tasks"] else {}),
            "provenance.json": _json(origin),
            "report.html": render_report(study.build, label, published, origin).encode(),
        }

    return registry.publish(settings["name"], content, render)


def _lineage(registry: Registry, name: str, previous: list[int], laws: Any) -> dict[str, Any]:
    """The laws a version was solved from, by their hash, and the first of the versions before it that had the same."""
    laws_hash, since = digest(laws), None
    for number in reversed(previous):
        if registry.get_version(name, number).facts.get("lineage", {}).get("laws") != laws_hash:
            break
        since = f"v{number}"
    return {"laws": laws_hash, "laws_since": since}


def _settings(study: Study, runs: RunsTable) -> dict[str, Any]:
    """What fitting the laws again from losses.csv takes, and how the mixture was verified.

    `mean_losses`, of predicting the mean intensity, tell which runs had learned anything. `evaluations`: what each loss
    was measured on, so that another study can take the runs over.
    """
    return {
        "version": 1,
        "evaluations": runs["evaluations"],
        "fit": read(study.build, "settings/fit.json"),
        "verify": read(study.build, "settings/verify.json"),
        "mean_losses": runs["runs"][0]["mean_losses"],
    }


def downstream_facts(document: Downstream) -> dict[str, Any]:
    """The downstream tasks in a few numbers: with all the labels there are, each encoder's main score, and the sentences."""
    tasks = {}
    for name, task in document["tasks"].items():
        score = "auroc" if task["kind"] == "classification" else "dice"
        most = max(item["labels"] for item in task["results"])
        scores: dict[str, dict[str, float | None]] = {}
        for item in task["results"]:
            if item["labels"] == most:
                mean = item[score]["mean"]
                scores.setdefault(item["mode"], {})[item["encoder"]] = None if mean is None else round(mean, 4)
        tasks[name] = {"kind": task["kind"], "domain": task["domain"], score: scores, "said": task["sentences"]}
    whose = {"mixtures": document["mixtures"]} if "mixtures" in document else {}
    return {"budget": document["budget"], **whose, "said": document["sentences"], "tasks": tasks}


def losses_csv(domains: list[str], names: list[str], rows: Sequence[RunRow]) -> str:
    """A row a run: what it is, its samples of each domain, its losses by name."""
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    writer.writerow(
        [
            "key",
            "kind",
            "budget",
            "seed",
            *(f"samples_{name}" for name in domains),
            *(f"loss_{name}" for name in names),
        ]
    )
    for row in rows:
        amounts, losses = [row["amounts"][name] for name in domains], [row["losses"][name] for name in names]
        writer.writerow([row["key"], row["kind"], row["budget"], row["seed"], *amounts, *map(repr, losses)])
    return out.getvalue()


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def _provenance(workspace: Workspace, study: Study) -> Origin:
    loaded = study.load()
    plan = Plan.read(study.file("plan.json"))
    names = ("data", "plan", "runs", "fit", "allocation", "verification", "downstream")
    inputs = [
        study.spec,
        *(base.resolve() for base in loaded.bases),
        workspace.root / "requirements.lock",
        *(study.file(f"{name}.json") for name in names),
    ]
    data = read(study.build, "data.json")["domains"]
    return {
        "spec": {
            "file": study.spec.relative_to(workspace.root).as_posix(),
            "text": loaded.text,
            "extends": {
                base.resolve().relative_to(workspace.root).as_posix(): base.read_text(encoding="utf-8")
                for base in loaded.bases
            },
            "set": list(loaded.overrides),
        },
        "resolved": resolved(loaded.spec),
        "plan": {"hash": digest(plan.as_dict()), "runs": len(plan.runs)},
        "git": git_state(workspace.root),
        "code": code_state(),
        "files": hashes(inputs, workspace.root),
        "dvc_lock": hashes([workspace.root / "dvc.lock"], workspace.root).get("dvc.lock"),
        "data": {
            name: {
                "volumes": len(domain["volumes"]),
                "subjects": len({volume["subject"] for volume in domain["volumes"]}),
                "quarantined": domain["quarantined"],
                "fingerprint": digest(sorted(volume["content"] for volume in domain["volumes"])),
            }
            for name, domain in data.items()
        },
        "environment": environment(),
        "hardware": {"publisher": hardware(), "training": _training(workspace.store, plan, study)},
        "reproduce": shlex.join(
            [
                "mixlang",
                "run",
                f"specs/{study.item}.yaml",
                *(word for text in loaded.overrides for word in ("--set", text)),
            ]
        ),
    }


def _training(store: Path, plan: Plan, study: Study) -> dict[str, Any]:
    """Devices and times of the runs, from the store; runs known only from committed tables are counted apart."""
    verification = read(study.build, "verification.json")["runs"]
    keys = [*(run.key for run in plan.runs), *{row["key"] for row in verification}]
    results = [result for key in keys if (result := RunStore(store).result(key)) is not None]
    return {
        "runs": len(keys),
        "runs_recorded_here": len(results),
        "devices": sorted({result["device"] for result in results}),
        "torch": sorted({result["torch"] for result in results}),
        "seconds": round(sum(sum(result["seconds"].values()) for result in results), 1),
    }
