"""Read the state of a deployment by its settings, for commands."""

from __future__ import annotations

from wearalike.reports.run_status import DeploymentStatus, collect_status
from wearalike.settings import Settings
from wearalike.storage import run_tables
from wearalike.tables import FEEDS
from wearalike.warehouse.base import Rejected, Unreachable, open_warehouse


def read_status(settings: Settings, run: str | None = None) -> DeploymentStatus:
    """Read what is published and what a run did; a warehouse that is away is told, not raised.

    Args:
        settings: Name the data folder and the warehouse.
        run: The run; None: the last one.

    Raises:
        run_tables.TableNotFound: The run has not read its feeds.
    """
    if run is not None:
        run_tables.read_manifest(settings.data_dir, FEEDS, run)
    try:
        state = open_warehouse(settings.warehouse).state()
    except (Unreachable, Rejected) as error:
        return collect_status(settings.data_dir, None, str(error), run)
    return collect_status(settings.data_dir, state, None, run)
