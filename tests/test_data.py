"""From files to crops: phantoms, scanning, preprocessing, the store, counter-based sampling."""

import gzip
import os
import re
import resource
import shutil
from collections import Counter
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import SMALL_SPEC
from hypothesis import HealthCheck, given, reject, settings
from hypothesis import strategies as st

from mixlang.errors import InputError, StageError
from mixlang.plan.build import compile_plan
from mixlang.plan.data_manifest import DataManifest, DomainData, VolumeRecord
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations
from runners.data.anatomy import HEAD, TRUNK
from runners.data.intensity import foreground, normalise
from runners.data.phantom import Recipe, anatomy, render, write_phantom
from runners.data.preprocess import preprocess
from runners.data.sampling import CropReader, SampleOrder, mask_order, uniform
from runners.data.scan import inspect, scan
from runners.data.volumes import prepare, volume_path

CT = {"modality": "ct", "unit": "hu", "clip": [-1000.0, 1000.0], "factor": 1.0}
MRI = {"modality": "mri", "unit": "arbitrary", "clip": None, "factor": 1.0}
PET = {"modality": "pet", "unit": "suv", "clip": [0.0, 20.0], "factor": 1.0}
GRID = {"spacing": [1.0, 1.0, 1.0], "crop": [8, 8, 8]}


def save(path, array, affine=None):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(np.asarray(array), np.eye(4) if affine is None else affine), path)
    return path


def body(shape=(20, 18, 16), seed=0):
    """A block of tissue in air, with texture."""
    image = np.full(shape, -1000.0, np.float32)
    inner = tuple(slice(3, size - 3) for size in shape)
    image[inner] = np.random.default_rng(seed).normal(40, 30, tuple(size - 6 for size in shape))
    return image


# Phantoms


def test_a_recipe_gives_the_same_volume_and_another_gives_another():
    first = Recipe("ct", (24, 24, 24), (1.0, 1.0, 1.0), 1, 5)
    assert np.array_equal(render(anatomy(first), first), render(anatomy(first), first))
    for other in (Recipe("ct", (24, 24, 24), (1.0, 1.0, 1.0), 1, 6), Recipe("ct", (24, 24, 24), (1.0, 1.0, 1.0), 2, 5)):
        assert other.content != first.content
        assert not np.array_equal(anatomy(other), anatomy(first))


def test_modalities_of_one_subject_share_its_anatomy():
    ct, pet = (Recipe(kind, (32, 32, 32), (1.0, 1.0, 1.0), 3, 1) for kind in ("ct", "pet"))
    assert ct.subject == pet.subject
    assert np.array_equal(anatomy(ct), anatomy(pet))
    labels = anatomy(ct)
    bone, body_ = labels == TRUNK["bone"], labels == TRUNK["body"]
    hounsfield = render(labels, ct)
    assert hounsfield[bone].mean() > 250
    assert abs(hounsfield[body_].mean() + 40) < 80


def test_phantoms_bear_organs_always_and_lesions_half_the_time():
    maps = [anatomy(Recipe("ct", (32, 32, 32), (1.0, 1.0, 1.0), 9, index)) for index in range(60)]
    for name in ("body", "liver", "spleen", "kidneys", "heart", "bone"):
        assert all((labels == TRUNK[name]).any() for labels in maps), name
    ill = sum((labels == TRUNK["lesion"]).any() for labels in maps)
    assert 15 <= ill <= 45


def test_heads_differ_from_trunks_and_have_their_parts():
    maps = [anatomy(Recipe("mri", (32, 32, 32), (1.0, 1.0, 1.0), 9, index, "head")) for index in range(40)]
    for name in ("scalp", "white", "grey", "fluid", "eyes", "bone", "gas"):
        assert all((labels == HEAD[name]).any() for labels in maps), name
    assert 10 <= sum((labels == HEAD["lesion"]).any() for labels in maps) <= 30
    head, trunk = Recipe("ct", (8, 8, 8), (1.0, 1.0, 1.0), 9, 0, "head"), Recipe("ct", (8, 8, 8), (1.0, 1.0, 1.0), 9, 0)
    assert head.content != trunk.content
    hounsfield = render(maps[0], Recipe("ct", (32, 32, 32), (1.0, 1.0, 1.0), 9, 0, "head"))
    assert hounsfield[maps[0] == HEAD["bone"]].mean() > 300


def test_textures_share_a_field_within_a_seed_and_nothing_between_seeds():
    def volume(seed, index):
        recipe = Recipe("ct", (24, 24, 24), (1.0, 1.0, 1.0), seed, index, "texture")
        return render(anatomy(recipe), recipe).ravel().astype(float)

    alike = [np.corrcoef(volume(1, 0), volume(1, index))[0, 1] for index in range(1, 6)]
    apart = [abs(np.corrcoef(volume(1, 0), volume(seed, 0))[0, 1]) for seed in range(2, 12)]
    assert min(alike) > 0.7
    assert np.mean(apart) < 0.3  # what two random fields of so few grains have in common by chance


def test_hot_lesions_show_in_pet():
    recipes = [Recipe("pet", (40, 40, 40), (1.0, 1.0, 1.0), 4, index) for index in range(20)]
    for recipe in recipes:
        labels = anatomy(recipe)
        if (labels == TRUNK["lesion"]).sum() > 40:
            image = render(labels, recipe)
            assert image[labels == TRUNK["lesion"]].mean() > 2 * image[labels == TRUNK["body"]].mean()
            return
    pytest.fail("no phantom with a large lesion among 20")


def test_a_phantom_is_written_as_nifti_with_its_labels(tmp_path):
    image, labels = write_phantom(Recipe("mri", (16, 20, 24), (1.0, 2.0, 3.0), 0, 0), tmp_path)
    loaded = nibabel.load(image)
    assert loaded.shape == nibabel.load(labels).shape == (16, 20, 24)
    assert loaded.header.get_zooms() == (1.0, 2.0, 3.0)
    before = image.stat().st_mtime_ns
    write_phantom(Recipe("mri", (16, 20, 24), (1.0, 2.0, 3.0), 0, 0), tmp_path)
    assert image.stat().st_mtime_ns == before


# Scanning


def broken_files(folder):
    good = save(folder / "good.nii.gz", body())
    (folder / "truncated.nii.gz").write_bytes(good.read_bytes()[:-400])
    (folder / "text.nii.gz").write_text("this is not a volume\n")
    (folder / "gzipped_text.nii.gz").write_bytes(gzip.compress(b"nor is this" * 100))
    (folder / "empty.nii.gz").write_bytes(b"")
    save(folder / "nan.nii.gz", np.full((8, 8, 8), np.nan, np.float32))
    some = body()
    some[4, 4, 4] = np.inf
    save(folder / "one_inf.nii.gz", some)
    save(folder / "four_d.nii.gz", np.zeros((8, 8, 8, 3), np.float32))
    save(folder / "slice.nii.gz", np.random.default_rng(0).random((8, 8, 1), np.float32))
    save(folder / "constant.nii.gz", np.zeros((8, 8, 8), np.float32))
    save(folder / "air.nii.gz", np.random.default_rng(0).normal(-1000, 5, (8, 8, 8)).astype(np.float32))
    flat = nibabel.load(good)
    flat.header.set_sform(np.zeros((4, 4)), code=1)
    flat.header.set_qform(None, code=0)
    nibabel.save(nibabel.Nifti1Image(flat.get_fdata(dtype=np.float32), None, flat.header), folder / "affine.nii.gz")
    shutil.copy(good, folder / "copy.nii.gz")


def test_unusable_files_are_quarantined_with_reasons_and_the_rest_is_used(tmp_path):
    broken_files(tmp_path / "data")
    text = SMALL_SPEC.replace("{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}", '{nifti: "data/*.nii.gz"}')
    (tmp_path / "spec.yaml").write_text(text)
    spec = load_spec(tmp_path / "spec.yaml").spec
    data = scan(spec, Locations(tmp_path, {}), tmp_path / "store", 2).domains["ct"]
    reasons = {path.removeprefix("data/").removesuffix(".nii.gz"): why for path, why in data.quarantined}
    expected = {
        "truncated": "truncated or damaged",
        "text": "not a NIfTI file",
        "gzipped_text": "not a NIfTI file",
        "empty": "",
        "nan": "every voxel is NaN",
        "one_inf": "1 of 5,760 voxels are NaN or infinite",
        "four_d": "4D",
        "slice": "single slice",
        "constant": "constant",
        "air": "nothing but background",
        "affine": "singular affine",
        "good": "the same content as data/copy.nii.gz",
    }
    assert reasons.keys() == expected.keys()
    for name, words in expected.items():
        assert words in reasons[name], (name, reasons[name])
    assert [volume.path for volume in data.volumes] == ["data/copy.nii.gz"]


def test_a_scan_is_cached_until_the_file_changes(tmp_path, monkeypatch):
    import runners.data.scan as module

    path = save(tmp_path / "data" / "a.nii.gz", body())
    for name in "bcd":
        save(tmp_path / "data" / f"{name}.nii.gz", body(seed=ord(name)))
    text = SMALL_SPEC.replace("{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}", '{nifti: "data/*.nii.gz"}')
    (tmp_path / "spec.yaml").write_text(text)
    spec = load_spec(tmp_path / "spec.yaml").spec
    first = scan(spec, Locations(tmp_path, {}), tmp_path / "store", 1)
    calls = []
    real = module.inspect
    monkeypatch.setattr(module, "inspect", lambda *given_: calls.append(given_) or real(*given_))
    assert scan(spec, Locations(tmp_path, {}), tmp_path / "store", 1) == first
    assert calls == []
    save(path, body(seed=99))
    again = scan(spec, Locations(tmp_path, {}), tmp_path / "store", 1)
    assert [call[0].name for call in calls] == ["a.nii.gz"]
    assert again.domains["ct"].volumes[0].content != first.domains["ct"].volumes[0].content


def test_units_that_cannot_be_are_refused(tmp_path):
    becquerel = save(tmp_path / "bq.nii.gz", np.random.default_rng(0).gamma(1, 4000, (12, 12, 12)).astype(np.float32))
    assert "cannot be SUV" in inspect(becquerel, PET)["problem"]
    assert inspect(becquerel, {**PET, "factor": 2.4e-4})["problem"] == ""
    assert "cannot be HU" in inspect(save(tmp_path / "x.nii.gz", body() * 1000), CT)["problem"]


# Preprocessing


def test_orientation_and_spacing_do_not_change_what_the_network_sees(tmp_path):
    image = body((24, 20, 16))
    image[5, 6, 7:12] = 900
    plain = preprocess(save(tmp_path / "ras.nii.gz", image), 1.0, {**CT, **GRID})
    turned_affine = np.diag([-1.0, -1.0, 1.0, 1.0])
    turned = preprocess(save(tmp_path / "lps.nii.gz", image[::-1, ::-1], turned_affine), 1.0, {**CT, **GRID})
    swapped_affine = np.array([[0, 0, 1, 0], [1, 0, 0, 0], [0, 1, 0, 0], [0, 0, 0, 1.0]])
    swapped = preprocess(save(tmp_path / "any.nii.gz", image.transpose(1, 2, 0), swapped_affine), 1.0, {**CT, **GRID})
    np.testing.assert_allclose(turned, plain, atol=2e-2)
    np.testing.assert_allclose(swapped, plain, atol=2e-2)
    coarse = preprocess(tmp_path / "ras.nii.gz", 1.0, {**CT, "spacing": [2.0, 2.0, 2.0], "crop": [4, 4, 4]})
    assert all(abs(2 * small - large) <= 10 for small, large in zip(coarse.shape, plain.shape, strict=True))


def test_scaled_headers_are_applied(tmp_path):
    image = nibabel.Nifti1Image(np.round(body()).astype(np.int16), np.eye(4))
    image.header.set_slope_inter(0.5, 100)
    nibabel.save(image, tmp_path / "scaled.nii.gz")
    shown = preprocess(tmp_path / "scaled.nii.gz", 1.0, {**CT, **GRID})
    true = preprocess(
        save(tmp_path / "true.nii.gz", nibabel.load(tmp_path / "scaled.nii.gz").get_fdata()), 1.0, {**CT, **GRID}
    )
    np.testing.assert_array_equal(shown, true)


@pytest.mark.parametrize("preset", [CT, MRI, PET], ids=lambda item: item["modality"])
def test_phantom_inputs_have_unit_scale_and_air_near_minus_one(preset, tmp_path):
    recipe = Recipe(preset["modality"], (40, 40, 40), (1.0, 1.0, 1.0), 1, 1)
    image = render(anatomy(recipe), recipe).astype(np.float32)
    shown = normalise(image, preset, foreground(image, preset["modality"]))
    assert abs(shown.mean()) < 0.5
    assert 0.7 < shown.std() < 1.4
    assert -1.6 < np.median(shown[:3]) < -0.8


def test_a_volume_smaller_than_the_crop_is_padded_with_marks(tmp_path):
    path = save(tmp_path / "small.nii.gz", body((20, 7, 20)))
    volume = preprocess(path, 1.0, {**CT, "spacing": [1.0, 1.0, 1.0], "crop": [8, 16, 8]})
    assert volume.shape[1] == 16
    assert np.isnan(volume[:, 7:]).all()
    assert np.isfinite(volume[:, :7]).all()


# The store


def small_plan(tmp_path, store):
    (tmp_path / "spec.yaml").write_text(SMALL_SPEC)
    spec = load_spec(tmp_path / "spec.yaml").spec
    return compile_plan(spec, scan(spec, Locations(tmp_path, {}), store, 1)).plan


def test_preparation_is_resumable_and_exact(tmp_path):
    store = tmp_path / "store"
    plan = small_plan(tmp_path, store)
    locations = Locations(tmp_path, {})
    table = prepare(plan.volumes, store, locations, 2)
    key = next(iter(table))
    bytes_before = volume_path(store, key).read_bytes()
    volume_path(store, key).unlink()
    seen = []
    assert prepare(plan.volumes, store, locations, 2, lambda done, total: seen.append((done, total))) == table
    assert seen == [(1, 1)]
    assert volume_path(store, key).read_bytes() == bytes_before


def test_a_file_that_changed_since_the_scan_is_not_used(tmp_path):
    path = save(tmp_path / "data" / "a.nii.gz", body())
    facts = inspect(path, CT)
    entry = {"path": "data/a.nii.gz", "content": facts["content"], "factor": 1.0, "preprocessing": {**CT, **GRID}}
    save(path, body(seed=5))
    with pytest.raises(InputError, match="has changed since it was scanned"):
        prepare({"k" * 64: entry}, tmp_path / "store", Locations(tmp_path, {}), 1)
    path.unlink()
    with pytest.raises(InputError, match="not there any more"):
        prepare({"k" * 64: entry}, tmp_path / "store", Locations(tmp_path, {}), 1)


def stored(store, key, volume):
    path = volume_path(store, key)
    path.parent.mkdir(parents=True, exist_ok=True)
    np.save(path, volume)
    return path


def test_a_missing_or_damaged_volume_is_named(tmp_path):
    with pytest.raises(StageError, match="abababababab is missing or damaged: no such file"):
        CropReader(tmp_path, ["ab" * 32], (4, 4, 4))
    path = stored(tmp_path, "ab" * 32, np.zeros((8, 8, 8), np.float16))
    whole = path.read_bytes()
    for damaged in (b"nonsense", b"", whole[:-200], whole[:60]):
        path.write_bytes(damaged)
        with pytest.raises(StageError, match="abababababab is missing or damaged"):
            CropReader(tmp_path, ["ab" * 32], (4, 4, 4)).read([0], np.zeros((1, 3)))
    np.save(path, np.zeros((8, 8, 8), np.float32))
    with pytest.raises(StageError, match="type float32"):
        CropReader(tmp_path, ["ab" * 32], (4, 4, 4)).read([0], np.zeros((1, 3)))
    path.write_bytes(whole)
    reader = CropReader(tmp_path, ["ab" * 32], (4, 4, 4))
    path.unlink()
    with pytest.raises(StageError, match="missing or damaged: No such file"):
        reader.read([0], np.zeros((1, 3)))


def test_a_run_may_draw_from_more_volumes_than_files_it_may_open(tmp_path):
    keys = [f"{index:064x}" for index in range(150)]
    for index, key in enumerate(keys):
        stored(tmp_path, key, np.full((5, 5, 5), index, np.float16))
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/dev/fd")) + 20, limits[1]))
    try:
        crops = CropReader(tmp_path, keys, (4, 4, 4)).read(range(150), np.full((150, 3), 0.5))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)
    assert np.array_equal(crops[:, 0, 0, 0], np.arange(150))


def test_any_number_of_threads_reads_the_same_crops(tmp_path):
    rng = np.random.default_rng(0)
    keys = [f"{index:064x}" for index in range(5)]
    for key in keys:
        stored(tmp_path, key, rng.standard_normal((9, 8, 7)).astype(np.float16))
    volumes, places, flips = rng.integers(0, 5, 37), rng.random((37, 3)), rng.random((37, 3)) < 0.5
    expected = CropReader(tmp_path, keys, (4, 4, 4)).read(volumes, places, flips).copy()
    for threads in (2, 3, 8):
        reader = CropReader(tmp_path, keys, (4, 4, 4), threads)
        for _ in range(3):
            assert np.array_equal(reader.read(volumes, places, flips), expected)


# Sampling


@given(st.integers(0, 2**31), st.lists(st.integers(0, 10**9), min_size=1, max_size=20))
def test_random_numbers_depend_on_their_counter_alone(seed, counters):
    together = uniform(seed, "x", counters, 3)
    alone = np.concatenate([uniform(seed, "x", [counter], 3) for counter in counters])
    assert np.array_equal(together, alone)
    assert ((together >= 0) & (together < 1)).all()


def test_random_numbers_are_uniform_and_independent():
    from scipy import stats

    numbers = uniform(7, "test", np.arange(20_000), 4)
    for lane in numbers.T:
        assert stats.kstest(lane, "uniform").pvalue > 1e-4
    assert np.abs(np.corrcoef(numbers.T) - np.eye(4)).max() < 0.03
    assert abs(np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]) < 0.03
    other = uniform(8, "test", np.arange(20_000))[:, 0]
    assert abs(np.corrcoef(numbers[:, 0], other)[0, 1]) < 0.03


def test_masks_are_permutations():
    orders = mask_order(1, "mask", np.arange(50), 27)
    assert (np.sort(orders, axis=1) == np.arange(27)).all()
    assert len(np.unique(orders, axis=0)) == 50


@given(
    st.dictionaries(st.sampled_from("abc"), st.integers(0, 40), min_size=1).filter(
        lambda items: sum(items.values()) > 0
    ),
    st.integers(0, 99),
)
def test_a_run_sees_exactly_its_amounts_and_each_volume_evenly(amounts, seed):
    volumes = {name: [f"{name}{index}" for index in range(3)] for name in amounts}
    order = SampleOrder.of(amounts, volumes, seed)
    drawn = [order.keys[index] for index in order.volume]
    for name, amount in amounts.items():
        counts = [drawn.count(key) for key in volumes[name]]
        assert sum(counts) == amount
        assert max(counts) - min(counts) <= 1


@st.composite
def manifests(draw):
    """Two domains of a few volumes; patients have several, and some are in both."""
    domains = {}
    for name in ("ct", "mri"):
        subjects = draw(st.lists(st.integers(0, 15), min_size=4, max_size=40).filter(lambda them: len(set(them)) > 3))
        domains[name] = DomainData(
            tuple(
                VolumeRecord(f"{name}/{index}", f"p{subject}", f"{name}{index}", (24, 24, 24), (1.0, 1.0, 1.0))
                for index, subject in enumerate(subjects)
            )
        )
    return DataManifest(domains)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(manifests(), st.sampled_from(["free", "match"]), st.integers(0, 9))
def test_what_the_runs_of_a_plan_draw_is_counted(tmp_path, manifest, repetition, seed):
    """Exactly the amounts; no subject of the validation side in any domain; no volume more often than it must be."""
    text = re.sub(r"\{phantom: .*?\}\}", "{nifti: '*.nii', subject: x}", SMALL_SPEC)
    text = text.replace("train: {", f"train: {{repetition: {repetition}, ")
    text = text.replace("data: {", f"data: {{split: {{validation: 0.25, seed: {seed}}}, ")
    (tmp_path / "spec.yaml").write_text(text)
    spec = load_spec(tmp_path / "spec.yaml").spec
    try:
        plan = compile_plan(spec, manifest).plan
    except InputError:  # nobody left to train on
        reject()
    records = {record.content: record for data in manifest.domains.values() for record in data.volumes}
    subject = {key: records[entry["content"]].subject for key, entry in plan.volumes.items()}
    held_out = {subject[key] for data in plan.domains.values() for key in data["validation"]}
    assert held_out
    smaller: dict[str, set[str]] = {name: set() for name in plan.domains}
    for run in sorted(plan.runs, key=lambda run: run.budget):
        volumes = {name: plan.volumes_for(name, run.budget) for name, amount in run.amounts.items() if amount}
        order = SampleOrder.of(run.amounts, volumes, run.seed)
        drawn = Counter(order.keys[index] for index in order.volume)
        assert held_out.isdisjoint(subject[key] for key in drawn)
        for name, amount in run.amounts.items():
            mine = {key: count for key, count in drawn.items() if plan.volumes[key]["domain"] == name}
            assert sum(mine.values()) == amount
            if amount:
                assert mine.keys() <= set(volumes[name]) <= set(plan.domains[name]["train"])
                assert max(mine.values()) <= -(-amount // len(volumes[name]))
                assert smaller[name] <= set(volumes[name])
                smaller[name] = set(volumes[name])


def test_crops_lie_inside_and_flips_mirror(tmp_path):
    volume = np.arange(10 * 9 * 8, dtype=np.float16).reshape(10, 9, 8)
    stored(tmp_path, "k" * 64, volume)
    reader = CropReader(tmp_path, ["k" * 64], (4, 4, 4))
    corners = reader.read([0, 0], np.array([[0.0, 0.0, 0.0], [0.999999, 0.999999, 0.999999]]))
    assert np.array_equal(corners[0], volume[:4, :4, :4])
    assert np.array_equal(corners[1], volume[-4:, -4:, -4:])
    flipped = reader.read([0], np.zeros((1, 3)), np.array([[True, False, True]]))
    assert np.array_equal(flipped[0], volume[:4, :4, :4][::-1, :, ::-1])
    assert not reader.any_padded([0])


def test_a_reader_that_is_gone_has_let_go_of_its_volumes(tmp_path):
    stored(tmp_path, "f" * 64, np.zeros((8, 8, 8), np.float16))
    reader = CropReader(tmp_path, ["f" * 64], (4, 4, 4))
    reader.read([0], np.zeros((1, 3)))
    maps = Path("/proc/self/maps")
    if not maps.exists():
        pytest.skip("this system does not tell what is mapped")
    assert "f" * 64 in maps.read_text()
    del reader
    assert "f" * 64 not in maps.read_text()


def test_a_read_leaves_the_one_before_it_as_it_was(tmp_path):
    """What is trained on holds while the next batch is read ahead."""
    stored(tmp_path, "k" * 64, np.arange(10 * 9 * 8, dtype=np.float16).reshape(10, 9, 8))
    reader = CropReader(tmp_path, ["k" * 64], (4, 4, 4))
    first = reader.read([0, 0], np.zeros((2, 3)))
    before = first.copy()
    second = reader.read([0, 0, 0], np.full((3, 3), 0.9))
    assert np.array_equal(first, before)
    assert not np.array_equal(first, second[:2])


@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.tuples(*[st.integers(5, 80)] * 3), st.tuples(*[st.integers(1, 5)] * 3), st.integers(0, 99))
def test_crops_are_what_slicing_the_volumes_gives(tmp_path, shape, crop, seed):
    rng = np.random.default_rng(seed)
    volumes = [rng.normal(size=shape).astype(np.float16), rng.normal(size=shape[::-1]).astype(np.float16)]
    volumes[1][-1, -1, -1] = np.nan
    for name, volume in zip("ab", volumes, strict=True):
        stored(tmp_path, name * 64, volume)
    reader = CropReader(tmp_path, ["a" * 64, "b" * 64], crop)
    indices, places, flips = rng.integers(0, 2, 6), rng.random((6, 3)), rng.random((6, 3)) < 0.5
    for crops, index, place, flip in zip(reader.read(indices, places, flips), indices, places, flips, strict=True):
        start = (place * (np.array(volumes[index].shape) - crop + 1)).astype(int)
        expected = volumes[index][tuple(slice(at, at + size) for at, size in zip(start, crop, strict=True))]
        np.testing.assert_array_equal(crops, np.flip(expected, np.flatnonzero(flip)).astype(np.float32))
    assert not reader.any_padded([0])
    assert reader.any_padded([0, 1])


# Real volumes


@pytest.mark.realpack
def test_the_real_pack_is_scanned_with_its_traps_seen(realpack, tmp_path):
    from conftest import ROOT

    spec = load_spec(ROOT / "specs" / "realpack.yaml").spec
    manifest = scan(spec, Locations(tmp_path, {"data_root": str(realpack)}), tmp_path / "store", 2)
    assert {name: len(data.volumes) for name, data in manifest.domains.items()} == {"ct": 10, "mri": 20, "pet": 21}
    assert all(not data.quarantined for data in manifest.domains.values())
    (whole_body,) = [volume for volume in manifest.domains["pet"].volumes if "bqml" in volume.path]
    assert whole_body.factor == pytest.approx(2.429e-4)
    plan = compile_plan(spec, manifest).plan
    subjects = {volume.content: volume.subject for data in manifest.domains.values() for volume in data.volumes}
    sides = {
        side: {subjects[plan.volumes[key]["content"]] for data in plan.domains.values() for key in data[side]}
        for side in ("train", "validation")
    }
    assert sides["train"].isdisjoint(sides["validation"])


@pytest.mark.realpack
def test_becquerels_are_refused_without_a_factor(realpack):
    found = inspect(realpack / "pet" / "sts001_fdg_wholebody_bqml.nii.gz", PET)
    assert "cannot be SUV" in found["problem"]


@pytest.mark.realpack
def test_real_patients_agree_across_modalities_after_preprocessing(realpack):
    """CT and PET of one patient share world coordinates: bright PET lies where CT shows tissue, at 4 mm."""
    grid = {"spacing": [4.0, 4.0, 4.0], "crop": [8, 8, 8]}
    for name, preset in (
        ("ct/sts002_ct", CT),
        ("pet/sts002_fdg", PET),
        ("mri/sct_neck_t2s", MRI),
        ("mri/ucsfbr06_breast_dce1", MRI),
    ):
        volume = preprocess(realpack / f"{name}.nii.gz", 1.0, {**preset, **grid})
        real = volume[np.isfinite(volume)].astype(np.float32)
        assert real.size > 500
        assert -3 < real.mean() < 3
        assert 0.3 < real.std() < 3


def test_a_label_map_among_images_is_set_aside(tmp_path):
    import nibabel

    values = np.zeros((12, 12, 12), np.float32)
    values[3:9, 3:9, 3:9] = 2
    values[5, 5, 5] = 7
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "labels.nii.gz")
    settings = {"modality": "mri", "unit": "arbitrary", "factor": 1.0}
    assert inspect(tmp_path / "labels.nii.gz", settings)["problem"] == (
        "only 3 different values, whole numbers from 0 to 7: a label map"
    )
    grey = np.random.default_rng(0).integers(0, 200, (12, 12, 12)).astype(np.uint8)
    nibabel.save(nibabel.Nifti1Image(grey, np.eye(4)), tmp_path / "grey.nii.gz")
    assert inspect(tmp_path / "grey.nii.gz", settings)["problem"] == ""
