"""Shared fixtures: real workspaces, a spec small enough to train in a test, and the pack of real volumes."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from filelock import FileLock

ROOT = Path(__file__).parent.parent

for _name in ("MIXLANG_DATA_ROOT", "MIXLANG_STORE", "MIXLANG_JOBS", "MIXLANG_PARENT", "MIXLANG_OUTCOME"):
    os.environ.pop(_name, None)  # a user's own settings must not reach the tests

SMALL_SPEC = """\
mixlang: 1
name: small
domains:
  ct:  {modality: ct,  source: {phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}}
  mri: {modality: mri, source: {phantom: {count: 8, seed: 2, shape: [24, 24, 24]}}}
data: {validation_crops: 1}
volume: {spacing: [1, 1, 1], crop: [16, 16, 16]}
model: {arch: vit_micro, patch: 4, width: 48, depth: 2, decoder_width: 24}
train: {batch_size: 8, learning_rate: 5e-3, warmup_steps: 5}
budgets: {probe: [320, 480, 640, 960], holdout: [1280], target: 2000, seeds: 1}
design: {mixtures: {count: 2, budgets: [480]}}
constraints: {repetition: 400}
verify: {baselines: [proportional], seeds: 2}
"""


STUDY_SPEC = SMALL_SPEC + "objective: {decide: best_guess}\n"
"""The same decided by the fitted laws alone: so few runs would have proportional sampling taken, which is trained anyway."""

_LONG = ("guides", "runs", "stops", "published", "pipeline", "downstream_stage", "resume", "page", "prepare")
"""Files that train, the longest first: begun last, one of them would run alone at the end."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; their tests stay in order. Leave out, aloud, what takes minutes by itself."""
    rank = {f"test_{name}.py": place for place, name in enumerate(_LONG)}
    items.sort(key=lambda item: rank.get(item.path.name, len(rank)))
    if not os.environ.get("MIXLANG_TEST_LONG"):
        for item in items:
            if item.get_closest_marker("long"):
                item.add_marker(pytest.mark.skip(reason="SKIPPED FOR TIME: takes minutes; 'make test-long' runs it"))


def mixlang(*arguments: str, cwd: Path, env: dict[str, str] | None = None, check: bool = True, timeout: float = 300):
    """Run the command line as a user does; returns the finished process."""
    done = subprocess.run(
        [sys.executable, "-m", "mixlang.cli", *arguments],
        cwd=cwd,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    assert "Traceback" not in done.stderr, done.stderr
    return done


def dvc(*arguments: str, cwd: Path, check: bool = True):
    """Run DVC as a user does, with this Python's scripts on the path."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    done = subprocess.run(
        [sys.executable, "-m", "dvc", *arguments],
        cwd=cwd,
        env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if check:
        assert done.returncode == 0, done.stdout + done.stderr
    return done


@pytest.fixture
def workspace(tmp_path: Path) -> Path:
    """A fresh workspace with the small spec at specs/small.yaml."""
    root = tmp_path / "a workspace"  # with a space in its name, as users have them
    mixlang("init", str(root), cwd=tmp_path)
    (root / "specs" / "small.yaml").write_text(STUDY_SPEC)
    return root


@pytest.fixture(scope="session")
def study(tmp_path_factory):
    """The small spec's plan with its volumes prepared: (plan, its path, store)."""
    from mixlang.files import write_json
    from mixlang.plan.build import Plan, compile_plan
    from mixlang.spec import load_spec
    from mixlang.spec.locations import Locations
    from runners.data.scan import scan
    from runners.data.volumes import prepare

    root = tmp_path_factory.mktemp("study")
    (root / "spec.yaml").write_text(SMALL_SPEC)
    spec = load_spec(root / "spec.yaml").spec
    store = root / "store"
    plan = compile_plan(spec, scan(spec, Locations(root, {}), store, 1)).plan
    prepare(plan.volumes, store, Locations(root, {}), 2)
    write_json(root / "plan.json", plan.as_dict())
    return Plan.read(root / "plan.json"), root / "plan.json", store


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A workspace in which the small spec has been run and committed; tests that change something copy it.

    The first process of pytest to ask makes it; each has a copy of its own.
    """
    shared = tmp_path_factory.getbasetemp()
    if os.environ.get("PYTEST_XDIST_WORKER"):
        shared = shared.parent
    made, mine = shared / "made", tmp_path_factory.mktemp("finished")
    with FileLock(shared / "made.lock"):
        if not (made / "said").exists():
            made.mkdir()
            root = made / "ws"
            mixlang("init", str(root), cwd=made)
            (root / "specs" / "small.yaml").write_text(STUDY_SPEC)
            done = mixlang("run", "specs/small.yaml", cwd=root)
            for command in (["add", "-A"], ["-c", "user.name=t", "-c", "user.email=t@t", "commit", "-qm", "a study"]):
                subprocess.run(["git", *command], cwd=root, check=True)
            (made / "said").write_text(done.stdout)
    shutil.copytree(made, mine, symlinks=True, dirs_exist_ok=True)
    return mine / "ws"


@pytest.fixture
def copied(finished, tmp_path):
    """A copy of the finished workspace, run store included."""
    root = tmp_path / "a copy"
    shutil.copytree(finished, root, symlinks=True)
    for name, value in (("user.name", "t"), ("user.email", "t@t")):
        subprocess.run(["git", "config", name, value], cwd=root, check=True)
    return root


@pytest.fixture(scope="session")
def realpack() -> Path:
    """The pack of real volumes; tests that need it skip, saying so, where it is absent."""
    path = Path(os.environ.get("MIXLANG_REALPACK") or ROOT.parent / "shared" / "data" / "realpack")
    if not (path / "manifest.csv").is_file():
        pytest.skip(f"SKIPPED FOR LACK OF DATA: no pack of real volumes at {path}; set MIXLANG_REALPACK")
    return path
