"""What git has to keep byte for byte: clones with other line ends, and ignore files that leave results out."""

import os
import shutil
import subprocess

import pytest
from conftest import ROOT, dvc, mixlang
from driving import git, results

from mixlang.study.committed import IGNORE, keep_line_ends
from mixlang.study.workspace import Workspace


def commit(root, message="change"):
    git("add", "-A", cwd=root)
    git("commit", "-qm", message, cwd=root)


def clone(source, target):
    """A clone as a Windows user's git makes it."""
    subprocess.run(["git", "-c", "core.autocrlf=true", "clone", "-q", str(source), str(target)], check=True)
    git("config", "core.autocrlf", "true", cwd=target)
    for name, value in (("user.name", "t"), ("user.email", "t@t")):
        git("config", name, value, cwd=target)
    return target


def with_crlf(root):
    files = git("ls-files", "-z", "build", "registry", "specs", "dvc.yaml", "dvc.lock", cwd=root).split("\0")
    return [name for name in files if name and b"\r\n" in (root / name).read_bytes()]


@pytest.fixture
def older(copied):
    """The finished study as a mixlang without .gitattributes left it."""
    git("rm", "-q", ".gitattributes", cwd=copied)
    git("commit", "-qm", "older", cwd=copied)
    return copied


def test_a_clone_with_autocrlf_is_as_committed(copied, tmp_path):
    theirs = clone(copied, tmp_path / "clone")
    assert with_crlf(theirs) == []
    assert b"\r\n" in (theirs / ".gitignore").read_bytes()  # the setting does act
    assert "as published" in mixlang("registry", "verify", cwd=theirs).stdout
    assert "up to date" in dvc("status", cwd=theirs).stdout
    mixlang("run", "specs/small.yaml", cwd=theirs)
    assert results(theirs) == {}
    assert git("status", "--porcelain", cwd=theirs) == ""


def test_verify_tells_line_ends_from_tampering(older, tmp_path):
    theirs = clone(older, tmp_path / "clone")
    assert "registry/small/v1/MANIFEST" in with_crlf(theirs)
    said = mixlang("registry", "verify", cwd=theirs, check=False)
    assert said.returncode == 1
    assert "OTHER LINE ENDS" in said.stdout
    assert "core.autocrlf" in said.stdout
    assert "changed since it was published" not in said.stdout
    # One changed figure among them is tampering.
    losses = theirs / "registry/small/v1/losses.csv"
    losses.write_bytes(losses.read_bytes().replace(b"single", b"singel", 1))
    said = mixlang("registry", "verify", cwd=theirs, check=False).stdout
    assert "NOT INTACT" in said
    assert "losses.csv: changed since it was published" in said
    # What it says to do where there is no workspace.
    git("checkout", "--", "registry", cwd=theirs)
    (theirs / "registry/small/.gitattributes").write_text("v*/** -text\n")
    shutil.rmtree(theirs / "registry/small/v1")
    git("checkout", "--", "registry/small/v1", cwd=theirs)
    assert "as published, and it follows" in mixlang("registry", "verify", cwd=theirs).stdout


def test_run_in_a_clone_of_an_older_workspace_gives_the_bytes_back_and_trains_nothing(older, tmp_path):
    theirs = clone(older, tmp_path / "clone")
    spec = theirs / "specs/small.yaml"
    said = mixlang("run", "specs/small.yaml", cwd=theirs).stderr
    assert "git had changed the line ends" in said
    assert results(theirs) == {}
    assert with_crlf(theirs) == []
    assert "up to date" in dvc("status", cwd=theirs).stdout
    assert git("status", "--porcelain", cwd=theirs) == "?? .gitattributes\n"
    assert "as published" in mixlang("registry", "verify", cwd=theirs).stdout
    commit(theirs)
    assert with_crlf(clone(theirs, tmp_path / "again")) == []
    # A file that somebody has changed as well is left as it is.
    spec.write_bytes(spec.read_bytes().replace(b"\n", b"\r\n") + b"# mine\r\n")
    assert keep_line_ends(Workspace(theirs)) == []
    assert spec.read_bytes().endswith(b"# mine\r\n")


def test_attributes_of_a_users_own_are_kept(older):
    (older / ".gitattributes").write_bytes(b"*.nii.gz filter=lfs")
    assert len(keep_line_ends(Workspace(older))) == 1
    text = (older / ".gitattributes").read_text()
    assert text.startswith("*.nii.gz filter=lfs\n#")
    assert keep_line_ends(Workspace(older)) == []
    assert (older / ".gitattributes").read_text() == text


def test_this_repository_keeps_its_bytes_too():
    asked = git("check-attr", "text", "registry/study/v1/MANIFEST", "build/study/plan.json", "dvc.lock", cwd=ROOT)
    assert asked.count("text: unset") == 3


# Ignored results


@pytest.fixture
def ignoring(tmp_path):
    """The environment of a user whose own ignore file has `build/` in its third line."""
    home = tmp_path / "home"
    home.mkdir()
    (home / "ignored").write_text("*.swp\n\nbuild/\n*.csv\n")
    (home / ".gitconfig").write_text(
        f"[core]\n\texcludesFile = {home / 'ignored'}\n[user]\n\tname = t\n\temail = t@t\n"
    )
    return {"HOME": str(home), "XDG_CONFIG_HOME": str(home)}


def tracked(root, env):
    done = subprocess.run(["git", "add", "-A"], cwd=root, env={**os.environ, **env}, capture_output=True, check=True)
    assert done.returncode == 0
    return set(git("ls-files", cwd=root).split("\n"))


def test_a_new_workspace_commits_its_results_whatever_the_user_ignores(workspace, ignoring):
    said = mixlang("compile", "specs/small.yaml", cwd=workspace, env=ignoring).stderr
    assert "git ignores" not in said
    (workspace / "registry/small/v1").mkdir(parents=True)
    (workspace / "registry/small/v1/losses.csv").write_text("key\n")
    (workspace / "build/small/.plan.json.x.tmp").write_text("half")
    there = tracked(workspace, ignoring)
    assert {"build/small/plan.json", "registry/small/v1/losses.csv", "specs/small.yaml", "dvc.yaml"} <= there
    assert "build/small/.plan.json.x.tmp" not in there
    assert not any(name.startswith(".mixlang") for name in there)


def test_what_a_user_ignores_is_told_once_with_its_place_and_the_fix(workspace, ignoring, tmp_path):
    (workspace / ".gitignore").write_text(".mixlang/\nmixlang.local.yaml\n")
    place = tmp_path / "home" / "ignored"
    mixlang("compile", "specs/small.yaml", cwd=workspace, env=ignoring)
    for command in (["compile", "specs/small.yaml"], ["status"]):
        said = mixlang(*command, cwd=workspace, env=ignoring).stderr
        assert said.count("warning: git ignores build/small/") == 1
        assert f"because of 'build/' ({place}:3)" in said
        assert said.count(f"because of '*.csv' ({place}:4)") == 1  # losses.csv of a version
        assert "!/build/ and !/build/**" in said
    assert not any(name.startswith("build") for name in tracked(workspace, ignoring))
    with (workspace / ".gitignore").open("a") as file:
        file.write("!/build/\n!/build/**\n!/registry/\n!/registry/**\n")
    assert "git ignores" not in mixlang("status", cwd=workspace, env=ignoring).stderr
    assert "build/small/plan.json" in tracked(workspace, ignoring)


@pytest.mark.parametrize("pattern", ["registry/", "specs/", "dvc.lock", "*.yaml", "*.html", "small", "*"])
def test_every_place_is_looked_at(workspace, pattern):
    mixlang("compile", "specs/small.yaml", cwd=workspace)
    (workspace / ".git/info/exclude").write_text(f"{pattern}\n")
    (workspace / ".gitignore").write_text(".mixlang/\n")
    assert f"because of '{pattern}' (.git/info/exclude:1)" in mixlang("status", cwd=workspace).stderr
    (workspace / ".gitignore").write_text(IGNORE)
    assert "git ignores" not in mixlang("status", cwd=workspace).stderr


def test_a_run_warns_once(finished, ignoring, tmp_path):
    """A whole `mixlang run`, with its stages: nothing is committed, so everything is ignored."""
    root = tmp_path / "fresh"
    shutil.copytree(finished, root, symlinks=True)
    shutil.rmtree(root / ".git")
    git("init", "-q", cwd=root)
    (root / ".gitignore").write_text(".mixlang/\n")
    (root / "build/small/published.json").unlink()
    said = mixlang("run", "specs/small.yaml", cwd=root, env=ignoring).stderr
    assert said.count("because of 'build/'") == 1
    (root / "build/small/published.json").unlink()
    said = mixlang("stage", "publish", "small", cwd=root, env=ignoring).stderr
    assert said.count("because of 'build/'") == 1
