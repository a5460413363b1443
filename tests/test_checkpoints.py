"""Checkpoints of finished runs: the snippets of docs/checkpoints.md run, and MONAI computes the same features."""

import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import ROOT
from driving import fresh, sweep

from mixlang.errors import StageError
from mixlang.spec.presets import resolve_model
from mixlang.spec.schema import Model
from runners.train.mae import MAESize, MaskedAutoencoder
from runners.train.weights import describe, load_model, monai_vit, read_checkpoint, require_loadable, save_model


def snippets():
    text = (ROOT / "docs" / "checkpoints.md").read_text()
    return re.findall(r"```python\n(.*?)```", text, re.DOTALL)


@pytest.fixture(scope="module")
def tiny(study, tmp_path_factory):
    """A folder with the checkpoint of a vit_tiny that UNETR can take, trained for no step."""
    folder = tmp_path_factory.mktemp("tiny")
    torch.manual_seed(0)
    model = MaskedAutoencoder(MAESize.of(resolve_model(Model(arch="vit_tiny", patch=16)), (32, 32, 48)))
    plan = study[0]
    save_model(model, folder / "model.safetensors", describe(model, plan, plan.runs[0], "tiny"))
    return folder


@pytest.fixture(scope="module")
def finished(study, tmp_path_factory):
    """A finished run and its folder."""
    store = fresh(study, tmp_path_factory.mktemp("finished"))
    run = min(study[0].runs, key=lambda item: item.budget)
    sweep(study, store, [run]).execute()
    return run, store.folder(run.key)


def test_the_documented_snippets_run_and_monai_gives_the_same_features(tiny, monkeypatch):
    monkeypatch.chdir(tiny)
    pytorch, vit, unetr = snippets()
    names = {}
    exec(pytorch.replace("torch.zeros(1,", "torch.randn(1,"), names)
    ours = names["features"]
    assert ours.shape == (1, 2 * 2 * 3, 192)
    exec(vit, names)
    torch.testing.assert_close(names["features"], ours, rtol=1e-4, atol=1e-5)
    exec(unetr, names)
    torch.testing.assert_close(names["unetr"].vit(names["crop"][:, None])[0], ours, rtol=1e-4, atol=1e-5)


def test_monai_lacks_nothing_but_a_norm_it_never_calls(tiny):
    from monai.networks.nets import ViT

    arguments, weights = monai_vit(tiny / "model.safetensors")
    vit = ViT(patch_size=16, num_layers=12, **arguments)
    missing, unexpected = vit.load_state_dict(weights, strict=False)
    assert unexpected == []
    assert {name.split(".")[2] for name in missing} <= {"norm_cross_attn"}


def test_a_finished_run_leaves_a_checkpoint_that_says_what_it_is(study, finished):
    plan, (run, folder) = study[0], finished
    path = folder / "model.safetensors"
    config, weights = read_checkpoint(path)
    assert config["run"] == run.as_dict()
    assert config["study"] == Path(study[1]).parent.name
    assert config["recipe"] == plan.training["recipe"]
    assert config["preprocessing"]["ct"]["clip"] == [-1000.0, 1000.0]
    assert config["preprocessing"]["mri"]["spacing"] == [1, 1, 1]
    state = load_model(path).state_dict()
    assert all(torch.equal(state[name], value) for name, value in weights.items())


def test_a_finished_run_leaves_slices_to_look_at(study, finished):
    plan, (_, folder) = study[0], finished
    path = folder / "reconstructions.npz"
    assert path.stat().st_size < 20_000
    slices = np.load(path)
    assert set(slices) == {f"{name}.{kind}" for name in plan.domains for kind in ("input", "hidden", "output")}
    for name in plan.domains:
        given, hidden, output = (slices[f"{name}.{kind}"] for kind in ("input", "hidden", "output"))
        assert given.shape == hidden.shape == output.shape == (16, 16)
        assert np.array_equal(given[~hidden], output[~hidden])
        assert 0 < hidden.mean() < 1


def test_what_could_not_be_loaded_again_is_not_trained(study):
    plan = study[0]
    model = MaskedAutoencoder(MAESize.of(plan.training["model"], plan.training["crop"]))
    config = describe(model, plan, plan.runs[0], "small")
    require_loadable(model, config)
    model.size = replace(model.size, width=96)
    with pytest.raises(StageError, match="could not be loaded again"):
        require_loadable(model, describe(model, plan, plan.runs[0], "small"))
