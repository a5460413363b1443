"""Downstream tasks: label maps on the image's grid, scores against independent answers, and no subject on both sides."""

import json

import nibabel
import numpy as np
import pytest
import torch
from conftest import SMALL_SPEC
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from mixlang.plan.tasks import folds_of, labelled
from mixlang.spec import SpecError, load_spec
from runners.data.anatomy import TRUNK
from runners.data.labels import label_facts
from runners.data.phantom import Recipe, anatomy, write_phantom
from runners.data.preprocess import NO_LABEL, preprocess, preprocess_labels
from runners.data.volumes import volume_path
from runners.downstream.annotated import label_path
from runners.downstream.crops import balanced, tiles
from runners.downstream.fits import finished
from runners.downstream.heads import Encoder, SegmentationHead, TokenHead, levels_of
from runners.downstream.metrics import accuracy, auroc, by_class, draws_of, estimate, mean_of, overlap
from runners.downstream.train import fit
from runners.train.mae import MAESize, MaskedAutoencoder

SIZE = MAESize((16, 16, 16), 4, 0.75, 48, 2, 3, 24, 1, 3)

# Label maps


def settings_of(modality, spacing, crop):
    clip = {"ct": [-1000.0, 1000.0], "mri": None, "pet": [0.0, 20.0]}[modality]
    return {"modality": modality, "unit": "", "clip": clip, "spacing": spacing, "crop": crop}


def write(path, array, affine):
    nibabel.save(nibabel.Nifti1Image(array, affine), path)
    return path


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, -1, 1)])
@pytest.mark.parametrize("spacing", [[1.3, 2.1, 0.8], [3.0, 1.0, 2.0]])
def test_a_prepared_label_map_holds_the_nearest_label_of_each_voxel_of_the_prepared_image(tmp_path, flip, spacing):
    """The independent answer goes through world coordinates: where a prepared voxel lies in mm, and what is there."""
    rng = np.random.default_rng(0)
    have = np.array([1.1, 0.9, 2.5])
    labels = ndimage.zoom(rng.integers(0, 5, (7, 6, 5)), 4, order=0).astype(np.int16)
    affine = np.diag([*(have * flip), 1.0])
    image = write(tmp_path / "i.nii.gz", (100.0 * labels + 50).astype(np.float32), affine)
    found = preprocess_labels(
        image, write(tmp_path / "l.nii.gz", labels, affine), 1.0, settings_of("ct", spacing, [8, 8, 8])
    )
    # RAS: a negative axis is turned, so that voxel 0 is the lowest coordinate.
    turned = labels[:: flip[0], :: flip[1], :: flip[2]]
    places = [
        np.minimum(np.arange(round((n - 1) * h / s) + 1) * s / h, n - 1)
        for n, h, s in zip(turned.shape, have, spacing, strict=True)
    ]
    expected = ndimage.map_coordinates(turned, np.meshgrid(*places, indexing="ij"), order=0)
    assert found.shape == expected.shape  # everything is foreground, so nothing is cut off
    halves = [np.isclose(place % 1, 0.5) for place in places]
    sure = ~(halves[0][:, None, None] | halves[1][None, :, None] | halves[2][None, None, :])
    assert sure.mean() > 0.7
    assert (found[sure] == expected[sure]).all()


@pytest.mark.parametrize("modality", ["ct", "mri", "pet"])
def test_a_phantoms_labels_lie_where_its_prepared_image_shows_them(tmp_path, modality):
    recipe = Recipe(modality, (40, 36, 30), (1.0, 1.0, 1.0), 3, 1)
    image, label = write_phantom(recipe, tmp_path)
    settings = settings_of(modality, [1.0, 1.0, 1.0], [16, 16, 48])
    volume, found = preprocess(image, 1.0, settings), preprocess_labels(image, label, 1.0, settings)
    assert volume.shape == found.shape
    assert (np.isnan(volume) == (found == NO_LABEL)).all()
    assert (found == NO_LABEL).any()
    body = volume[found == TRUNK["body"]].astype(float).mean()
    air = volume[found == 0].astype(float).mean()
    assert body > air + 0.2
    whole = anatomy(recipe)
    assert (found == TRUNK["liver"]).sum() == (whole == TRUNK["liver"]).sum()  # the box cuts nothing of the patient


def test_a_label_map_on_another_grid_or_with_other_values_is_told(tmp_path):
    rng = np.random.default_rng(0)
    image = write(tmp_path / "i.nii.gz", rng.normal(size=(8, 9, 10)).astype(np.float32), np.eye(4))
    good = rng.integers(0, 3, (8, 9, 10)).astype(np.uint8)
    assert label_facts(image, write(tmp_path / "l.nii.gz", good, np.eye(4)))["values"] == [0, 1, 2]
    halved = label_facts(
        write(tmp_path / "h.nii.gz", np.zeros((8, 9, 10), np.float32), np.diag([2.0, 2, 5, 1])),
        write(tmp_path / "hl.nii.gz", good, np.diag([2.0, 2, 5, 1])),
    )
    assert halved["ml"] == pytest.approx([np.sum(good == value) * 20 / 1000 for value in (0, 1, 2)])
    flipped = np.diag([-1.0, 1, 1, 1])
    flipped[0, 3] = 7  # the same voxels in the same places, stored the other way round
    assert "problem" not in label_facts(image, write(tmp_path / "f.nii.gz", good[::-1], flipped))
    moved = np.eye(4)
    moved[0, 3] = 3
    for array, affine, words in [
        (good[:, :, 1:], np.eye(4), "8 x 9 x 9 voxels where its image has 8 x 9 x 10"),
        (good, moved, "3 mm away"),
        (good * np.float32(0.5), np.eye(4), "not whole numbers"),
        (good.astype(np.int16) - 1, np.eye(4), "not whole numbers from 0"),
    ]:
        assert words in label_facts(image, write(tmp_path / "w.nii.gz", array, affine))["problem"]
    (tmp_path / "t.nii.gz").write_text("no gzip")
    assert "problem" in label_facts(image, tmp_path / "t.nii.gz")
    assert "no such file" in label_facts(image, tmp_path / "nowhere.nii.gz")["problem"]


@pytest.mark.parametrize("name", ["pet/sts002_fdg", "pet/sts051_fdg", "mri/sts032_t1"])
def test_a_real_tumour_keeps_its_size_and_its_place(realpack, name):
    image, label = realpack / f"{name}.nii.gz", realpack / f"{name}_label.nii.gz"
    assert label_facts(image, label)["values"] == [0, 1]
    settings = settings_of(name[:3], [3.0, 3.0, 3.0], [32, 32, 32])
    volume, found = preprocess(image, 1.0, settings), preprocess_labels(image, label, 1.0, settings)
    assert volume.shape == found.shape
    stored = nibabel.load(label)
    size = (np.asarray(stored.dataobj) > 0).sum() * np.prod(stored.header.get_zooms()[:3])
    assert 27 * (found == 1).sum() == pytest.approx(size, rel=0.05)
    if name.startswith("pet"):  # FDG is taken up by the tumour
        assert volume[found == 1].astype(float).mean() > volume[found == 0].astype(float).mean() + 0.5


# Scores


def test_dice_and_hausdorff_are_those_computed_otherwise():
    rng = np.random.default_rng(0)
    truth, found = (ndimage.zoom(rng.integers(0, 4, (4, 4, 4)), 4, order=0) for _ in range(2))
    spacing = (1.0, 2.0, 0.5)
    dice, distance = overlap(torch.from_numpy(found), torch.from_numpy(truth), 3, spacing)
    for index in range(3):
        a, b = found == index + 1, truth == index + 1
        assert dice[index] == pytest.approx(2 * (a & b).sum() / (a.sum() + b.sum()), abs=1e-5)
        edges = [mask & ~ndimage.binary_erosion(mask) for mask in (a, b)]
        far = [ndimage.distance_transform_edt(~edge, sampling=spacing) for edge in edges]
        both = max(np.percentile(far[1][edges[0]], 95), np.percentile(far[0][edges[1]], 95))
        assert distance[index] == pytest.approx(both, abs=1e-3)


def test_a_class_that_is_not_there_has_no_score_and_one_not_found_scores_zero():
    truth, found = torch.zeros(8, 8, 8, dtype=torch.long), torch.zeros(8, 8, 8, dtype=torch.long)
    truth[:3], found[:2] = 1, 1
    truth[5:] = 2
    found[4, 4, 4] = 3
    dice, distance = overlap(found, truth, 3, (1, 1, 1))
    assert dice == [pytest.approx(0.8), 0.0, None]
    assert distance[0] == 1.0
    assert distance[1:] == [None, None]


def brute(score, truth, folds):
    pairs = [
        (score[p], score[n])
        for p in range(len(truth))
        for n in range(len(truth))
        if truth[p] and not truth[n] and folds[p] == folds[n]
    ]
    return sum((p > n) + 0.5 * (p == n) for p, n in pairs) / len(pairs) if pairs else np.nan


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10_000), st.integers(4, 14), st.integers(1, 3))
def test_auroc_counts_pairs_and_its_bootstrap_is_that_of_the_drawn_cases(seed, count, folds):
    rng = np.random.default_rng(seed)
    truth, fold = rng.integers(0, 2, count), rng.integers(0, folds, count)
    positive = rng.integers(0, 4, count) / 4  # with ties
    scores = np.stack([1 - positive, positive], axis=1)[None]
    drawn = rng.integers(0, count, count)
    weights = np.stack([np.ones(count), np.bincount(drawn, minlength=count)])
    found = auroc(scores, truth, fold, weights)
    np.testing.assert_allclose(found[0], brute(positive, truth, fold), equal_nan=True)
    np.testing.assert_allclose(found[1], brute(positive[drawn], truth[drawn], fold[drawn]), equal_nan=True)


def test_auroc_of_one_fold_is_monais_and_of_three_classes_the_mean_against_the_rest():
    from monai.metrics import compute_roc_auc

    rng = np.random.default_rng(1)
    truth, fold = rng.integers(0, 3, 40), np.zeros(40, np.int64)
    scores = rng.dirichlet(np.ones(3), 40)
    found = auroc(scores[None], truth, fold, np.ones((1, 40)))
    onehot = torch.nn.functional.one_hot(torch.from_numpy(truth), 3)
    assert found[0] == pytest.approx(float(compute_roc_auc(torch.from_numpy(scores), onehot, average="macro")))
    assert accuracy(scores[None], truth, np.ones((1, 40)))[0] == (scores.argmax(1) == truth).mean()


def test_subjects_are_drawn_with_all_their_cases_and_differences_are_paired():
    subjects = ["a", "b", "b", "c", "a", "d"]
    weights = draws_of(subjects, 500)
    assert (weights[0] == 1).all()
    assert (weights[:, 0] == weights[:, 4]).all()
    assert (weights[:, 1] == weights[:, 2]).all()
    assert (weights[1:, [0, 1, 3, 5]].sum(axis=1) == 4).all()
    assert (draws_of(subjects, 500) == weights).all()
    values = np.random.default_rng(0).normal(size=(2, 6, 1))
    apart = estimate(mean_of(values + 0.1, weights) - mean_of(values, weights))
    assert apart == {"mean": pytest.approx(0.1), "low": pytest.approx(0.1), "high": pytest.approx(0.1)}


def test_values_that_are_not_there_do_not_count():
    values = np.array([[[0.5, np.nan], [1.0, 0.2]], [[0.7, np.nan], [0.0, 0.4]]])
    weights = np.array([[1.0, 1.0], [2.0, 0.0]])
    found = by_class(values, weights)
    np.testing.assert_allclose(found, [[0.55, 0.6], [0.3, np.nan]])
    np.testing.assert_allclose(mean_of(values, weights), [0.425, 0.6])


# Who is on which side


@st.composite
def tasks(draw):
    kinds = draw(st.sampled_from(["classification", "segmentation"]))
    cases = []
    for index in range(draw(st.integers(1, 30))):
        subject = f"s{draw(st.integers(0, 12))}"
        case = {"volume": f"v{index}", "subject": subject, "held_out": int(subject[1:]) % 4 == 0}
        if kinds == "classification":
            case["class"] = draw(st.integers(0, 2))
        else:
            case["holds"] = draw(st.lists(st.sampled_from("ab"), unique=True))
        cases.append(case)
    return {"kind": kinds, "cases": cases, "folds": draw(st.none() | st.integers(2, 5))}


@settings(max_examples=200, deadline=None)
@given(tasks(), st.integers(0, 3))
def test_no_subject_is_trained_and_tested_on_and_label_subsets_are_nested(task, seed):
    def subjects(side):
        return {task["cases"][index]["subject"] for index in side}

    tested = []
    for training, test in folds_of(task):
        assert not subjects(training) & subjects(test)
        if task["folds"] is None:
            assert not any(task["cases"][index]["held_out"] for index in training)
            assert all(task["cases"][index]["held_out"] for index in test)
        tested += test
        parts = [set(labelled(task, training, part, seed)) for part in (0.1, 0.5, 1.0)]
        assert parts[0] <= parts[1] <= parts[2] == set(training)
        assert bool(parts[0]) == bool(training)
        for some in parts:  # all volumes of a subject, or none
            assert not subjects(some) & subjects(set(training) - some)
    assert len(set(tested)) == len(tested)
    if task["folds"]:
        assert len(tested) == len(task["cases"])


def test_classes_take_turns_and_tiles_cover_a_volume():
    picked = [index for step in range(100) for index in balanced(0, step, 4, [0] * 9 + [1])]
    assert 0.4 < np.mean([index == 9 for index in picked]) < 0.6
    assert picked == [index for step in range(100) for index in balanced(0, step, 4, [0] * 9 + [1])]
    volume = torch.arange(40 * 33 * 32.0).view(40, 33, 32)
    found = tiles(volume, (32, 32, 32))
    assert found.shape == (4, 32, 32, 32)
    assert len(torch.unique(found)) == volume.numel()


# Networks


def test_the_encoder_gives_the_features_of_the_autoencoder_on_a_crop_that_is_no_cube():
    torch.manual_seed(0)
    mae = MaskedAutoencoder(MAESize((16, 8, 12), 4, 0.75, 48, 3, 3, 24, 1, 3))
    crops, where = torch.randn(2, 16, 8, 12), torch.arange(mae.size.tokens).expand(2, -1)
    states = Encoder(mae)(crops)
    torch.testing.assert_close(states[-1], mae.encode(mae.patches(crops, where), where))
    assert len(states) == 3


@pytest.mark.parametrize("patch", [4, 8])
@pytest.mark.parametrize("kind", [SegmentationHead, TokenHead])
def test_a_segmentation_head_scores_every_voxel_and_trains_all_of_itself(patch, kind):
    size = MAESize((2 * patch, patch, 3 * patch), patch, 0.5, 24, 4, 3, 24, 1, 3)
    encoder, head = Encoder(MaskedAutoencoder(size)), kind(size, 3)
    crops = torch.randn(2, *size.crop)
    found = head(crops, encoder(crops))
    assert found.shape == (2, 3, *size.crop)
    found.square().mean().backward()
    assert all(value.grad is not None for value in head.parameters())
    assert all(value.grad is not None for name, value in encoder.named_parameters())


def test_the_linear_probe_puts_each_voxel_back_where_it_was():
    size = MAESize((8, 4, 12), 4, 0.5, 64, 1, 4, 24, 1, 3)
    head = TokenHead(size, 1).eval()
    crops = torch.randn(2, *size.crop)
    tokens = MaskedAutoencoder(size).patches(crops, torch.arange(size.tokens).expand(2, -1))
    torch.nn.init.eye_(head.out.weight)
    torch.nn.init.zeros_(head.out.bias)
    torch.testing.assert_close(head(crops, [tokens])[:, 0], crops, atol=1e-4, rtol=1e-4)


def test_a_patch_that_is_no_power_of_two_is_refused():
    with pytest.raises(ValueError, match="not 12"):
        levels_of(12)


# Fits with a known answer


@pytest.fixture(scope="module")
def bright(tmp_path_factory):
    """A store of volumes with a bright box on noise, on either side; its labels, and the cases."""
    store, cases = tmp_path_factory.mktemp("bright"), []
    for index in range(8):
        rng = np.random.default_rng(index)
        image, labels = rng.normal(0, 0.3, (20, 16, 18)).astype(np.float16), np.zeros((20, 16, 18), np.int16)
        if index % 2:
            low = rng.integers(1, 8, 3)
            box = tuple(slice(at, at + 8) for at in low)
            image[box] += 2
            labels[box] = 7
        for path, array in ((volume_path(store, f"v{index}"), image), (label_path(store, f"l{index}"), labels)):
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, array)
        cases.append({"volume": f"v{index}", "label": {"key": f"l{index}"}, "class": index % 2})
    return store, cases


def job(kind, mode, cases, **more):
    return {
        "kind": kind,
        "mode": mode,
        "classes": {"box": [7]} if kind == "segmentation" else 2,
        "recipe": {"steps": 60, "batch_size": 4, "learning_rate": 5e-3},
        "crop": [16, 16, 16],
        "spacing": [1.0, 1.0, 1.0],
        "encoder": {
            "model": {"patch": 4, "mask_ratio": 0.75, "width": 48, "depth": 2, "heads": 3}
            | {"decoder_width": 24, "decoder_depth": 1, "decoder_heads": 3},
            "seed": 0,
        },
        "seed": 0,
        "training": cases[:4],
        "test": cases[4:],
    } | more


def test_what_is_plain_to_see_is_learned_and_a_fit_is_repeatable(bright):
    store, cases = bright
    for mode, least in (("finetune", 0.8), ("probe", 0.25)):
        fit(f"segment {mode}", job("segmentation", mode, cases), store)
        scores = finished(store, f"segment {mode}")["cases"]
        assert [case["dice"][0] is None for case in scores] == [True, False, True, False]
        assert all(case["dice"][0] > least for case in scores[1::2]), scores
    for mode in ("probe", "finetune"):
        fit(mode, job("classification", mode, cases), store)
        shown = [case["probability"][1] for case in finished(store, mode)["cases"]]
        assert min(shown[1::2]) > max(shown[::2]), shown
    fit("b", job("classification", "finetune", cases), store)
    assert finished(store, "b")["cases"] == finished(store, "finetune")["cases"]


def test_a_damaged_result_counts_as_not_there(bright):
    store, _ = bright
    path = store / "downstream" / "xy" / "xyz.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"key": "xyz", "cases"')
    assert finished(store, "xyz") is None
    path.write_text(json.dumps({"key": "other", "cases": []}))
    assert finished(store, "xyz") is None


# Wrong specs

TASK = "tasks: {organs: {kind: segmentation, domain: ct, classes: {liver: 2}}}\n"


@pytest.mark.parametrize(
    ("old", "new", "code", "place", "words"),
    [
        ("domain: ct", "domain: pt", "MX0201", (14, 46), "there is no domain 'pt'"),
        ("organs", "1st", "MX0106", (14, 9), "not a name"),
        ("classes: {liver: 2}", "clases: {liver: 2}", "MX0101", (14, 50), "did you mean 'classes'"),
        ("kind: segmentation", "kind: segment", "MX0104", (14, 24), "'segmentation'"),
        ("{liver: 2}", "{liver: 0}", "MX0107", (14, 67), "at least 1"),
        (
            "classes: {liver: 2}",
            "classes: {liver: 2}, larger_than: 1",
            "MX0105",
            (14, 17),
            "'larger_than' has no meaning",
        ),
        (", classes: {liver: 2}", "", "MX0105", (14, 17), "needs 'classes'"),
        ("kind: segmentation", "kind: classification", "MX0105", (14, 17), "'classes' has no meaning"),
        ("tasks", "downstream: {budget: 960}\ntasks", "MX0237", (14, 22), "not a holdout budget"),
        ("tasks", "downstream: {encoders: [unimax]}\ntasks", "MX0238", (14, 25), "among verify.baselines"),
        ("tasks", "downstream: {labels: [1.0, 1.0]}\ntasks", "MX0239", (14, 28), "listed twice"),
        ("tasks", "downstream: {labels: [0]}\ntasks", "MX0107", (14, 23), "above 0"),
        ("{liver: 2}", "{liver: 2, all: [1, 2]}", "MX0240", (14, 75), "label 2 is in the class 'liver'"),
        ("{liver: 2}}", "{liver: 2}, label_map: '{stem}_l.nii'}", "MX0242", (14, 71), "come with their label maps"),
    ],
)
def test_a_wrong_task_is_one_message_at_its_place(tmp_path, old, new, code, place, words):
    path = tmp_path / "spec.yaml"
    assert old in TASK
    path.write_text(SMALL_SPEC + TASK.replace(old, new, 1))
    with pytest.raises(SpecError) as caught:
        load_spec(path)
    (found,) = [item for item in caught.value.diagnostics if item.severity == "error"]
    assert (found.code, (found.position.line, found.position.column)) == (code, place), found
    assert words in f"{found.message} {found.help}"


def test_a_spec_without_tasks_has_nothing_downstream(tmp_path):
    path = tmp_path / "spec.yaml"
    path.write_text(SMALL_SPEC)
    assert load_spec(path).spec.tasks == {}
