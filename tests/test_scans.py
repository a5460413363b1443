"""Scan files as people have them: what is used, what is converted and what is set aside, against nibabel and scipy."""

import csv
import gzip
import json
import os
import shutil
import struct
import sys
import unicodedata
from pathlib import Path

import nibabel
import numpy as np
import pytest
from conftest import SMALL_SPEC, mixlang
from scipy import ndimage

from mixlang.errors import InputError
from mixlang.plan.build import compile_plan
from mixlang.plan.data_manifest import DataManifest, in_two_domains
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from runners.data.field_of_view import outside
from runners.data.nifti import read_nifti
from runners.data.preprocess import preprocess
from runners.data.scan import inspect, scan
from runners.data.sources import find_candidates
from runners.data.volumes import StoredVolume, prepare

AFFINE = np.diag([1.0, 1.0, 1.5, 1.0])
CT = {"modality": "ct", "unit": "hu", "clip": [-1000.0, 1000.0], "factor": 1.0, "offset": 0.0}
MRI = {"modality": "mri", "unit": "arbitrary", "clip": None, "factor": 1.0, "offset": 0.0}
PET = {"modality": "pet", "unit": "suv", "clip": [0.0, 20.0], "factor": 1.0, "offset": 0.0}
GRID = {"spacing": [1.5, 1.5, 1.5], "crop": [16, 16, 16]}
TABLE = "path,subject\n"


def ct(seed, shape=(40, 36, 30)):
    """A smooth field from -1000 to 800 HU with a border of air."""
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    field = -1000 + 1800 * (field - field.min()) / np.ptp(field)
    field[:6] = -1000
    return field


def mri(seed, shape=(40, 36, 30)):
    field = ndimage.gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    field = 900 * (field - field.min()) / np.ptp(field)
    field[:8] = 0
    return field


def save(path, values, affine=AFFINE):
    path.parent.mkdir(parents=True, exist_ok=True)
    nibabel.save(nibabel.Nifti1Image(values, affine), path)
    return path


def resampled(values, affine, spacing):
    """Trilinear resampling in RAS order by scipy, on the grid that keeps the centre of the first voxel."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(values.astype(np.float64), affine))
    have = image.header.get_zooms()[:3]
    ratios = [want / edge for want, edge in zip(spacing, have, strict=True)]
    shape = [round((size - 1) / ratio) + 1 for size, ratio in zip(image.shape, ratios, strict=True)]
    places = [np.minimum(np.arange(n) * r, s - 1) for n, r, s in zip(shape, ratios, image.shape, strict=True)]
    return ndimage.map_coordinates(image.get_fdata(), np.meshgrid(*places, indexing="ij"), order=1, mode="nearest")


def as_stored(values, affine, settings=GRID):
    """What a CT becomes: clipped, shifted and scaled by constants (the box is checked elsewhere)."""
    image = resampled(np.maximum(values, -1024), affine, settings["spacing"])
    return ((np.clip(image, -1000, 1000) + 1000) / 2000 - 0.26) / 0.245


def problem(path, settings):
    return inspect(path, settings)["problem"]


def workspace(root, domains, **parts):
    """A spec's manifest, scanned below `root`; `domains` are YAML texts by name."""
    lines = "".join(f"  {name}: {text}\n" for name, text in domains.items())
    head, tail = SMALL_SPEC.split("domains:\n")
    (root / "spec.yaml").write_text(head + "domains:\n" + lines + "data:" + tail.split("data:", 1)[1])
    loaded = load_spec(root / "spec.yaml")
    return loaded, scan(loaded.spec, Locations(root, parts), root / "store", 1)


def listed(root, source, modality="ct", **variables):
    domain = Domain.model_validate({"modality": modality, "source": source})
    return find_candidates("d", domain, Locations(root, variables))


# Values that cannot be in the unit


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda hu: (hu + 1024).clip(0).astype(np.uint16), "offset of about 1024"),
        (lambda hu: (hu + 1000) / 1800, "cannot be HU: scaled?"),
        (lambda hu: (hu - hu.mean()) / hu.std(), "cannot be HU: scaled?"),
        (lambda hu: hu / 1000, "cannot be HU: scaled?"),
        (lambda hu: np.rint((hu.clip(-160, 240) + 160) / 400 * 255).astype(np.uint8), "grey levels"),
        (lambda hu: hu + 8192, "beyond 4000"),
        (lambda hu: hu - 1024, "cannot be HU"),
        (lambda hu: hu * 3, "less than air"),
    ],
)
def test_a_ct_that_is_not_in_hu_is_set_aside_with_its_quantiles(tmp_path, convert, words):
    path = save(tmp_path / "x.nii.gz", np.asarray(convert(ct(1))))
    why = problem(path, CT)
    assert words in why
    assert "50 %: " in why
    assert problem(save(tmp_path / "hu.nii.gz", ct(1)), CT) == ""


def test_a_ct_without_air_is_possible(tmp_path):
    rng = np.random.default_rng(0)
    organ = save(tmp_path / "liver.nii.gz", rng.normal(60, 15, (20, 20, 20)).astype(np.float32))
    brain = rng.normal(35, 6, (20, 20, 20)).astype(np.float32)
    brain[:8] = 0  # masked
    bone = rng.normal(400, 250, (20, 20, 20)).astype(np.float32)
    assert problem(organ, CT) == ""
    assert problem(save(tmp_path / "brain.nii.gz", brain), CT) == ""
    assert problem(save(tmp_path / "bone.nii.gz", bone), CT) == ""


def test_an_offset_makes_the_same_volume_of_a_shifted_ct(tmp_path):
    hu = np.rint(ct(2)).astype(np.int16)
    save(tmp_path / "hu" / "a.nii.gz", hu)
    save(tmp_path / "raw" / "a.nii.gz", (hu + 1024).astype(np.uint16))
    settings = {**CT, **GRID}
    plain = preprocess(tmp_path / "hu" / "a.nii.gz", 1.0, settings)
    shifted = preprocess(tmp_path / "raw" / "a.nii.gz", 1.0, {**settings, "offset": -1024.0})
    np.testing.assert_array_equal(plain, shifted)
    assert problem(tmp_path / "raw" / "a.nii.gz", {**CT, "offset": -1024.0}) == ""
    assert problem(tmp_path / "hu" / "a.nii.gz", {**CT, "offset": -1024.0}) != ""  # twice is once too often


def test_offsets_of_the_domain_and_of_a_rule_reach_the_plan_and_its_keys(tmp_path):
    for index in range(6):
        save(tmp_path / "ct" / f"a{index}.nii.gz", np.rint(ct(index)).astype(np.int16) + 1024)
        save(tmp_path / "other" / f"b{index}.nii.gz", ((ct(10 + index) + 1000) / 1800).astype(np.float32))
    rule = '{files: "b*.nii.gz", factor: 1800, offset: -1000}'
    loaded, manifest = workspace(
        tmp_path,
        {
            "ct": '{modality: ct, source: {nifti: "ct/*.nii.gz"}, intensity: {offset: -1024}}',
            "unit": f'{{modality: ct, source: {{nifti: "other/*.nii.gz"}}, intensity: {{factors: [{rule}]}}}}',
        },
    )
    assert [data.quarantined for data in manifest.domains.values()] == [(), ()]
    manifest.write(tmp_path / "data.json")
    assert DataManifest.read(tmp_path / "data.json") == manifest
    plan = compile_plan(loaded.spec, manifest).plan
    assert {entry["preprocessing"]["offset"] for entry in plan.volumes.values()} == {-1024.0, -1000.0}
    plain = dict.fromkeys(plan.volumes)
    prepare(plan.volumes, tmp_path / "store", Locations(tmp_path, {}), 1)
    for key in plain:
        stored = StoredVolume(tmp_path / "store", key).mapped().view(np.float16)
        entry = plan.volumes[key]
        seed = int(Path(entry["path"]).name[1]) + (10 if entry["domain"] == "unit" else 0)
        values = ct(seed) if entry["domain"] == "unit" else np.rint(ct(seed))
        expected = as_stored(values, AFFINE, entry["preprocessing"])
        assert abs(float(np.nanmean(stored[np.isfinite(stored)])) - expected.mean()) < 0.2
        assert np.nanmax(stored) == pytest.approx(expected.max(), abs=5e-3)


@pytest.mark.parametrize(
    ("convert", "words"),
    [
        (lambda suv: suv / suv.max(), "averages 1 over a body"),
        (lambda suv: suv * 5000, "Bq/ml"),
        (lambda suv: suv * 15 + 8, "kBq/ml"),
        (lambda suv: suv - 3, "cannot be SUV"),
    ],
)
def test_a_pet_that_is_not_in_suv_is_set_aside(tmp_path, convert, words):
    suv = mri(3) / 900 * 8
    assert problem(save(tmp_path / "suv.nii.gz", suv.astype(np.float32)), PET) == ""
    why = problem(save(tmp_path / "x.nii.gz", convert(suv).astype(np.float32)), PET)
    assert words in why
    assert "99.9 %: " in why


def test_what_is_constant_after_its_preset_is_never_accepted(tmp_path):
    path = save(tmp_path / "x.nii.gz", ct(1).clip(0, 800))
    settings = {
        **CT,
        "unit": "arbitrary",
        "clip": [-1000.0, -900.0],
    }  # taken at its word, yet nothing would be left of it
    assert "constant once clipped" in problem(path, settings)


# MRI of any scale


@pytest.mark.parametrize("exponent", [-100, -64, -30, -20, 20, 40, 63, 100])
def test_an_mri_becomes_the_same_volume_whatever_its_scale_to_the_last_bit(tmp_path, exponent):
    values = mri(4).astype(np.float32)
    settings = {**MRI, **GRID}
    plain = preprocess(save(tmp_path / "a.nii.gz", values), 1.0, settings)
    scaled = save(tmp_path / "b.nii.gz", np.ldexp(values, exponent))
    assert problem(scaled, MRI) == ""
    np.testing.assert_array_equal(plain, preprocess(scaled, 1.0, settings))
    assert 0.5 < float(plain.astype(np.float32).std()) < 2


@pytest.mark.parametrize("scale", [1e-9, 1e-6, 1e19, 1e30])
def test_an_adc_in_square_metres_and_a_huge_mri_keep_their_contrast(tmp_path, scale):
    values = mri(4)
    plain = preprocess(save(tmp_path / "a.nii.gz", values.astype(np.float32)), 1.0, {**MRI, **GRID})
    scaled = preprocess(save(tmp_path / "b.nii.gz", (values * scale).astype(np.float32)), 1.0, {**MRI, **GRID})
    np.testing.assert_allclose(plain.astype(float), scaled.astype(float), atol=4e-3)


# Identity


def test_the_same_voxels_in_another_file_are_a_duplicate(tmp_path):
    values = np.rint(ct(1)).astype(np.int16)
    save(tmp_path / "ct" / "a.nii.gz", values)
    save(tmp_path / "ct" / "b.nii", values)
    save(tmp_path / "ct" / "c.nii.gz", values.astype(np.float32))  # another type and header
    turned = nibabel.Nifti1Image(values, AFFINE).as_reoriented([[1, -1], [0, 1], [2, -1]])
    nibabel.save(turned, tmp_path / "ct" / "d.nii.gz")
    for index in range(4):
        save(tmp_path / "other" / f"e{index}.nii.gz", ct(10 + index))
    shutil.copy(tmp_path / "ct" / "c.nii.gz", tmp_path / "other" / "f.nii.gz")
    _, manifest = workspace(
        tmp_path,
        {
            "ct": '{modality: ct, source: {nifti: "ct/*"}}',
            "other": '{modality: ct, source: {nifti: "other/*.nii.gz"}}',
        },
    )
    assert [volume.path for volume in manifest.domains["ct"].volumes] == ["ct/a.nii.gz"]
    assert manifest.domains["ct"].quarantined == tuple(
        (f"ct/{name}", "the same voxels as ct/a.nii.gz") for name in ("b.nii", "c.nii.gz", "d.nii.gz")
    )
    assert "other/f.nii.gz is ct/a.nii.gz of 'ct'" in in_two_domains(manifest)["other"]


def test_subjects_are_compared_without_blanks_and_in_one_unicode_form(tmp_path):
    rows = ["P001", "P001 ", " P001", "Zoë", unicodedata.normalize("NFD", "Zoë"), "a  b", "a b"]
    for index, _ in enumerate(rows):
        save(tmp_path / f"s{index}.nii.gz", ct(index))
    lines = [f"s{index}.nii.gz,{subject}\n" for index, subject in enumerate(rows)]
    (tmp_path / "t.csv").write_text(TABLE + "".join(lines))
    items = listed(tmp_path, {"manifest": "t.csv"})
    assert [item.subject for item in items] == ["P001"] * 3 + ["Zoë"] * 2 + ["a b"] * 2


def test_paths_and_filters_of_a_manifest_survive_blanks_and_unicode_forms(tmp_path):
    name = unicodedata.normalize("NFD", "Zoë.nii.gz")
    save(tmp_path / name, ct(1))
    save(tmp_path / "b.nii.gz", ct(2))
    rows = [
        ["path ", "subject", "phase"],
        [unicodedata.normalize("NFC", name), "1", "portal "],
        ["b.nii.gz ", "2", "portal"],
    ]
    with (tmp_path / "t.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    items = listed(tmp_path, {"manifest": "t.csv", "where": {"phase": " portal"}})
    assert [item.path.is_file() for item in items] == [True, True]


def test_subjects_that_differ_only_in_writing_are_reported(tmp_path):
    root = tmp_path / "ws"
    mixlang("init", str(root), cwd=tmp_path)
    subjects = ["P1", "p01", "sub-P001", "P2", "P3", "P12", "P21"]
    for index in range(len(subjects)):
        save(root / "d" / f"{index}.nii.gz", ct(index))
    (root / "d" / "t.csv").write_text(
        TABLE + "".join(f"{index}.nii.gz,{name}\n" for index, name in enumerate(subjects))
    )
    text = SMALL_SPEC.replace("{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}", '{manifest: "d/t.csv"}')
    (root / "specs" / "small.yaml").write_text(text)
    said = mixlang("plan", "specs/small.yaml", cwd=root).stderr
    assert "subjects differ only by case, blanks, leading zeros" in said
    assert "'P1' and 'p01' and 'sub-P001'" in said
    assert "P12" not in said


# Paths that are no patterns


def test_a_folder_named_like_a_pattern_is_itself(tmp_path):
    for top in ("[2021] trial", "2 trial"):
        save(tmp_path / top / "ct" / f"{top[1]}.nii.gz", ct(1))
    want = tmp_path / "[2021] trial"
    for source, variables in (
        ({"nifti": "${data_root}/ct/*.nii.gz"}, {"data_root": str(want)}),
        ({"nifti": "[2021] trial/ct/*.nii.gz"}, {}),
        ({"nifti": "${data_root}/[2021] trial/**/*.nii.gz"}, {"data_root": str(tmp_path)}),
    ):
        assert [item.path for item in listed(tmp_path, source, **variables)] == [want / "ct" / "2.nii.gz"], source
    assert len(listed(tmp_path, {"nifti": "[0-9] trial/ct/*.nii.gz"})) == 1  # a pattern where nothing has that name
    inner = Locations(want, {})
    domain = Domain.model_validate({"modality": "ct", "source": {"nifti": "ct/*.nii.gz"}})
    assert [item.path for item in find_candidates("d", domain, inner)] == [want / "ct" / "2.nii.gz"]


def test_where_the_data_are_decides_nothing_of_what_a_pattern_excludes(tmp_path):
    folder = tmp_path / "old_label_store"
    save(folder / "a.nii.gz", ct(1))
    save(folder / "a[1].nii.gz", ct(2))
    source = {"nifti": "${data_root}/*.nii.gz", "exclude": ["*label*", "a[1].nii.gz"]}
    assert [item.portable for item in listed(tmp_path, source, data_root=str(folder))] == ["${data_root}/a.nii.gz"]


def test_init_writes_a_folder_named_like_a_pattern_as_itself(tmp_path):
    data = tmp_path / "[a] data"
    for index in range(4):
        save(data / "[1] ct" / f"p{index}.nii.gz", ct(index))
        save(data / "1 mr" / f"p{index}.nii.gz", mri(index).astype(np.float32))
    mixlang("init", str(tmp_path / "ws"), "--from", str(data), cwd=tmp_path)
    spec = load_spec(tmp_path / "ws" / "specs" / "study.yaml").spec
    for name, top in (("ct", "[1] ct"), ("mri", "1 mr")):
        items = find_candidates(name, spec.domains[name], Locations(tmp_path / "ws", {"data_root": str(data)}))
        assert {item.path.parent.name for item in items} == {top}
        assert len(items) == 4


# Settings without effect


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("'*.nii.gz'", "'*.nii.gz', exclude: ['*_mask.nii.gz']", "'*_mask.nii.gz' takes no file"),
        ("}}", "}, intensity: {factors: [{files: 'sub-*_pet.nii', factor: 0.2}]}}", "'sub-*_pet.nii' takes no file"),
        (
            "}}",
            "}, intensity: {factors: [{files: '*', factor: 0.2}, {files: '0*', factor: 0.1}]}}",
            "the 1 files that it fits are taken by an earlier rule",
        ),
    ],
)
def test_a_pattern_that_takes_nothing_is_an_error(tmp_path, old, new, message):
    root = tmp_path / "ws"
    mixlang("init", str(root), cwd=tmp_path)
    for index in range(6):
        save(root / "d" / f"{index}.nii.gz", (mri(index) / 100).astype(np.float32))
    domain = "{modality: pet, source: {nifti: 'd/*.nii.gz'}}".replace("'d/*.nii.gz'", "'*.nii.gz'")
    domain = domain.replace(old, new).replace("'*.nii.gz'", "'d/*.nii.gz'", 1)
    text = SMALL_SPEC.replace("{modality: ct,  source: {phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}}", domain)
    (root / "specs" / "small.yaml").write_text(text)
    for command in ("check", "plan"):
        done = mixlang(command, "specs/small.yaml", cwd=root, check=False)
        assert done.returncode == 1
        assert "error[MX0309]" in done.stderr
        assert message in done.stderr


def test_a_suffix_that_no_file_has_is_an_error(tmp_path):
    for index in range(2):
        save(tmp_path / f"sub-{index}" / "anat" / f"sub-{index}_T1w.nii.gz", mri(index))
    with pytest.raises(InputError, match="no volume with the suffix FLAIR; it has T1w"):
        listed(tmp_path, {"bids": ".", "suffix": ["T1w", "FLAIR"]}, "mri")


# Files that change, names, headers


def test_a_scan_replaced_in_place_with_its_time_and_size_is_read_again(tmp_path):
    values = np.rint(ct(1)).astype(np.int16)
    path, other = save(tmp_path / "d" / "a.nii", values), save(tmp_path / "new.nii", values[::-1])
    source = {"ct": '{modality: ct, source: {nifti: "d/*.nii"}}', "x": "{modality: ct, source: {phantom: {count: 4}}}"}
    _, before = workspace(tmp_path, source)
    old = os.stat(path)
    for replace in (lambda: shutil.copyfile(other, path), lambda: os.replace(shutil.copy(other, tmp_path / "t"), path)):
        nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
        replace()
        os.utime(path, ns=(old.st_atime_ns, old.st_mtime_ns))
        new = os.stat(path)
        assert (new.st_size, new.st_mtime_ns) == (old.st_size, old.st_mtime_ns)
        _, after = workspace(tmp_path, source)
        assert after.domains["ct"].volumes[0].content != before.domains["ct"].volumes[0].content


@pytest.mark.parametrize("kind", ["nifti", "nnunet", "bids", "init"])
def test_what_systems_leave_beside_scans_is_ignored_everywhere(tmp_path, kind):
    data = tmp_path / "data"
    names = {
        "nifti": "ct/p{}.nii.gz", "init": "ct/p{}.nii.gz",
        "nnunet": "imagesTr/p{}_0000.nii.gz", "bids": "sub-{}/ct/sub-{}_ct.nii.gz",
    }  # fmt: skip
    for index in range(4):
        path = save(data / names[kind].format(index, index), ct(index))
        (path.parent / f"._{path.name}").write_bytes(b"\0\5\x16\7" + bytes(500))
        (path.parent / ".DS_Store").write_bytes(b"\0\0\0\1Bud1")
        (path.parent / "Thumbs.db").write_bytes(b"x")
    if kind == "init":
        for index in range(4):
            save(data / "mr" / f"p{index}.nii.gz", mri(index))
            (data / "mr" / f"._p{index}.nii.gz").write_bytes(b"x")
        mixlang("init", str(tmp_path / "ws"), "--from", str(data), cwd=tmp_path)
        text = (tmp_path / "ws" / "specs" / "study.yaml").read_text()
        assert text.count("# 4 volumes of 4 subjects") == 2
        return
    (data / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}))
    source = {"nifti": {"nifti": "data/**/*"}, "nnunet": {"nnunet": "data"}, "bids": {"bids": "data"}}[kind]
    assert len(listed(tmp_path, source)) == 4


def test_capitals_are_found_by_every_source(tmp_path):
    for index in range(3):
        path = save(tmp_path / "g" / f"p{index}.nii.gz", ct(index))
        path.rename(path.with_name(f"P{index}.NII.GZ"))
        (tmp_path / "n" / "imagesTr").mkdir(parents=True, exist_ok=True)
        shutil.copy(path.with_name(f"P{index}.NII.GZ"), tmp_path / "n" / "imagesTr" / f"P{index}_0000.NII.GZ")
        (tmp_path / "b" / f"sub-{index}" / "ct").mkdir(parents=True)
        shutil.copy(
            path.with_name(f"P{index}.NII.GZ"), tmp_path / "b" / f"sub-{index}" / "ct" / f"sub-{index}_ct.NII.GZ"
        )
    (tmp_path / "n" / "dataset.json").write_text(json.dumps({"channel_names": {"0": "CT"}, "file_ending": ".nii.gz"}))
    for source in ({"nifti": "g/*.nii.gz"}, {"nnunet": "n"}, {"bids": "b"}):
        items = listed(tmp_path, source)
        assert len(items) == 3, source
        assert all(problem(item.path, CT) == "" for item in items)


def test_content_decides_and_not_the_name(tmp_path):
    values = np.rint(ct(5)).astype(np.int16)
    plain, packed = save(tmp_path / "a.nii", values), save(tmp_path / "b.nii.gz", values)
    expected = read_nifti(plain).image
    np.testing.assert_array_equal(expected, nibabel.as_closest_canonical(nibabel.load(plain)).get_fdata())
    swapped = (shutil.copy(plain, tmp_path / "c.nii.gz"), shutil.copy(packed, tmp_path / "d.nii"))
    nibabel.save(nibabel.Nifti1Pair(values, AFFINE), tmp_path / "e.img")
    nibabel.save(nibabel.Nifti1Pair(values, AFFINE), tmp_path / "f.img")
    (tmp_path / "f.img").rename(tmp_path / "f.IMG")
    for path in (packed, *map(Path, swapped), tmp_path / "e.img", tmp_path / "e.hdr", tmp_path / "f.IMG"):
        found = read_nifti(path)
        np.testing.assert_array_equal(found.image, expected, err_msg=path.name)
        assert found.spacing == pytest.approx((1, 1, 1.5))
    assert [item.path.name for item in listed(tmp_path, {"nifti": "e.*"})] == ["e.img"]
    (tmp_path / "e.hdr").unlink()
    assert "no e.hdr beside it" in problem(tmp_path / "e.img", CT)


def test_names_that_are_not_utf8_are_scanned_and_prepared(tmp_path):
    folder = os.fsencode(tmp_path / "d")
    os.mkdir(folder)
    for index in range(6):
        path = save(tmp_path / "x.nii.gz", ct(index))
        os.rename(path, os.path.join(folder, b"Patient_\xe9%d.nii.gz" % index))
    source = {
        "ct": '{modality: ct, source: {nifti: "d/*.nii.gz"}}',
        "x": "{modality: ct, source: {phantom: {count: 4}}}",
    }
    loaded, manifest = workspace(tmp_path, source)
    assert len(manifest.domains["ct"].volumes) == 6
    manifest.write(tmp_path / "data.json")
    assert DataManifest.read(tmp_path / "data.json") == manifest
    plan = compile_plan(loaded.spec, manifest).plan
    keys = {key: entry for key, entry in plan.volumes.items() if entry["domain"] == "ct"}
    assert all(r"\xe9" in entry["path"] for entry in keys.values())
    assert len(prepare(keys, tmp_path / "store", Locations(tmp_path, {}), 1)) == 6


def header_with(path, **fields):
    """A real file whose header fields are overwritten in place, by (offset, format)."""
    places = {"pixdim": (80, "<3f"), "qform_code": (252, "<h"), "sform_code": (254, "<h"), "units": (123, "<B")}
    raw = bytearray(path.read_bytes())
    for name, value in fields.items():
        offset, form = places[name]
        struct.pack_into(form, raw, offset, *(value if isinstance(value, tuple) else (value,)))
    path.write_bytes(raw)
    return path


def test_voxel_sizes_of_0_and_contradictory_headers(tmp_path):
    def make(**fields):
        return header_with(save(tmp_path / "x.nii", ct(1)), **fields)

    assert "a voxel size of 0 x 0 x 1.5" in problem(make(pixdim=(0, 0, 1.5), qform_code=1, sform_code=0), CT)
    assert "a voxel size of 0 x 1 x 1" in problem(make(pixdim=(0, 1, 1), qform_code=0, sform_code=0), CT)
    believed = inspect(make(pixdim=(0, 0, 0), qform_code=0, sform_code=1), CT)
    assert (believed["problem"], believed["spacing"]) == ("", [1.0, 1.0, 1.5])
    assert "those of the sform are believed" in believed["notes"][0]
    unset = inspect(make(pixdim=(1, 1, 1), qform_code=0, sform_code=1), CT)
    assert (unset["problem"], unset["spacing"]) == ("", [1.0, 1.0, 1.5])
    assert "pixdim was left at 1 mm" in unset["notes"][0]
    assert "the sform has voxels of 1 x 1 x 1.5 mm, the qform of 1 x 1 x 3" in problem(
        make(pixdim=(1, 1, 3), qform_code=1, sform_code=1), CT
    )
    image = nibabel.Nifti1Image(ct(1), AFFINE)
    image.header.set_qform(np.diag([-1.0, 1.0, 1.5, 1.0]), 1)
    nibabel.save(image, tmp_path / "m.nii")
    assert "mirror images" in problem(tmp_path / "m.nii", CT)


@pytest.mark.parametrize(
    ("scale", "code", "spacing", "words"),
    [
        (1e-3, 1, (1, 1, 1.5), "in metres"),
        (1e3, 3, (1, 1, 1.5), "in micrometres"),
        (1.0, 1, (1, 1, 1.5), "only millimetres are possible"),
        (1.0, 3, (1, 1, 1.5), "only millimetres are possible"),
        (1.0, 2, (1, 1, 1.5), ""),
        (1.0, 0, (1, 1, 1.5), ""),
    ],
)
def test_units_of_length_are_believed_where_they_can_be(tmp_path, scale, code, spacing, words):
    affine = np.diag([scale, scale, 1.5 * scale, 1.0])
    found = inspect(header_with(save(tmp_path / "x.nii", ct(1), affine), units=code), CT)
    assert found["problem"] == ""
    assert found["spacing"] == pytest.approx(spacing, rel=1e-5)
    assert words in "".join(found["notes"])
    assert bool(words) == bool(found["notes"])


def test_units_of_length_that_cannot_be_decided_are_refused(tmp_path):
    tiny = header_with(save(tmp_path / "x.nii", ct(1), np.diag([0.02, 0.02, 0.02, 1])), units=3)
    assert "both these and millimetres are impossible" in problem(tiny, CT)  # 20 nanometres, or a body of 0.8 mm


# Voxels that do not exist


@pytest.mark.parametrize("settings", [CT, MRI], ids=["ct", "mri"])
def test_nan_outside_the_field_of_view_are_voxels_that_do_not_exist(tmp_path, settings):
    values = (ct(6) if settings is CT else mri(6)).astype(np.float32)
    holed = values.copy()
    x, y = np.meshgrid(np.arange(40) - 20, np.arange(36) - 18, indexing="ij")
    holed[np.hypot(x, y) > 19] = np.nan  # the round field of view of a scanner
    holed[:9] = np.nan
    path = save(tmp_path / "x.nii.gz", holed)
    found = inspect(path, settings)
    assert found["problem"] == ""
    assert "outside the field of view" in found["notes"][0]
    whole = {**settings, "spacing": [1.0, 1.0, 1.5], "crop": [40, 36, 30]}  # the box is the volume
    stored = preprocess(path, 1.0, whole)
    np.testing.assert_array_equal(np.isnan(stored), np.isnan(holed))
    there = ~np.isnan(holed)
    if settings is CT:
        expected = ((np.clip(holed, -1000, 1000) + 1000) / 2000 - 0.26) / 0.245
        np.testing.assert_allclose(stored[there].astype(float), expected[there], atol=4e-3)
    else:  # what is not there takes no part in mean and deviation
        assert float(stored[there].astype(float).mean()) == pytest.approx(0, abs=1e-3)
        assert float(stored[there].astype(float).std()) == pytest.approx(1, abs=1e-3)
    finer = preprocess(path, 1.0, {**settings, "spacing": [2.0, 2.0, 2.0], "crop": [20, 18, 23]})
    plain = as_stored(values, AFFINE, {"spacing": [2.0, 2.0, 2.0]})
    places = np.meshgrid(*[np.arange(n) * r for n, r in zip(plain.shape, (2, 2, 2 / 1.5), strict=True)], indexing="ij")
    exists = ndimage.map_coordinates(there.astype(float), places, order=0, mode="nearest") > 0
    np.testing.assert_array_equal(np.isfinite(finer), exists)
    if settings is CT:  # a voxel away from the rim no value of the fill takes part
        inner = ndimage.binary_erosion(exists)
        np.testing.assert_allclose(finer[inner].astype(float), plain[inner], atol=4e-3)


def test_a_volume_with_holes_says_so_to_training(tmp_path):
    values = ct(6).astype(np.float32)
    values[:12, :12] = np.nan
    for index in range(6):
        save(tmp_path / "d" / f"{index}.nii.gz", np.roll(values, index, axis=2))
    source = {
        "ct": '{modality: ct, source: {nifti: "d/*.nii.gz"}}',
        "x": "{modality: ct, source: {phantom: {count: 4}}}",
    }
    loaded, manifest = workspace(tmp_path, source)
    plan = compile_plan(loaded.spec, manifest).plan
    prepare(plan.volumes, tmp_path / "store", Locations(tmp_path, {}), 1)
    for key, entry in plan.volumes.items():
        volume = StoredVolume(tmp_path / "store", key)
        bits = volume.mapped().view(np.float16)
        assert volume.padded == bool(np.isnan(bits).any())
        if entry["domain"] == "ct":
            assert volume.padded
            assert not np.isnan(bits[-1, -1, -1])


@pytest.mark.parametrize("part", [1e-4, 0.01, 0.1, 0.35, 0.6])
def test_scattered_nan_stay_a_reason(tmp_path, part):
    values = ct(7).astype(np.float32)
    values[np.random.default_rng(0).random(values.shape) < part] = np.nan
    assert "NaN or infinite" in problem(save(tmp_path / "x.nii.gz", values), CT)


def test_infinity_and_holes_inside_stay_a_reason(tmp_path):
    values = ct(7).astype(np.float32)
    values[:5] = np.nan
    assert outside(values)[:5].all()
    hole, endless = values.copy(), values.copy()
    hole[20:24, 10:14, 10:14] = np.nan
    endless[:2] = np.inf
    assert "64 of 43,200 voxels inside the field of view" in problem(save(tmp_path / "x.nii.gz", hole), CT)
    assert "NaN or infinite" in problem(save(tmp_path / "y.nii.gz", endless), CT)


def test_a_gzip_cut_short_is_still_found_by_its_checksum(tmp_path):
    path = save(tmp_path / "x.nii.gz", ct(1))
    raw = bytearray(gzip.compress(gzip.decompress(path.read_bytes())))
    raw[-6] ^= 255
    path.write_bytes(raw)
    assert "truncated or damaged" in problem(path, CT)


def test_broken_files_are_refused_or_read_as_nibabel_and_scipy_do(tmp_path):
    sys.path.insert(0, str(Path(__file__).parent.parent / "benchmarks"))
    from scan_fuzz import run

    tally, wrong = run(80, 5, tmp_path)
    assert wrong == []
    assert sum(times for what, times in tally.items() if what.endswith("accepted")) > 20
    assert sum(times for what, times in tally.items() if "refused" in what) > 20


# mixlang doctor


def nine_files(folder):
    """The ways in which people's CT files went wrong, or were refused without need."""
    hu = [ct(seed) for seed in range(8)]
    whole = np.rint(hu[1]).astype(np.int16)
    save(folder / "offset_1024.nii.gz", (hu[2] + 1024).clip(0).astype(np.uint16))
    save(folder / "unit_interval.nii.gz", ((hu[3] + 1000) / 1800).astype(np.float32))
    save(folder / "original.nii.gz", whole)
    save(folder / "copy.nii", whole)
    holed = hu[4].astype(np.float32)
    holed[:6] = np.nan
    save(folder / "nan_outside.nii.gz", holed)
    save(folder / "x.nii", hu[5].astype(np.int16)).rename(folder / "plain_named_gz.nii.gz")
    save(folder / "y.nii.gz", hu[6].astype(np.int16)).rename(folder / "CAPITALS.NII.GZ")
    nibabel.save(nibabel.Nifti1Pair(hu[7].astype(np.int16), AFFINE), folder / "pair.img")


ACCEPTED = {"copy.nii", "nan_outside.nii.gz", "plain_named_gz.nii.gz", "CAPITALS.NII.GZ", "pair.img"}
LOST = {
    "offset_1024.nii.gz": "offset of about 1024",
    "unit_interval.nii.gz": "scaled?",
    "original.nii.gz": "same voxels",
}


def test_doctor_prints_one_table_and_pictures_of_the_worst(tmp_path):
    nine_files(tmp_path / "F")
    (tmp_path / "F" / "broken.nii.gz").write_bytes(b"\x1f\x8b nothing")
    before = sorted(path.name for path in (tmp_path / "F").iterdir())
    done = mixlang("doctor", "F", cwd=tmp_path)
    assert "    ct             5          1            4\n" in done.stdout
    for name, words in LOST.items():
        (line,) = [line for line in done.stdout.splitlines() if f"/{name}: " in line]
        assert words in line
    assert "quarantined, 1 files: the same voxels" in done.stdout
    assert "pair.img -> pair" in done.stdout
    page = (tmp_path / "doctor.html").read_text()
    assert page.count("<figure>") == 5  # four quarantined and one converted
    assert page.count("data:image/png;base64,") == 4
    assert "No picture: it cannot be read." in page
    assert "outside the field of view (NaN)" in page
    assert sorted(path.name for path in (tmp_path / "F").iterdir()) == before


def test_doctor_says_what_it_cannot_look_at(tmp_path):
    (tmp_path / "empty").mkdir()
    for arguments, words in (
        (("doctor", "nowhere"), "there is nothing at"),
        (("doctor", "empty"), "there is no scan in"),
        (("doctor", "empty", "--out", "no/where.html"), "there is no folder no"),
    ):
        done = mixlang(*arguments, cwd=tmp_path, check=False)
        assert done.returncode == 1
        assert words in done.stderr


def test_init_and_plan_treat_the_same_files_alike(tmp_path):
    nine_files(tmp_path / "F" / "ct")
    for index in range(6):
        save(tmp_path / "F" / "mr" / f"p{index}.nii.gz", (mri(index) * 1e-9).astype(np.float32))
    mixlang("init", "ws", "--from", "F", cwd=tmp_path)
    spec = tmp_path / "ws" / "specs" / "study.yaml"
    text = spec.read_text()
    assert "# 8 volumes of 8 subjects" in text
    assert "# subjects: CAPITALS.NII.GZ -> CAPITALS, " in text
    spec.write_text(text.replace("data:\n", "data:\n  max_quarantined: 0.5\n"))
    said = mixlang("plan", "specs/study.yaml", cwd=tmp_path / "ws").stderr
    assert "    ct             5          1            3\n" in said
    assert "    mri            6          0            0\n" in said
    for name, words in LOST.items():
        (line,) = [line for line in said.splitlines() if f"/{name}: " in line]
        assert words in line
    domain = load_spec(spec).spec.domains["ct"]
    names = {
        item.path.name
        for item in find_candidates("ct", domain, Locations(tmp_path, {"data_root": str(tmp_path / "F")}))
    }
    assert names == ACCEPTED | LOST.keys()
