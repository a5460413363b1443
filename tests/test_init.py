"""`mixlang init --from`: what is found in each kind of data, said with its evidence, and a spec that checks clean."""

import json

import nibabel
import numpy as np
import pytest
from conftest import mixlang

from mixlang.errors import InputError
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations, check_sources
from runners.data.discover import discover
from runners.data.naming import modality_of
from runners.data.starting_spec import starting_spec

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


def volume(path, low=0.0, high=100.0, shape=(30, 30, 24)):
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.linspace(low, high, int(np.prod(shape)), dtype=np.float32).reshape(shape)
    values[0, 0, 0] = (low + high) / 2 + len(str(path)) + sum(path.name.encode())  # no two files are the same
    nibabel.save(nibabel.Nifti1Image(values, AFFINE), path)


def found_in(data):
    return {domain.name: domain for domain in discover(data).domains}


def check(tmp_path, found):
    """The starting spec, loaded and with its sources there."""
    path = tmp_path / "study.yaml"
    path.write_text(starting_spec(found, "study"))
    loaded = load_spec(path)
    assert check_sources(loaded, Locations(tmp_path, {"data_root": str(found.root)})) == []
    return loaded


@pytest.mark.parametrize(
    ("words", "modality"),
    [
        (["ct", "a.nii.gz"], "ct"),
        (["x", "sub-1_T1w.nii.gz"], "mri"),
        (["brain", "p1_FLAIR.nii"], "mri"),
        (["pet", "p1_suv.nii.gz"], "pet"),
        (["CT", "p1_mr.nii.gz"], "mri"),  # the file's own name goes before its folder's
        (["data", "fracture.nii.gz"], ""),  # 'ct' inside a word is no word
        (["pet_ct", "a.nii.gz"], ""),
        (["pet_ct", "p1_ct.nii.gz"], "ct"),
    ],
)
def test_words_that_tell_a_modality(words, modality):
    assert modality_of(words) == modality


def test_a_folder_of_folders(tmp_path):
    for index in range(4):
        volume(tmp_path / "data" / "ct" / f"p{index}_ct.nii.gz", -1000, 500)
        volume(tmp_path / "data" / "ct" / f"p{index}_ct_label.nii.gz")
        volume(tmp_path / "data" / "mri" / f"p{index}_t1.nii.gz")
        volume(tmp_path / "data" / "mri" / f"p{index}_t2.nii.gz")
    found = discover(tmp_path / "data")
    domains = {domain.name: domain for domain in found.domains}
    assert domains["ct"].volumes == 4
    assert (domains["mri"].volumes, domains["mri"].subjects) == (8, 4)
    assert domains["ct"].source["exclude"] == ["*_label.nii*"]
    assert domains["ct"].spacing == pytest.approx(12 ** (1 / 3))
    loaded = check(tmp_path, found)
    assert loaded.warnings == []
    assert loaded.spec.volume.spacing == [2.5, 2.5, 2.5]


def test_one_folder_with_suffixes(tmp_path):
    for index in range(3):
        volume(tmp_path / "data" / f"p{index}_ct.nii.gz")
        volume(tmp_path / "data" / f"p{index}_pet.nii.gz")
    found = discover(tmp_path / "data")
    assert {domain.name: domain.source["nifti"] for domain in found.domains} == {
        "ct": "${data_root}/**/*_ct*.nii.gz",
        "pet": "${data_root}/**/*_pet*.nii.gz",
    }
    assert all(domain.subjects == 3 for domain in found.domains)
    check(tmp_path, found)


def test_files_whose_names_tell_nothing_are_judged_by_their_values_and_that_is_said(tmp_path):
    for index in range(3):
        volume(tmp_path / "data" / "siteA" / f"case{index}.nii.gz", -1000, 400)
        volume(tmp_path / "data" / "siteB" / f"case{index}.nii.gz", 0, 900)
    domains = found_in(tmp_path / "data")
    assert (domains["sitea"].modality, domains["siteb"].modality) == ("ct", "mri")
    assert "GUESSED from values -1000 to" in domains["sitea"].evidence
    assert "PET would look alike" in domains["siteb"].evidence
    assert "GUESSED" in starting_spec(discover(tmp_path / "data"), "study")


def test_a_manifest(tmp_path):
    rows = ["path,subject,modality,unit"]
    for index in range(4):
        for kind, name, unit in (("CT", "ct", "HU"), ("PT", "pet", "SUV" if index else "Bq/ml"), ("US", "us", "")):
            volume(tmp_path / "data" / f"{name}{index}.nii.gz")
            rows.append(f"{name}{index}.nii.gz,p{index},{kind},{unit}")
    (tmp_path / "data" / "all.csv").write_text("\n".join(rows) + "\n")
    for data in (tmp_path / "data", tmp_path / "data" / "all.csv"):
        found = discover(data)
        domains = {domain.name: domain for domain in found.domains}
        assert set(domains) == {"ct", "pt"}
        assert domains["pt"].modality == "pet"
        assert domains["pt"].source["where"] == {"modality": "PT"}
        assert domains["pt"].notes == ("not in SUV: pet0.nii.gz (Bq/ml)",)
        assert "intensity.factors" in starting_spec(found, "study")
        check(tmp_path, found)


def test_nnunet_data_sets(tmp_path):
    for name, channels in (("Dataset001_Spleen", {"0": "CT"}), ("Dataset002_Brain", {"0": "T1", "1": "FLAIR"})):
        folder = tmp_path / "data" / name
        for case in range(3):
            for index in channels:
                volume(folder / "imagesTr" / f"c{case}_000{index}.nii.gz", -1000)
        said = {"channel_names": channels, "labels": {"background": 0}, "numTraining": 3, "file_ending": ".nii.gz"}
        (folder / "dataset.json").write_text(json.dumps(said))
    found = discover(tmp_path / "data")
    assert {(domain.name, domain.modality) for domain in found.domains} == {
        ("spleen", "ct"),
        ("brain_t1", "mri"),
        ("brain_flair", "mri"),
    }
    check(tmp_path, found)
    found = discover(tmp_path / "data" / "Dataset002_Brain" / "dataset.json")
    assert len(found.domains) == 2
    check(tmp_path, found)


def test_a_bids_tree(tmp_path):
    for subject in range(4):
        folder = tmp_path / "data" / f"sub-{subject:02d}"
        volume(folder / "anat" / f"sub-{subject:02d}_T1w.nii.gz")
        volume(folder / "anat" / f"sub-{subject:02d}_FLAIR.nii.gz")
        volume(folder / "pet" / f"sub-{subject:02d}_pet.nii.gz")
    found = discover(tmp_path / "data")
    domains = {domain.name: domain for domain in found.domains}
    assert (domains["mri"].volumes, domains["mri"].subjects) == (8, 4)
    assert domains["pet"].source == {"bids": "${data_root}", "suffix": ["pet"]}
    check(tmp_path, found)
    for path in (tmp_path / "data").rglob("*_pet.nii.gz"):
        path.unlink()
    assert set(found_in(tmp_path / "data")) == {"t1w", "flair"}  # one modality: its contrasts are the domains


def test_a_monai_datalist(tmp_path):
    lists = {}
    for key in ("ct", "mr"):
        lists[key] = [{"image": f"{key}/{index}.nii.gz", "subject": f"p{index}"} for index in range(3)]
        for entry in lists[key]:
            volume(tmp_path / "data" / entry["image"])
    (tmp_path / "data" / "list.json").write_text(json.dumps(lists))
    found = discover(tmp_path / "data" / "list.json")
    assert {(domain.name, domain.modality) for domain in found.domains} == {("ct", "ct"), ("mr", "mri")}
    check(tmp_path, found)


def test_what_cannot_be_started_from(tmp_path):
    with pytest.raises(InputError, match="there is nothing at"):
        discover(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="there is no scan in"):
        discover(tmp_path / "empty")
    for index in range(3):
        volume(tmp_path / "one" / f"ct{index}.nii.gz", -1000)
    with pytest.raises(InputError, match="at least two domains"):
        discover(tmp_path / "one")
    (tmp_path / "bad.json").write_text("[]")
    with pytest.raises(InputError, match="no JSON object"):
        discover(tmp_path / "bad.json")
    (tmp_path / "bad.csv").write_text("file,patient\n")
    with pytest.raises(InputError, match="no column 'path'"):
        discover(tmp_path / "bad.csv")


def test_damaged_files_do_not_stop_it(tmp_path):
    for index in range(4):
        volume(tmp_path / "data" / "ct" / f"{index}.nii.gz", -1000)
        volume(tmp_path / "data" / "mri" / f"{index}.nii.gz")
    (tmp_path / "data" / "ct" / "broken.nii.gz").write_bytes(b"\x1f\x8b nothing")
    assert found_in(tmp_path / "data")["ct"].volumes == 5  # the scan sets it aside, with its reason


def test_init_from_data_makes_a_workspace_that_plans(tmp_path):
    for index in range(6):
        volume(tmp_path / "scans" / "ct" / f"p{index}_a.nii.gz", -1000, 500, (40, 40, 40))
        volume(tmp_path / "scans" / "mri" / f"p{index}_a.nii.gz", 0, 500, (40, 40, 40))
    done = mixlang("init", "work", "--from", "scans", cwd=tmp_path)
    assert "ct: ct, 6 volumes, 6 subjects; words of the paths" in done.stderr
    work = tmp_path / "work"
    assert str(tmp_path) not in (work / "specs" / "study.yaml").read_text()
    assert str(tmp_path) in (work / "mixlang.local.yaml").read_text()
    assert (work / "specs" / "mixlang.schema.json").is_file()
    shown = mixlang("check", "specs/study.yaml", cwd=work)
    assert "well-formed\n" in shown.stdout
    found = json.loads(mixlang("plan", "specs/study.yaml", "--format", "json", cwd=work).stdout)
    assert set(found["available"]) == {"ct", "mri"}
    assert found["cost"]["device_hours"] < 2
    kept = (work / "specs" / "study.yaml").read_text()
    mixlang("init", "work", "--from", "scans", cwd=tmp_path)
    assert (work / "specs" / "study.yaml").read_text() == kept


@pytest.mark.realpack
def test_the_real_pack_gives_a_spec_that_checks_clean_and_a_sensible_plan(realpack, tmp_path):
    mixlang("init", "work", "--from", str(realpack), cwd=tmp_path)
    work = tmp_path / "work"
    shown = mixlang("check", "specs/study.yaml", "--strict", cwd=work)
    assert "well-formed\n" in shown.stdout
    found = json.loads(mixlang("plan", "specs/study.yaml", "--format", "json", cwd=work).stdout)
    volumes = {name: data["volumes"] for name, data in found["available"].items()}
    assert set(volumes) == {"ct", "mri", "pet"}
    assert all(count >= 5 for count in volumes.values())
    assert sum(found["quarantined"].values()) == 2  # a template of relative values, and one in Bq/ml
    assert 30 <= len(found["runs"]) <= 100
    assert found["cost"]["device_hours"] < 4
    assert found["cost"]["disk"]["volumes"] < 1e9


def test_names_with_blanks_and_files_that_nothing_names(tmp_path):
    for index in range(4):
        volume(tmp_path / "data" / f"case {index} CT (final).nii.gz", -1000)
        volume(tmp_path / "data" / f"P00{index}_t1_gd.nii.gz")
        volume(tmp_path / "data" / f"unknown{index}.nii.gz", 0, 700)
    found = discover(tmp_path / "data")
    counts = {domain.name: domain.volumes for domain in found.domains}
    assert counts == {"ct": 4, "mri": 4, "mri_unnamed": 4}
    check(tmp_path, found)


@pytest.mark.parametrize("name", ["seg", "p{}_gt", "p{}-Label", "tumor"])
def test_label_maps_are_left_out_by_their_names(tmp_path, name):
    for index in range(4):
        for kind in ("ct", "mr"):
            volume(tmp_path / "data" / kind / f"Müller {index}" / "scan.nii.gz", -1000)
            volume(tmp_path / "data" / kind / f"Müller {index}" / f"{name.format(index)}.nii.gz", 0, 3)
    found = discover(tmp_path / "data")
    assert {domain.name: domain.volumes for domain in found.domains} == {"ct": 4, "mri": 4}
    loaded = check(tmp_path, found)
    assert loaded.warnings == []


def test_a_subject_of_a_bids_tree_is_not_the_tree(tmp_path):
    volume(tmp_path / "ds" / "sub-01" / "anat" / "sub-01_T1w.nii.gz")
    with pytest.raises(InputError, match="one subject of a BIDS data set"):
        discover(tmp_path / "ds" / "sub-01")


def test_init_says_what_it_keeps_and_replaces_nothing(tmp_path):
    for kind in ("ct", "mri"):
        for index in range(4):
            volume(tmp_path / "scans" / kind / f"p{index}_a.nii.gz", -1000, 500)
    mixlang("init", "work", cwd=tmp_path)
    assert "kept work/specs/quickstart.yaml, which was there" in mixlang("init", "work", cwd=tmp_path).stderr
    (tmp_path / "work" / "specs" / "study.yaml").write_text("# mine\n")
    done = mixlang("init", "work", "--from", "scans", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "work/specs/study.yaml is there already" in done.stderr
    assert (tmp_path / "work" / "specs" / "study.yaml").read_text() == "# mine\n"
    done = mixlang("init", "work/inner", cwd=tmp_path, check=False)
    assert done.returncode == 1
    assert "inside the workspace" in done.stderr
    assert not (tmp_path / "work" / "inner").exists()
    with (tmp_path / "work" / ".gitignore").open("a") as file:
        file.write("/demo/\n")
    mixlang("init", "work/demo", cwd=tmp_path)  # what git ignores lies outside
    assert (tmp_path / "work" / "demo" / ".git").is_dir()


def test_a_starting_spec_leaves_out_only_what_its_domain_has(tmp_path):
    """Label maps beside one modality only, and files that no pattern tells apart."""
    rng = np.random.default_rng(0)

    def scan(name, low, high):
        values = rng.uniform(low, high, (12, 12, 12)).astype(np.float32)
        values[:3] = low
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / "F" / name)

    (tmp_path / "F").mkdir()
    for number in range(4):
        scan(f"sub0{number}_ct.nii.gz", -1000, 300)
        scan(f"sub0{number}_{'T1' if number % 2 else 'T2'}.nii.gz", 0, 900)
    nibabel.save(
        nibabel.Nifti1Image(np.ones((12, 12, 12), np.uint8), np.eye(4)), tmp_path / "F" / "sub03_ct_seg.nii.gz"
    )
    mixlang("init", "ws", "--from", "F", cwd=tmp_path)
    done = mixlang("check", "specs/study.yaml", cwd=tmp_path / "ws", check=False)
    assert "MX0309" not in done.stderr
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "ws" / "specs" / "study.yaml").read_text()
    assert text.count("_seg.nii") >= 1
