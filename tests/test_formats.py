"""Scans that are no NIfTI files: NRRD, MetaImage, MGH and DICOM series, against nibabel, SimpleITK and MONAI's own readers."""

import json
import shutil

import nibabel
import numpy as np
import pytest
from conftest import mixlang
from scipy.ndimage import gaussian_filter

from mixlang.errors import InputError
from mixlang.spec.locations import Locations
from mixlang.spec.schema import Domain
from runners.data import reading
from runners.data.nifti import read_nifti
from runners.data.reading import Unusable, is_there, read_scan, scan_files, scan_grid
from runners.data.scan import inspect
from runners.data.sources import find_candidates

pydicom = pytest.importorskip("pydicom", reason="SKIPPED FOR LACK OF PACKAGES: pip install 'mixlang[formats]'")
sitk = pytest.importorskip("SimpleITK", reason="SKIPPED FOR LACK OF PACKAGES: pip install 'mixlang[formats]'")

CT = {"modality": "ct", "unit": "hu", "clip": [-1000, 1000], "factor": 1.0, "offset": 0.0}
PET = {"modality": "pet", "unit": "suv", "clip": [0, 20], "factor": 1.0, "offset": 0.0}


def field(seed, shape=(20, 24, 16)):
    """HU of random anatomy with a border of air, whole numbers."""
    values = gaussian_filter(np.random.default_rng(seed).standard_normal(shape), 3)
    values = -1000 + 1800 * (values - values.min()) / np.ptp(values)
    values[:3] = -1000
    return values.round()


def oblique(seed, spacing=(0.8, 1.1, 3.0)):
    """A rotated affine in LPS, its axes in any order and direction."""
    rng = np.random.default_rng(seed)
    turn = np.linalg.qr(np.eye(3)[rng.permutation(3)] * rng.choice([-1, 1], 3) + 0.1 * rng.standard_normal((3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3], affine[:3, 3] = turn * np.array(spacing), rng.uniform(-200, 200, 3)
    return affine


def same(one, other, tolerance=0.0):
    """Whether two scans are one volume on one grid."""
    assert one.image.shape == other.image.shape
    assert one.affine == pytest.approx(other.affine, abs=1e-3)
    assert one.spacing == pytest.approx(other.spacing, abs=1e-4)
    assert np.abs(one.image - other.image).max() <= tolerance


# NRRD, MetaImage, MGH


def itk_image(seed):
    image = sitk.GetImageFromArray(field(seed).astype(np.int16).T)
    affine = oblique(seed)
    spacing = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    image.SetSpacing(spacing.tolist())
    image.SetDirection((affine[:3, :3] / spacing).ravel().tolist())
    image.SetOrigin(affine[:3, 3].tolist())
    return image


@pytest.mark.parametrize("name", ["x.nrrd", "x.nhdr", "x.mha", "x.mhd", "X.NRRD"])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_nrrd_and_metaimage_are_the_nifti_of_the_same_volume(tmp_path, name, packed, seed):
    image = itk_image(seed)
    sitk.WriteImage(image, str(tmp_path / "x.nii.gz"))
    sitk.WriteImage(image, str(tmp_path / name.lower()), packed)
    (tmp_path / name.lower()).rename(tmp_path / name)
    found, wanted = read_scan(tmp_path / name), read_nifti(tmp_path / "x.nii.gz")
    same(found, wanted)
    shape, affine = scan_grid(tmp_path / name)
    assert shape == wanted.image.shape
    assert affine == pytest.approx(wanted.affine, abs=1e-3)
    assert inspect(tmp_path / name, CT)["voxels"] == inspect(tmp_path / "x.nii.gz", CT)["voxels"]
    assert len(scan_files(tmp_path / name)) == (2 if name in ("x.nhdr", "x.mhd") else 1)


@pytest.mark.parametrize("name", ["x.mgz", "x.mgh"])
def test_mgh_is_the_nifti_of_the_same_volume(tmp_path, name):
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ oblique(4)
    nibabel.save(nibabel.MGHImage(field(4).astype(np.int16), affine), tmp_path / name)
    nibabel.save(nibabel.Nifti1Image(field(4).astype(np.int16), affine), tmp_path / "x.nii")
    same(read_scan(tmp_path / name), read_nifti(tmp_path / "x.nii"))
    assert scan_grid(tmp_path / name)[0] == read_scan(tmp_path / name).image.shape


@pytest.mark.parametrize("name", ["x.nrrd", "x.mha", "x.mgz", "x.mhd"])
@pytest.mark.parametrize("kept", [0.0, 0.01, 0.5, 0.95])
def test_a_file_cut_off_is_refused_in_words(tmp_path, name, kept):
    if name == "x.mgz":
        nibabel.save(nibabel.MGHImage(field(4).astype(np.int16), np.eye(4)), tmp_path / name)
    else:
        sitk.WriteImage(itk_image(0), str(tmp_path / name), True)
    data = tmp_path / ("x.zraw" if name == "x.mhd" else name)
    data.write_bytes(data.read_bytes()[: int(kept * data.stat().st_size)])
    with pytest.raises(Unusable):
        read_scan(tmp_path / name)
    assert inspect(tmp_path / name, CT)["problem"]


def test_what_is_no_single_volume_of_numbers_is_refused(tmp_path):
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((8, 8, 8, 3), np.uint8), isVector=True), str(tmp_path / "rgb.nrrd"))
    sitk.WriteImage(sitk.GetImageFromArray(np.zeros((1, 8, 8), np.int16)), str(tmp_path / "flat.mha"))
    (tmp_path / "list.mhd").write_text("ObjectType = Image\nNDims = 3\nElementDataFile = LIST\na.raw\n")
    (tmp_path / "gone.mhd").write_text("ObjectType = Image\nNDims = 3\nDimSize = 4 4 4\nElementDataFile = gone.raw\n")
    (tmp_path / "text.nrrd").write_text("hello")
    for name, words in (
        ("rgb.nrrd", "colours or vectors"),
        ("flat.mha", "a single slice"),
        ("list.mhd", "several files"),
        ("gone.mhd", "there is no gone.raw beside it"),
        ("text.nrrd", "damaged"),
        ("none.nrrd", "no such file"),
    ):
        with pytest.raises(Unusable, match=words):
            read_scan(tmp_path / name)
        assert words in inspect(tmp_path / name, CT)["problem"]


def test_a_nrrd_that_names_no_space_says_what_is_assumed(tmp_path):
    values = field(0).astype("<i2")
    header = "NRRD0004\ntype: short\ndimension: 3\nsizes: 20 24 16\nspacings: 1 1 3\nendian: little\nencoding: raw\n\n"
    (tmp_path / "x.nrrd").write_bytes(header.encode() + values.tobytes(order="F"))
    scan = read_scan(tmp_path / "x.nrrd")
    assert "names no space" in scan.notes[0]
    assert scan.spacing == (1, 1, 3)


# DICOM


def write_series(
    folder, values, affine, *, uid="1.2.3", patient="P1", modality="CT", names="s{}.dcm", order=None, **tags
):
    """A series of a volume with axes (column, row, slice) and an LPS affine; values as stored, after `tags` a rescaling."""
    folder.mkdir(parents=True, exist_ok=True)
    sizes = np.sqrt((affine[:3, :3] ** 2).sum(axis=0))
    axes = affine[:3, :3] / sizes
    for k in range(values.shape[2]) if order is None else order:
        one = pydicom.Dataset()
        one.file_meta = pydicom.dataset.FileMetaDataset()
        one.file_meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        one.file_meta.MediaStorageSOPClassUID = one.SOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
        one.file_meta.MediaStorageSOPInstanceUID = one.SOPInstanceUID = f"{uid}.{k + 1}"
        one.PatientID, one.PatientName, one.SeriesInstanceUID, one.Modality = patient, "Doe^Jane", uid, modality
        one.InstanceNumber, one.Rows, one.Columns = k + 1, values.shape[1], values.shape[0]
        one.ImageOrientationPatient = [*axes[:, 0].round(8).tolist(), *axes[:, 1].round(8).tolist()]
        one.ImagePositionPatient = (affine[:3, :3] @ [0, 0, k] + affine[:3, 3]).round(8).tolist()
        one.PixelSpacing = [float(sizes[1].round(8)), float(sizes[0].round(8))]
        one.SamplesPerPixel, one.PhotometricInterpretation = 1, "MONOCHROME2"
        one.BitsAllocated, one.BitsStored, one.HighBit, one.PixelRepresentation = 16, 16, 15, 1
        one.PixelData = np.ascontiguousarray(values[:, :, k].T.astype("<i2")).tobytes()
        for tag, value in tags.items():
            setattr(one, tag, value(k) if callable(value) else value)
        one.save_as(folder / names.format(k), enforce_file_format=True)
    return folder


def right_handed(affine):
    """The affine with its slices along the cross product of rows and columns, as DICOM has them."""
    affine = affine.copy()
    size = np.linalg.norm(affine[:3, 2])
    normal = np.cross(affine[:3, 0], affine[:3, 1])
    affine[:3, 2] = size * normal / np.linalg.norm(normal)
    return affine


def as_nifti(path, values, affine):
    nibabel.save(nibabel.Nifti1Image(values.astype(np.float32), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine), path)
    return read_nifti(path)


@pytest.mark.parametrize("seed", range(6))
def test_a_series_is_the_nifti_of_the_same_volume(tmp_path, seed):
    values, affine = field(seed), right_handed(oblique(seed))
    order = np.random.default_rng(seed).permutation(16)  # files are in no order
    stored = (values + 1024) / 2
    folder = write_series(
        tmp_path / "a", stored.round(), affine, order=order, RescaleSlope="2", RescaleIntercept="-1024", names="IM{}"
    )
    wanted = as_nifti(tmp_path / "x.nii.gz", stored.round() * 2 - 1024, affine)
    found = read_scan(folder)
    same(found, wanted)
    shape, grid = scan_grid(folder)
    assert shape == wanted.image.shape
    assert grid == pytest.approx(wanted.affine, abs=1e-3)
    assert inspect(folder, CT)["voxels"] == inspect(tmp_path / "x.nii.gz", CT)["voxels"]


def test_monai_reads_the_same_volume(tmp_path):
    from monai.transforms import Compose, EnsureChannelFirst, LoadImage, Orientation

    folder = write_series(tmp_path / "a", field(1), right_handed(oblique(1)))
    chain = Compose(
        [LoadImage(reader="PydicomReader", image_only=True), EnsureChannelFirst(), Orientation("RAS", labels=None)]
    )
    other = chain(str(folder))
    found = read_scan(folder)
    assert found.affine == pytest.approx(np.asarray(other.affine), abs=1e-3)
    assert np.abs(found.image - np.asarray(other)[0]).max() == 0


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda folder: (folder / "s7.dcm").unlink(),
            "1 missing slice: 6 mm between the slices with InstanceNumber 7 and 9",
        ),
        (lambda folder: [(folder / f"s{k}.dcm").unlink() for k in (7, 8)], "2 missing slices: 9 mm"),
        (
            lambda folder: edit(folder / "s7.dcm", ImagePositionPatient=[0, 0, 7 * 3 + 0.4]),
            "uneven slices: 2.6 to 3.4 mm apart",
        ),
        (lambda folder: edit(folder / "s7.dcm", ImagePositionPatient=[0, 0, 18.0]), "1 slices at the place of another"),
        (lambda folder: edit(folder / "s7.dcm", ImageOrientationPatient=[0, 1, 0, 0, 0, -1]), "different orientation"),
        (lambda folder: edit(folder / "s7.dcm", PixelSpacing=[2, 2]), "different voxel size"),
        (lambda folder: edit(folder / "s7.dcm", Rows=12, Columns=40), "voxels in one series"),
        (
            lambda folder: [edit(folder / f"s{k}.dcm", ImagePositionPatient=[0, k * 0.8, k * 3.0]) for k in range(16)],
            "tilted gantry",
        ),
        (lambda folder: edit(folder / "s7.dcm", ImagePositionPatient=None), "a slice without ImagePositionPatient"),
        (lambda folder: edit(folder / "s7.dcm", PixelData=b"\0" * 100), "damaged"),
        (lambda folder: [(folder / f"s{k}.dcm").unlink() for k in range(1, 16)], "a single slice"),
    ],
)
def test_a_series_that_is_no_volume_is_refused_by_name(tmp_path, change, words):
    folder = write_series(tmp_path / "a", field(1), np.diag([1.0, 1.0, 3.0, 1.0]))
    change(folder)
    with pytest.raises(Unusable, match=words):
        read_scan(folder)
    problem = inspect(folder, CT)["problem"]
    assert words in problem
    assert "P1" not in problem
    assert "Doe" not in problem


def test_a_damaged_slice_at_the_end_does_not_shorten_the_volume(tmp_path):
    folder = write_series(tmp_path / "a", field(1), np.diag([1.0, 1.0, 3.0, 1.0]))
    last = folder / "s15.dcm"
    last.write_bytes(last.read_bytes()[:140])
    assert inspect(folder, CT)["problem"]
    (item,) = [one for one in found(tmp_path) if one.path.parent == folder]
    assert "1 DICOM files of its folder cannot be read" in inspect(item.path, CT)["problem"]


def test_other_files_of_a_folder_do_not_hide_its_series(tmp_path):
    folder = write_series(tmp_path / "a", field(1), np.diag([1.0, 1.0, 3.0, 1.0]))
    for number in range(12):
        (folder / f"a{number:02}.jpg").write_bytes(b"picture")
    assert inspect(folder, CT)["problem"] == ""


def edit(path, **tags):
    one = pydicom.dcmread(path)
    for tag, value in tags.items():
        if value is None:
            delattr(one, tag)
        else:
            setattr(one, tag, value)
    one.save_as(path, enforce_file_format=True)


# PET


def pet(folder, **changed):
    """A PET series in Bq/ml: 70 kg, 350 MBq of F-18 an hour before."""
    about = pydicom.Dataset()
    about.RadionuclideTotalDose, about.RadionuclideHalfLife = 350e6, 6586.2
    about.RadiopharmaceuticalStartTime = "110000.00"
    tags = {
        "Units": "BQML",
        "DecayCorrection": "START",
        "PatientWeight": 70,
        "SeriesDate": "20260102",
        "SeriesTime": "120000.00",
        "AcquisitionDate": "20260102",
        "AcquisitionTime": lambda k: f"12{k // 4:02}00.00",
        "RadiopharmaceuticalInformationSequence": [about],
        "RescaleSlope": "2.5",
        "RescaleIntercept": "0",
    }
    for name, value in changed.items():
        if hasattr(about, name) or name == "RadiopharmaceuticalStartDateTime":
            setattr(about, name, value)
        else:
            tags[name] = value
    values = (field(3) + 1000) * 10
    return values, write_series(
        folder, values, np.diag([2.0, 2.0, 3.0, 1.0]), modality="PT", **{t: v for t, v in tags.items() if v is not None}
    )


FACTOR = 70e3 / (350e6 * 2 ** (-3600 / 6586.2))


@pytest.mark.parametrize(
    ("changed", "factor"),
    [
        ({}, FACTOR),
        ({"DecayCorrection": "ADMIN"}, 70e3 / 350e6),
        ({"RadiopharmaceuticalStartTime": "233000", "SeriesTime": "003000", "AcquisitionTime": "003000"}, FACTOR),
        ({"RadiopharmaceuticalStartDateTime": "20260102110000.00", "RadiopharmaceuticalStartTime": "070000"}, FACTOR),
        ({"SeriesTime": "150000"}, FACTOR),  # a series written later; its first slice began at noon
        ({"Units": "GML"}, 1.0),
    ],
)
def test_pet_becomes_suv_by_its_own_tags(tmp_path, changed, factor):
    values, folder = pet(tmp_path / "a", **changed)
    scan = read_scan(folder)
    wanted = as_nifti(tmp_path / "x.nii", values * 2.5 * factor, np.diag([2.0, 2.0, 3.0, 1.0]))
    assert scan.image == pytest.approx(wanted.image, rel=1e-5)
    assert scan.converted == "SUV"
    assert scan.notes == (
        () if factor == 1 else (f"SUV = Bq/ml x {factor:.4g}, from the series' own weight, dose and decay",)
    )


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"PatientWeight": None}, "without PatientWeight"),
        ({"PatientWeight": 0}, "whose PatientWeight is impossible"),
        ({"RadionuclideTotalDose": 350}, "whose RadionuclideTotalDose is impossible"),
        ({"RadiopharmaceuticalInformationSequence": None}, "without RadiopharmaceuticalInformationSequence"),
        ({"DecayCorrection": "NONE"}, "DecayCorrection 'NONE'"),
        ({"Units": "CNTS"}, "without Philips' SUV factor"),
        ({"Units": "PROPCPS"}, "PET in 'PROPCPS'"),
        ({"RadiopharmaceuticalStartDateTime": "20260102123000"}, "does not come shortly before its scan"),
        ({"SeriesTime": None, "AcquisitionTime": None}, "without SeriesTime"),
    ],
)
def test_pet_that_cannot_be_converted_is_refused_by_its_tag(tmp_path, changed, words):
    _, folder = pet(tmp_path / "a", **changed)
    problem = inspect(folder, PET)["problem"]
    assert words in problem
    assert "70" not in problem.split()
    assert "P1" not in problem


def test_a_factor_of_the_spec_does_not_convert_a_second_time(tmp_path):
    _, folder = pet(tmp_path / "a")
    assert inspect(folder, PET)["problem"] == ""
    assert "would convert them again" in inspect(folder, {**PET, "factor": 2e-4})["problem"]


# A folder of series


@pytest.fixture
def hospital(tmp_path):
    """Three patients: two series in one folder, a PET beside its CT, one patient of two folders; a localizer, a note."""
    root, plain = tmp_path / "data", np.diag([1.0, 1.0, 3.0, 1.0])
    write_series(
        root / "P001" / "ct", field(0), plain, uid="1.1", patient="SECRET-1", SeriesDescription="Chest 1.0 B70f"
    )
    write_series(
        root / "P001" / "ct",
        field(1),
        plain,
        uid="1.2",
        patient="SECRET-1",
        names="b{}.dcm",
        SeriesDescription="Chest 3.0 B30f",
    )
    write_series(root / "P002", field(2), plain, uid="2.1", patient="SECRET-2", names="IM_{}")
    shutil.copytree(pet(tmp_path / "pet")[1], root / "P001" / "pet")
    for path in (root / "P001" / "pet").iterdir():
        edit(path, PatientID="SECRET-1", SeriesInstanceUID="1.3")
    write_series(root / "X" / "one", field(4), plain, uid="3.1", patient="SECRET-3")
    write_series(root / "X" / "two", field(5), plain, uid="3.2", patient="SECRET-3")
    (root / "P002" / "broken.dcm").write_bytes(b"nothing")
    (root / "P002" / "note.txt").write_text("hello")
    return root


def found(root, modality="ct", **source):
    domain = Domain.model_validate({"modality": modality, "source": {"dicom": "${data_root}", **source}})
    return find_candidates(modality, domain, Locations(root.parent, {"data_root": str(root)}))


def test_series_of_a_folder_are_told_apart_and_patients_are_kept_together(hospital):
    items = found(hospital)
    folders = [item.portable.removeprefix("${data_root}/").rsplit("/", 1) for item in items]
    assert [folder for folder, _ in folders] == ["P001/ct", "P001/ct", "P002", "X/one", "X/two", "P002"]
    assert [item.subject for item in items] == ["P001", "P001", "P002", "X", "X", "P002"]
    assert found(hospital, "pet")[0].subject == "P001"  # as its CT
    assert all(is_there(item.path) for item in items)
    assert inspect(items[-1].path, CT)["problem"] == "not a DICOM file, though named as one"
    seen = {inspect(item.path, CT)["voxels"] for item in items[:-1]}
    assert len(seen) == 5
    text = json.dumps([[item.portable, item.subject, inspect(item.path, CT)] for item in items])
    assert "SECRET" not in text
    assert "Doe" not in text


def test_series_are_chosen_by_their_tags(hospital):
    (item,) = found(hospital, where={"SeriesDescription": "*b30f"})
    assert read_scan(item.path).image == pytest.approx(field(1)[::-1, ::-1])
    with pytest.raises(InputError, match=r"no series whose SeriesDescription is liver; it has Chest"):
        found(hospital, where={"SeriesDescription": "liver"})
    with pytest.raises(InputError, match="series cannot be chosen by 'PatientName'"):
        found(hospital, where={"PatientName": "*"})
    with pytest.raises(InputError, match=r"has no DICOM series of MR; it has CT, PT"):
        found(hospital, "mri")


def test_a_subject_may_be_named_by_the_path(hospital):
    assert [item.subject for item in found(hospital, subject="([^/]+)/series", exclude=["*.dcm"])] == [
        "ct",
        "ct",
        "P002",
        "one",
        "two",
    ]


def test_names_of_patients_depend_neither_on_others_nor_on_where_the_data_are(tmp_path):
    def patient(root, number, who):
        names = f"{number}-{{}}.dcm"
        write_series(root / "all", field(number), np.eye(4), uid=f"7.{number}", patient=who, names=names)

    for number, who in ((1, "A"), (2, "B"), (3, "A")):
        patient(tmp_path / "one", number, who)
    write_series(tmp_path / "one" / "x" / "ct", field(4), np.eye(4), uid="8.1", patient="C")
    write_series(tmp_path / "one" / "y" / "ct", field(5), np.eye(4), uid="8.2", patient="C")
    before = {item.portable: item.subject for item in found(tmp_path / "one")}
    assert len(set(before.values())) == 3
    shutil.copytree(tmp_path / "one", tmp_path / "zebra")
    assert {item.portable: item.subject for item in found(tmp_path / "zebra")} == before
    patient(tmp_path / "zebra", 6, "0 first of all")
    after = {item.portable: item.subject for item in found(tmp_path / "zebra")}
    assert {path: after[path] for path in before} == before
    assert not any("zebra" in name for name in after.values())


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda folder: [edit(path, ImageType=["PRIMARY", "LOCALIZER"]) for path in folder.iterdir()],
            "a localizer",
        ),
        (lambda folder: shutil.copy(folder / "s3.dcm", folder / "copy.dcm"), "1 slices are there twice"),
    ],
)
def test_localizers_and_copies_are_named(tmp_path, change, words):
    folder = write_series(tmp_path / "a", field(1), np.diag([1.0, 1.0, 3.0, 1.0]))
    change(folder)
    assert words in inspect(folder, CT)["problem"]


def test_a_long_lived_nuclide_needs_the_day_of_its_injection(tmp_path):
    zirconium = 78.4 * 3600
    _, folder = pet(tmp_path / "a", RadionuclideHalfLife=zirconium)
    assert "the day of the injection is not known" in inspect(folder, PET)["problem"]
    values, folder = pet(
        tmp_path / "b", RadionuclideHalfLife=zirconium, RadiopharmaceuticalStartDateTime="20251230120000"
    )
    factor = 70e3 / (350e6 * 2 ** (-72 * 3600 / zirconium))
    assert read_scan(folder).image.max() == pytest.approx(values.max() * 2.5 * factor, rel=1e-4)


def test_times_that_cannot_be_are_named_and_no_factor_is_asked_for(tmp_path):
    _, folder = pet(tmp_path / "a", RadiopharmaceuticalStartTime="133000")
    assert "RadiopharmaceuticalStartTime and SeriesTime" in inspect(folder, PET)["problem"]
    _, folder = pet(tmp_path / "b", RadionuclideTotalDose=350e3)
    problem = inspect(folder, PET)["problem"]
    assert "those tags are wrong" in problem
    assert "intensity.factors" not in problem


def test_a_folder_of_several_series_needs_one_to_be_named(hospital):
    with pytest.raises(Unusable, match=r"a folder with 2 DICOM series, and one is expected: series-[0-9a-f]{8} \(CT\)"):
        read_scan(hospital / "P001" / "ct")


def test_doctor_and_a_whole_study_take_series(hospital, tmp_path):
    for number in range(6, 9):
        write_series(
            hospital / f"P{number:03}",
            field(number),
            np.diag([1.0, 1.0, 3.0, 1.0]),
            uid=f"{number}.1",
            patient=f"SECRET-{number}",
        )
    done = mixlang("doctor", str(hospital), cwd=tmp_path)
    shown = " ".join(done.stdout.split())
    assert "ct_dicom 8 0 1" in shown
    assert "pet_dicom 1 1 1" in shown
    assert "SECRET" not in done.stdout + done.stderr + (tmp_path / "doctor.html").read_text()


def test_a_format_whose_package_is_missing_stops_before_anything_is_set_aside(tmp_path, monkeypatch):
    sitk.WriteImage(itk_image(0), str(tmp_path / "x.nrrd"))
    monkeypatch.setattr(reading.importlib.util, "find_spec", lambda name: None)
    domain = Domain.model_validate({"modality": "ct", "source": {"nifti": "${data_root}/*.nrrd"}})
    with pytest.raises(InputError, match=r"needs SimpleITK") as refused:
        find_candidates("ct", domain, Locations(tmp_path, {"data_root": str(tmp_path)}))
    assert refused.value.hint == "pip install 'mixlang[formats]'"
