"""The registry: whole versions or none, gapless numbers, damage found wherever it is; status, tags and the index."""

import json
import multiprocessing
import os
import random
import signal
import subprocess
import time
import warnings
from pathlib import Path

import pytest
import yaml

from mixlang.errors import InputError
from mixlang.files import write_text
from mixlang.registry import Deprecated, Registry
from mixlang.registry.export import Item, exported, sample_weights
from mixlang.registry.index import stale
from mixlang.registry.provenance import code_state, environment, git_state
from mixlang.registry.sealed import damage

FACTS = """\
description: ''
budget: 100.0
unit: samples
shares: {a: 0.75, b: 0.25}
amounts: {a: 75, b: 25}
published: '2026-01-01'
verified: null
status: STATUS
content: CONTENT
"""


def files(content, status="published"):
    def render(version):
        text = f"version: {version}\n" + FACTS.replace("CONTENT", content).replace("STATUS", status)
        return {"mixture.yaml": text.encode(), "losses.csv": os.urandom(2000), "empty.txt": b""}

    return render


def publish(registry, content, **more):
    return registry.publish("mix", content, files(content, **more))


def test_versions_count_up_and_unchanged_results_publish_nothing(tmp_path):
    registry = Registry(tmp_path)
    assert registry.names() == []
    first, new = publish(registry, "x")
    assert (first.label, new) == ("mix@v1", True)
    assert publish(registry, "x")[1] is False
    assert publish(registry, "y")[0].version == 2
    assert registry.versions("mix") == [1, 2]
    assert registry.get("mix").version == registry.get("mix@latest").version == 2
    assert registry.get("mix@v1").shares == {"a": 0.75, "b": 0.25}
    assert registry.names() == ["mix"]


@pytest.mark.parametrize(
    ("reference", "words"),
    [("mox", "it holds mix"), ("mix@v9", "it has v1"), ("mix@stable", "it has v1"), ("../mix", "it holds mix")],
)
def test_what_is_not_there_is_said(tmp_path, reference, words):
    registry = Registry(tmp_path)
    publish(registry, "x")
    with pytest.raises(InputError, match=words):
        registry.get(reference)


def positions(data, rng):
    """The first and the last byte, the ends of every line of a short file, and some more."""
    ends = [at for at, byte in enumerate(data) if byte == 10] if len(data) < 3000 else []
    return sorted({0, len(data) - 1, *ends, *(rng.randrange(len(data)) for _ in range(40))})


def test_any_changed_byte_is_found_and_its_file_named(tmp_path):
    registry = Registry(tmp_path)
    mixture, _ = publish(registry, "x")
    assert registry.damage(mixture) == []
    rng = random.Random(0)
    for path in sorted(mixture.folder.iterdir()):
        data = path.read_bytes()
        for at in positions(data, rng) if data else []:
            for changed in (data[at] ^ (1 << rng.randrange(8)), 10, 35):
                if changed != data[at]:
                    path.write_bytes(data[:at] + bytes([changed]) + data[at + 1 :])
                    assert any(item.startswith(f"{path.name}:") for item in damage(mixture.folder)), (path.name, at)
        for other in (data[:-1], data + b"\n", b""):
            if other != data:
                path.write_bytes(other)
                assert any(item.startswith(f"{path.name}:") for item in damage(mixture.folder)), path.name
        path.write_bytes(data)
    assert damage(mixture.folder) == []
    (mixture.folder / "losses.csv").unlink()
    assert damage(mixture.folder) == ["losses.csv: missing"]
    (mixture.folder / "extra.txt").write_text("x")
    assert "extra.txt: not part of the published version" in damage(mixture.folder)


def test_the_manifest_is_what_sha256sum_checks(tmp_path):
    mixture, _ = publish(Registry(tmp_path), "x")
    done = subprocess.run(
        ["sha256sum", "--strict", "-c", "MANIFEST"], cwd=mixture.folder, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["empty.txt: OK", "losses.csv: OK", "mixture.yaml: OK"]


# Status and tags


def test_a_tag_names_a_version_until_it_is_moved_or_removed(tmp_path):
    registry = Registry(tmp_path)
    for content in "xyz":
        publish(registry, content, status="candidate")
    assert {mixture.status for mixture in registry.all("mix")} == {"candidate"}
    before = {path: path.read_bytes() for path in tmp_path.glob("mix/v*/*")}
    assert registry.tag("mix@v1", "stable").tags == ("stable",)
    assert registry.get("mix@stable").version == 1
    assert registry.get("mix@v1").status == "published"  # who tags a version vouches for it
    registry.tag("mix@v2", "stable")
    registry.tag("mix", "trial-3")
    assert registry.get("mix@stable").version == 2
    assert registry.get("mix@v3").tags == ("trial-3",)
    registry.untag("mix", "stable")
    with pytest.raises(InputError, match="no version or tag 'stable'; it has v1, v2, v3, latest, trial-3"):
        registry.get("mix@stable")
    assert {path: path.read_bytes() for path in tmp_path.glob("mix/v*/*")} == before
    assert registry.problems() == []


@pytest.mark.parametrize(
    ("tag", "words"),
    [("latest", "newest version"), ("v2", "name of a version"), ("Stable!", "small letters"), ("a/b", "no tag")],
)
def test_what_cannot_be_a_tag(tmp_path, tag, words):
    registry = Registry(tmp_path)
    publish(registry, "x")
    with pytest.raises(InputError, match=words):
        registry.tag("mix", tag)
    with pytest.raises(InputError, match="no tag 'gone'; it has none"):
        registry.untag("mix", "gone")


def test_a_deprecated_version_stays_readable_says_so_and_is_not_the_latest(tmp_path):
    registry = Registry(tmp_path)
    for content in "xyz":
        publish(registry, content)
    registry.tag("mix@v3", "stable")
    registry.deprecate("mix@v3", "v2", "wrong unit in PET")
    with pytest.warns(Deprecated, match=r"mix@v3 is deprecated \(wrong unit in PET\); use mix@v2"):
        gone = registry.get("mix@stable")
    assert (gone.status, gone.deprecation.superseded_by) == ("deprecated", 2)
    assert gone.as_dict()["superseded_by"] == "v2"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert registry.get("mix").version == 2
    for reference, by, words in (
        ("mix@v3", None, "already"),
        ("mix@v2", "v2", "itself"),
        ("mix", None, "which version"),
        ("mix@v1", "v9", "no version or tag 'v9'"),
    ):
        with pytest.raises(InputError, match=words):
            registry.deprecate(reference, by)
    with pytest.raises(InputError, match="no tag can name it"):
        registry.tag("mix@v3", "good")
    registry.deprecate("mix@v1")
    registry.deprecate("mix@v2")
    with pytest.warns(Deprecated):
        assert registry.get("mix").version == 3  # all are: the newest of all
    assert publish(registry, "z")[1] is False


def test_what_is_wrong_around_the_versions_is_found(tmp_path):
    registry = Registry(tmp_path)
    for content in "xyz":
        publish(registry, content)
    registry.tag("mix@v2", "stable")
    assert registry.problems() == []
    (tmp_path / "mix" / "tags" / "stable.json").write_text('{"version": "v7"}')
    (tmp_path / "mix" / "tags" / "torn.json").write_text('{"ver')
    (tmp_path / "mix" / "v2").rename(tmp_path / "elsewhere")
    (tmp_path / "README.md").write_text("edited")
    assert (
        registry.problems()
        == [
            "mix/v2: missing",
            "mix/lifecycle/v2.published.json: speaks of a version that is not there",
            "mix/tags/stable.json: speaks of a version that is not there",
            "mix/tags/torn.json: cannot be read",
            "README.md: does not say what the registry holds",
            "dvc.yaml: does not say what the registry holds",
        ][:5]
    )


def test_a_damaged_version_does_not_keep_others_from_going_on(tmp_path):
    registry = Registry(tmp_path)
    for content in "xy":
        publish(registry, content)
    (tmp_path / "mix" / "v1" / "mixture.yaml").write_text("{{{")
    assert registry.publish("other", "x", files("x"))[0].version == 1
    registry.tag("mix@v2", "stable")
    assert "| mix | [v2]" in (tmp_path / "README.md").read_text()
    with pytest.raises(InputError, match=r"mixture\.yaml cannot be read"):
        registry.get("mix@v1")


def test_the_index_and_the_artifacts_say_what_there_is(tmp_path):
    registry = Registry(tmp_path)
    publish(registry, "x")
    publish(registry, "y", status="candidate")
    registry.tag("mix@v1", "stable")
    registry.deprecate("mix@v2", "v1")
    lines = [line for line in (tmp_path / "README.md").read_text().splitlines() if line.startswith("| mix |")]
    assert lines == [
        "| mix | [v2](mix/v2/mixture.yaml) | 2026-01-01 | 100 samples | a 75.0%, b 25.0% | not measured | "
        "deprecated, use v1 |  |",
        "| mix | [v1](mix/v1/mixture.yaml) | 2026-01-01 | 100 samples | a 75.0%, b 25.0% | not measured | published | "
        "latest, stable |",
    ]
    found = yaml.safe_load((tmp_path / "dvc.yaml").read_text())["artifacts"]
    assert found == {"mix": {"path": "mix/v1", "type": "mixture", "desc": "a data mixture of a, b"}}


# Publishers at once, and killed ones


def _publish_many(folder, label, count, begun=None):
    registry = Registry(folder)
    for number in range(count):
        publish(registry, f"{label}-{number}")
        if begun is not None:
            begun.set()
        if number % 5 == 0:
            registry.tag(f"mix@v{registry.versions('mix')[-1]}", f"by-{label}")


def test_200_publications_by_4_processes_leave_a_gapless_list_of_whole_versions(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_publish_many, args=(tmp_path, f"w{index}", 50)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    registry = Registry(tmp_path)
    assert registry.versions("mix") == list(range(1, 201))
    found = registry.all("mix")
    assert [mixture.facts["version"] for mixture in found] == list(range(1, 201))
    assert all(registry.damage(mixture) == [] for mixture in found)
    assert len({mixture.facts["content"] for mixture in found}) == 200
    assert sorted(tag for mixture in found for tag in mixture.tags) == ["by-w0", "by-w1", "by-w2", "by-w3"]
    assert registry.problems() == []  # the index among it: whoever came last has written what is true
    assert not list(tmp_path.glob("mix/.publishing-*"))


def test_publishers_of_one_result_at_once_publish_it_once(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=publish, args=(Registry(tmp_path), "the same")) for _ in range(6)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert Registry(tmp_path).versions("mix") == [1]


def test_a_publisher_killed_at_20_moments_leaves_the_old_or_the_new_state(tmp_path):
    context, rng = multiprocessing.get_context("fork"), random.Random(7)
    for attempt in range(20):
        begun = context.Event()
        worker = context.Process(target=_publish_many, args=(tmp_path, f"k{attempt}", 1000, begun))
        worker.start()
        assert begun.wait(60)
        time.sleep(0.03 * rng.random())
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        registry = Registry(tmp_path)
        versions = registry.versions("mix")
        assert versions == list(range(1, len(versions) + 1))
        found = registry.all("mix")  # all of them can be read
        assert all(registry.damage(mixture) == [] for mixture in found)
        assert [item for item in registry.problems() if "README" not in item and "dvc" not in item] == []
    assert len(versions) >= 20
    left = list(tmp_path.glob("mix/.publishing-*"))
    aside = tmp_path / "mix" / ".publishing-of-somebody-killed"
    aside.mkdir()
    (aside / "losses.csv").write_text("half")
    for path in (aside, *left):
        os.utime(path, (time.time() - 3600,) * 2)
    fresh = tmp_path / "mix" / ".publishing-by-somebody-at-work"
    fresh.mkdir()
    publish(registry, "after")
    assert list(tmp_path.glob("mix/.publishing-*")) == [fresh]
    assert stale(registry) == []
    assert registry.problems() == []


# For consumers


def test_weights_draw_the_domains_by_the_mixture(tmp_path):
    mixture, _ = publish(Registry(tmp_path), "x")
    weights = sample_weights(mixture, ["a", "b", "a", "a"])
    assert weights == [0.25, 0.25, 0.25, 0.25]
    with pytest.raises(InputError, match="does not mix 'c'; its domains are a, b"):
        sample_weights(mixture, ["a", "c"])
    with pytest.raises(InputError, match=r"gives 'b' 25\.0% of the samples, and there are none of it"):
        sample_weights(mixture, ["a", "a"])


def test_every_form_of_export_gives_the_same_mixture(tmp_path):
    mixture, _ = publish(Registry(tmp_path), "x")
    items = [Item("1.nii.gz", "b"), Item("2.nii.gz", "a"), Item("3.nii.gz", "a")]
    weighed = json.loads(exported(mixture, "torch", items))
    assert weighed["weights"] == [0.25, 0.375, 0.375]
    assert weighed["num_samples"] == 100
    datalist = json.loads(exported(mixture, "monai", items))["training"]
    assert datalist[1] == {"image": "2.nii.gz", "domain": "a", "weight": 0.375}
    table = json.loads(exported(mixture, "nnunet", items))["datasets"]
    assert table["a"] == {"fraction": 0.75, "samples": 75, "cases": ["2.nii.gz", "3.nii.gz"]}
    assert json.loads(exported(mixture, "json"))["domains"]["b"] == {"share": 0.25, "fraction": 0.25, "amount": 25}
    assert exported(mixture, "csv").splitlines() == ["domain,share,fraction,amount", "a,0.75,0.75,75", "b,0.25,0.25,25"]


def test_files_are_written_whole_or_not_at_all(tmp_path, monkeypatch):
    from mixlang.errors import StageError

    path = tmp_path / "x.json"
    write_text(path, "old")

    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(StageError, match="No space left"):
        write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_provenance_names_the_code_and_the_environment(tmp_path):
    assert git_state(tmp_path) == {"commit": None, "dirty": None}
    assert len(git_state(Path(__file__).parent)["commit"] or "0" * 40) == 40
    assert len(code_state()["commit"] or "0" * 40) == 40
    assert environment()["packages"]["torch"].startswith("2.")
