"""Ladders read off one trunk: fewer samples, the same bits."""

import itertools
import json
from dataclasses import replace

import pytest
import torch
from driving import fresh, losses_of, sweep
from safetensors.torch import load_file

from mixlang.plan.ladder import shared_samples, trunk_of
from runners.train.branches import branches_of, sample_order


@pytest.fixture(scope="module")
def trained(study):
    """One domain's ladder and a mixture."""
    return [run for run in study[0].runs if run.amounts["mri"] in (0, run.budget // 2)]


@pytest.fixture(scope="module")
def ladders(study, trained, tmp_path_factory):
    """The same runs trained both ways: {ladder: store}."""
    stores = {}
    for ladder in ("independent", "branches"):
        stores[ladder] = fresh(study, tmp_path_factory.mktemp(ladder))
        sweep(study, stores[ladder], trained, ladder=ladder).execute()
    return stores


def test_a_branch_is_the_independent_run_to_the_last_bit(study, trained, ladders):
    assert len(trained) == 5
    for run in trained:
        results = [store.result(run.key) for store in ladders.values()]
        losses = [losses_of(study[0], store, run) for store in ladders.values()]
        assert losses[0] == losses[1]
        assert results[0]["curve"] == results[1]["curve"]
        weights = [load_file(store.folder(run.key) / "model.safetensors") for store in ladders.values()]
        assert all(torch.equal(weights[0][name], weights[1][name]) for name in weights[0])


def test_branches_train_their_decay_alone(study, trained, ladders):
    plan = study[0]
    for run in trained:
        first = ladders["branches"].result(run.key)["resumed_at_step"]
        shared = shared_samples(plan, run) // plan.training["recipe"]["batch_size"]
        assert first == (shared if run.kind == "single" and run.budget < 960 else 0)
        assert ladders["independent"].result(run.key)["resumed_at_step"] == 0
        assert ladders["branches"].checkpoints(run.key) == []


def test_the_trunk_is_the_longest_run_of_the_same_mixture_and_seed(study):
    plan = study[0]
    by_budget = {run.budget: run for run in plan.runs if run.amounts["mri"] == 0}
    assert trunk_of(plan, by_budget[320]) == by_budget[960]
    assert trunk_of(plan, by_budget[960]) is None
    assert branches_of(plan, by_budget[960]) == {32: by_budget[320], 48: by_budget[480], 64: by_budget[640]}
    assert branches_of(plan, by_budget[640]) == {}
    assert trunk_of(plan, plan.run("single", by_budget[320].amounts, 1)) is None
    uniform = next(run for run in plan.runs if run.amounts == {"ct": 240, "mri": 240})
    assert trunk_of(plan, plan.run("mixture", {"ct": 160, "mri": 160}, 0)) == uniform
    assert trunk_of(plan, plan.run("mixture", {"ct": 160, "mri": 168}, 0)) is None


def test_nested_subsets_and_cosines_have_no_trunk(study):
    plan = study[0]
    short = min(plan.runs, key=lambda run: run.budget)
    matched = replace(plan, target=2000)
    assert trunk_of(matched, short) is None
    recipe = {**plan.training["recipe"], "schedule": "cosine"}
    cosine = replace(plan, training={**plan.training, "recipe": recipe})
    assert trunk_of(cosine, short) is None


@pytest.mark.parametrize("amounts", [{"ct": 30, "mri": 10}, {"ct": 7, "mri": 40}])
def test_runs_of_one_mixture_see_the_same_samples_as_far_as_they_go(study, amounts):
    plan = study[0]
    orders = [
        sample_order(plan, plan.run("x", {name: times * amount for name, amount in amounts.items()}, 5))
        for times in (1, 2, 3, 10)
    ]
    names = [[order.keys[index] for index in order.volume] for order in orders]
    for one, longer in itertools.pairwise(names):
        assert longer[: len(one)] == one


def test_every_stretch_of_a_run_is_close_to_its_mixture(study):
    plan = study[0]
    order = sample_order(plan, plan.run("x", {"ct": 900, "mri": 300}, 0))
    ct = [order.keys[index] in plan.domains["ct"]["train"] for index in order.volume]
    for start in range(0, 1200, 100):
        assert abs(sum(ct[start : start + 100]) - 75) <= 2


def test_a_branch_whose_checkpoint_is_damaged_trains_on_its_own(study, ladders, tmp_path):
    plan, store = study[0], fresh(study, tmp_path)
    short, trunk = (next(r for r in plan.runs if r.budget == n and r.amounts["mri"] == 0) for n in (320, 960))
    sweep(study, store, [trunk]).execute()
    (path,) = store.checkpoints(short.key)
    path.write_bytes(path.read_bytes()[:1000])
    (row,) = sweep(study, store, [short]).execute()
    assert row["losses"] == losses_of(plan, ladders["independent"], short)
    assert json.loads((store.folder(short.key) / "result.json").read_text())["resumed_at_step"] == 0
