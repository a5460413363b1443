"""What commands print of a study of seven domains with long names, 80 columns wide."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios

import pytest
from conftest import mixlang

NAMES = ["ct_extremity", "ct_head_neck", "mri_brain_flair", "mri_brain_t1_contrast", "ct_abdomen_portal_venous"]
NAMES += ["pet_wholebody_fdg_attenuation_corrected", "mri_prostate_t2"]
SPEC = (
    "mixlang: 1\nname: wide\ndomains:\n"
    + "".join(
        f"  {name}: {{modality: {name.split('_')[0]}, source: {{phantom: {{count: 8, seed: {at + 1}, shape: [24, 24, 24]}}}}}}\n"
        for at, name in enumerate(NAMES)
    )
    + """\
data: {validation_crops: 1}
volume: {spacing: [1, 1, 1], crop: [16, 16, 16]}
model: {arch: vit_micro, patch: 4, width: 48, depth: 2, decoder_width: 24}
train: {batch_size: 8}
budgets: {probe: [2048, 3072, 4096, 6144], holdout: [12288], target: 20000, seeds: 1}
constraints: {repetition: 400}
"""
)


@pytest.fixture(scope="module")
def wide(tmp_path_factory):
    """The seven domains, compiled; the first run is finished, the second has failed."""
    from mixlang.plan.build import Plan
    from mixlang.plan.evaluations import evaluations_of
    from mixlang.study.workspace import Workspace
    from runners.execute.faults import Fault
    from runners.execute.store import RunStore

    root = tmp_path_factory.mktemp("wide") / "ws"
    mixlang("init", str(root), cwd=root.parent)
    (root / "specs/wide.yaml").write_text(SPEC)
    (root / "specs/other.yaml").write_text(SPEC.replace("4096, 6144", "4096, 8192"))
    mixlang("compile", "specs/wide.yaml", cwd=root)
    runs = json.loads((root / "build/wide/plan.json").read_text())["runs"]
    store, plan = RunStore(Workspace(root).store), Plan.read(root / "build/wide/plan.json")
    store.folder(runs[0]["key"]).mkdir(parents=True)
    for evaluation in evaluations_of(plan):
        store.record(runs[0]["key"], evaluation.key, {"loss": 0.5, "mean_loss": 1.0})
    store.finish(runs[0]["key"], {"seconds": {"train": 7.0, "evaluate": 1.0}})
    store.folder(runs[-1]["key"]).mkdir(parents=True)
    store.fail(runs[-1]["key"], Fault("run", "its loss is not finite from step 17 on, which the log tells at length"))
    return root, runs


def in_terminal(root, *arguments):
    """What a command prints on a real terminal of 80 columns."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    env = {**os.environ, "TERM": "xterm"}
    env.pop("COLUMNS", None)
    process = subprocess.Popen(
        [sys.executable, "-m", "mixlang.cli", *arguments], cwd=root, stdin=theirs, stdout=theirs, stderr=theirs, env=env
    )
    os.close(theirs)
    said = b""
    while True:
        try:
            part = os.read(ours, 65536)
        except OSError:  # the other end has closed
            break
        if not part:
            break
        said += part
    assert process.wait(60) == 0, said
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[A-Za-z]|\r", "", said.decode())


def test_plan_keeps_its_columns(wide):
    said = mixlang("plan", "specs/wide.yaml", cwd=wide[0]).stdout
    table = said.split("training side")[1].split("time:")[0]
    assert max(map(len, table.splitlines())) <= 80
    for name in NAMES:
        assert re.search(rf"^{name}  +\d+  +\d[\d,]*  +0$", table, re.M), table


@pytest.mark.parametrize("shown", [lambda root, *words: mixlang(*words, cwd=root).stdout, in_terminal])
def test_status_says_how_many_rows_it_leaves_out(wide, shown):
    root, runs = wide
    lines = shown(root, "status").splitlines()
    assert max(map(len, lines)) <= 80
    left = len(runs) - 30
    assert left > 0
    (more,) = [line for line in lines if "not shown" in line]
    assert more.startswith(f"{left} more rows are not shown: ")
    text = "".join("".join(lines).split())
    assert all(name in text for name in NAMES)


def test_a_reason_is_not_cut(wide):
    lines = mixlang("status", cwd=wide[0]).stdout.splitlines()
    failed = next(at for at, line in enumerate(lines) if line.startswith("failed"))
    column = next(line for line in lines if line.startswith("state")).index("reason")
    reason = " ".join(line[column:].strip() for line in lines[failed : failed + 12])
    assert "its loss is not finite from step 17 on" in reason


def test_what_two_specs_differ_in(wide):
    lines = mixlang("diff-spec", "specs/wide.yaml", "specs/other.yaml", cwd=wide[0]).stdout.splitlines()
    assert max(map(len, lines[2:])) <= 80
    assert any(re.match(r"  runs   sweep ", line) for line in lines)


def test_allocations_and_registry_lists_keep_their_columns(tmp_path, capsys):
    from mixlang.own_results import show_allocation

    proof = {"status": "optimal", "gap": 1e-9, "kkt_residual": 1e-9, "active": []}
    show_allocation(
        {
            "budget": 1e6,
            "objective": 0.9,
            "relative_to": "uniform",
            "shares": dict.fromkeys(NAMES, 1 / 7),
            "amounts": dict.fromkeys(NAMES, 142857.0),
            "predicted": dict.fromkeys(NAMES, 0.5),
            "intervals": {"shares": {name: [0.1, 0.2] for name in NAMES}},
            "baselines": {},
            "path": [{"budget": 1e5, "shares": dict.fromkeys(NAMES, 1 / 7)}],
            "notes": [],
            "certificate": proof,
        }
    )
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    for name in NAMES:
        assert any(re.match(rf"  {name}  +14\.29%  +\[ 10\.0%,  20\.0%\]  +142857$", line) for line in lines)


def test_the_list_of_a_registry_keeps_its_columns(tmp_path, capsys, monkeypatch):
    import argparse
    from types import SimpleNamespace

    from mixlang.commands import registry

    mixture = SimpleNamespace(
        label="ct-mri-pet-seven-domains@v12",
        facts={"published": "2026-01-02"},
        status="candidate",
        tags=["latest"],
        budget=1e6,
        shares=dict.fromkeys(NAMES, 1 / 7),
    )
    monkeypatch.setattr(registry, "_open_registry", lambda _: SimpleNamespace(all=lambda: [mixture], root=tmp_path))
    registry.list_mixtures(argparse.Namespace(format="text"))
    lines = capsys.readouterr().out.splitlines()
    assert max(map(len, lines)) <= 80
    assert "".join("".join(lines).split()).count("14.3%") == 7
