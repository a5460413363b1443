"""What the report shows of the data: pictures the right way round, histograms, counts."""

import base64
import struct
import zlib

import numpy as np
import pytest
from conftest import ROOT, SMALL_SPEC

from mixlang.files import read_json, write_json
from mixlang.plan.build import compile_plan
from mixlang.report.data import describe_data
from mixlang.report.png import png
from mixlang.spec import load_spec
from mixlang.spec.locations import Locations
from runners.data.pictures import middle_slices
from runners.data.scan import scan
from runners.data.statistics import describe
from runners.data.volumes import prepare, volume_path


def decoded(data):
    """The pixels of a grey PNG, each chunk's checksum looked at."""
    assert data[:8] == b"\x89PNG\r\n\x1a\n"
    at, parts = 8, {}
    while at < len(data):
        (size,) = struct.unpack(">I", data[at : at + 4])
        name, body = data[at + 4 : at + 8], data[at + 8 : at + 8 + size]
        assert struct.unpack(">I", data[at + 8 + size : at + 12 + size]) == (zlib.crc32(name + body),)
        parts[name] = body
        at += 12 + size
    width, height, depth, colour = struct.unpack(">IIBB", parts[b"IHDR"][:10])
    assert (depth, colour) == (8, 0)
    rows = np.frombuffer(zlib.decompress(parts[b"IDAT"]), np.uint8).reshape(height, width + 1)
    assert not rows[:, 0].any()
    return rows[:, 1:]


def test_a_png_holds_its_pixels():
    picture = np.random.default_rng(0).integers(0, 256, (7, 13)).astype(np.uint8)
    assert np.array_equal(decoded(png(picture)), picture)


@pytest.mark.parametrize(
    ("corner", "seen"),
    [
        ((-1, 10, 10), {"axial": "left", "coronal": "left"}),  # the patient's right
        ((10, -1, 10), {"axial": "top", "sagittal": "left"}),  # the front
        ((10, 10, -1), {"coronal": "top", "sagittal": "top"}),  # the head
    ],
)
def test_slices_are_the_right_way_round(corner, seen):
    volume = np.zeros((20, 20, 20), np.float16)
    volume[corner[0], corner[1], corner[2]] = 1
    picture = middle_slices(volume, (1, 1, 1), 20, (0, 1))
    for index, name in enumerate(("axial", "coronal", "sagittal")):
        plane = picture[:, 20 * index : 20 * index + 20]
        edges = {"left": plane[:, 0], "right": plane[:, -1], "top": plane[0], "bottom": plane[-1]}
        bright = [side for side, pixels in edges.items() if pixels.any()]
        assert bright == ([seen[name]] if name in seen else [])


def test_slices_are_to_scale_and_show_what_exists():
    volume = np.full((8, 16, 16), np.nan, np.float16)
    volume[:4, :8, :16] = 1.0
    picture = middle_slices(volume, (2.0, 1.0, 1.0), 32, (0, 1))
    assert picture.shape == (32, 96)
    wide = (picture[:, :32] > 0).sum(axis=1).max()
    high = (picture[:, :32] > 0).sum(axis=0).max()
    assert (wide, high) == (16, 16)


def prepared(tmp_path):
    (tmp_path / "spec.yaml").write_text(SMALL_SPEC)
    spec = load_spec(tmp_path / "spec.yaml").spec
    locations = Locations(tmp_path, {})
    plan = compile_plan(spec, scan(spec, locations, tmp_path / "store", 1)).plan
    return plan, prepare(plan.volumes, tmp_path / "store", locations, 2)


def test_statistics_are_those_of_the_volumes_and_the_same_every_time(tmp_path):
    plan, facts = prepared(tmp_path)
    found = describe(plan, facts, tmp_path / "store", 2)
    assert found == describe(plan, facts, tmp_path / "store", 2)
    for name, members in plan.domains.items():
        keys = members["train"] + members["validation"]
        volumes = [np.load(volume_path(tmp_path / "store", key)) for key in keys]
        mine = found["domains"][name]
        assert mine["volumes"] == len(keys)
        assert mine["padded"] == 0
        assert mine["shapes"]["largest"] == np.max([volume.shape for volume in volumes], axis=0).tolist()
        counted = np.mean([np.histogram(volume, 32, (-2, 6))[0] / volume.size for volume in volumes], axis=0)
        np.testing.assert_allclose(mine["histogram"]["fractions"], counted, atol=1e-4)
        assert [item["path"] for item in mine["thumbnails"]] == [plan.volumes[key]["path"] for key in keys[:2]]
        for item in mine["thumbnails"]:
            assert decoded(base64.b64decode(item["png"])).std() > 10
    write_json(tmp_path / "statistics.json", found)
    assert (tmp_path / "statistics.json").stat().st_size < 40_000
    assert read_json(tmp_path / "statistics.json") == found


def test_no_thumbnails_where_none_are_wanted(tmp_path):
    plan, facts = prepared(tmp_path)
    found = describe(plan, facts, tmp_path / "store", 0)
    assert all(not domain["thumbnails"] for domain in found["domains"].values())


def test_the_section_says_repetition_and_counts_what_it_does_not_list(tmp_path):
    plan, facts = prepared(tmp_path)
    statistics = describe(plan, facts, tmp_path / "store", 1)["domains"]
    volume = {"subject": "p<1>", "spacing": [1.0, 1.0, 3.0]}
    lost = [{"path": f"x{index}", "reason": "4D" if index % 3 else "constant"} for index in range(80)]
    data = {"ct": {"volumes": [volume] * 3, "quarantined": lost}, "mri": {"volumes": [volume], "quarantined": []}}
    available = {"ct": {"volumes": 10, "crops": 20.0}, "mri": {"volumes": 6, "crops": 5.0}}
    text = "".join(describe_data(data, statistics, available, {"ct": 500.0, "mri": 10.0}, ["ct", "mri"]))
    assert "<td>25</td>" in text
    assert "<td>x49</td>" in text
    assert "<td>x50</td>" not in text
    assert "<td>20</td><td>4D</td>" in text
    assert text.count("data:image/png;base64,") == 2


@pytest.mark.realpack
def test_every_real_volume_is_prepared(realpack, tmp_path):
    spec = load_spec(ROOT / "specs" / "realpack.yaml").spec
    locations = Locations(tmp_path, {"data_root": str(realpack)})
    plan = compile_plan(spec, scan(spec, locations, tmp_path / "store", 2)).plan
    facts = prepare(plan.volumes, tmp_path / "store", locations, 2)
    assert len(facts) == 51
    for key, fact in facts.items():
        path = plan.volumes[key]["path"]
        assert min(fact["shape"]) >= 32, path
        assert -1.2 < fact["mean"] < 2.5, path
        assert 0.15 < fact["deviation"] < 1.6, path
        assert sum(fact["histogram"]) == pytest.approx(1, abs=1e-4), path
    for domain in describe(plan, facts, tmp_path / "store", 3)["domains"].values():
        for item in domain["thumbnails"]:
            assert decoded(base64.b64decode(item["png"])).std() > 20, item["path"]


@pytest.mark.realpack
def test_real_becquerels_are_refused_with_the_way_to_give_a_factor(realpack, tmp_path):
    text = (ROOT / "specs" / "realpack.yaml").read_text()
    factors = next(line for line in text.splitlines() if "factors:" in line)
    (tmp_path / "spec.yaml").write_text(text.replace("    intensity:\n", "").replace(factors, ""))
    spec = load_spec(tmp_path / "spec.yaml").spec
    found = scan(spec, Locations(tmp_path, {"data_root": str(realpack)}), tmp_path / "store", 2)
    ((path, why),) = found.domains["pet"].quarantined
    assert path.endswith("sts001_fdg_wholebody_bqml.nii.gz")
    assert "give intensity.factors" in why
