"""The files of mappings/ that come with wearalike: defaults for a deployment that lacks them."""

from __future__ import annotations

from pathlib import Path

_PACKAGE_DIR = Path(__file__).parents[1]
# In a wheel, and in a checkout.
_FOLDERS = (
    _PACKAGE_DIR / "ops" / "deployment" / "files" / "mappings",
    _PACKAGE_DIR.parents[1] / "mappings",
)


def packaged_mapping_path(name: str) -> Path:
    """Return the path of a file of mappings/ in this installation.

    Args:
        name: The name, such as "attributes.xml".

    Raises:
        FileNotFoundError: The installation lacks it.
    """
    found = next((folder / name for folder in _FOLDERS if (folder / name).is_file()), None)
    if found is None:
        raise FileNotFoundError(
            f"{_FOLDERS[0] / name}: gone from this installation; install wearalike again"
        )
    return found
