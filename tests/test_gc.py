"""`mixlang gc`: what somebody asks for is never touched, and what nobody asks for can come back."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import pytest
from conftest import SMALL_SPEC, mixlang
from driving import edit, git, results

from mixlang.errors import InputError
from mixlang.study.askers import ask, notes
from mixlang.study.collect import discard, survey
from mixlang.study.workspace import Study, Workspace
from runners.execute.store import RunStore


def rows(root, name):
    return {row["key"] for row in json.loads((root / "build/small" / name).read_text())["runs"]}


def store_of(root):
    return RunStore(root / ".mixlang")


def finished_keys(store):
    return {path.parent.name for path in store.root.glob("runs/*/*/result.json")}


def gc(root, *arguments, env=None, code=0):
    done = mixlang("gc", *arguments, cwd=root, env=env, check=False)
    assert done.returncode == code, done.stdout + done.stderr
    return done


@pytest.fixture
def shared(copied, tmp_path):
    """Two workspaces over one store: the finished study in `a copy`, and another study in `b` whose plan alone is there."""
    store = tmp_path / "shared store"
    shutil.move(copied / ".mixlang", store)
    shutil.rmtree(store / "askers")
    env = {"MIXLANG_STORE": str(store)}
    mixlang("init", str(tmp_path / "b"), cwd=tmp_path)
    (tmp_path / "b/specs/small.yaml").write_text(SMALL_SPEC.replace("learning_rate: 5e-3", "learning_rate: 4e-3"))
    return copied, tmp_path / "b", RunStore(store), env


def test_a_study_of_another_workspace_is_kept(shared):
    ours, theirs, store, env = shared
    everything = finished_keys(store)
    assert len(everything) >= 14
    mixlang("run", "specs/small.yaml", cwd=ours, env=env)  # notes what it asks for; everything is there
    mixlang("compile", "specs/small.yaml", cwd=theirs, env=env)
    assert "nothing to move" in gc(theirs, "--yes", env=env).stderr
    assert finished_keys(store) == everything
    # What the other workspace no longer plans is offered, with who asked for it, and can come back.
    edit(ours, "learning_rate: 5e-3", "learning_rate: 3e-3")
    mixlang("compile", "specs/small.yaml", cwd=ours, env=env)
    said = gc(theirs, "--dry-run", env=env)
    published = {line.split(",")[0] for line in (ours / "registry/small/v1/losses.csv").read_text().splitlines()[1:]}
    assert set(said.stdout.split()).isdisjoint(published)  # the published version still asks
    mixlang("registry", "deprecate", "small@v1", cwd=ours, env=env)
    for name in ("runs.json", "verification.json"):
        (ours / "build/small" / name).unlink()
    said = gc(theirs, "--yes", env=env)
    assert set(said.stdout.split()) >= published
    assert f"once asked for by small of {ours}\n" in said.stderr
    assert finished_keys(store) == set()
    edit(ours, "learning_rate: 3e-3", "learning_rate: 5e-3")
    mixlang("run", "specs/small.yaml", cwd=ours, env=env)
    assert finished_keys(store) == everything
    assert all(store.result(key)["seconds"] for key in everything)


def test_a_workspace_that_is_not_seen_counts_as_asking_until_it_is_released(shared, tmp_path):
    ours, theirs, store, env = shared
    mixlang("compile", "specs/small.yaml", cwd=theirs, env=env)
    mixlang("run", "specs/small.yaml", cwd=ours, env=env)
    everything = finished_keys(store)
    ours.rename(tmp_path / "elsewhere")
    said = gc(theirs, "--yes", env=env)
    assert f"kept for {ours}, which is not seen from here" in said.stderr
    assert finished_keys(store) == everything
    # Another workspace in its place is not it.
    mixlang("init", str(ours), cwd=tmp_path)
    assert "nothing to move" in gc(theirs, "--yes", env=env).stderr
    assert finished_keys(store) == everything
    assert "asks for runs" in gc(theirs, "--release", "/no/such/place", env=env, code=1).stderr
    assert "is there" in gc(theirs, "--release", str(theirs), env=env, code=1).stderr
    assert set(gc(theirs, "--yes", "--release", str(ours), env=env).stdout.split()) >= everything
    assert finished_keys(store) == set()


def test_a_store_that_has_been_moved_keeps_its_runs_until_its_first_workspace_is_released(copied, tmp_path):
    (tmp_path / "big").mkdir()
    shutil.move(copied / ".mixlang", tmp_path / "big/store")
    env = {"MIXLANG_STORE": str(tmp_path / "big/store")}
    before = finished_keys(RunStore(tmp_path / "big/store"))
    edit(copied, "learning_rate: 5e-3", "learning_rate: 4e-3")
    mixlang("compile", "specs/small.yaml", cwd=copied, env=env)
    mixlang("registry", "deprecate", "small@v1", cwd=copied)
    for name in ("runs.json", "verification.json"):
        (copied / "build/small" / name).unlink()
    assert f"kept for {tmp_path / 'big'}" in gc(copied, "--yes", env=env).stderr
    assert finished_keys(RunStore(tmp_path / "big/store")) == before
    assert set(gc(copied, "--yes", "--release", str(tmp_path / "big"), env=env).stdout.split()) >= before


def test_runs_of_older_versions_are_kept_and_told(shared):
    ours, theirs, store, env = shared
    shutil.rmtree(store.root / "askers", ignore_errors=True)
    everything = finished_keys(store)
    mixlang("compile", "specs/small.yaml", cwd=theirs, env=env)
    said = gc(theirs, "--yes", env=env)
    assert said.stdout == ""
    assert "nobody is known to ask for them" in said.stderr
    assert finished_keys(store) == everything
    assert gc(ours, "--yes", "--unknown", env=env).stdout == ""  # in its own workspace its tables name them
    assert set(gc(theirs, "--yes", "--unknown", env=env).stdout.split()) >= everything


def test_nothing_is_touched_without_a_yes(copied):
    edit(copied, "learning_rate: 5e-3", "learning_rate: 4e-3")
    mixlang("registry", "deprecate", "small@v1", cwd=copied)
    mixlang("compile", "specs/small.yaml", cwd=copied)
    for name in ("runs.json", "verification.json"):
        (copied / "build/small" / name).unlink()
    before = results(copied)
    said = gc(copied, code=2)
    assert "--yes" in said.stderr
    assert said.stdout == ""
    listed = gc(copied, "--dry-run")
    assert set(listed.stdout.split()) >= set(before)
    assert f"{len(listed.stdout.split())}" in said.stderr
    assert "of training" in said.stderr
    assert results(copied) == before
    gc(copied, "--yes")
    assert results(copied) == {}
    store = store_of(copied)
    assert set(store.trashed()) == set(listed.stdout.split())
    gc(copied, "--empty-trash", code=2)
    assert store.trashed()
    gc(copied, "--empty-trash", "--yes")
    assert store.trashed() == []
    assert "the trash is empty" in gc(copied, "--empty-trash", "--yes").stderr


def test_a_damaged_table_keeps_what_its_study_asked_for(copied):
    before = results(copied)
    for name in ("plan.json", "runs.json"):
        (copied / "build/small" / name).write_text("<<<<<<< HEAD\n")
    said = gc(copied, "--yes")
    assert "plan.json cannot be read, or" in said.stderr
    assert results(copied) == before
    (next((copied / ".mixlang/askers").glob("*.json"))).write_text("{")
    assert "askers" in gc(copied, "--yes", code=1).stderr
    assert results(copied) == before


def test_runs_of_an_interrupted_verify_are_kept(copied):
    """A verify that is really interrupted: after its first held-out run, by Ctrl-C."""
    store, held = store_of(copied), rows(copied, "verification.json")
    probes = rows(copied, "plan.json")
    (copied / "build/small/verification.json").unlink()
    shutil.rmtree(copied / "registry/small")
    for note in notes(store):
        if note.part != "probe":
            note.path.unlink()
    for key in held - probes:
        store.forget(key)
    run = subprocess.Popen(
        [sys.executable, "-m", "mixlang.cli", "run", "specs/small.yaml", "--jobs", "1"],
        cwd=copied,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    deadline = time.monotonic() + 120
    while not (held - probes) & finished_keys(store):
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(run.pid, signal.SIGINT)
    assert run.wait(40) == 130, run.stderr.read()
    run.stderr.close()
    assert not (copied / "build/small/verification.json").exists()
    assert {note.part for note in notes(store)} == {"probe", "verify"}
    mixlang("compile", "specs/small.yaml", cwd=copied)  # which knows nothing of the verification
    done = finished_keys(store)
    assert "nothing to move" in gc(copied, "--yes").stderr
    assert finished_keys(store) == done
    # Seen from elsewhere, by its note alone.
    (note,) = [note for note in notes(store) if note.part == "verify"]
    assert note.keys == held


def test_a_live_lease_is_left_alone(copied):
    """A process that trains a run nobody asks for, as a worker of an earlier plan does."""
    code = (
        "import sys, time\nfrom pathlib import Path\nfrom runners.execute.store import RunStore\n"
        f"store = RunStore(Path({str(copied / '.mixlang')!r}))\nlease = store.claim('ab' * 32)\n"
        "(store.folder('ab' * 32) / 'checkpoint-000000001.safetensors').write_bytes(b'x')\n"
        "print('held', flush=True)\nsys.stdin.readline()\n"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as holder:
        assert holder.stdout.readline() == "held\n"
        said = gc(copied, "--yes", "--unknown")
        assert said.stdout == ""
        assert "being trained" in said.stderr
        assert (store_of(copied).folder("ab" * 32) / "checkpoint-000000001.safetensors").exists()
        holder.kill()
    assert gc(copied, "--yes", "--unknown").stdout.split() == ["ab" * 32]


# Two at once, in one process: the order of events is what matters


@pytest.fixture
def one(tmp_path):
    """A workspace with a finished run that nobody asks for any more."""
    mixlang("init", str(tmp_path / "ws"), cwd=tmp_path)
    workspace = Workspace((tmp_path / "ws").resolve())
    store, key = RunStore(workspace.store), "cd" * 32
    study = Study(workspace.root, "small")
    ask(workspace, study, "probe", [key])
    store.folder(key).mkdir(parents=True)
    store.finish(key, {"seconds": {"train": 3.0}})
    (store.folder(key) / "model.safetensors").write_bytes(b"weights")
    assert set(survey(workspace).former) == {key}
    return workspace, study, store, key


def plan_it(study, key):
    study.build.mkdir(parents=True, exist_ok=True)
    study.file("plan.json").write_text(json.dumps({"runs": [{"key": key}]}))


def test_a_run_asked_for_after_gc_looked_comes_back(one):
    workspace, study, store, key = one
    plan_it(study, key)  # a sweep has begun since
    assert discard(workspace, [key]) == []
    assert (store.folder(key) / "model.safetensors").read_bytes() == b"weights"
    assert store.trashed() == []


def test_a_sweep_that_begins_after_the_move_gets_the_run_back(one):
    workspace, study, store, key = one
    assert discard(workspace, [key]) == [key]
    assert store.keys() == []
    assert store.result(key)["seconds"] == {"train": 3.0}  # even before it is asked for: nothing is trained again
    ask(workspace, study, "probe", [key])
    assert (store.folder(key) / "model.safetensors").read_bytes() == b"weights"
    assert not list(store.folder(key).glob("lease.*"))


def test_what_has_been_trained_anew_is_not_overwritten(one):
    workspace, study, store, key = one
    assert discard(workspace, [key]) == [key]
    store.folder(key).mkdir(parents=True)
    (store.folder(key) / "log.txt").write_text("again")
    ask(workspace, study, "probe", [key])
    assert (store.folder(key) / "log.txt").read_text() == "again"
    assert (store.folder(key) / "model.safetensors").read_bytes() == b"weights"
    assert store.trashed() == []


def test_two_gc_at_once_move_a_run_once(one):
    workspace, _, store, key = one
    lease = store.claim(key)  # the other one is just moving it
    assert discard(workspace, [key]) == []
    assert store.result(key) is not None
    lease.release()
    assert [discard(workspace, [key]), discard(workspace, [key])] == [[key], []]
    assert store.trashed() == [key]
    assert store.keys() == []


def test_a_store_behind_a_link_is_nobodys_own(tmp_path):
    """Two workspaces whose .mixlang is a link to one folder: each is named by its path."""
    (tmp_path / "big").mkdir()
    for name in ("a", "b"):
        mixlang("init", str(tmp_path / name), cwd=tmp_path)
        (tmp_path / name / ".mixlang").symlink_to(tmp_path / "big")
        workspace = Workspace((tmp_path / name).resolve())
        ask(workspace, Study(workspace.root, "small"), "probe", [name * 64])
    found = {note.workspace: note.keys for note in notes(RunStore(tmp_path / "big"))}
    assert found == {str(tmp_path / name): {name * 64} for name in ("a", "b")}


def test_a_note_of_a_later_version_is_not_taken_for_none(one):
    workspace, _, store, _ = one
    (note,) = notes(store)
    note.path.write_text(note.path.read_text().replace('"version": 1', '"version": 2'))
    with pytest.raises(InputError, match="cannot be read"):
        survey(workspace)


def test_git_does_not_see_what_names_a_workspace(shared):
    ours, _, _, env = shared
    mixlang("compile", "specs/small.yaml", cwd=ours, env=env)
    assert git("status", "--porcelain", cwd=ours) == ""


def test_volumes_that_no_plan_names_are_deleted_and_made_again(copied):
    volumes = sorted((copied / ".mixlang").glob("volumes/*/*.npy"))
    before = {path: path.read_bytes() for path in volumes}
    edit(copied, "spacing: [1, 1, 1]", "spacing: [2, 2, 2]")
    mixlang("compile", "specs/small.yaml", cwd=copied)
    asked = mixlang("gc", "--dry-run", cwd=copied)
    assert f"no plan names {len(volumes)} prepared volumes" in asked.stderr
    assert sorted((copied / ".mixlang").glob("volumes/*/*.npy")) == volumes
    done = mixlang("gc", "--yes", cwd=copied)
    assert f"{len(volumes)} prepared volumes" in done.stderr
    assert "(0 B)" not in done.stderr
    assert not list((copied / ".mixlang").glob("volumes/*/*.npy"))
    edit(copied, "spacing: [2, 2, 2]", "spacing: [1, 1, 1]")
    mixlang("run", "specs/small.yaml", cwd=copied)  # nothing is to be trained, so none is needed
    mixlang("stage", "prepare", "small", cwd=copied)
    assert {path: path.read_bytes() for path in sorted((copied / ".mixlang").glob("volumes/*/*.npy"))} == before
    assert "nothing to move" in mixlang("gc", "--yes", cwd=copied).stderr


def test_volumes_are_kept_while_a_workspace_is_not_seen(copied):
    store = RunStore((copied / ".mixlang").resolve())
    note = {"version": 1, "workspace": "/away", "identity": "x", "host": "other", "study": "s", "part": "probe"}
    (store.root / "askers" / "away.json").write_text(json.dumps({**note, "keys": ["ab" * 32], "former": []}))
    edit(copied, "spacing: [1, 1, 1]", "spacing: [2, 2, 2]")
    mixlang("compile", "specs/small.yaml", cwd=copied)
    assert "prepared volumes" not in mixlang("gc", "--dry-run", cwd=copied).stderr
