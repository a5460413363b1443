"""Which devices runs are given: every form of the variables that choose them, and what a slot gets of them."""

import json
import os
import sys

import pytest
from conftest import mixlang
from driving import fresh, sweep

from mixlang.errors import InputError, StageError
from mixlang.spec.schema import Launch
from runners.execute import devices as module
from runners.execute.devices import Devices, devices, named, visible
from runners.execute.engines import local
from runners.execute.launch import AccelerateLauncher, ForkLauncher

UUID, OTHER = "GPU-8932f937-d72c-4106-c12f-20bd9faed9f6", "GPU-1d8a2bb5-0000-4106-c12f-20bd9faed9f6"
MIG, MIG2 = "MIG-c6d4f1ef-42e4-5de3-91c7-45d71c87eb3f", "MIG-0c757cd7-e942-5726-a0b8-0e8fb7067135"


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("0", ["0"]),
        ("4,5", ["4", "5"]),
        (" 4 , 5 ", ["4", "5"]),
        ("5,4", ["5", "4"]),
        ("01,+2", ["01", "+2"]),
        (UUID, [UUID]),
        (f"{UUID},{OTHER}", [UUID, OTHER]),
        ("GPU-8932f937,GPU-1d8a", ["GPU-8932f937", "GPU-1d8a"]),
        (f"{MIG},{MIG2}", [MIG, MIG2]),
        ("MIG-GPU-8932f937-d72c-4106/1/0", ["MIG-GPU-8932f937-d72c-4106/1/0"]),
        ("", []),
        (" ", []),
        ("-1", []),
        ("NoDevFiles", []),
        ("none", []),
        ("all", []),
        # The list ends at the first entry that is no device.
        ("0,-1,1", ["0"]),
        ("0,,1", ["0"]),
        ("0,1,", ["0", "1"]),
        (",0", []),
        ("-1,0", []),
        ("0,x,1", ["0"]),
        ("0,NoDevFiles", ["0"]),
        (f"0,{UUID}", ["0"]),
        (f"{UUID},0", [UUID]),
        (f"{UUID},{MIG}", [UUID]),
        ("0;1", ["0;1"]),
        ("0,²", ["0"]),
    ],
)
def test_a_list_is_read_as_the_driver_reads_it(text, names):
    assert named(text) == tuple(names)


@pytest.mark.parametrize(
    ("environ", "count", "rocm", "variable", "names"),
    [
        ({}, 2, False, "CUDA_VISIBLE_DEVICES", ["0", "1"]),
        ({}, 0, False, "CUDA_VISIBLE_DEVICES", []),
        ({"CUDA_VISIBLE_DEVICES": "4,5"}, 2, False, "CUDA_VISIBLE_DEVICES", ["4", "5"]),
        ({"CUDA_VISIBLE_DEVICES": ""}, 0, False, "CUDA_VISIBLE_DEVICES", []),
        ({"CUDA_VISIBLE_DEVICES": "-1"}, 0, False, "CUDA_VISIBLE_DEVICES", []),
        ({"CUDA_VISIBLE_DEVICES": "NoDevFiles"}, 0, False, "CUDA_VISIBLE_DEVICES", []),
        ({"CUDA_VISIBLE_DEVICES": f"{MIG},{MIG2}"}, 1, False, "CUDA_VISIBLE_DEVICES", [MIG, MIG2]),
        ({"CUDA_VISIBLE_DEVICES": "0", "HIP_VISIBLE_DEVICES": "1,2"}, 1, False, "CUDA_VISIBLE_DEVICES", ["0"]),
        ({}, 2, True, "HIP_VISIBLE_DEVICES", ["0", "1"]),
        ({"HIP_VISIBLE_DEVICES": "2,3"}, 2, True, "HIP_VISIBLE_DEVICES", ["2", "3"]),
        ({"HIP_VISIBLE_DEVICES": "1", "CUDA_VISIBLE_DEVICES": "0,1"}, 1, True, "HIP_VISIBLE_DEVICES", ["1"]),
        ({"CUDA_VISIBLE_DEVICES": "1"}, 1, True, "CUDA_VISIBLE_DEVICES", ["1"]),
        ({"ROCR_VISIBLE_DEVICES": "6,7"}, 2, True, "ROCR_VISIBLE_DEVICES", ["6", "7"]),
        ({"ROCR_VISIBLE_DEVICES": f"{UUID},{OTHER}"}, 2, True, "ROCR_VISIBLE_DEVICES", [UUID, OTHER]),
        # What ROCR leaves is numbered anew for HIP, which decides last.
        ({"ROCR_VISIBLE_DEVICES": "6,7", "HIP_VISIBLE_DEVICES": "1"}, 1, True, "HIP_VISIBLE_DEVICES", ["1"]),
        ({"GPU_DEVICE_ORDINAL": "3"}, 1, True, "GPU_DEVICE_ORDINAL", ["3"]),
        ({"HIP_VISIBLE_DEVICES": ""}, 0, True, "HIP_VISIBLE_DEVICES", []),
    ],
)
def test_the_variable_that_decides_last_gives_the_names(environ, count, rocm, variable, names):
    assert visible(environ, count, rocm) == Devices(variable, tuple(names))


@pytest.mark.parametrize(
    ("text", "count", "said"),
    [
        ("0,1", 1, "names 2 usable devices, but torch finds 1"),
        ("9", 0, "names 1 usable devices, but torch finds 0"),
        ("", 2, "names 0 usable devices, but torch finds 2"),
        (MIG, 0, "names 1 usable devices, but torch finds 0"),
        ("0,0", 0, "names a device twice"),
        ("1,01", 0, "names a device twice"),
        (f"{UUID},{UUID}", 0, "names a device twice"),
    ],
)
def test_names_that_are_not_what_torch_finds_are_refused(text, count, said):
    with pytest.raises(StageError, match=said) as caught:
        visible({"CUDA_VISIBLE_DEVICES": text}, count)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    ("names", "processes", "slots"),
    [
        (["4", "5"], 1, ["4", "5", "4", "5"]),  # more runs than devices: they share
        (["4", "5", "6", "7"], 2, ["4,5", "6,7", "4,5"]),
        (["4", "5", "6"], 2, ["4,5", "4,5"]),
        ([UUID, OTHER], 1, [UUID, OTHER]),
        ([MIG, MIG2], 1, [MIG, MIG2]),
    ],
)
def test_each_slot_has_devices_of_its_own(names, processes, slots):
    found = Devices("CUDA_VISIBLE_DEVICES", tuple(names))
    assert [found.of(slot, processes)["CUDA_VISIBLE_DEVICES"] for slot in range(len(slots))] == slots


def test_no_devices_are_nothing_to_hand_out():
    assert Devices().of(3, 1) == {}
    Devices().require(4)


@pytest.mark.parametrize(("names", "said"), [(("4", "5"), "has 2 devices"), ((MIG, MIG2), "MIG instances")])
def test_more_processes_than_a_run_can_have_devices_are_refused(names, said):
    Devices(names=names).require(1)
    with pytest.raises(StageError, match=said):
        Devices(names=names).require(3)


def test_without_a_driver_nothing_is_looked_for(monkeypatch):
    monkeypatch.setattr(module, "_DRIVERS", ())
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0,0,0")
    assert devices() == Devices()


def test_what_torch_finds_is_compared_with_the_names(monkeypatch):
    import torch

    monkeypatch.setattr(module, "_DRIVERS", ("/",))
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6,7")
    assert devices().names == ("6", "7")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "6")
    with pytest.raises(StageError, match="names 1 usable devices, but torch finds 2"):
        devices()


# What runs are started with


@pytest.fixture
def seen(study, tmp_path, monkeypatch):
    """Starts a run on each of three slots with a command that writes what it inherits; returns the devices of each."""

    def start(found, **launch):
        launcher = AccelerateLauncher(study[1], tmp_path, Launch(**launch), study[0].training["recipe"], found)
        shown = (
            "import json, os, sys; names = ('CUDA', 'HIP', 'ROCR'); "
            "print(json.dumps([os.environ.get(name + '_VISIBLE_DEVICES') for name in names]))"
        )
        monkeypatch.setattr(AccelerateLauncher, "command", lambda self: [sys.executable, "-c", shown])
        store = fresh(study, tmp_path / str(len(os.listdir(tmp_path))))
        said = []
        for slot, run in enumerate(study[0].runs[:3]):
            lease = store.claim(run.key)
            assert launcher.start(run, lease, slot).process.wait(60) == 0
            said.append(json.loads(store.log(run.key).read_text()))
        return said

    return start


def test_runs_are_started_on_the_visible_devices_by_their_names(seen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,5")
    assert seen(visible(os.environ, 2)) == [["4", None, None], ["5", None, None], ["4", None, None]]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", f"{MIG},{MIG2}")
    assert [said[0] for said in seen(visible(os.environ, 1))] == [MIG, MIG2, MIG]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3,6,7")
    assert [said[0] for said in seen(visible(os.environ, 4), processes_per_run=2)] == ["2,3", "6,7", "2,3"]


def test_amd_devices_are_chosen_among_those_a_job_was_given(seen, monkeypatch):
    monkeypatch.setenv("ROCR_VISIBLE_DEVICES", "6,7")
    assert [said[2] for said in seen(visible(os.environ, 2, rocm=True))] == ["6", "7", "6"]
    monkeypatch.setenv("HIP_VISIBLE_DEVICES", "1")
    assert seen(visible(os.environ, 1, rocm=True))[0] == [None, "1", "6,7"]


def test_no_visible_device_is_the_cpu(seen, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "NoDevFiles")
    assert seen(visible(os.environ, 0))[0] == ["NoDevFiles", None, None]


def test_a_forked_run_has_its_device_too(study, tmp_path, monkeypatch):
    """It is set before anything asks the driver; without one the run trains on the CPU as ever."""
    monkeypatch.setattr(local, "devices", lambda: Devices("CUDA_VISIBLE_DEVICES", ("4", "5")))
    started = []
    start = ForkLauncher.start

    def note(self, run, lease, slot):
        started.append((self.devices.of(slot, 1), slot))
        return start(self, run, lease, slot)

    monkeypatch.setattr(ForkLauncher, "start", note)
    store, run = fresh(study, tmp_path), min(study[0].runs, key=lambda item: item.budget)
    sweep(study, store, [run], start="fork").execute()
    assert started == [({"CUDA_VISIBLE_DEVICES": "4"}, 0)]
    assert store.result(run.key)["device"]


# How many at once


@pytest.mark.parametrize(
    ("found", "launch", "count"),
    [
        (["4", "5"], {}, 2),
        (["4", "5", "6"], {"processes_per_run": 2}, 1),
        ([MIG, MIG2], {}, 2),
        ([], {}, 6),
        ([], {"processes_per_run": 2}, 3),
        (["4", "5"], {"max_parallel": 5}, 5),
    ],
)
def test_as_many_runs_at_once_as_devices_or_cores_carry(monkeypatch, found, launch, count):
    monkeypatch.setattr(local, "cores", lambda: 6)
    assert local.runs_at_once(Launch(**launch), 1, Devices(names=tuple(found))) == count


@pytest.mark.parametrize("asked", ["many", "0", "-1", "1.5"])
def test_jobs_that_are_no_number_are_refused(monkeypatch, asked):
    monkeypatch.setenv("MIXLANG_JOBS", asked)
    with pytest.raises(InputError, match="expected how many runs"):
        local.runs_at_once(Launch(), 1, Devices())


def test_the_plan_counts_what_the_engine_starts(finished, study, tmp_path, monkeypatch):
    """Both ask one function, of the same devices."""
    from mixlang.study import preview as overview
    from mixlang.study.compile import compile_study
    from runners.execute.engines.local import LocalEngine

    for place in (local, overview):
        monkeypatch.setattr(place, "devices", lambda: Devices(names=("4", "5", "6")))
    compiled = compile_study(finished / "specs" / "small.yaml", write=False)
    engine = LocalEngine(study[0], study[1], fresh(study, tmp_path), Launch(), lambda key: False, {})
    assert overview.overview(compiled)["cost"]["at_once"] == len(engine.free) == 3


def test_plan_counts_jobs_asked_for(copied):
    found = json.loads(
        mixlang("plan", "specs/small.yaml", "--format", "json", cwd=copied, env={"MIXLANG_JOBS": "7"}).stdout
    )
    assert found["cost"]["at_once"] == 7
