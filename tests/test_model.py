"""The masked autoencoder: what is hidden is what is scored, on grids that are not cubes."""

from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from mixlang.errors import InputError
from mixlang.plan.cost import flops_per_sample
from runners.train.mae import MAESize, MaskedAutoencoder, mean_loss, scored, sincos_positions
from runners.train.weights import load_model, save_model

SIZE = MAESize((8, 12, 20), 4, 0.7, 48, 2, 3, 24, 1, 3)
CONFIG = {"size": asdict(SIZE)}


@pytest.fixture
def model():
    torch.manual_seed(0)
    return MaskedAutoencoder(SIZE)


def batch(count=3, seed=0):
    generator = torch.Generator().manual_seed(seed)
    crops = torch.randn(count, *SIZE.crop, generator=generator)
    order = torch.stack([torch.randperm(SIZE.tokens, generator=generator) for _ in range(count)])
    return crops, order


def hidden_voxels(order):
    """Which voxels are hidden, written out by hand from the grid, apart from the model's own patchify."""
    mask = np.zeros((len(order), *SIZE.crop), bool)
    _, height, width = SIZE.grid
    for row, tokens in enumerate(order.tolist()):
        for token in tokens[SIZE.visible :]:
            d, h, w = token // (height * width), token // width % height, token % width
            mask[row, 4 * d : 4 * d + 4, 4 * h : 4 * h + 4, 4 * w : 4 * w + 4] = True
    return torch.from_numpy(mask)


def test_counts():
    assert SIZE.grid == (2, 3, 5)
    assert (SIZE.tokens, SIZE.visible) == (30, 9)


def test_the_encoder_never_sees_hidden_voxels(model):
    crops, order = batch()
    changed = torch.where(hidden_voxels(order), crops + 10, crops)
    patches, again = (model.patches(item, order[:, : SIZE.visible]) for item in (crops, changed))
    assert torch.equal(patches, again)


def test_exactly_the_hidden_voxels_are_scored(model):
    crops, order = batch()
    crops.requires_grad_(True)
    model.predict.weight.data.zero_()
    model.predict.bias.data.zero_()  # predicts 0 everywhere: the loss is the mean square of what is scored
    loss = model(crops, order)
    hidden = hidden_voxels(order)
    expected = torch.stack([crops[i][hidden[i]].square().mean() for i in range(3)])
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss.sum(), crops)
    assert torch.equal(gradient != 0, hidden)


def test_a_perfect_prediction_has_no_loss(model):
    crops = torch.full((2, *SIZE.crop), 0.3)
    model.predict.weight.data.zero_()
    model.predict.bias.data.fill_(0.3)
    assert model(crops, batch(2)[1]).abs().max() < 1e-12


def test_a_gradient_reaches_every_parameter(model):
    model(*batch()).mean().backward()
    assert [name for name, value in model.named_parameters() if value.grad is None or not value.grad.any()] == []


def test_padding_is_shown_as_zero_and_never_scored(model):
    crops, order = batch()
    padded = crops.clone()
    padded[:, :, :, 14:] = float("nan")
    loss = model(padded, order, padded=True)
    assert torch.isfinite(loss).all()
    other = padded.clone()
    other[:, :, :, 14:] = float("nan")
    real = hidden_voxels(order) & padded.isfinite()
    model.predict.weight.data.zero_()
    model.predict.bias.data.zero_()
    expected = torch.stack([crops[i][real[i]].square().mean() for i in range(3)])
    torch.testing.assert_close(model(padded, order, padded=True), expected)


def test_padded_and_plain_agree_where_nothing_is_padded(model):
    crops, order = batch()
    torch.testing.assert_close(model(crops, order, padded=True), model(crops, order))


def test_a_reconstruction_changes_the_hidden_voxels_alone(model):
    crops, order = batch()
    crops[0, :, :, 14:] = float("nan")
    output, hidden = model.reconstruct(crops, order)
    assert torch.equal(hidden, hidden_voxels(order))
    assert torch.equal(output[~hidden].nan_to_num(9.0), crops[~hidden].nan_to_num(9.0))
    assert output[hidden].isfinite().all()
    error = torch.stack([(output[i] - crops[i])[hidden[i]].square().nanmean() for i in range(3)])
    torch.testing.assert_close(model(crops, order, padded=True), error)


def test_the_order_of_visible_tokens_does_not_matter(model):
    crops, order = batch(1)
    shuffled = torch.cat([order[:, : SIZE.visible].flip(1), order[:, SIZE.visible :].flip(1)], dim=1)
    torch.testing.assert_close(model(crops, shuffled), model(crops, order))


def test_bf16_agrees_with_fp32_roughly(model):
    crops, order = batch()
    with torch.autocast("cpu", torch.bfloat16):
        loss = model(crops, order)
    assert loss.dtype == torch.float32
    torch.testing.assert_close(loss, model(crops, order), rtol=0.05, atol=0.05)


def test_it_learns_a_constant_per_crop(model):
    """A crop's level is in its visible patches: learning to pass it on beats predicting zero at once."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for step in range(60):
        level = torch.randn(8, 1, 1, 1, generator=torch.Generator().manual_seed(step)).expand(8, *SIZE.crop)
        loss = model(level.contiguous(), batch(8, step)[1]).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert loss < 0.2


@pytest.mark.parametrize("depth", [1, 2])
def test_operations_are_counted_as_they_are_done(depth):
    """Attention is written out, because the counter does not see the fused one on a CPU."""
    size = replace(SIZE, decoder_depth=depth)
    model, (crops, order) = MaskedAutoencoder(size), batch()
    with FlopCounterMode(display=False) as counter, sdpa_kernel(SDPBackend.MATH):
        model(crops, order).mean().backward()
    sizes = {name: value for name, value in asdict(size).items() if name != "crop"}
    assert counter.get_total_flops() == 3 * flops_per_sample({"model": sizes, "crop": size.crop})


def test_mean_loss_is_the_variance_about_the_visible_mean(model):
    crops, order = batch()
    hidden = hidden_voxels(order)
    expected = torch.stack([(crops[i][hidden[i]] - crops[i][~hidden[i]].mean()).square().mean() for i in range(3)])
    torch.testing.assert_close(mean_loss(model, crops, order), expected)


def test_positions_tell_all_tokens_apart():
    table = sincos_positions((3, 4, 5), 50)
    assert table.shape == (60, 50)
    assert torch.cdist(table, table).fill_diagonal_(9).min() > 0.1
    assert sincos_positions((1, 1, 1), 24).shape == (1, 24)


def test_a_checkpoint_gives_the_same_model(model, tmp_path):
    save_model(model, tmp_path / "m.safetensors", CONFIG)
    crops, order = batch()
    torch.testing.assert_close(load_model(tmp_path / "m.safetensors")(crops, order), model.eval()(crops, order))


@pytest.mark.parametrize("data", [None, b"", b"nonsense" * 10])
def test_a_broken_checkpoint_is_named(tmp_path, data):
    path = tmp_path / "m.safetensors"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(InputError, match=r"m\.safetensors is not a readable"):
        load_model(path)


def test_a_truncated_checkpoint_is_named(model, tmp_path):
    path = tmp_path / "m.safetensors"
    save_model(model, path, CONFIG)
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(InputError, match="not a readable"):
        load_model(path)


def test_a_crop_without_anything_to_score_does_not_count_as_a_loss_of_zero(model, tmp_path):
    import numpy as np

    from mixlang.plan.build import Plan
    from runners.data.volumes import volume_path
    from runners.train.evaluate import FixedCrops, evaluate

    volume = np.full(SIZE.crop, np.nan, np.float16)
    volume[: SIZE.patch, : SIZE.patch, : SIZE.patch] = 0.7  # one patch of the patient, the rest is padding
    path = volume_path(tmp_path, "ab" * 32)
    path.parent.mkdir(parents=True)
    np.save(path, volume)
    plan = Plan(
        {"crop": list(SIZE.crop)},
        {"crops": 24, "seed": 0},
        {"tiny": {"train": [], "validation": ["ab" * 32]}},
        {},
        None,
        [],
    )
    crops, order, padded = FixedCrops(plan, tmp_path, "tiny", SIZE.tokens).read(slice(0, 24))
    shown = (order[:, : SIZE.visible] == 0).any(dim=1)
    assert padded
    assert 0 < int(shown.sum()) < 24  # where the one real patch is shown, nothing is left to score
    assert torch.equal(scored(model, crops, order), ~shown)
    model.eval()
    expected = model(crops, order, True)[~shown].double().mean()
    score = evaluate(model, plan, tmp_path, torch.device("cpu"))["tiny"]
    assert score["loss"] == pytest.approx(float(expected.detach()), rel=1e-5)
    assert score["loss"] > 0
    assert score["mean_loss"] > 0
