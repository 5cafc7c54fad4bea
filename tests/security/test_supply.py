"""Packages are pinned by version and hash, and hadolint accepts the container file."""

import itertools
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def test_every_package_is_locked_by_version_and_hash():
    lock = (REPOSITORY / "requirements.lock").read_text(encoding="utf-8")
    parts = lock.replace("\\\n", " ").splitlines()
    assert len(parts) > 150
    for part in parts:
        assert re.match(r"[\w.-]+==[^\s;]+ .*--hash=sha256:[0-9a-f]{64}", part), part
    assert "://" not in lock, "the lock names an index"
    locked = {plain(part.partition("==")[0]) for part in parts}
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = project["optional-dependencies"]
    wanted = {
        plain(re.match(r"[\w.-]+", text)[0])
        for text in (*project["dependencies"], *itertools.chain(*extras.values()))
    }
    # Faiss for GPUs takes the place of the locked one.
    missing = wanted - locked - {"wearalike", "faiss-gpu-cu12"}
    assert len(wanted) > 30 and not missing, "run make lock"


def test_the_container_file_is_without_complaints():
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    assert hadolint, "of the extra dev"
    file = REPOSITORY / "lib" / "wearalike" / "ops" / "deployment" / "files" / "Dockerfile"
    done = subprocess.run([hadolint, "--no-color", str(file)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, ""), done.stdout
