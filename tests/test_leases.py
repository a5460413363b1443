"""Leases between containers: processes of one machine's name that do not see each other, in real PID namespaces."""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import mixlang
from driving import results

from mixlang.hardware import place
from runners.execute.liveness import me
from runners.execute.store import RunStore

KEY = "ab" * 32
APART = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc"]


@pytest.fixture(scope="module")
def apart():
    """The command that starts another one in a PID namespace of its own; skips, saying so, where that is not permitted."""
    if shutil.which("unshare") is None or subprocess.run([*APART, "true"], capture_output=True, check=False).returncode:
        pytest.skip("SKIPPED FOR LACK OF NAMESPACES: 'unshare --pid --fork --mount-proc' is not permitted here")
    return APART


def holding(command, root):
    """Start a process that takes the lease of KEY and keeps it; returns it once it has."""
    text = (
        "import sys, time; from pathlib import Path; from runners.execute.store import RunStore; "
        f"lease = RunStore(Path(sys.argv[1])).claim({KEY!r}); print(lease.path, flush=True); time.sleep(300)"
    )
    process = subprocess.Popen([*command, sys.executable, "-c", text, root], stdout=subprocess.PIPE, text=True)
    return process, Path(process.stdout.readline().strip())


def test_a_lease_names_machine_boot_and_container(tmp_path):
    lease = RunStore(tmp_path).claim(KEY)
    assert json.loads(lease.path.read_text()) == {
        "host": socket.gethostname(),
        "boot": Path("/proc/sys/kernel/random/boot_id").read_text().strip(),
        "pid_namespace": os.readlink("/proc/self/ns/pid"),
        "process": me(),
    }


@pytest.mark.parametrize("other", ["host", "boot", "pid_namespace"])
@pytest.mark.parametrize("form", ["differs", "is missing"])
def test_a_pid_is_believed_only_where_all_three_are_ours(tmp_path, other, form):
    """The process is gone as far as can be seen from here, and is not: it is somewhere else."""
    store = RunStore(tmp_path)
    lease = store.claim(KEY)
    owner = {**place(), "process": "999999999:1.0"}
    lease.path.write_text(json.dumps(owner))
    assert not store.held(KEY)
    owner = {**owner, other: "another"} if form == "differs" else {k: v for k, v in owner.items() if k != other}
    lease.path.write_text(json.dumps(owner))
    assert store.held(KEY)
    assert store.claim(KEY) is None
    os.utime(lease.path, (time.time() - 3600,) * 2)
    assert not store.held(KEY)
    assert store.claim(KEY).path.name == "lease.1"


def test_a_pid_that_happens_to_live_here_does_not_keep_the_lease_of_a_container_that_is_gone(tmp_path):
    store = RunStore(tmp_path)
    lease = store.claim(KEY)
    lease.path.write_text(json.dumps({**place(), "pid_namespace": "pid:[1]", "process": me()}))
    os.utime(lease.path, (1, 1))
    assert store.claim(KEY) is not None


@pytest.mark.parametrize("text", ["", "{", "null", "[]", '"x"', "7"])
def test_a_torn_lease_lives_by_its_heartbeat(tmp_path, text):
    store = RunStore(tmp_path)
    lease = store.claim(KEY)
    lease.path.write_text(text)
    assert store.claim(KEY) is None
    os.utime(lease.path, (1, 1))
    assert store.claim(KEY) is not None


def test_the_lease_of_another_container_is_not_taken_while_it_beats(tmp_path, apart):
    store = RunStore(tmp_path)
    process, lease = holding(apart, tmp_path)
    try:
        assert json.loads(lease.read_text())["host"] == socket.gethostname()
        assert store.held(KEY)
        assert store.claim(KEY) is None
    finally:
        process.kill()
        process.wait()
    assert store.claim(KEY) is None  # its end cannot be seen from here, only that it does not beat any more
    os.utime(lease, (time.time() - 3600,) * 2)
    assert store.claim(KEY) is not None


def test_the_lease_of_a_killed_process_of_this_container_is_free_at_once(tmp_path):
    process, _ = holding([], tmp_path)
    assert RunStore(tmp_path).held(KEY)
    process.kill()
    process.wait()
    assert RunStore(tmp_path).claim(KEY) is not None


def test_two_workers_in_two_containers_train_every_run_once(workspace, apart):
    """Both are given the whole plan; each run leaves the events of one attempt."""
    mixlang("compile", "specs/small.yaml", cwd=workspace)
    mixlang("stage", "prepare", "small", cwd=workspace)
    command = [*apart, sys.executable, "-m", "mixlang.cli", "worker", "build/small/plan.json"]
    env = {**os.environ, "MIXLANG_JOBS": "1"}
    started = [subprocess.Popen(command, cwd=workspace, env=env)]
    while not list((workspace / ".mixlang").glob("runs/*/*/lease.0")):
        assert started[0].poll() is None
        time.sleep(0.05)
    time.sleep(1.5)  # the same pids in both, but not the same processes
    started.append(subprocess.Popen(command, cwd=workspace, env=env))
    assert [process.wait(200) for process in started] == [0, 0]
    keys = set(results(workspace))
    assert len(keys) == 10
    events = [path.parts[-4] for path in (workspace / ".mixlang").glob("runs/*/*/logs/*/events.out.tfevents.*")]
    assert sorted(events) == sorted(keys)


# DVC's own table of busy paths, which knows pids alone


def noted_elsewhere(root, study, **owner):
    """A note, as a `mixlang run` in another container leaves it, and its entry in DVC's table."""
    folder = root / ".dvc" / "tmp"
    (folder / "mixlang").mkdir(parents=True, exist_ok=True)
    note = folder / "mixlang" / f"{study}@another.json"
    note.write_text(json.dumps({**place(), "pid_namespace": "pid:[1]", "study": study, **owner}))
    holder = {"pid": 999999999, "cmd": "dvc repro"}
    (folder / "rwlock").write_text(json.dumps({"write": {str(root / "build" / study / "runs.json"): holder}}))
    return note, folder / "rwlock"


def test_a_study_that_is_run_in_another_container_is_left_to_it(copied):
    note, table = noted_elsewhere(copied, "small")
    before = table.read_text()
    done = mixlang("run", "specs/small.yaml", cwd=copied, check=False)
    assert done.returncode == 3
    assert f"another mixlang run is at work on this study, on {socket.gethostname()}" in done.stderr
    assert table.read_text() == before
    assert list(note.parent.iterdir()) == [note]


def test_locks_are_cleared_only_where_nobody_we_cannot_see_is_at_work(copied):
    """Another study is run elsewhere: ours goes on, and the other's locks stay; a note left behind counts no more."""
    note, table = noted_elsewhere(copied, "other")
    mixlang("run", "specs/small.yaml", cwd=copied)
    assert "999999999" in table.read_text()
    os.utime(note, (1, 1))
    mixlang("run", "specs/small.yaml", cwd=copied)
    assert "999999999" not in table.read_text()
    assert list(note.parent.iterdir()) == []


@pytest.mark.parametrize("text", ["", "{", "null", "[]", "7"])
def test_a_damaged_note_stops_nobody(copied, text):
    note, _ = noted_elsewhere(copied, "small")
    note.write_text(text)
    mixlang("run", "specs/small.yaml", cwd=copied)
