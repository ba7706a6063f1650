"""What stops a release, what it leaves, and that a lossy upgrade is found."""

import hashlib
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from deploy import release

ROOT = Path(__file__).parents[2]
GOOD = """# Changelog

## Unreleased

## 1.2.0 · 2026-11-01

### Added

- Something.

### Upgrading

- Nothing to do.

## 1.1.0 · 2026-10-01
"""
TOMORROW = f"{datetime.now(UTC) + timedelta(days=1):%Y-%m-%d}"


def git(directory, *command):
    settings = ("-c", "user.name=Somebody", "-c", "user.email=somebody@example.com")
    return subprocess.run(
        ["git", *settings, *command], cwd=directory, check=True, capture_output=True, text=True
    ).stdout


@pytest.fixture
def project(tmp_path, monkeypatch):
    """A repository with one commit that can be released as 1.2.0."""
    project = tmp_path / "project"
    project.mkdir()
    (project / "CHANGELOG.md").write_text(GOOD)
    (project / "pyproject.toml").write_text('[project]\nname = "revcred"\nversion = "1.2.0"\n')
    (project / ".gitignore").write_text("/dist/\n")
    git(project, "init", "--quiet")
    git(project, "add", ".")
    git(project, "commit", "--quiet", "--message", "first")
    for name, value in {"NAME": "Somebody", "EMAIL": "somebody@example.com"}.items():
        monkeypatch.setenv(f"GIT_COMMITTER_{name}", value)
    monkeypatch.setenv("PATH", _path_without_containers(tmp_path))
    monkeypatch.setattr(release, "PROJECT", project)
    monkeypatch.setattr(release, "OUTPUT_DIRECTORY", project / "dist")
    return project


def _path_without_containers(tmp_path):
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "git").symlink_to(shutil.which("git"))
    return str(programs)


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        (GOOD.replace("## Unreleased\n", "## Unreleased\n\n- New.\n"), "Move what stands under"),
        (GOOD.replace("1.2.0", "1.3.0"), "newest section .* is not “## 1.2.0"),
        (GOOD.replace("1.2.0 · 2026-11-01", "1.2.0"), "newest section .* is not “## 1.2.0"),
        (GOOD.replace("2026-11-01", TOMORROW), "in the future"),
        (GOOD.replace("### Upgrading", "### Changed"), "lacks “### Upgrading”"),
        ("# Changelog\n", "newest section"),
    ],
)
def test_a_changelog_that_does_not_say_what_is_released_stops_it(text, problem):
    with pytest.raises(release.ReleaseProblem, match=problem):
        release.check_changelog(text, "1.2.0")


def test_a_release_leaves_the_source_its_checksum_and_a_tag(project, capsys):
    release.release(last_tag=None, version="1.2.0")

    archive = project / "dist" / "revcred-1.2.0.tar.gz"
    with tarfile.open(archive) as source:
        assert "revcred-1.2.0/CHANGELOG.md" in source.getnames()
    digest = hashlib.sha256(archive.read_bytes()).hexdigest()
    assert (project / "dist" / "SHA256SUMS").read_text() == f"{digest}  {archive.name}\n"
    assert git(project, "cat-file", "-t", "v1.2.0").strip() == "tag"
    said = capsys.readouterr().out
    assert "no upgrade to try" in said
    assert "the image was not built" in said


def test_the_last_release_is_the_newest_before_this_commit(project):
    assert release.find_last_tag() is None
    for version in ("v1.9.0", "v1.10.0"):
        git(project, "tag", version)
    assert release.find_last_tag() == "v1.10.0"


def test_a_version_is_released_once_and_from_commits_alone(project):
    release.release(last_tag=None, version="1.2.0")
    with pytest.raises(release.ReleaseProblem, match=r"v1\.2\.0 exists"):
        release.release(last_tag=None, version="1.2.0")

    (project / "CHANGELOG.md").write_text(f"{GOOD}\n")
    with pytest.raises(release.ReleaseProblem, match="not committed"):
        release.release(last_tag=None, version="1.2.0")


@pytest.fixture
def code(tmp_path):
    """A copy of this code, which a test may change."""
    copy = tmp_path / "code"
    ignored = shutil.ignore_patterns(".*", "__pycache__", "dist", "tests", "bench", "conformance")
    shutil.copytree(ROOT, copy, ignore=ignored)
    return copy


@pytest.mark.long  # the next one is stopped by its difference alone
def test_an_upgrade_that_keeps_everything_passes(code):
    release.check_upgrade(code, ROOT, old_python=Path(sys.executable))


def test_an_upgrade_that_changes_what_was_there_is_named(code, tmp_path):
    lossy = tmp_path / "lossy"
    shutil.copytree(code, lossy)
    migrations = lossy / "revcred" / "migrations"
    last = (migrations / "max_migration.txt").read_text().strip()
    (migrations / "9999_another_customer.py").write_text(
        "from django.db import migrations\n"
        "def add(apps, schema_editor):\n"
        '    apps.get_model("revcred", "Customer").objects.create(name="B", external_key="b")\n'
        "class Migration(migrations.Migration):\n"
        f'    dependencies = [("revcred", "{last}")]\n'
        "    operations = [migrations.RunPython(add)]\n"
    )
    (migrations / "max_migration.txt").write_text("9999_another_customer\n")

    with pytest.raises(release.ReleaseProblem, match=r"customers: \d+ before, \d+ after\.$"):
        release.check_upgrade(code, lossy, old_python=Path(sys.executable))
