"""Put into wheels what `wearalike init` writes: dags/, mappings/, sql/ and the lock."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "wearalike/ops/deployment/files"


class DeploymentFilesHook(BuildHookInterface):
    """An editable install reads them in the checkout, so it gets no copies."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders and the lock.

        Args:
            version: "standard" or "editable".
            build_data: gets them under `force_include`.
        """
        if version == "standard":
            for name in ("dags", "mappings", "sql", "requirements.lock"):
                build_data["force_include"][name] = f"{TARGET}/{name}"
