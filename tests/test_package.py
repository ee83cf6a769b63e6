"""Wheel and source archive: complete, and the installed command runs."""

import os
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

import pytest

from liqctl import __version__

ROOT = Path(__file__).parents[1]
SOURCES = {
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "liqctl").rglob("*")
    if path.is_file() and path.suffix != ".pyc"
}


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """Both archives, built without network; one fixture, because building takes a second."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        cwd=ROOT,
        capture_output=True,
        check=True,
    )
    (wheel,), (source,) = folder.glob("*.whl"), folder.glob("*.tar.gz")
    return wheel, source


def test_the_wheel_holds_every_file_of_the_package_and_nothing_else(built):
    with zipfile.ZipFile(built[0]) as wheel:
        names = set(wheel.namelist())

    about = {name for name in names if name.startswith(f"liqctl-{__version__}.dist-info/")}
    assert names - about == SOURCES
    assert f"liqctl-{__version__}.dist-info/licenses/LICENSE" in about


def test_the_source_archive_holds_what_building_and_testing_need(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}

    needed = {
        "pyproject.toml",
        "README.md",
        "LICENSE",
        "CHANGELOG.md",
        "Makefile",
        "tests/test_package.py",
    }
    assert names >= SOURCES | needed
    assert {"requirements/run.lock", "completions/liqctl.bash"} <= names


def test_the_source_archive_builds_the_same_wheel_byte_for_byte(built, tmp_path):
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    (place,) = tmp_path.iterdir()

    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)],
        cwd=place,
        capture_output=True,
        check=True,
    )

    (again,) = tmp_path.glob("*.whl")
    assert again.read_bytes() == built[0].read_bytes()


def test_the_installed_command_tells_its_version(built, tmp_path):
    with zipfile.ZipFile(built[0]) as wheel:
        wheel.extractall(tmp_path)  # noqa: S202 - built a moment ago
    (metadata,) = tmp_path.glob("*.dist-info")

    run = subprocess.run(
        [
            sys.executable,
            "-c",
            "import sys, liqctl.__main__ as m; print(m.__file__); sys.argv[1:] = ['-V']; m.main()",
        ],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert "liqctl = liqctl.__main__:main" in (metadata / "entry_points.txt").read_text()
    assert run.stdout.splitlines() == [
        str(tmp_path / "liqctl/__main__.py"),
        f"liqctl {__version__}",
    ]
