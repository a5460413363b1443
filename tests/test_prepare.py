"""Preparation when things go wrong: kills, signals, bad files, full disks. Nothing finished is lost or half-written."""

import contextlib
import hashlib
import os
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import nibabel
import numpy as np
import psutil
import pytest
from conftest import ROOT

from mixlang.errors import InputError, StageError, WriteError
from mixlang.files import file_digest
from mixlang.spec.locations import Locations
from runners.data.volumes import prepare, volume_path
from runners.data.workers import WorkerDied, each

SETTINGS = {"modality": "ct", "unit": "hu", "clip": [-1000.0, 1000.0], "spacing": [1.0, 1.0, 1.0], "crop": [8, 8, 8]}


def entries(folder, count, edge=40):
    """Files of `count` volumes of about `edge`^3 voxels, as a plan names them."""
    folder.mkdir(exist_ok=True)
    table = {}
    for index in range(count):
        path = folder / f"{index}.nii.gz"
        if not path.exists():
            image = np.random.default_rng(index).normal(0, 300, (edge, edge, edge)).astype(np.int16)
            nibabel.save(nibabel.Nifti1Image(image, np.diag([1.3, 1.3, 1.3, 1])), path)
        key = hashlib.sha256(str(index).encode()).hexdigest()
        table[key] = {
            "path": str(path),
            "content": file_digest(path),
            "factor": 1.0,
            "preprocessing": SETTINGS,
        }
    return table


def started(folder, count, workers=2):
    """`prepare` of those volumes in a process of its own, which says so when it is done."""
    code = f"""
import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from pathlib import Path
from test_prepare import entries, fill
fill(Path({str(folder)!r}), {count}, {workers})
"""
    script = folder / "go.py"
    script.write_text(f"if __name__ == '__main__':\n    {code.strip().replace(chr(10), chr(10) + '    ')}\n")
    return subprocess.Popen(
        [sys.executable, str(script)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def fill(folder, count, workers):
    from mixlang.errors import MixlangError

    try:
        table = prepare(entries(folder / "data", count), folder / "store", Locations(folder, {}), workers)
    except MixlangError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_code)
    print(len(table))


def volumes(folder):
    return sorted((folder / "store").glob("volumes/*/*.npy"))


def at_work(processes):
    """Those of them that still run; a zombie only waits to be counted."""
    found = []
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def wait_until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it took too long"
        time.sleep(0.01)


def test_killed_at_any_moment_nothing_half_written_is_taken_for_a_volume(tmp_path):
    count = 24
    table = entries(tmp_path / "data", count)
    reference = tmp_path / "reference"
    prepare(table, reference, Locations(tmp_path, {}), 2)
    contents = {path.name: path.read_bytes() for path in reference.glob("volumes/*/*.npy")}
    random = np.random.default_rng(0)
    for _ in range(4):
        run = started(tmp_path, count)
        before = len(volumes(tmp_path))
        wait_until(lambda run=run, before=before: len(volumes(tmp_path)) > before or run.poll() is not None)
        time.sleep(random.uniform(0, 0.15))
        with contextlib.suppress(psutil.NoSuchProcess):
            for process in [psutil.Process(run.pid), *psutil.Process(run.pid).children(recursive=True)]:
                process.kill()
        run.communicate()
        for path in volumes(tmp_path):
            assert path.read_bytes() == contents[path.name]
    run = started(tmp_path, count)
    assert run.communicate(timeout=60)[0].strip() == str(count)
    assert {path.name: path.read_bytes() for path in volumes(tmp_path)} == contents


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_stops_it_tidily_and_it_goes_on_from_there(tmp_path, number):
    entries(tmp_path / "data", 60)
    run = started(tmp_path, 60)
    wait_until(lambda: len(volumes(tmp_path)) >= 2)
    workers = psutil.Process(run.pid).children(recursive=True)
    assert len(workers) >= 2
    begun = time.monotonic()
    run.send_signal(number)
    _, said = run.communicate(timeout=30)
    assert run.returncode == 130
    assert "what had finished is kept" in said
    assert time.monotonic() - begun < 10
    wait_until(lambda: not at_work(workers), 10)  # the last is Python's own, which ends when it sees the others gone
    assert not list((tmp_path / "store").glob("volumes/*/.*"))
    done = [path for path in volumes(tmp_path) if path.with_suffix(".json").exists()]
    kept = {path: path.stat().st_mtime_ns for path in done}
    assert kept
    run = started(tmp_path, 60)
    assert run.communicate(timeout=60)[0].strip() == "60"
    assert all(path.stat().st_mtime_ns == when for path, when in kept.items())


def test_workers_end_when_their_parent_is_killed(tmp_path):
    entries(tmp_path / "data", 60)
    run = started(tmp_path, 60)
    wait_until(lambda: len(volumes(tmp_path)) >= 1)
    workers = psutil.Process(run.pid).children(recursive=True)
    run.kill()
    run.communicate()
    wait_until(lambda: not at_work(workers), 20)


def test_one_bad_file_does_not_lose_the_others_work(tmp_path):
    table = entries(tmp_path / "data", 6)
    keys = list(table)
    four_d = tmp_path / "data" / "4d.nii.gz"
    nibabel.save(nibabel.Nifti1Image(np.zeros((4, 4, 4, 2), np.float32), np.eye(4)), four_d)
    table[keys[0]] = {**table[keys[0]], "path": str(four_d), "content": file_digest(four_d)}
    Path(table[keys[1]]["path"]).unlink()
    with pytest.raises(StageError) as failed:
        prepare({key: table[key] for key in keys if key != keys[1]}, tmp_path / "store", Locations(tmp_path, {}), 2)
    assert "4d.nii.gz cannot be preprocessed: 4D, shape 4x4x4x2" in str(failed.value)
    assert "what had finished is kept" in failed.value.hint
    assert len(volumes(tmp_path)) == 4
    with pytest.raises(InputError, match="is not there any more"):
        prepare({key: table[key] for key in keys[1:]}, tmp_path / "store", Locations(tmp_path, {}), 2)


def test_a_full_disk_says_what_is_needed_and_keeps_what_is_done(tmp_path):
    """A limit on the size of a file stands for the full disk: both refuse a write with an error of the system."""
    small, large = entries(tmp_path / "small", 3, 20), entries(tmp_path / "large", 5, 60)
    table = small | dict(list(large.items())[3:])
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, limits[1]))
    try:
        with pytest.raises(WriteError, match=r"could not write .*: File too large; the 2 volumes still to prepare"):
            prepare(table, tmp_path / "store", Locations(tmp_path, {}), 1)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert len(volumes(tmp_path)) == 3
    assert not list((tmp_path / "store").glob("volumes/*/.*"))
    seen = []
    prepare(table, tmp_path / "store", Locations(tmp_path, {}), 1, lambda done, total: seen.append(total))
    assert seen == [2, 2]


def test_a_volume_that_was_cut_short_is_made_again(tmp_path):
    table = entries(tmp_path / "data", 2)
    prepare(table, tmp_path / "store", Locations(tmp_path, {}), 1)
    path = volume_path(tmp_path / "store", next(iter(table)))
    whole = path.read_bytes()
    path.write_bytes(whole[:-1000])
    prepare(table, tmp_path / "store", Locations(tmp_path, {}), 1)
    assert path.read_bytes() == whole


def test_what_a_killed_preparation_left_is_cleared_once_it_is_old(tmp_path):
    table = entries(tmp_path / "data", 1)
    folder = volume_path(tmp_path / "store", next(iter(table))).parent
    folder.mkdir(parents=True)
    old, new = folder / ".old.npy.x.tmp", folder / ".new.npy.x.tmp"
    for path in (old, new):
        path.touch()
    os.utime(old, (time.time() - 4000,) * 2)
    prepare(table, tmp_path / "store", Locations(tmp_path, {}), 1)
    assert not old.exists()
    assert new.exists()


# The workers themselves


def kill_me_at_three(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 4:
        raise KeyError("four")
    return number * number


def test_a_worker_that_dies_fails_its_own_job_alone():
    results = dict(each(kill_me_at_three, [(number,) for number in range(7)], [0] * 7, 2))
    assert [results[number] for number in (0, 1, 2, 5, 6)] == [0, 1, 4, 25, 36]
    assert isinstance(results[3], WorkerDied)
    assert str(results[3]) == "its process was killed by SIGKILL (out of memory?)"
    assert isinstance(results[4], KeyError)


def alone(folder):
    """Fails when another call is at work."""
    marker = Path(folder) / "busy"
    marker.open("x").close()
    time.sleep(0.05)
    marker.unlink()


def meet(folder, me, other):
    """Succeeds only when another call is at work at the same time."""
    (Path(folder) / me).touch()
    wait_until((Path(folder) / other).exists, 30)


def test_only_as_many_jobs_are_at_work_as_memory_holds(tmp_path):
    too_much = psutil.virtual_memory().total
    jobs = [(str(tmp_path),)] * 6
    assert all(result is None for _, result in each(alone, jobs, [too_much] * 6, 3))
    jobs = [(str(tmp_path), "a", "b"), (str(tmp_path), "b", "a")]
    assert all(result is None for _, result in each(meet, jobs, [1000] * 2, 2))


def test_a_caller_that_stops_early_leaves_no_process():
    before = set(psutil.Process().children(recursive=True))
    with contextlib.closing(each(kill_me_at_three, [(number,) for number in range(3)], [0] * 3, 2)) as results:
        next(results)
    left = at_work(set(psutil.Process().children(recursive=True)) - before)
    assert not [child for child in left if "resource_tracker" not in " ".join(child.cmdline())]


def test_a_volume_that_somebody_touched_is_compared_and_prepared_again_if_it_differs(tmp_path):
    import os

    from mixlang.spec.locations import Locations
    from runners.data.volumes import prepare, volume_path

    recipe = {"shape": [20, 20, 20], "spacing": [1.0, 1.0, 1.0], "seed": 1, "index": 0, "anatomy": "trunk"}
    from runners.data.phantom import Recipe

    content = Recipe("ct", (20, 20, 20), (1.0, 1.0, 1.0), 1, 0).content
    settings = {"modality": "ct", "unit": "hu", "clip": [-1000.0, 1000.0], "spacing": [1.0] * 3, "crop": [16] * 3}
    entry = {"domain": "ct", "path": "phantom/ct/0", "content": content, "factor": 1.0, "preprocessing": settings}
    entry["phantom"] = recipe
    key = "cd" * 32

    def again():
        return prepare({key: entry}, tmp_path, Locations(tmp_path, {}), 1)

    facts = again()
    path = volume_path(tmp_path, key)
    whole = path.read_bytes()
    assert set(facts[key]) == {"shape", "real", "mean", "deviation", "histogram"}
    for damaged in (whole[:-100], whole[:-1] + bytes([whole[-1] ^ 128]), whole + b"x", b""):
        path.write_bytes(damaged)
        assert again() == facts
        assert path.read_bytes() == whole
    os.utime(path, ns=(1, 1))  # copied, not changed: kept as it is
    number = path.stat().st_ino
    assert again() == facts
    assert path.stat().st_ino == number
