"""Disks that are full, as real file systems of a few MiB: one clear message, nothing finished is lost, and it goes on."""

import contextlib
import errno
import json
import os
import re
import shutil
import subprocess
import threading
import time

import nibabel
import numpy as np
import pytest
from conftest import mixlang
from driving import fresh, results, sweep

from mixlang.errors import DiskFull, InputError, StageError, crash, disk_full, is_full
from mixlang.files import free_bytes, takes_nothing, write_json
from mixlang.plan.cost import checkpoint_bytes
from mixlang.plan.evaluations import evaluations_of
from mixlang.spec.schema import Launch
from mixlang.study import estimate
from runners.downstream import stage as downstream
from runners.execute import faults
from runners.execute.batch import Batch
from runners.execute.launch import ForkLauncher


@pytest.fixture
def disk(tmp_path):
    """Mounts a file system of so many KiB; skips, saying so, where that is not permitted."""
    mounted = []

    def mount(kib):
        place = tmp_path / f"disk {len(mounted)}"
        place.mkdir()
        command = ["mount", "-t", "tmpfs", "-o", f"size={kib}k", "tmpfs", str(place)]
        if os.geteuid() != 0 or subprocess.run(command, capture_output=True, check=False).returncode:
            pytest.skip("SKIPPED FOR LACK OF PERMISSION: mounting a small file system takes root")
        mounted.append(place)
        return place

    yield mount
    for place in mounted:
        subprocess.run(["umount", "-l", str(place)], check=True)


def fill(place):
    """Leave no space; returns the file that takes it."""
    filler = place / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while file.write(bytes(4096)):
            pass
    assert takes_nothing(place)
    return filler


# Telling


def test_what_says_that_a_disk_is_full():
    for error in (
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.EDQUOT, "Disk quota exceeded"),
        disk_full("x"),
        RuntimeError("I/O error: No space left on device (os error 28)"),
        StageError("database or disk is full"),
    ):
        assert is_full(error)
        assert faults.cause_of(error) == "machine"
    for error in (OSError(errno.EACCES, "Permission denied"), StageError("nan"), None):
        assert not is_full(error)
    caused = StageError("outer")
    caused.__cause__ = OSError(errno.ENOSPC, "No space left on device")
    assert is_full(caused)


def test_a_full_disk_is_never_called_a_defect():
    failed = crash(OSError(errno.ENOSPC, "No space left on device", "/data/x"), "stage sweep of a")
    assert isinstance(failed, DiskFull)
    assert "/data/x" in str(failed)
    assert "defect" not in f"{failed} {failed.hint}"
    assert "defect" in crash(ValueError("x"), "this").hint


def test_what_is_free_is_what_the_disk_says(disk, tmp_path, monkeypatch):
    place = disk(512)
    assert free_bytes(place / "not" / "there") == 512 * 1024
    assert not takes_nothing(place)
    filler = fill(place)
    assert free_bytes(place) == 0
    assert takes_nothing(place)
    with pytest.raises(DiskFull, match="No space left on device"):
        write_json(place / "x.json", {})
    assert sorted(path.name for path in place.iterdir()) == ["filler"]
    filler.unlink()
    write_json(place / "x.json", {})
    silent = os.statvfs_result((4096, 4096, 0, 0, 0, 0, 0, 0, 0, 255))
    monkeypatch.setattr(os, "statvfs", lambda path: silent)
    assert free_bytes(tmp_path) is None
    estimate.require_room(tmp_path, 10**15, 10**15, 1)  # a disk that does not say is believed


# A sweep


def store_on(disk, study, kib):
    place = disk(kib)
    return fresh(study, place)


@pytest.mark.parametrize("start", ["fork", pytest.param("accelerate", marks=pytest.mark.long)])
def test_the_first_full_disk_stops_a_sweep_which_goes_on_once_there_is_space(study, disk, monkeypatch, capsys, start):
    """The third run finds no room for its weights; the fourth is never started."""
    from runners.execute.launch import AccelerateLauncher

    plan, store = study[0], store_on(disk, study, 4096)
    runs = sorted(plan.runs, key=lambda run: -run.budget)[:5]
    kind = ForkLauncher if start == "fork" else AccelerateLauncher
    started, filler, begin = [], [], kind.start

    def and_fill(self, run, *arguments):
        started.append(run.key)
        begun = begin(self, run, *arguments)
        if len(started) == 3:
            filler.append(fill(store.root))
        return begun

    monkeypatch.setattr(kind, "start", and_fill)
    options = {"start": start, "max_parallel": 1, "ladder": "independent"}
    with pytest.raises(DiskFull) as caught:
        sweep(study, store, runs, **options).execute()
    said = f"{caught.value} {caught.value.hint}"
    assert f"the disk of the store {store.root} is full" in said
    assert "2 of 5 runs are finished and kept, no others are started" in said
    assert "Free some space, then run the same command again" in said
    assert len(started) == 3
    assert [run.key for run in runs if store.result(run.key)] == started[:2]
    assert not any(store.held(run.key) for run in runs)
    assert "Traceback" not in capsys.readouterr().err
    times = {key: (store.folder(key) / "result.json").stat().st_mtime_ns for key in started[:2]}
    filler[0].unlink()
    assert len(sweep(study, store, runs, **options).execute()) == 5
    assert {key: (store.folder(key) / "result.json").stat().st_mtime_ns for key in times} == times
    assert started[3:] == [run.key for run in runs[2:]]


def test_a_disk_that_fills_up_while_runs_are_measured_loses_none_of_them(study, disk):
    plan, store = study[0], store_on(disk, study, 4096)
    runs = sorted(plan.runs, key=lambda run: run.budget)[:3]
    expected = sweep(study, store, runs).execute()
    for run in runs:
        shutil.rmtree(store.folder(run.key) / "evaluations")
    before = {run.key: store.weights(run.key).read_bytes() for run in runs}
    filler = fill(store.root)

    def measuring():
        return Batch(plan, study[1], runs, store, Launch(), "evaluate", evaluations=evaluations_of(plan))

    with pytest.raises(DiskFull):
        measuring().execute()
    filler.unlink()
    assert measuring().execute() == expected
    assert {run.key: store.weights(run.key).read_bytes() for run in runs} == before


def test_a_lease_that_cannot_be_written_is_not_left_behind(study, disk):
    store = store_on(disk, study, 64)
    fill(store.root)
    with pytest.raises(DiskFull, match="could not write"):
        store.claim("ab" * 32)
    assert not list(store.root.glob("runs/*/*/lease.*"))


def test_a_sweep_without_room_for_its_weights_is_refused_before_it_begins(study, disk):
    store = store_on(disk, study, 512)
    job = sweep(study, store, study[0].runs)
    need = checkpoint_bytes(study[0].training, len(study[0].runs))
    assert need > 512 * 1024
    with pytest.raises(InputError, match=r"has 524 kB free, and the study still needs about .* \(weights of 10 runs"):
        job.execute()
    assert store.keys() == []


def test_runs_are_started_only_while_those_under_way_can_be_kept(study, disk, monkeypatch):
    """Somebody else takes most of the disk after the sweep has begun: what fits is finished, then it stops."""
    plan, store = study[0], store_on(disk, study, 8192)
    runs = plan.runs[:6]
    each = checkpoint_bytes(plan.training, 1)
    started, begin = [], ForkLauncher.start

    def and_take(self, run, *arguments):
        if not started:
            with (store.root / "filler").open("wb") as file:
                file.truncate(0)
                os.posix_fallocate(file.fileno(), 0, free_bytes(store.root) - 3 * (each + 64 * 1024))
        started.append(run.key)
        return begin(self, run, *arguments)

    monkeypatch.setattr(ForkLauncher, "start", and_take)
    with pytest.raises(DiskFull, match="has no room for another run's weights"):
        sweep(study, store, runs, max_parallel=1, ladder="independent").execute()
    done = [run.key for run in runs if store.result(run.key)]
    assert 2 <= len(done) < 6
    assert done == [key for key in (run.key for run in runs) if key in started]  # none was trained and lost
    (store.root / "filler").unlink()
    assert len(sweep(study, store, runs).execute()) == 6


# The commands


def said(done, code):
    """What a command that ended on a full disk has said: one error, which is no defect."""
    assert done.returncode == code, done.stdout + done.stderr
    assert "defect" not in done.stderr
    assert len(re.findall(r"^error", done.stderr, re.M)) == 1, done.stderr
    return done.stderr


def test_run_compares_the_disk_with_the_plan_and_goes_on_when_one_has_filled_up(copied, finished, disk):
    small, store = disk(300), disk(16 * 1024)
    for name in ("runs.json", "volumes.json", "statistics.json"):
        (copied / "build" / "small" / name).unlink()
    done = mixlang("run", "specs/small.yaml", cwd=copied, env={"MIXLANG_STORE": str(small)}, check=False)
    message = said(done, 1)
    assert re.search(r"[0-9.]+ kB free, and the study still needs about", message)
    assert "prepared volumes at most" in message
    assert "MIXLANG_STORE" in message
    assert not (small / "runs").exists()
    assert not (small / "volumes").exists()

    def fill_after_two():
        while len(list(store.glob("runs/*/*/result.json"))) < 2:
            time.sleep(0.01)
        fill(store)

    filling = threading.Thread(target=fill_after_two, daemon=True)
    filling.start()
    env = {"MIXLANG_STORE": str(store), "MIXLANG_JOBS": "1"}
    done = mixlang("run", "specs/small.yaml", cwd=copied, env=env, check=False)
    filling.join()
    message = said(done, 3)
    assert "runs are finished and kept, no others are started" in message
    kept = {path: path.stat().st_mtime_ns for path in store.glob("runs/*/*/result.json")}
    assert 2 <= len(kept) < 10
    (store / "filler").unlink()
    mixlang("run", "specs/small.yaml", cwd=copied, env=env)
    assert {path: path.stat().st_mtime_ns for path in kept} == kept
    assert (copied / "build/small/runs.json").read_bytes() == (finished / "build/small/runs.json").read_bytes()


def test_a_worker_stops_at_a_full_disk_too(copied, disk):
    store = disk(16 * 1024)
    (copied / "build" / "small" / "runs.json").unlink()
    env = {"MIXLANG_STORE": str(store)}
    mixlang("stage", "prepare", "small", cwd=copied, env=env)
    fill(store)
    done = mixlang("worker", "build/small/plan.json", cwd=copied, env=env, check=False)
    assert "No space left on device" in said(done, 3)  # at the note of what it asks for, its first write
    (store / "filler").unlink()
    mixlang("worker", "build/small/plan.json", "--shard", "0/5", cwd=copied, env=env)
    assert list(store.glob("runs/*/*/result.json"))


def test_preparing_stops_at_a_full_disk_and_goes_on(copied, disk):
    store = disk(16 * 1024)
    env = {"MIXLANG_STORE": str(store)}
    filler = fill(store)
    with filler.open("r+b") as file:
        file.truncate(filler.stat().st_size - 200 * 1024)
    message = said(mixlang("stage", "prepare", "small", cwd=copied, env=env, check=False), 3)
    assert "No space left on device" in message
    filler.unlink()
    mixlang("stage", "prepare", "small", cwd=copied, env=env)


def test_a_scan_whose_judgements_cannot_be_kept_says_so(workspace, disk):
    folder = workspace / "scans"
    folder.mkdir()
    generator = np.random.default_rng(1)
    for number in range(6):
        image = nibabel.Nifti1Image(generator.normal(100, 50, (24, 24, 24)).astype(np.float32), np.eye(4))
        nibabel.save(image, folder / f"sub-{number}_T1w.nii.gz")
    spec = workspace / "specs" / "small.yaml"
    text = spec.read_text().replace("{phantom: {count: 8, seed: 2, shape: [24, 24, 24]}}", "{nifti: 'scans/*.nii.gz'}")
    spec.write_text(text)
    store = disk(64)
    filler = fill(store)
    env = {"MIXLANG_STORE": str(store)}
    assert "No space left on device" in said(
        mixlang("plan", "specs/small.yaml", cwd=workspace, env=env, check=False), 3
    )
    filler.unlink()
    mixlang("plan", "specs/small.yaml", cwd=workspace, env=env)


def keep(key, job, store):
    """A fit that does nothing but keep what it found."""
    write_json(store / f"{key}.json", {"found": "x" * job["bytes"]})


def test_downstream_fits_stop_at_the_first_that_cannot_be_kept(disk, monkeypatch):
    store = disk(64)
    monkeypatch.setattr(downstream, "fit", keep)
    monkeypatch.setattr(downstream, "finished", lambda store, key: None)
    wanted = [
        downstream.Fit(str(number), "scratch", "probe", 1.0, number, 0, [], {"bytes": 20 * 1024}) for number in range(9)
    ]
    with pytest.raises(DiskFull, match="a disk is full after 2 of 9 fits"):
        downstream.execute(wanted, store, 1, "downstream a")
    assert len(list(store.glob("*.json"))) == 2


def test_a_full_workspace_is_said_by_what_writes_there(copied, disk):
    """The build folder on a disk of its own, the store elsewhere."""
    place = disk(1024)
    subprocess.run(["cp", "-r", str(copied / "build" / "small"), str(place)], check=True)
    subprocess.run(["rm", "-r", str(copied / "build" / "small")], check=True)
    (copied / "build" / "small").symlink_to(place / "small")
    fill(place)
    compiling = ["compile", "specs/small.yaml", "--set", "budgets.target=3000"]
    for command in (compiling, ["stage", "fit", "small"], ["stage", "report", "small"]):
        message = said(mixlang(*command, cwd=copied, check=False), 3)
        assert "could not write" in message
        assert "No space left on device" in message
    assert json.loads((copied / "build/small/fit.json").read_text())
    assert results(copied)
