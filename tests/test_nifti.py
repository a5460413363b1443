"""Reading and resampling NIfTI: every storage type, orientation and fault; MONAI's transforms are the yardstick."""

import gzip
import os
import struct

import nibabel
import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from runners.data.intensity import foreground, normalise, strided, without_fill
from runners.data.nifti import read_nifti
from runners.data.preprocess import preprocess
from runners.data.resample import to_spacing
from runners.data.scan import inspect
from runners.data.unusable import Unusable

CT = {"modality": "ct", "unit": "hu", "clip": [-1000.0, 1000.0], "factor": 1.0}
MRI = {"modality": "mri", "unit": "arbitrary", "clip": None, "factor": 1.0}
PET = {"modality": "pet", "unit": "suv", "clip": [0.0, 20.0], "factor": 1.0}
OBLIQUE = np.array([[0.9, -0.3, 0.1], [0.28, 0.94, -0.05], [-0.08, 0.07, 0.99]])
OBLIQUE = np.linalg.qr(OBLIQUE)[0] * [-1, -1, 1]


def save(path, array, affine=None):
    nibabel.save(nibabel.Nifti1Image(np.asarray(array), np.eye(4) if affine is None else affine), path)
    return path


def texture(shape, seed=0, dtype=np.float32):
    return np.random.default_rng(seed).normal(300, 200, shape).astype(dtype)


def affine_of(directions, edges, origin=(-50.0, 30.0, 12.0)):
    affine = np.eye(4)
    affine[:3, :3] = np.asarray(directions) * edges
    affine[:3, 3] = origin
    return affine


def in_ras(path):
    from monai.transforms import LoadImage, Orientation

    return Orientation("RAS", labels=None)(LoadImage(reader="NibabelReader", ensure_channel_first=True)(str(path)))


def by_monai(path, spacing):
    """The library's own chain."""
    from monai.transforms import Spacing

    return Spacing(pixdim=spacing, mode="bilinear", padding_mode="border")(in_ras(path))[0].numpy()


# Agreement with MONAI


@pytest.mark.parametrize("axes", [(0, 1, 2), (2, 0, 1), (1, 2, 0), (0, 2, 1)])
@pytest.mark.parametrize("signs", [(1, 1, 1), (-1, -1, 1), (1, -1, -1)])
def test_orientation_and_spacing_are_those_of_monai(tmp_path, axes, signs):
    directions = np.eye(3)[list(axes)].T * np.asarray(signs)
    path = save(tmp_path / "x.nii.gz", texture((14, 11, 9)), affine_of(directions, (0.9, 1.3, 3.0)))
    ours = to_spacing(read_nifti(path), [1.5, 1.0, 2.0])
    theirs = by_monai(path, [1.5, 1.0, 2.0])
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


@pytest.mark.parametrize("directions", [OBLIQUE, OBLIQUE[:, [2, 0, 1]]], ids=["oblique", "oblique-permuted"])
def test_oblique_volumes_are_resampled_along_their_own_axes_as_monai_does(tmp_path, directions):
    """MONAI is told the grid: its Spacing would centre it, where rounding hides that the axes are at right angles."""
    from monai.transforms import SpatialResample

    path = save(tmp_path / "x.nii.gz", texture((14, 11, 9)), affine_of(directions, (0.9, 1.3, 3.0)))
    scan = read_nifti(path)
    ours = to_spacing(scan, [1.5] * 3)
    grid = scan.affine.copy()
    grid[:3, :3] *= 1.5 / np.asarray(scan.spacing)
    theirs = SpatialResample(mode="bilinear", padding_mode="border")(
        in_ras(path), dst_affine=torch.from_numpy(grid), spatial_size=list(ours.shape)
    )
    np.testing.assert_allclose(ours, theirs[0].numpy(), atol=2e-3)


def test_a_sheared_grid_is_straightened_as_monai_does(tmp_path):
    tilted = np.eye(3)
    tilted[1, 2] = 0.2
    path = save(tmp_path / "x.nii.gz", texture((14, 20, 9)), affine_of(tilted, (0.9, 0.9, 3.0)))
    np.testing.assert_allclose(to_spacing(read_nifti(path), [1.5] * 3), by_monai(path, [1.5] * 3), atol=2e-3)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(
    st.tuples(*[st.integers(2, 24)] * 3),
    st.tuples(*[st.floats(0.4, 6.0)] * 3),
    st.tuples(*[st.floats(0.5, 4.0)] * 3),
)
def test_any_spacing_to_any_other_agrees_with_monai(tmp_path, shape, have, want):
    # Exactly between two sizes MONAI rounds the size to an even number, we the steps between voxels: docs/data.md.
    steps = [(size - 1) * one / other for size, one, other in zip(shape, have, want, strict=True)]
    assume(all(abs(step % 1 - 0.5) > 1e-4 for step in steps))
    # Spacings within a thousandth of a millimetre are one to MONAI, which then leaves the voxels as they are.
    assume(all(one == other or abs(one - other) > 2e-3 for one, other in zip(have, want, strict=True)))
    path = save(tmp_path / "x.nii", texture(shape), affine_of(np.eye(3), have))
    ours, theirs = to_spacing(read_nifti(path), want), by_monai(path, list(want))
    assert ours.shape == theirs.shape
    np.testing.assert_allclose(ours, theirs, atol=2e-3)


@pytest.mark.realpack
def test_real_volumes_agree_with_monai_to_half_precision(realpack):
    for name in ("ct/crlm1004_liver", "mri/seg3d_thorax_mr", "mri/sct_cord_t2", "pet/sts010_fdg", "mri/stroke_flair"):
        path = realpack / f"{name}.nii.gz"
        ours, theirs = to_spacing(read_nifti(path), [3.0] * 3), by_monai(path, [3.0] * 3)
        assert ours.shape == theirs.shape, name
        np.testing.assert_allclose(ours, theirs, rtol=2**-11, atol=2**-11 * np.abs(theirs).max() / 64, err_msg=name)


# Storage


@pytest.mark.parametrize("ending", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["u1", "i1", "<i2", ">i2", "<u2", "<i4", ">i4", "<f4", ">f4", "<f8", ">f8"])
def test_every_type_and_byte_order_reads_the_same_values(tmp_path, dtype, ending):
    values = np.arange(4 * 5 * 6).reshape(4, 5, 6).astype(dtype)
    header = nibabel.Nifti1Header(endianness=">" if dtype.startswith(">") else "<")
    header.set_data_dtype(values.dtype)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4), header), tmp_path / f"x{ending}")
    image = read_nifti(tmp_path / f"x{ending}").image
    assert image.dtype == np.float32
    assert image.flags.c_contiguous
    np.testing.assert_array_equal(image, np.arange(4 * 5 * 6).reshape(4, 5, 6))


@pytest.mark.parametrize(("slope", "inter"), [(0.5, 100.0), (2.429e-4, 0.0), (-1.0, 7.0)])
def test_stored_scaling_is_applied_as_nibabel_does(tmp_path, slope, inter):
    image = nibabel.Nifti1Image(texture((6, 5, 4), dtype=np.int16), np.eye(4))
    image.header.set_slope_inter(slope, inter)
    nibabel.save(image, tmp_path / "x.nii.gz")
    expected = nibabel.load(tmp_path / "x.nii.gz").get_fdata()
    np.testing.assert_allclose(read_nifti(tmp_path / "x.nii.gz").image, expected, rtol=1e-6)


def test_a_slope_of_zero_or_nan_means_no_scaling(tmp_path):
    path = save(tmp_path / "x.nii", np.arange(64).reshape(4, 4, 4).astype(np.int16))
    for slope in (0.0, float("nan")):
        whole = bytearray(path.read_bytes())
        whole[112:120] = struct.pack("<ff", slope, 5.0)
        path.write_bytes(whole)
        np.testing.assert_array_equal(read_nifti(path).image, np.arange(64).reshape(4, 4, 4))


def test_trailing_axes_of_length_one_are_dropped(tmp_path):
    volume = texture((6, 5, 4))
    np.testing.assert_array_equal(read_nifti(save(tmp_path / "x.nii", volume[..., None, None])).image, volume)


# Faults: each has a reason, and none ends a scan


def header_says(path, field, value):
    """Overwrite a field of an uncompressed NIfTI header."""
    header = nibabel.load(path).header
    offset, length = header.template_dtype.fields[field][1], header.template_dtype.fields[field][0].itemsize
    whole = bytearray(path.read_bytes())
    whole[offset : offset + length] = np.asarray(value, header.template_dtype.fields[field][0].base).tobytes()
    path.write_bytes(whole)
    return path


def faulty(folder, kind):
    path = folder / "x.nii"
    good = texture((8, 8, 8))
    if kind == "truncated gzip":
        whole = gzip.compress(save(path, good).read_bytes())
        (folder / "x.nii.gz").write_bytes(whole[:-200])
        return folder / "x.nii.gz"
    if kind == "gzip with a flipped byte":
        whole = bytearray(gzip.compress(save(path, good).read_bytes()))
        whole[len(whole) // 2] ^= 0xFF
        (folder / "x.nii.gz").write_bytes(whole)
        return folder / "x.nii.gz"
    if kind == "truncated":
        path.write_bytes(save(path, good).read_bytes()[:-300])
    if kind == "wrong magic":
        header_says(save(path, good), "magic", b"oops")
    if kind == "text":
        path.write_text("hello")
    if kind == "empty":
        path.write_bytes(b"")
    if kind == "4D":
        save(path, texture((8, 8, 8, 2)))
    if kind == "2D":
        save(path, texture((8, 8)))
    if kind == "zero voxels":
        header_says(save(path, good), "dim", [3, 8, 0, 8, 1, 1, 1, 1])
    if kind == "a slice":
        save(path, texture((8, 8, 1)))
    if kind == "NaN":
        save(path, np.full((8, 8, 8), np.nan, np.float32))
    if kind == "one infinity":
        good[1, 2, 3] = -np.inf
        save(path, good)
    if kind == "float64 beyond float32":
        save(path, np.where(good > 500, 1e300, good.astype(np.float64)))
    if kind == "zero affine":
        header_says(header_says(save(path, good), "srow_x", [0, 0, 0, 0]), "srow_y", [0, 0, 0, 0])
    if kind == "singular affine":
        save(path, good, affine_of(np.array([[1, 1, 0], [0, 0, 0], [0, 0, 1.0]]), 1.0))
    if kind == "NaN affine":
        header_says(save(path, good), "srow_x", [np.nan, 0, 0, 0])
    if kind == "metres":
        save(path, good, affine_of(np.eye(3), 1e-3))
    if kind == "huge voxels":
        save(path, good, affine_of(np.eye(3), 1000.0))
    if kind == "header larger than the file":
        header_says(save(path, good), "dim", [3, 8, 8, 80, 1, 1, 1, 1])
    if kind == "header smaller than the file":
        header_says(save(path, good), "dim", [3, 8, 8, 4, 1, 1, 1, 1])
    if kind == "header far larger than memory":
        header_says(save(path, good), "dim", [3, 32000, 32000, 32000, 1, 1, 1, 1])
    if kind == "unknown type":
        header_says(save(path, good), "datatype", 4242)
    if kind == "colours":
        save(path, np.zeros((8, 8, 8), dtype=[("R", "u1"), ("G", "u1"), ("B", "u1")]))
    if kind == "complex":
        save(path, good.astype(np.complex64))
    if kind == "constant":
        save(path, np.full((8, 8, 8), 7, np.int16))
    if kind == "missing":
        return folder / "gone.nii"
    if kind == "a link to itself":
        os.symlink("x.nii", path)
    if kind == "a folder":
        path.mkdir()
    return path


FAULTS = {
    "truncated gzip": "truncated or damaged",
    "gzip with a flipped byte": "truncated or damaged",
    "truncated": "truncated or damaged (expected 2,048 bytes of voxels, got 1,748)",
    "wrong magic": "not a NIfTI file",
    "text": "not a NIfTI file",
    "empty": "not a NIfTI file",
    "4D": "4D, shape 8x8x8x2; one 3D volume a file is expected",
    "2D": "2D, shape 8x8",
    "zero voxels": "no voxels, shape 8x0x8",
    "a slice": "a single slice, shape 8x8x1",
    "NaN": "every voxel is NaN or infinite",
    "one infinity": "1 of 512 voxels are NaN or infinite",
    "float64 beyond float32": "voxels are NaN or infinite",
    "zero affine": "no usable orientation",
    "singular affine": "no usable orientation",
    "NaN affine": "no usable orientation",
    "metres": "absurd voxels of 0.001 x 0.001 x 0.001 mm",
    "huge voxels": "absurd voxels of 1e+03 x 1e+03 x 1e+03 mm",
    "header larger than the file": "truncated or damaged (expected 20,480 bytes of voxels, got 2,048)",
    "header smaller than the file": "its header, shape 8x8x4, leaves 1,024 bytes of the file over",
    "header far larger than memory": "too large for this machine's memory, shape 32000x32000x32000",
    "unknown type": "data code 4242 not recognized",
    "colours": "colours (RGB), not intensities",
    "complex": "complex numbers",
    "constant": "constant: every voxel is 7",
    "missing": "there is no such file",
    "a link to itself": "cannot be read (Too many levels of symbolic links)",
    "a folder": "a folder without a DICOM series",
}


@pytest.mark.parametrize("kind", FAULTS)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_fault_has_its_reason(tmp_path, kind):
    path = faulty(tmp_path, kind)
    problem = inspect(path, MRI)["problem"]
    assert FAULTS[kind] in problem
    assert problem


@pytest.mark.skipif(os.geteuid() == 0, reason="the superuser may read every file")
def test_an_unreadable_file_is_set_aside_until_it_may_be_read(tmp_path):
    path = save(tmp_path / "x.nii", texture((8, 8, 8)))
    path.chmod(0)
    assert inspect(path, MRI) == {"problem": "cannot be read (Permission denied)"}


def test_what_could_not_be_read_is_not_remembered(tmp_path, monkeypatch):
    path = save(tmp_path / "x.nii", texture((8, 8, 8)))

    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    with monkeypatch.context() as patch:
        patch.setattr("runners.data.scan.scan_digest", refuse)
        assert inspect(path, MRI) == {"problem": "cannot be read (Permission denied)"}
    assert inspect(path, MRI)["problem"] == ""


def test_a_reason_names_what_read_nifti_raises(tmp_path):
    nibabel.save(nibabel.MGHImage(texture((4, 4, 4)), np.eye(4)), tmp_path / "x.mgz")
    with pytest.raises(Unusable, match="not a NIfTI file but MGHImage"):
        read_nifti(tmp_path / "x.mgz")


# Units and fills


def test_fill_outside_the_field_of_view_of_a_ct_is_air(tmp_path):
    image = np.full((24, 24, 24), -1000.0, np.float32)
    image[6:18, 6:18, 6:18] = texture((12, 12, 12)) / 10
    filled = image.copy()
    filled[:, :4] = -3024
    image[:, :4] = -1024
    grid = {"spacing": [1.3, 1.3, 1.3], "crop": [8, 8, 8]}
    expected = preprocess(save(tmp_path / "air.nii", image), 1.0, {**CT, **grid})
    np.testing.assert_array_equal(preprocess(save(tmp_path / "fill.nii", filled), 1.0, {**CT, **grid}), expected)


@pytest.mark.parametrize("fill", [-32768.0, -5000.0, 65535.0, 1e9])
def test_a_fill_far_from_the_tissue_of_an_mri_does_not_flatten_it(fill):
    image = np.abs(texture((30, 30, 30)))
    image[:10] = 0.0
    plain, filled = image.copy(), image.copy()
    filled[:5] = fill
    without_fill(filled, "mri")
    shown = [normalise(item, MRI, foreground(item, "mri")) for item in (plain, filled)]
    tissue = (slice(12, 30), slice(None), slice(None))
    assert shown[1][tissue].std() > 0.5 * shown[0][tissue].std()
    assert np.corrcoef(shown[0][tissue].ravel(), shown[1][tissue].ravel())[0, 1] > 0.999


def test_ordinary_mri_is_left_as_it_is():
    for image in (np.abs(texture((30, 30, 30))), texture((30, 30, 30))):
        image[:10] = image.min()
        image[0, 0, 0] = 50_000
        before = image.copy()
        without_fill(image, "mri")
        np.testing.assert_array_equal(image, before)


def test_negative_mri_is_normalised_like_the_same_mri_shifted():
    image = np.abs(texture((20, 20, 20)))
    image[:8] = 0
    shifted = image - 1000
    first, second = (normalise(item, MRI, foreground(item, "mri")) for item in (image.copy(), shifted))
    np.testing.assert_allclose(first, second, atol=1e-3)


@settings(max_examples=50, deadline=None)
@given(st.tuples(*[st.integers(1, 320)] * 3))
def test_percentiles_are_taken_evenly_over_every_axis(shape):
    picked = np.zeros(np.prod(shape), np.int8)
    picked[strided(picked)] = 1
    picked = picked.reshape(shape)
    assert picked.sum() >= min(picked.size, 1 << 20)
    if picked.size > 1 << 23:
        for axis in range(3):
            if shape[axis] > 1:
                share = picked.mean(axis=tuple(other for other in range(3) if other != axis))
                assert share.max() < 1.6 * share.mean()


def test_percentiles_of_many_voxels_are_close_to_those_of_all():
    image = np.random.default_rng(0).gamma(2, 100, (220, 210, 130)).astype(np.float32)
    some = np.percentile(image.reshape(-1)[strided(image)], [0.5, 50, 99.5])
    np.testing.assert_allclose(some, np.percentile(image, [0.5, 50, 99.5]), rtol=0.02)
