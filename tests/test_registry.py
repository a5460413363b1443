"""The registry: whole versions or none, gapless numbers, and damage found wherever it is."""

import multiprocessing
import os
import random
import signal
import time
from pathlib import Path

import pytest

from mixlang.errors import InputError
from mixlang.files import write_text
from mixlang.registry import Registry
from mixlang.registry.provenance import environment, git_state

FACTS = (
    "budget: 100.0\nshares: {a: 0.5, b: 0.5}\namounts: {a: 50, b: 50}\npublished: '2026-01-01'\ncontent: {content}\n"
)


def files(content):
    def render(version):
        text = f"version: {version}\n" + FACTS.replace("{content}", content)
        return {"mixture.yaml": text.encode(), "losses.csv": os.urandom(2000)}

    return render


def publish(registry, content):
    return registry.publish("mix", content, files(content))


def test_versions_count_up_and_unchanged_results_publish_nothing(tmp_path):
    registry = Registry(tmp_path)
    assert registry.names() == []
    first, new = publish(registry, "x")
    assert (first.label, new) == ("mix@v1", True)
    assert publish(registry, "x")[1] is False
    assert publish(registry, "y")[0].version == 2
    assert registry.versions("mix") == [1, 2]
    assert registry.get("mix").version == registry.get("mix@latest").version == 2
    assert registry.get("mix@v1").shares == {"a": 0.5, "b": 0.5}
    assert registry.names() == ["mix"]


@pytest.mark.parametrize(
    ("reference", "words"), [("mox", "it holds mix"), ("mix@v9", "it has v1"), ("mix@stable", "it has v1")]
)
def test_what_is_not_there_is_said(tmp_path, reference, words):
    registry = Registry(tmp_path)
    publish(registry, "x")
    with pytest.raises(InputError, match=words):
        registry.get(reference)


def test_any_changed_byte_is_found_and_named(tmp_path):
    registry = Registry(tmp_path)
    mixture, _ = publish(registry, "x")
    assert registry.damage(mixture) == []
    rng = random.Random(0)
    for path in sorted(mixture.folder.iterdir()):
        data = path.read_bytes()
        for _ in range(25):
            at = rng.randrange(len(data))
            path.write_bytes(data[:at] + bytes([data[at] ^ (1 << rng.randrange(8))]) + data[at + 1 :])
            assert any(path.name in problem for problem in registry.damage(mixture)) or path.name == "MANIFEST"
            assert registry.damage(mixture)
        path.write_bytes(data)
    assert registry.damage(mixture) == []
    (mixture.folder / "losses.csv").unlink()
    assert registry.damage(mixture) == ["losses.csv: missing"]
    (mixture.folder / "extra.txt").write_text("x")
    assert "extra.txt: not part of the published version" in registry.damage(mixture)


def _publish_many(folder, label, count):
    registry = Registry(folder)
    for number in range(count):
        publish(registry, f"{label}-{number}")


def test_publishers_at_once_leave_a_gapless_list_of_whole_versions(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=_publish_many, args=(tmp_path, str(index), 25)) for index in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
        assert worker.exitcode == 0
    registry = Registry(tmp_path)
    assert registry.versions("mix") == list(range(1, 101))
    for version in range(1, 101):
        mixture = registry.get(f"mix@v{version}")
        assert registry.damage(mixture) == []
        assert mixture.facts["version"] == version


def test_a_killed_publisher_leaves_the_old_or_the_new_state(tmp_path):
    context = multiprocessing.get_context("fork")
    for attempt in range(10):
        worker = context.Process(target=_publish_many, args=(tmp_path, str(attempt), 1000))
        worker.start()
        time.sleep(0.02 + 0.01 * attempt)
        os.kill(worker.pid, signal.SIGKILL)
        worker.join()
        registry = Registry(tmp_path)
        versions = registry.versions("mix")
        assert versions == list(range(1, len(versions) + 1))
        assert all(registry.damage(registry.get(f"mix@v{version}")) == [] for version in versions[-3:])


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
    assert environment()["packages"]["torch"].startswith("2.")
