"""The kinds of sources: which files each finds, whose they are, and what it says when it cannot be used."""

import csv
import json
import os

import nibabel
import numpy as np
import pytest
from conftest import SMALL_SPEC

from mixlang.errors import InputError
from mixlang.spec import SpecError, load_spec
from mixlang.spec.locations import Locations, check_sources
from mixlang.spec.presets import resolved
from runners.data.scan import scan
from runners.data.sources import find_candidates

PHANTOM = "{phantom: {count: 12, seed: 1, shape: [24, 24, 24]}}"


def save(path, seed=0, shape=(9, 9, 9)):
    """A small NIfTI file that is a sound volume in every modality."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = np.random.default_rng([seed, *path.name.encode()]).gamma(1, 2, shape).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(image, np.eye(4)), path)
    return path


def save_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def loaded(tmp_path, source, modality="pet"):
    """The small spec with its first domain's source replaced."""
    text = SMALL_SPEC.replace(PHANTOM, source).replace("modality: ct", f"modality: {modality}")
    (tmp_path / "spec.yaml").write_text(text)
    return load_spec(tmp_path / "spec.yaml")


def found(tmp_path, source, modality="pet", **variables):
    """What a source finds, as (portable path, subject)."""
    domain = loaded(tmp_path, source, modality).spec.domains["ct"]
    items = find_candidates("ct", domain, Locations(tmp_path, variables))
    assert all(item.path == Locations(tmp_path, variables).expand(item.portable) for item in items)
    return [(item.portable, item.subject) for item in items]


# What is refused before any file is looked at


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{nnunet: a, bids: b}", "exactly one of nifti, manifest, nnunet, monai_datalist, bids, dicom, phantom"),
        ("{nifti: a, where: {x: y}}", "'where' has no meaning for a nifti source, only for manifest or bids"),
        ("{bids: a, subject: x}", "'subject' has no meaning for a bids source"),
        ("{manifest: a, subject: x}", "'subject' has no meaning for a manifest source"),
        ("{nifti: a, channel: 0}", "'channel' has no meaning for a nifti source"),
        ("{nnunet: a, key: x}", "'key' has no meaning for a nnunet source, only for monai_datalist"),
        ("{nnunet: a, suffix: [x]}", "'suffix' has no meaning for a nnunet source, only for bids"),
        ("{phantom: {count: 3}, exclude: [x]}", "'exclude' has no meaning for a phantom source"),
        ("{bids: a, suffix: []}", "suffix"),
        ("{nnunet: a, channel: -1}", "channel"),
    ],
)
def test_options_without_a_meaning_are_refused(tmp_path, source, words):
    with pytest.raises(SpecError) as refused:
        loaded(tmp_path, source)
    assert words in "\n".join(item.render() for item in refused.value.diagnostics)


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("{manifest: gone.csv}", "there is no manifest"),
        ("{monai_datalist: gone.json}", "there is no datalist"),
        ("{nnunet: gone}", "there is no folder"),
        ("{nnunet: gone/dataset.json}", "there is no file"),
        ("{nnunet: empty}", "empty has no dataset.json, which an nnU-Net data set has beside imagesTr"),
        ("{bids: gone}", "there is no folder"),
        ("{bids: empty}", "empty has no folder sub-*"),
        ("{nifti: 'empty/*.nii'}", "no file matches"),
        ("{bids: '${elsewhere}/x'}", "${elsewhere} is not defined"),
    ],
)
def test_a_source_that_is_not_there_is_said_at_its_place(tmp_path, source, words):
    (tmp_path / "empty").mkdir()
    (item,) = check_sources(loaded(tmp_path, source), Locations(tmp_path, {}))
    assert words in item.render()
    assert item.position.line == 4


def test_sources_that_are_there_pass(tmp_path):
    save(tmp_path / "bids" / "sub-1" / "pet" / "sub-1_pet.nii.gz")
    save_json(tmp_path / "Dataset001_X" / "dataset.json", {})
    for source in ("{bids: bids}", "{nnunet: Dataset001_X}", "{nnunet: Dataset001_X/dataset.json}"):
        assert check_sources(loaded(tmp_path, source), Locations(tmp_path, {})) == []


# NIfTI globs


def test_a_glob_lists_each_file_once_and_broken_links_too(tmp_path):
    save(tmp_path / "data" / "a.nii.gz")
    os.symlink(tmp_path / "data", tmp_path / "data" / "loop")
    os.symlink("self.nii.gz", tmp_path / "data" / "self.nii.gz")
    assert found(tmp_path, "{nifti: 'data/**/*.nii.gz'}") == [
        ("data/a.nii.gz", "a"),
        ("data/self.nii.gz", "self"),
    ]
    data = scan(loaded(tmp_path, "{nifti: 'data/**/*.nii.gz'}").spec, Locations(tmp_path, {}), tmp_path / "store", 1)
    assert [path for path, _ in data.domains["ct"].quarantined] == ["data/self.nii.gz"]


def test_the_subject_pattern_is_not_asked_of_excluded_files(tmp_path):
    for name in ("sub-1_x", "sub-2_x", "phantom"):
        save(tmp_path / f"{name}.nii.gz")
    source = "{nifti: '*.nii.gz', subject: '(sub-[0-9])_'}"
    with pytest.raises(InputError, match=r"domain 'ct': the subject pattern .* matches nothing in phantom.nii.gz"):
        found(tmp_path, source)
    assert found(tmp_path, source.replace("}", ", exclude: ['phantom*']}")) == [
        ("sub-1_x.nii.gz", "sub-1"),
        ("sub-2_x.nii.gz", "sub-2"),
    ]
    with pytest.raises(InputError, match=r"none of its 3 volumes is left after 'exclude'"):
        found(tmp_path, "{nifti: '*.nii.gz', exclude: ['*']}")


# Manifests


def write_manifest(path, rows):
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, ["path", "subject", "kind", "unit"])
        writer.writeheader()
        writer.writerows(rows)


def test_a_manifest_is_filtered_and_its_units_believed(tmp_path):
    for name in "abcde":
        save(tmp_path / f"{name}.nii.gz")
    rows = [
        {"path": "a.nii.gz", "subject": "p1", "kind": "x", "unit": "SUV (body weight)"},
        {"path": "b.nii.gz", "subject": "p2", "kind": "x", "unit": "relative"},
        {"path": "c.nii.gz", "subject": "p3", "kind": "y", "unit": ""},
        {"path": "d.nii.gz", "subject": "p4", "kind": "x", "unit": ""},
        {"path": "e.nii.gz", "subject": "p6", "kind": "x", "unit": "g/mL"},
        {"path": "gone.nii.gz", "subject": "p5", "kind": "x", "unit": ""},
    ]
    write_manifest(tmp_path / "m.csv", rows)
    spec = loaded(tmp_path, '{manifest: "${data_root}/m.csv", where: {kind: x}, exclude: [d*]}').spec
    data = scan(spec, Locations(tmp_path, {"data_root": str(tmp_path)}), tmp_path / "store", 1).domains["ct"]
    assert [(volume.path, volume.subject) for volume in data.volumes] == [
        ("${data_root}/a.nii.gz", "p1"),
        ("${data_root}/e.nii.gz", "p6"),
    ]
    assert [why for _, why in data.quarantined] == [
        "its unit is given as 'relative', not SUV; give intensity.factors or exclude it",
        "there is no such file",
    ]


@pytest.mark.parametrize(
    ("rows", "source", "words"),
    [
        ([{"path": "a", "subject": ""}], "{manifest: m.csv}", "m.csv:2: a row needs both"),
        ([{"path": "a", "subject": "p"}] * 2, "{manifest: m.csv}", "m.csv:3: a is listed twice"),
        ([{"path": "a", "subject": "p"}], "{manifest: m.csv, where: {nope: x}}", "no column 'nope'"),
        ([{"path": "a", "subject": "p"}], "{manifest: m.csv, where: {kind: z}}", "no row"),
    ],
)
def test_a_manifest_that_cannot_be_used_is_an_error(tmp_path, rows, source, words):
    write_manifest(tmp_path / "m.csv", rows)
    with pytest.raises(InputError, match=words):
        found(tmp_path, source)


# nnU-Net

TWO_CHANNELS = {"channel_names": {"0": "T1w", "1": "FLAIR"}, "file_ending": ".nii.gz", "labels": {"background": 0}}


def nnunet(folder, said, cases=("case_001", "case_002"), channels=2):
    save_json(folder / "dataset.json", said)
    for case in cases:
        for channel in range(channels):
            save(folder / "imagesTr" / f"{case}_{channel:04d}.nii.gz", channel)
    save(folder / "labelsTr" / "case_001.nii.gz")
    save(folder / "imagesTs" / "case_900_0000.nii.gz")


def test_nnunet_cases_of_one_channel_with_their_labels(tmp_path):
    nnunet(tmp_path / "raw" / "Dataset001_X", TWO_CHANNELS)
    expected = [(f"${{data_root}}/Dataset001_X/imagesTr/case_00{n}_0001.nii.gz", f"case_00{n}") for n in (1, 2)]
    root = str(tmp_path / "raw")
    for where in ("Dataset001_X", "Dataset001_X/dataset.json"):
        for channel in ("FLAIR", 1):
            source = f'{{nnunet: "${{data_root}}/{where}", channel: {channel}}}'
            assert found(tmp_path, source, "mri", data_root=root) == expected
    spec = loaded(tmp_path, '{nnunet: "${data_root}/Dataset001_X", channel: 0}', "mri").spec
    data = scan(spec, Locations(tmp_path, {"data_root": root}), tmp_path / "store", 1).domains["ct"]
    assert [volume.label for volume in data.volumes] == ["${data_root}/Dataset001_X/labelsTr/case_001.nii.gz", None]
    patients = '{nnunet: "${data_root}/Dataset001_X", channel: 0, subject: "imagesTr/(case)"}'
    assert [who for _, who in found(tmp_path, patients, "mri", data_root=root)] == ["case", "case"]


def test_an_nnunet_case_without_the_channel_is_quarantined(tmp_path):
    nnunet(tmp_path / "X", TWO_CHANNELS)
    (tmp_path / "X" / "imagesTr" / "case_002_0001.nii.gz").unlink()
    spec = loaded(tmp_path, "{nnunet: X, channel: FLAIR}", "mri").spec
    data = scan(spec, Locations(tmp_path, {}), tmp_path / "store", 1).domains["ct"]
    assert data.quarantined == (("X/imagesTr/case_002_0001.nii.gz", "there is no such file"),)


def test_nnunet_version_1_names_files_with_or_without_their_channel(tmp_path):
    said = {"modality": {"0": "CT"}, "training": []}
    for name in ("liver_0", "liver_1"):
        said["training"].append({"image": f"./imagesTr/{name}.nii.gz", "label": f"./labelsTr/{name}.nii.gz"})
        save(tmp_path / "Task03" / "labelsTr" / f"{name}.nii.gz")
    save_json(tmp_path / "Task03" / "dataset.json", said)
    save(tmp_path / "Task03" / "imagesTr" / "liver_0_0000.nii.gz")
    save(tmp_path / "Task03" / "imagesTr" / "liver_1.nii.gz")
    assert found(tmp_path, "{nnunet: Task03}") == [
        ("Task03/imagesTr/liver_0_0000.nii.gz", "liver_0"),
        ("Task03/imagesTr/liver_1.nii.gz", "liver_1"),
    ]
    domain = loaded(tmp_path, "{nnunet: Task03}").spec.domains["ct"]
    labels = [item.label for item in find_candidates("ct", domain, Locations(tmp_path, {}))]
    assert labels == ["Task03/labelsTr/liver_0.nii.gz", "Task03/labelsTr/liver_1.nii.gz"]


@pytest.mark.parametrize(
    ("said", "option", "words"),
    [
        (TWO_CHANNELS, "", r"has the channels 0 \(T1w\), 1 \(FLAIR\)"),
        (TWO_CHANNELS, ", channel: T2w", r"has no channel 'T2w'; it has 0 \(T1w\), 1 \(FLAIR\)"),
        (TWO_CHANNELS, ", channel: 2", "has no channel 2"),
        ({**TWO_CHANNELS, "channel_names": {"0": "x", "1": "x"}}, ", channel: x", "has 2 channels 'x'"),
        ({"file_ending": ".nii.gz"}, "", "does not name its channels"),
        ({"channel_names": {"0": "CT"}, "file_ending": ".nrrd"}, "", "file_ending is '.nrrd'; expected .nii.gz"),
        ({"channel_names": {"0": "CT"}}, "", "file_ending is None"),
        ({"modality": {"0": "CT"}, "training": [{"label": "x"}]}, "", r"training\[0\] has no 'image'"),
        ({"modality": {"0": "CT"}, "training": [{"image": "a.mha"}]}, "", "a.mha is not a NIfTI file"),
        ({"modality": {"0": "CT"}, "training": [{"image": "a.nii"}] * 2}, "", r"training\[1\]: the case a is listed"),
        ({"modality": {"0": "CT"}, "training": []}, "", "there is no volume"),
        ("[1]", "", "holds a list; expected an object"),
        ("{", "", "is not valid JSON"),
    ],
)
def test_an_nnunet_data_set_that_cannot_be_used_is_an_error(tmp_path, said, option, words):
    nnunet(tmp_path / "X", said, cases=())
    with pytest.raises(InputError, match=words) as error:
        found(tmp_path, f"{{nnunet: X{option}}}", "mri")
    assert str(error.value).startswith("domain 'ct': ")


# MONAI datalists


def test_a_datalist_with_subjects_labels_and_units(tmp_path):
    said = {
        "training": [
            {"image": "img/a.nii.gz", "label": "seg/a.nii.gz", "subject": "p1", "fold": 0},
            {"image": "./img/b.nii.gz", "subject": 2, "unit": "Bq/ml"},
        ],
        "validation": [{"image": "img/c.nii.gz"}],
    }
    save_json(tmp_path / "lists" / "dataset.json", said)
    for name in "abc":
        save(tmp_path / "lists" / "img" / f"{name}.nii.gz")
    root = str(tmp_path / "lists")
    source = '{monai_datalist: "${data_root}/dataset.json"}'
    assert found(tmp_path, source, data_root=root) == [
        ("${data_root}/img/a.nii.gz", "p1"),
        ("${data_root}/img/b.nii.gz", "2"),
    ]
    spec = loaded(tmp_path, source).spec
    data = scan(spec, Locations(tmp_path, {"data_root": root}), tmp_path / "store", 1).domains["ct"]
    assert data.volumes[0].label == "${data_root}/seg/a.nii.gz"
    assert "its unit is given as 'Bq/ml', not SUV" in data.quarantined[0][1]
    other = '{monai_datalist: "${data_root}/dataset.json", key: validation}'
    assert found(tmp_path, other, data_root=root) == [("${data_root}/img/c.nii.gz", "c")]
    pattern = '{monai_datalist: "${data_root}/dataset.json", subject: "img/(.)"}'
    assert [who for _, who in found(tmp_path, pattern, data_root=root)] == ["a", "b"]


def test_a_datalist_of_channels_needs_one(tmp_path):
    save_json(tmp_path / "d.json", {"training": [{"image": ["t1.nii.gz", "t2.nii.gz"]}]})
    assert found(tmp_path, "{monai_datalist: d.json, channel: 1}") == [("t2.nii.gz", "t2")]


@pytest.mark.parametrize(
    ("said", "option", "words"),
    [
        ({"training": [{"label": "x"}]}, "", r"d.json: training\[0\] has no 'image'"),
        ({"training": ["a.nii"]}, "", r"training\[0\] is not an object"),
        ({"test": [], "training": {}}, "", "has no list 'training'; its lists: test"),
        ({"training": []}, ", key: train", "has no list 'train'; its lists: training"),
        ({"training": []}, "", "there is no volume"),
        ({"training": [{"image": "a"}, {"image": "a"}]}, "", r"training\[1\]: a is listed twice"),
        ({"training": [{"image": "a", "subject": ""}]}, "", r"training\[0\]: subject is ''"),
        ({"training": [{"image": "a", "subject": "p"}, {"image": "b"}]}, "", "1 of the 2 entries"),
        ({"training": [{"image": ["a", "b"]}]}, "", "a list of 2 channels"),
        ({"training": [{"image": ["a", "b"]}]}, ", channel: 2", "a list of 2 channels"),
        ({"training": [{"image": "a"}]}, ", channel: 0", "source.channel has no meaning"),
    ],
)
def test_a_datalist_that_cannot_be_used_is_an_error(tmp_path, said, option, words):
    save_json(tmp_path / "d.json", said)
    with pytest.raises(InputError, match=words):
        found(tmp_path, f"{{monai_datalist: d.json{option}}}")


# BIDS


def bids(root):
    for name in (
        "sub-01/ses-01/anat/sub-01_ses-01_run-1_T1w.nii.gz",
        "sub-01/ses-01/anat/sub-01_ses-01_run-2_T1w.nii.gz",
        "sub-01/ses-02/anat/sub-01_ses-02_T2w.nii.gz",
        "sub-01/ses-01/func/sub-01_ses-01_task-rest_bold.nii.gz",
        "sub-02/anat/sub-02_FLAIR.nii",
        "sub-02/pet/sub-02_trc-FDG_pet.nii.gz",
        "sub-03/pet/sub-03_trc-FDG_pet.nii.gz",
        "sub-03/pet/sub-03_trc-PSMA_pet.nii.gz",
        "derivatives/fmriprep/sub-01/anat/sub-01_T1w.nii.gz",
    ):
        save(root / name)
    save_json(root / "dataset_description.json", {"Name": "x"})
    return root


def names(items):
    return [(path.rsplit("/", 1)[1].split(".")[0], subject) for path, subject in items]


def test_bids_volumes_by_modality_suffix_and_entity(tmp_path):
    root = str(bids(tmp_path / "ds").parent)
    mri = found(tmp_path, '{bids: "${data_root}/ds"}', "mri", data_root=root)
    assert mri[0] == ("${data_root}/ds/sub-01/ses-01/anat/sub-01_ses-01_run-1_T1w.nii.gz", "sub-01")
    assert names(mri) == [
        ("sub-01_ses-01_run-1_T1w", "sub-01"),
        ("sub-01_ses-01_run-2_T1w", "sub-01"),
        ("sub-01_ses-02_T2w", "sub-01"),
        ("sub-02_FLAIR", "sub-02"),
    ]
    assert names(found(tmp_path, "{bids: ds, suffix: [T2w, FLAIR]}", "mri")) == names(mri)[2:]
    assert names(found(tmp_path, "{bids: ds, where: {ses: '01', run: '2'}}", "mri")) == names(mri)[1:2]
    assert names(found(tmp_path, "{bids: ds, where: {trc: FDG}}")) == [
        ("sub-02_trc-FDG_pet", "sub-02"),
        ("sub-03_trc-FDG_pet", "sub-03"),
    ]


def test_bids_units_come_from_the_nearest_sidecar(tmp_path):
    root = bids(tmp_path / "ds")
    save_json(root / "trc-FDG_pet.json", {"Units": "Bq/mL"})
    save_json(root / "sub-03" / "pet" / "sub-03_trc-FDG_pet.json", {"Units": "g/ml"})
    save_json(root / "sub-03" / "pet" / "sub-03_FLAIR.json", "not JSON, and not of a volume that is used")
    spec = loaded(tmp_path, "{bids: ds}").spec
    data = scan(spec, Locations(tmp_path, {}), tmp_path / "store", 1).domains["ct"]
    assert names((volume.path, volume.subject) for volume in data.volumes) == [
        ("sub-03_trc-FDG_pet", "sub-03"),
        ("sub-03_trc-PSMA_pet", "sub-03"),
    ]
    reason = "its unit is given as 'Bq/mL', not SUV; give intensity.factors or exclude it"
    assert data.quarantined == (("ds/sub-02/pet/sub-02_trc-FDG_pet.nii.gz", reason),)


@pytest.mark.parametrize(
    ("option", "modality", "words"),
    [
        (", suffix: [T1map]", "mri", "no volume with the suffix T1map; it has FLAIR, T1w, T2w, bold, pet"),
        ("", "ct", "no volume with the suffix ct; it has FLAIR"),
        (", where: {ses: '03'}", "mri", "with ses-03; it has ses: 01, 02"),
        (", where: {acq: x}", "mri", "with acq-x; none has the entity 'acq'"),
    ],
)
def test_a_bids_data_set_without_such_volumes_is_an_error(tmp_path, option, modality, words):
    bids(tmp_path / "ds")
    with pytest.raises(InputError, match=words):
        found(tmp_path, f"{{bids: ds{option}}}", modality)


def test_resolved_shows_what_a_source_leaves_out(tmp_path):
    assert resolved(loaded(tmp_path, "{bids: ds}", "mri").spec)["domains"]["ct"]["source"]["suffix"][0] == "T1w"
    assert resolved(loaded(tmp_path, "{monai_datalist: d.json}").spec)["domains"]["ct"]["source"]["key"] == "training"
