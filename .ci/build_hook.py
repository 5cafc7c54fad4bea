"""Put dags/, mappings/ and sql/ into wheels, where `wearalike init` finds them."""

from __future__ import annotations

from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

TARGET = "wearalike/ops/deployment/files"


class DeploymentFilesHook(BuildHookInterface):
    """An editable install reads the folders in the checkout, so it gets no copies."""

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Add the folders.

        Args:
            version: "standard" or "editable".
            build_data: gets the folders under `force_include`.
        """
        if version == "standard":
            for name in ("dags", "mappings", "sql"):
                build_data["force_include"][name] = f"{TARGET}/{name}"
