"""The wheel of this installation, packed again from its files, so that an image has the same."""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import zipfile
from importlib.metadata import Distribution, PackageNotFoundError, distribution
from pathlib import Path

# Files that an installer adds beside a wheel's own files.
_INSTALLER_FILES = frozenset(
    {"RECORD", "INSTALLER", "REQUESTED", "direct_url.json", "uv_cache.json", "uv_build.json"}
)
# The earliest time that a zip can hold: the same files give the same wheel.
_ZIP_TIME = (1980, 1, 1, 0, 0, 0)


def write_own_wheel(folder: Path) -> Path | None:
    """Write the wheel that this installation came from.

    Args:
        folder: Folder to write into.

    Returns:
        The wheel; None where wearalike runs from a checkout, whose files are no wheel's.
    """
    try:
        installed = distribution("wearalike")
    except PackageNotFoundError:
        return None
    if not any(file.as_posix() == "wearalike/__init__.py" for file in installed.files or ()):
        return None
    contents = _read_files(installed)
    (metadata,) = {name.split("/")[0] for name in contents if name.split("/")[0].endswith("-info")}
    tags = [
        line.partition(": ")[2]
        for line in contents[f"{metadata}/WHEEL"].decode().splitlines()
        if line.startswith("Tag: ")
    ]
    path = folder / f"{metadata.removesuffix('.dist-info')}-{tags[0]}.whl"
    record = io.StringIO()
    lines = csv.writer(record, lineterminator="\n")
    for name, content in contents.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(content).digest()).rstrip(b"=").decode()
        lines.writerow([name, f"sha256={digest}", len(content)])
    lines.writerow([f"{metadata}/RECORD", "", ""])
    contents[f"{metadata}/RECORD"] = record.getvalue().encode()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as wheel:
        for name, content in contents.items():
            member = zipfile.ZipInfo(name, _ZIP_TIME)
            member.compress_type = zipfile.ZIP_DEFLATED
            member.external_attr = 0o644 << 16
            wheel.writestr(member, content)
    return path


def _read_files(installed: Distribution) -> dict[str, bytes]:
    """Return the wheel's own files by name, sorted."""
    contents = {}
    for file in installed.files or ():
        is_own = file.parts[0] != ".." and "__pycache__" not in file.parts
        is_of_installer = file.parts[0].endswith("-info") and file.name in _INSTALLER_FILES
        if is_own and not is_of_installer:
            contents[file.as_posix()] = Path(str(file.locate())).read_bytes()
    return dict(sorted(contents.items()))
