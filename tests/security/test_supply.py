"""Packages are pinned by version and hash, and hadolint accepts the container file."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def pins(name: str) -> dict[str, str]:
    lines = (REPOSITORY / name).read_text(encoding="utf-8").splitlines()
    return {
        plain(found[1]): found[2]
        for line in lines
        if (found := re.match(r"([\w.-]+)==([^\s\\;]+)", line))
    }


def test_every_package_is_locked_by_version_and_hash():
    locked, constrained = pins(".ci/requirements.lock"), pins("constraints.txt")
    assert len(locked) > 150
    assert {
        name: version for name, version in locked.items() if constrained.get(name) != version
    } == {}, "run make lock"
    parts = (
        (REPOSITORY / ".ci/requirements.lock")
        .read_text(encoding="utf-8")
        .replace("\\\n", " ")
        .splitlines()
    )
    assert len(parts) == len(locked) and all(
        re.search(r"--hash=sha256:[0-9a-f]{64}", part) for part in parts
    )
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {
        plain(re.match(r"[\w.-]+", text)[0])
        for text in (*project["dependencies"], *extras["postgres"], *extras["yolo"], *extras["dev"])
    }
    assert len(wanted) > 30 and wanted <= set(locked), "run make lock"


def test_the_container_file_is_without_complaints():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "of the extra dev"
    file = REPOSITORY / "lib" / "wearalike" / "ops" / "deployment" / "files" / "Dockerfile"
    done = subprocess.run([hadolint, "--no-color", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
