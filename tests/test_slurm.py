"""The Slurm engine against a real Slurm: three nodes on this machine, started for these tests alone."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from conftest import SMALL_SPEC, mixlang
from driving import fresh, losses_of, results, sweep
from test_environment import LEFT_OVER, shadowed

from mixlang.errors import Detached, DiskFull, Interrupted, StageError
from mixlang.files import free_bytes, write_json
from mixlang.plan.build import Plan
from mixlang.plan.evaluations import evaluations_of
from mixlang.spec.schema import Launch
from runners.execute.batch import Batch
from runners.execute.engines import slurm as slurm_engine
from runners.execute.engines import squeue
from runners.execute.engines.jobs import noted

pytestmark = pytest.mark.slurm

SCRIPT = Path(__file__).with_name("slurm_cluster.sh")
NEEDED = ("slurmctld", "slurmd", "sbatch", "munged")
SLURM = {"time": "10", "warning": 30}


@pytest.fixture(scope="module", autouse=True)
def cluster(tmp_path_factory):
    """A Slurm of our own; skips, saying so, where it cannot be had."""
    if not os.environ.get("MIXLANG_TEST_SLURM"):
        pytest.skip("SKIPPED FOR TIME: minutes of jobs through a real Slurm; 'make test-slurm' runs them")
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing or os.geteuid() != 0:
        why = f"no {', '.join(missing)}" if missing else "not root"
        pytest.skip(f"SKIPPED FOR LACK OF SLURM: {why}; apt-get install slurmctld slurmd slurm-client munge")
    folder = tmp_path_factory.mktemp("slurm")
    subprocess.run([SCRIPT, "start", folder], check=True, timeout=60)
    os.environ["SLURM_CONF"] = str(folder / "slurm.conf")
    yield folder
    subprocess.run([SCRIPT, "stop", folder], check=True, timeout=60)
    del os.environ["SLURM_CONF"]


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    """Jobs that are gone are given up sooner, and runs tried again sooner, than on a cluster."""
    monkeypatch.setattr("runners.execute.engines.slurm._GRACE", 1.0)
    monkeypatch.setattr("runners.execute.faults._BACKOFF", 0.5)


@pytest.fixture(scope="module")
def local(study, tmp_path_factory):
    """What the runs of the study come to on this machine, by key."""
    store = fresh(study, tmp_path_factory.mktemp("local"))
    return {row["key"]: row["losses"] for row in sweep(study, store, study[0].runs).execute()}


def long_study(study, folder, budget=6_000):
    """The study with one more run, long enough (a minute or so) to do something to its job meanwhile."""
    folder.mkdir()
    plan = json.loads(study[1].read_text())
    amounts = {"ct": budget, "mri": 0}
    run = study[0].run("single", amounts, 0)
    plan["runs"] = [run.as_dict()]
    write_json(folder / "plan.json", plan)
    return Plan.read(folder / "plan.json"), folder / "plan.json", study[2]


@pytest.fixture(scope="module")
def long_run(study, tmp_path_factory):
    """A study of one long run, and its losses trained without interruption."""
    folder = tmp_path_factory.mktemp("long")
    longer = long_study(study, folder / "longer")
    (row,) = sweep(longer, fresh(longer, folder), longer[0].runs).execute()
    return longer, row["losses"]


def on_slurm(study, store, runs, **launch):
    launch = {"slurm": SLURM, **launch}
    return Batch(study[0], study[1], runs, store, Launch(executor="slurm", **launch), "sweep")


def losses(rows):
    return {row["key"]: row["losses"] for row in rows}


def slurm(*command):
    return subprocess.run(command, capture_output=True, text=True, check=True, timeout=30).stdout


def until(condition, seconds=180, what="it did not happen"):
    deadline = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < deadline, what
        time.sleep(0.1)
    return found


def running():
    """Ids of the jobs that are running."""
    return [job.id for job in (squeue.queue() or {}).values() if job.state == "RUNNING"]


def a_running_run(store, run):
    """Wait until a run of a job trains; returns the job's id."""
    until(lambda: store.heartbeat(run.key).fraction > 0.02, what="the run did not begin")
    return until(running)[0]


def let_requeued_jobs_begin():
    """Slurm holds a job it has requeued for two minutes; its administrator may let it begin at once, and for longer."""

    def begun():
        for job in (squeue.queue() or {}).values():
            if job.state == "PENDING":
                subprocess.run(["scontrol", "update", f"JobId={job.id}", "StartTime=now", "TimeLimit=10"], check=False)
        return states and not any(job.state == "PENDING" for job in (squeue.queue() or {}).values())

    states = until(lambda: [job for job in (squeue.queue() or {}).values() if job.state == "PENDING"], 30, "no requeue")
    until(begun, 30, "the requeued job did not begin")


class Beside(threading.Thread):
    """A sweep in a process beside the test, which does something to its jobs meanwhile."""

    def __init__(self, job):
        super().__init__(daemon=True)
        self.job, self.rows, self.error = job, None, None
        # Signal handlers belong to the main thread.
        self.job._on_signal = None
        self.start()

    def run(self):
        try:
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr("runners.execute.batch.signal.signal", lambda number, handler: None)
                self.rows = self.job.execute()
        except BaseException as error:
            self.error = error

    def result(self, seconds=300):
        self.join(seconds)
        assert not self.is_alive(), "the sweep did not end"
        if self.error:
            raise self.error
        return losses(self.rows)


def test_runs_through_slurm_have_the_losses_of_runs_here(study, local, tmp_path, monkeypatch):
    store = fresh(study, tmp_path)
    # As if submitted from within a job of other resources; srun refuses these together.
    for name in ("SLURM_MEM_PER_CPU", "SLURM_MEM_PER_NODE", "SLURM_JOB_ID", "SLURM_NTASKS", "SLURM_NNODES"):
        monkeypatch.setenv(name, "3")
    job = on_slurm(study, store, study[0].runs)
    assert losses(job.execute()) == local
    (submission,) = (store.root / "jobs").iterdir()
    batches = json.loads((submission / "batches.json").read_text())["batches"]
    assert sorted(run["key"] for batch in batches for run in batch) == sorted(local)
    # A ladder is one job: its trunk trains the common beginning for the others.
    assert store.result(next(run.key for run in study[0].runs if run.kind == "single" and run.budget == 320))[
        "resumed_at_step"
    ]
    assert losses(on_slurm(study, store, study[0].runs).execute()) == local  # nothing is submitted again
    assert len(list((store.root / "jobs").iterdir())) <= 1


def test_what_surrounds_the_submitter_does_not_reach_the_runs_of_its_jobs(study, local, tmp_path, monkeypatch):
    """Nor do modules of the folder it is in, where a job begins."""
    where = tmp_path / "study"
    where.mkdir()
    monkeypatch.chdir(shadowed(where))
    for name, value in LEFT_OVER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SBATCH_EXPORT", "ALL")
    store, run = fresh(study, tmp_path), min(study[0].runs, key=lambda item: item.budget)
    assert losses(on_slurm(study, store, [run], start="accelerate").execute()) == {run.key: local[run.key]}
    assert not (where / "imported").exists()


def test_jobs_that_fill_the_disk_end_the_sweep(study, tmp_path, monkeypatch):
    """A file system of 4 MiB, filled once the jobs are submitted; the others are cancelled."""
    place = tmp_path / "disk"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", place], check=True)
    try:
        store = fresh(study, place)
        submit = slurm_engine.SlurmEngine._submit

        def and_fill(self, runs):
            taken = submit(self, runs)
            (store.root / "filler").write_bytes(bytes(free_bytes(place)))
            return taken

        monkeypatch.setattr(slurm_engine.SlurmEngine, "_submit", and_fill)
        with pytest.raises(DiskFull, match=r"the disk of the store .* is full.*runs are finished and kept"):
            on_slurm(study, store, study[0].runs).execute()
        until(lambda: not squeue.queue(), 60)
    finally:
        subprocess.run(["umount", "-l", place], check=True)


def test_a_cancelled_job_is_submitted_again_and_goes_on(long_run, tmp_path, capsys):
    longer, expected = long_run
    store, run = fresh(longer, tmp_path), longer[0].runs[0]
    beside = Beside(on_slurm(longer, store, longer[0].runs))
    slurm("scancel", a_running_run(store, run))
    assert beside.result() == {run.key: expected}
    assert store.result(run.key)["resumed_at_step"] > 0
    assert "left the queue (CANCELLED); tried again from its last checkpoint" in capsys.readouterr().err


def test_a_requeued_job_goes_on(long_run, tmp_path):
    longer, expected = long_run
    store, run = fresh(longer, tmp_path), longer[0].runs[0]
    beside = Beside(on_slurm(longer, store, longer[0].runs))
    slurm("scontrol", "requeue", a_running_run(store, run))
    let_requeued_jobs_begin()
    assert beside.result() == {run.key: expected}
    assert store.result(run.key)["resumed_at_step"] > 0


def test_a_job_over_its_time_limit_leaves_a_checkpoint_and_requeues_itself(study, tmp_path):
    longer = long_study(study, tmp_path / "long", 60_000)  # Slurm looks at time limits every half minute
    store, run = fresh(longer, tmp_path), longer[0].runs[0]
    beside = Beside(on_slurm(longer, store, longer[0].runs, slurm={"time": "1", "warning": 50}))
    a_running_run(store, run)
    until(lambda: store.checkpoints(run.key), 60, "no checkpoint was left")
    let_requeued_jobs_begin()
    until(lambda: store.result(run.key), 400)
    found = beside.result()
    assert store.result(run.key)["resumed_at_step"] > 0
    logs = "".join(path.read_text() for path in store.root.glob("jobs/*/logs/*.out"))
    assert logs.count("Exiting gracefully after preemption/timeout") >= 1
    whole = fresh(longer, tmp_path / "whole")
    assert found == losses(sweep(longer, whole, longer[0].runs).execute())


def test_a_node_that_goes_down_costs_an_attempt(long_run, tmp_path):
    longer, expected = long_run
    store, run = fresh(longer, tmp_path), longer[0].runs[0]
    beside = Beside(on_slurm(longer, store, longer[0].runs))
    job = a_running_run(store, run)
    node = slurm("squeue", "--noheader", f"--job={job}", "--format=%N").strip()
    slurm("scontrol", "update", f"nodename={node}", "state=down", "reason=test")
    let_requeued_jobs_begin()
    assert beside.result() == {run.key: expected}
    assert store.result(run.key)["resumed_at_step"] > 0
    assert "down" in slurm("sinfo", "--noheader", f"--nodes={node}", "--format=%T")
    slurm("scontrol", "update", f"nodename={node}", "state=resume")
    until(lambda: "idle" in slurm("sinfo", "--noheader", f"--nodes={node}", "--format=%T"), 30)


def test_a_killed_submitter_finds_its_jobs_again(long_run, tmp_path, capsys):
    longer, expected = long_run
    store, run = fresh(longer, tmp_path), longer[0].runs[0]
    code = (
        "import sys, json; from pathlib import Path; from mixlang.plan.build import Plan;"
        "from runners.execute.batch import Batch;"
        "from runners.execute.store import RunStore; from mixlang.spec.schema import Launch;"
        "plan = Plan.read(Path(sys.argv[1]));"
        "Batch(plan, Path(sys.argv[1]), plan.runs, RunStore(Path(sys.argv[2])),"
        " Launch.model_validate_json(sys.argv[3]), 'sweep').execute()"
    )
    launch = Launch(executor="slurm", slurm=SLURM)
    arguments = [sys.executable, "-c", code, longer[1], store.root, launch.model_dump_json()]
    submitter = subprocess.Popen(arguments, cwd=SCRIPT.parent.parent)
    job = a_running_run(store, run)
    submitter.send_signal(signal.SIGKILL)
    submitter.wait()
    assert losses(on_slurm(longer, store, longer[0].runs).execute()) == {run.key: expected}
    assert store.result(run.key)["resumed_at_step"] == 0  # it was never stopped
    assert "1 jobs of an earlier submission are taken over" in capsys.readouterr().err
    assert [path.name for path in (store.root / "jobs").glob("*/logs") if not list(path.glob(f"{job}*"))] == []


def test_jobs_of_an_earlier_plan_are_left_alone(study, local, tmp_path):
    longer = long_study(study, tmp_path / study[1].parent.name)  # of the same name as the study
    store = fresh(study, tmp_path)
    job = on_slurm(longer, store, longer[0].runs)
    beside = Beside(job)
    a_running_run(store, longer[0].runs[0])
    job.stop = signal.SIGINT
    with pytest.raises(Interrupted):
        beside.result()
    runs = [run for run in study[0].runs if run.budget == 960]
    assert losses(on_slurm(study, store, runs).execute()) == {run.key: local[run.key] for run in runs}
    squeue.cancel({name for name, _ in squeue.queue() or {}})
    until(lambda: squeue.queue() == {})


def test_an_interrupt_leaves_jobs_and_detaching_does_not_wait(long_run, tmp_path, monkeypatch):
    longer, expected = long_run
    store, run = fresh(longer, tmp_path), longer[0].runs[0]
    job = on_slurm(longer, store, longer[0].runs)
    beside = Beside(job)
    a_running_run(store, run)
    job.stop = signal.SIGINT
    with pytest.raises(Interrupted, match="SIGINT; finished runs are kept"):
        beside.result()
    assert running()
    monkeypatch.setenv("MIXLANG_DETACH", "1")
    with pytest.raises(Detached, match="1 running"):
        on_slurm(longer, store, longer[0].runs).execute()
    monkeypatch.delenv("MIXLANG_DETACH")
    assert losses(on_slurm(longer, store, longer[0].runs).execute()) == {run.key: expected}


def test_a_run_its_disk_refuses_is_submitted_as_often_as_the_policy_says(study, local, tmp_path):
    store = fresh(study, tmp_path)
    runs = [run for run in study[0].runs if run.budget <= 480]
    disk = next(run for run in runs if run.kind == "single" and run.amounts["mri"] == 480)
    (store.folder(disk.key) / "reconstructions.npz").mkdir(parents=True)  # cannot be replaced by a file
    with pytest.raises(StageError, match=rf"1 of {len(runs)} runs failed.*could not write"):
        on_slurm(study, store, runs, retries=1).execute()
    tried = [path for path in (store.root / "jobs").iterdir() if disk.key in (path / "batches.json").read_text()]
    assert len(tried) == 2
    others = [run for run in runs if run != disk]
    assert {run.key: losses_of(study[0], store, run) for run in others} == {run.key: local[run.key] for run in others}


def test_a_run_that_fails_by_itself_is_submitted_once(study, tmp_path):
    plan = json.loads(study[1].read_text())
    plan["training"]["recipe"]["learning_rate"] = 1e30
    bare = Plan.read(study[1])
    broken = Plan(plan["training"], bare.evaluation, bare.domains, bare.volumes, bare.target, [])
    run = broken.run("single", {"ct": 320}, 0)
    (tmp_path / "broken").mkdir()
    write_json(tmp_path / "broken" / "plan.json", {**broken.as_dict(), "runs": [run.as_dict()]})
    wrong = (Plan.read(tmp_path / "broken" / "plan.json"), tmp_path / "broken" / "plan.json", study[2])
    store = fresh(wrong, tmp_path)
    with pytest.raises(
        StageError, match=r"1 of 1 runs failed.*(the loss became|not finite).*Lower train.learning_rate"
    ):
        on_slurm(wrong, store, [run], retries=5).execute()
    assert len(list((store.root / "jobs").iterdir())) == 1


def test_what_slurm_refuses_is_said_in_its_words(study, tmp_path):
    store = fresh(study, tmp_path)
    with pytest.raises(StageError, match=r"Slurm refused the jobs: .*[Ii]nvalid partition"):
        on_slurm(study, store, study[0].runs, slurm={"partition": "nosuch"}).execute()
    assert not list((store.root / "jobs").iterdir())


def test_a_run_over_two_nodes_is_that_of_one_up_to_the_order_of_sums(study, local, tmp_path):
    store = fresh(study, tmp_path)
    runs = [run for run in study[0].runs if run.budget == 320]
    found = losses(on_slurm(study, store, runs, processes_per_run=2, slurm={**SLURM, "nodes": 2}).execute())
    for run in runs:
        assert store.result(run.key)["processes"] == 2
        assert found[run.key] == pytest.approx(local[run.key], rel=1e-4)
    (script,) = {path.resolve() for path in store.root.glob("jobs/*/logs/*.sh")}
    assert "#SBATCH --nodes=2" in script.read_text()


def test_a_run_over_two_nodes_that_is_cancelled_goes_on(study, tmp_path):
    longer = long_study(study, tmp_path / "long")
    store, run = fresh(longer, tmp_path), longer[0].runs[0]
    beside = Beside(on_slurm(longer, store, [run], processes_per_run=2, slurm={**SLURM, "nodes": 2}))
    slurm("scancel", a_running_run(store, run))
    beside.result()
    assert store.result(run.key)["resumed_at_step"] > 0


# The command line


@pytest.fixture
def on_cluster(workspace):
    """A workspace whose site says that runs are Slurm's."""
    site = "launch: {executor: slurm, slurm: {time: '10', warning: 30}}\n"
    (workspace / "mixlang.local.yaml").write_text(site)
    return workspace


def test_a_study_runs_detached_and_comes_to_what_it_comes_to_here(on_cluster, finished):
    left = mixlang("run", "specs/small.yaml", "--detach", cwd=on_cluster)
    assert "jobs: " in left.stderr
    assert "leaving them to it" in left.stderr
    assert not (on_cluster / "build/small/runs.json").exists()
    until(lambda: len(results(on_cluster)) == 10)
    left = mixlang("run", "specs/small.yaml", "--detach", cwd=on_cluster)
    assert "verify: jobs: " in left.stderr
    mixlang("run", "specs/small.yaml", cwd=on_cluster)
    for name in ("plan.json", "runs.json", "fit.json", "allocation.json", "verification.json"):
        assert (on_cluster / "build/small" / name).read_bytes() == (finished / "build/small" / name).read_bytes(), name


@pytest.mark.parametrize(("answer", "left"), [("n\n", False), ("\n", True)])
def test_a_ctrl_c_asks_whether_the_jobs_shall_go_on(on_cluster, answer, left):
    text = SMALL_SPEC.replace("[320, 480, 640, 960]", "[16k, 24k, 32k, 48k]").replace("[480]", "[16k]")
    (on_cluster / "specs/small.yaml").write_text(
        text.replace("[1280]", "[64k]").replace("2000", "100k").replace("400", "40000")
    )
    pid, terminal = pty.fork()
    if pid == 0:
        os.chdir(on_cluster)
        os.execv(sys.executable, [sys.executable, "-m", "mixlang.cli", "run", "specs/small.yaml"])
    said = []

    def asked():
        try:
            said.append(os.read(terminal, 65536).decode(errors="replace"))
        except OSError:
            return True
        return "Leave them there?" in "".join(said)

    reader = threading.Thread(target=lambda: until(asked, 90), daemon=True)
    reader.start()
    until(running, 90)
    os.write(terminal, b"\x03")
    reader.join(60)
    assert "Leave them there? [Y/n]" in "".join(said)
    os.write(terminal, answer.encode())
    threading.Thread(target=lambda: until(lambda: asked() and False, 20), daemon=True).start()
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 130
    try:
        if left:
            assert squeue.queue()
        else:
            until(lambda: squeue.queue() == {}, 40, "the jobs were not cancelled")
    finally:
        squeue.cancel({name for name, _ in squeue.queue() or {}})
        until(lambda: squeue.queue() == {}, 40)


def test_jobs_measure_trained_runs_many_at_once(cluster, study, local, tmp_path):
    """As trained on this machine: the records are gone, one job makes them again, and nothing is trained."""
    store = fresh(study, tmp_path)
    sweep(study, store, study[0].runs).execute()
    stamps = {path: path.stat().st_mtime_ns for path in store.root.glob("runs/*/*/result.json")}
    for run in study[0].runs:
        shutil.rmtree(store.folder(run.key) / "evaluations")
    job = on_slurm(study, store, study[0].runs)
    job.evaluations, job.title = evaluations_of(study[0]), "evaluate"
    assert losses(job.execute()) == local
    (submission,) = noted(store)
    assert (submission.work, len(submission.batches)) == ("evaluate", 1)
    assert {path: path.stat().st_mtime_ns for path in store.root.glob("runs/*/*/result.json")} == stamps
