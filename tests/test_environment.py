"""What reaches a run of the environment around it: the same bits in a clean shell and in one full of left-over settings."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import ROOT, mixlang
from driving import fresh, losses_of

from mixlang.environment import ALLOWED, for_runs, for_tools, inherited, recorded
from mixlang.spec.schema import Launch
from runners.data.workers import each
from runners.execute.devices import Devices
from runners.execute.launch import AccelerateLauncher

LEFT_OVER = {
    "ACCELERATE_GRADIENT_ACCUMULATION_STEPS": "8",
    "ACCELERATE_MIXED_PRECISION": "bf16",
    "ACCELERATE_USE_DEEPSPEED": "true",
    "ACCELERATE_USE_FSDP": "true",
    "ACCELERATE_TORCH_DEVICE": "cuda:3",
    "ACCELERATE_DYNAMO_BACKEND": "INDUCTOR",
    "MASTER_ADDR": "192.0.2.1",
    "MASTER_PORT": "1",
    "RANK": "3",
    "WORLD_SIZE": "8",
    "LOCAL_RANK": "3",
    "LOCAL_WORLD_SIZE": "8",
    "GROUP_RANK": "1",
    "TORCHELASTIC_RUN_ID": "other",
    "TORCHELASTIC_RESTART_COUNT": "2",
    "TORCHELASTIC_USE_AGENT_STORE": "True",
    "PMI_RANK": "3",
    "PMI_SIZE": "8",
    "OMPI_COMM_WORLD_RANK": "3",
    "OMPI_COMM_WORLD_SIZE": "8",
    "MV2_COMM_WORLD_SIZE": "8",
    "SLURM_PROCID": "3",
    "SLURM_NTASKS": "8",
    "OMP_NUM_THREADS": "7",
    "OMP_DYNAMIC": "true",
    "MKL_NUM_THREADS": "5",
    "MKL_CBWR": "COMPATIBLE",
    "MKL_ENABLE_INSTRUCTIONS": "SSE4_2",
    "ATEN_CPU_CAPABILITY": "default",
    "ONEDNN_MAX_CPU_ISA": "SSE41",
    "NVIDIA_TF32_OVERRIDE": "1",
    "CUBLAS_WORKSPACE_CONFIG": ":0:0",
    "TORCH_LOGS": "+all",
    "TORCHDYNAMO_DISABLE": "1",
    "PYTHONHASHSEED": "123",
    "PYTHONSTARTUP": "/nonexistent.py",
    "CUDA_VISIBLE_DEVICES": "",
}
"""What shells, jobs and other programs leave behind."""

DEEPSPEED = """\
compute_environment: LOCAL_MACHINE
distributed_type: DEEPSPEED
deepspeed_config: {zero_stage: 3, gradient_accumulation_steps: 4}
mixed_precision: bf16
num_machines: 2
num_processes: 8
machine_rank: 1
main_process_ip: 192.0.2.1
main_process_port: 1
"""

SHADOWS = ("random", "torch", "types", "accelerate", "numpy", "signal", "socket")


@pytest.fixture
def around(tmp_path):
    """A surrounding environment: left-over variables, a configuration of Accelerate, a folder of modules on the path."""
    home, library = tmp_path / "home", tmp_path / "library"
    for folder in (home / ".cache" / "huggingface", home / "hf"):
        (folder / "accelerate").mkdir(parents=True)
        (folder / "accelerate" / "default_config.yaml").write_text(DEEPSPEED)
    library.mkdir()
    for name in ("torch", "accelerate"):
        (library / f"{name}.py").write_text(f"raise SystemExit('PYTHONPATH: {name}')\n")
    return {
        **os.environ,
        **LEFT_OVER,
        "HOME": str(home),
        "HF_HOME": str(home / "hf"),
        "XDG_CACHE_HOME": str(home / ".cache"),
        "PYTHONPATH": str(library),
    }


def shadowed(folder):
    """Put modules with the names of Python's into a folder; each leaves a mark where it is imported."""
    for name in SHADOWS:
        text = f"open({str(folder / 'imported')!r}, 'a').write('{name}\\n')\nraise ImportError('the wrong {name}')\n"
        (folder / f"{name}.py").write_text(text)
    return folder


def command(*arguments, cwd, env):
    """The command that is installed, as a user calls it."""
    script = Path(sys.executable).with_name("mixlang")
    done = subprocess.run(
        [script, *arguments], cwd=cwd, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


# What is let through


def test_a_run_gets_what_is_listed_and_nothing_else():
    given = {**LEFT_OVER, "PATH": "/bin", "NCCL_DEBUG": "INFO", "LD_LIBRARY_PATH": "/opt", "MIXLANG_DATA_ROOT": "/d"}
    found = for_runs(given, threads=2)
    assert {name: found[name] for name in ("PATH", "NCCL_DEBUG", "MIXLANG_DATA_ROOT", "CUDA_VISIBLE_DEVICES")} == {
        "PATH": "/bin",
        "NCCL_DEBUG": "INFO",
        "MIXLANG_DATA_ROOT": "/d",
        "CUDA_VISIBLE_DEVICES": "",
    }
    left = {name for name in LEFT_OVER if found.get(name) == LEFT_OVER[name]}
    assert left == {"CUDA_VISIBLE_DEVICES"}
    assert (found["OMP_NUM_THREADS"], found["MKL_NUM_THREADS"], found["OPENBLAS_NUM_THREADS"]) == ("2", "2", "2")
    assert (found["PYTHONSAFEPATH"], found["PYTHONHASHSEED"]) == ("1", "0")
    assert recorded(found) == {"LD_LIBRARY_PATH": "/opt", "NCCL_DEBUG": "INFO"}


def test_a_workaround_of_the_machine_is_let_through_and_recorded():
    found = for_runs({"OPENBLAS_CORETYPE": "Haswell"})
    assert found["OPENBLAS_CORETYPE"] == "Haswell"
    assert recorded(found) == {"OPENBLAS_CORETYPE": "Haswell"}


def test_what_is_passed_on_purpose_is_recorded_but_never_the_recipe():
    given = {
        "MIXLANG_PASS": "ATEN_CPU_CAPABILITY, ACCELERATE_USE_FSDP,PYTHONOPTIMIZE",
        **LEFT_OVER,
        "PYTHONOPTIMIZE": "2",
    }
    found = for_runs(given)
    assert found["ATEN_CPU_CAPABILITY"] == "default"
    assert not {"ACCELERATE_USE_FSDP", "PYTHONOPTIMIZE", "RANK"} & set(found)
    assert recorded(found) == {"ATEN_CPU_CAPABILITY": "default"}


def test_of_the_python_path_only_what_holds_mixlang_or_its_packages_stays(tmp_path):
    (tmp_path / "torch.py").touch()
    given = {"PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT), "", "/nonexistent"])}
    assert for_runs(given)["PYTHONPATH"] == str(ROOT)
    assert for_tools(given)["PYTHONPATH"] == str(ROOT)
    assert "PYTHONPATH" not in for_runs({"PYTHONPATH": str(tmp_path)})


def test_tools_keep_their_accounts_and_lose_what_changes_imports():
    given = {"AWS_PROFILE": "lab", "GIT_SSH_COMMAND": "ssh", "PYTHONSTARTUP": "x", "PYTHONWARNINGS": "error"}
    assert for_tools(given) == {"AWS_PROFILE": "lab", "GIT_SSH_COMMAND": "ssh", "PYTHONSAFEPATH": "1"}


def test_what_surrounds_us_is_as_it_was_after_something_was_started():
    before = dict(os.environ)
    with inherited({"ONLY": "this"}):
        assert dict(os.environ) == {"ONLY": "this"}
    assert dict(os.environ) == before


def test_the_documented_list_is_the_list():
    text = (ROOT / "docs" / "training.md").read_text()
    rows = re.findall(r"^\| (`[^|]*) \| ([^|]*) \| (yes|no) \|$", text, re.M)
    written = [(tuple(re.findall("`([^`]*)`", names)), why, kept == "yes") for names, why, kept in rows]
    assert written == [(allowed.names, allowed.why, allowed.recorded) for allowed in ALLOWED]


def test_a_launched_run_inherits_this_environment(study, tmp_path, monkeypatch):
    """On one node, and through srun over several, which has to know its job."""
    for name, value in LEFT_OVER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    recipe = study[0].training["recipe"]
    one = AccelerateLauncher(study[1], tmp_path, Launch(processes_per_run=2), recipe, Devices())
    env = one.environment(0)
    assert env["ACCELERATE_USE_CPU"] == "true"
    assert not {"ACCELERATE_MIXED_PRECISION", "RANK", "MASTER_ADDR", "PMI_RANK", "SLURM_JOB_ID"} & set(env)
    several = AccelerateLauncher(study[1], tmp_path, Launch(processes_per_run=2), recipe, Devices(), nodes=2)
    env = several.environment(0)
    assert env["SLURM_JOB_ID"] == "7"
    assert not {"ACCELERATE_MIXED_PRECISION", "RANK", "MASTER_ADDR", "PMI_RANK"} & set(env)


def test_a_node_of_a_run_over_several_inherits_none_of_what_srun_adds(tmp_path):
    env = {
        **os.environ,
        **LEFT_OVER,
        "OMP_NUM_THREADS": "1",
        "ACCELERATE_USE_CPU": "true",
        "MIXLANG_SWEEP": "1:1.0",
        "MIXLANG_SWEEP_PLACE": json.dumps({"host": "elsewhere"}),
        "MIXLANG_RUN": "{}",
        "SLURM_CPUS_PER_TASK": "2",
    }
    shown = "import os, json, sys; print(json.dumps([sys.argv[1:], dict(os.environ)]))"
    command = [
        sys.executable,
        "-m",
        "runners.execute.slurm_node",
        sys.executable,
        "-c",
        shown,
        "--machine_rank",
        "{rank}",
    ]
    done = subprocess.run(command, env=env, cwd=ROOT, capture_output=True, text=True, check=True)
    arguments, found = json.loads(done.stdout)
    assert arguments == ["--machine_rank", "3"]
    assert (found["MIXLANG_RUN"], found["ACCELERATE_USE_CPU"], found["SLURM_CPUS_PER_TASK"]) == ("{}", "true", "2")
    assert not {"RANK", "PMI_RANK", "SLURM_PROCID", "MASTER_ADDR", "MIXLANG_SWEEP"} & set(found)


def environment_of(name):
    return os.environ.get(name)


def test_workers_that_read_data_or_fit_tasks_inherit_it_too(monkeypatch, tmp_path):
    monkeypatch.chdir(shadowed(tmp_path))
    for name, value in LEFT_OVER.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MIXLANG_SCANS", "/d")
    names = ("OMP_NUM_THREADS", "RANK", "PYTHONSAFEPATH", "MIXLANG_SCANS")
    found = dict(each(environment_of, [(name,) for name in names], [0] * 4, 1))
    assert found == {0: None, 1: None, 2: "1", 3: "/d"}
    assert not (tmp_path / "imported").exists()


# The same bits


def test_a_study_run_in_a_poisoned_shell_has_the_bits_of_a_clean_one(copied, finished, around):
    """Through DVC, its stages, the workers that read data and the server that forks runs."""
    shutil.rmtree(copied / ".mixlang")
    for name in ("runs.json", "volumes.json", "statistics.json"):
        (copied / "build" / "small" / name).unlink()
    shadowed(copied)
    command("run", "specs/small.yaml", cwd=copied, env=around)
    for name in ("runs.json", "volumes.json", "statistics.json"):
        assert (copied / "build/small" / name).read_bytes() == (finished / "build/small" / name).read_bytes()
    assert not (copied / "imported").exists()


def test_a_command_started_as_a_module_does_not_import_from_the_study_either(copied, finished):
    (copied / "random.py").write_text("raise ImportError('the wrong random')\n")
    (copied / "build" / "small" / "fit.json").unlink()
    mixlang("run", "specs/small.yaml", cwd=copied)
    assert (copied / "build/small/fit.json").read_bytes() == (finished / "build/small/fit.json").read_bytes()


@pytest.mark.parametrize("processes", [1, 2])
def test_launched_runs_have_the_same_bits_too(study, tmp_path, around, processes):
    """`accelerate launch`, with a user-wide configuration that would start DeepSpeed on two machines."""
    script = tmp_path / "train.py"
    script.write_text(
        "import sys\nfrom pathlib import Path\n"
        "from mixlang.plan.build import Plan\nfrom mixlang.spec.schema import Launch\n"
        "from runners.execute.store import RunStore\nfrom runners.execute.batch import Batch\n"
        "plan, path = Plan.read(Path(sys.argv[1])), Path(sys.argv[1])\n"
        "run = min(plan.runs, key=lambda item: item.budget)\n"
        f"launch = Launch(start='accelerate', processes_per_run={processes}, retries=0)\n"
        "Batch(plan, path, [run], RunStore(Path(sys.argv[2])), launch, 'sweep').execute()\n"
    )
    run = min(study[0].runs, key=lambda item: item.budget)
    where = tmp_path / "study"
    where.mkdir()
    shadowed(where)
    losses = []
    for name, env in (("clean", dict(os.environ)), ("poisoned", around)):
        store = fresh(study, tmp_path / name)
        command = [sys.executable, "-P", script, study[1], store.root]
        done = subprocess.run(command, cwd=where, env=env, capture_output=True, text=True, timeout=200, check=False)
        assert done.returncode == 0, done.stderr
        result = store.result(run.key)
        assert result["environment"] == recorded(os.environ)
        losses.append(losses_of(study[0], store, run))
    assert losses[0] == losses[1]
    assert not (where / "imported").exists()
