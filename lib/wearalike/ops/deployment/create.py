"""Write a folder for a deployment: settings, mappings, DAGs, SQL and a compose file.

The compose file runs Airflow and PostgreSQL. The folder files/ holds files that only deployments
have. mappings/, dags/, sql/ and requirements.lock are those of the repository: a wheel carries them
beside files/, and an editable install finds them in the checkout. An installed wheel goes into
packages/, from which the images are built.
"""

from __future__ import annotations

import os
import re
import secrets
import shutil
import tempfile
from pathlib import Path

from wearalike import __version__, sample
from wearalike.ops.deployment.own_wheel import write_own_wheel
from wearalike.sample.catalogue import SHOPS

_PACKAGE_DIR = Path(__file__).resolve().parent
_REPOSITORY_DIR = _PACKAGE_DIR.parents[3]
SAMPLE_URL = "http://127.0.0.1:8765"
# .env.example has this text in place of each secret.
SECRET_PLACEHOLDER = "change-me"

_SHOPS_TEMPLATE = """\
# A shop is a [[shops]] table. Keep credentials out of this file:
# ${NAME} is read from the environment (feeds.env).
#
# [[shops]]
# id = "newshop"
# feed = "https://newshop.example/feed.xml?code=${NEWSHOP_CODE}"
# min_offers = 1000        # fewer usable offers than this keep yesterday's
# max_drop_ratio = 0.5     # so does losing more than half
"""


class FolderOccupied(FileExistsError):
    """The folder holds something that a deployment would overwrite. Nothing was written."""


def create_deployment(folder: Path, *, with_sample: bool = False) -> list[Path]:
    """Write a deployment into a folder, all of it or nothing.

    Args:
        folder: where to write; it may hold other files.
        with_sample: name the drawn sample shops at SAMPLE_URL, with their mappings; else no shop.

    Returns:
        Every file written, in order of path.

    Raises:
        FolderOccupied: the folder has a file or folder of one of those names.
        OSError: the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".wearalike-init-") as scratch:
        built = Path(scratch)
        _write_deployment(built, with_sample)
        names = sorted(path.name for path in built.iterdir())
        if there := [name for name in names if os.path.lexists(folder / name)]:
            raise FolderOccupied(
                f"{folder}: has {', '.join(there)} already, and nothing is ever overwritten; "
                "name another folder"
            )
        files = sorted(
            folder / path.relative_to(built) for path in built.rglob("*") if path.is_file()
        )
        for name in names:
            os.rename(built / name, folder / name)
    return files


def _write_deployment(folder: Path, with_sample: bool) -> None:
    """Write all files of a deployment into an empty folder."""
    _copy_templates(folder)
    shutil.copytree(
        _source_path("dags"), folder / "dags", ignore=shutil.ignore_patterns("__pycache__")
    )
    shutil.copytree(_source_path("sql"), folder / "sql")
    shutil.copytree(
        _source_path("mappings"), folder / "mappings", ignore=shutil.ignore_patterns("shops")
    )
    (folder / "mappings" / "shops").mkdir()
    for shop in SHOPS if with_sample else ():
        shutil.copy2(
            _source_path("mappings") / "shops" / f"{shop.id}.xml", folder / "mappings" / "shops"
        )
    with (folder / "settings" / "wearalike.toml").open("a", encoding="utf-8") as settings:
        settings.write(_sample_shops_toml() if with_sample else _SHOPS_TEMPLATE)
    (folder / "packages").mkdir()
    (folder / "packages" / ".gitkeep").touch()
    write_own_wheel(folder / "packages")
    shutil.copy2(_source_path("requirements.lock"), folder)
    env = (folder / ".env.example").read_text(encoding="utf-8")
    (folder / ".env").touch(0o600)
    (folder / ".env").write_text(
        re.sub(SECRET_PLACEHOLDER, lambda _: secrets.token_hex(16), env), encoding="utf-8"
    )


def _copy_templates(folder: Path) -> None:
    """Copy the files of files/, with this version in place of @VERSION@."""
    files = _PACKAGE_DIR / "files"
    for path in sorted(p for p in files.rglob("*") if p.is_file()):
        relative = path.relative_to(files)
        # In a wheel these lie beside our own; _write_deployment copies them.
        if relative.parts[0] in ("mappings", "dags", "sql", "requirements.lock"):
            continue
        target = folder / relative.with_name(_HIDDEN_FILE_NAMES.get(relative.name, relative.name))
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(
            path.read_text(encoding="utf-8").replace("@VERSION@", __version__), encoding="utf-8"
        )
        target.chmod({".sh": 0o755, ".env": 0o600}.get(target.suffix, 0o644))


# The package has these under other names, because packaging loses hidden files.
_HIDDEN_FILE_NAMES = {
    "env.example": ".env.example",
    "gitignore": ".gitignore",
    "dockerignore": ".dockerignore",
}


def _source_path(name: str) -> Path:
    """Return the folder `mappings`, `dags` or `sql`, or the lock.

    Raises:
        FileNotFoundError: the installation lacks it.
    """
    found = next(
        (path for path in (_PACKAGE_DIR / "files" / name, _REPOSITORY_DIR / name) if path.exists()),
        None,
    )
    if found is None:
        raise FileNotFoundError(
            f"{_PACKAGE_DIR / 'files' / name}: gone from this installation; install wearalike again"
        )
    return found


def _sample_shops_toml() -> str:
    """Return the [[shops]] tables of the sample shops."""
    addresses = {shop.id: f"{SAMPLE_URL}/{shop.id}/feed.xml" for shop in SHOPS}
    shops = sample.settings_text(addresses, Path("data")).partition("\n\n")[2]
    port = SAMPLE_URL.rpartition(":")[2]
    command = f"python -m wearalike.sample --port {port}"
    return f"# The drawn sample shops; serve them with: {command}\n\n{shops}"
