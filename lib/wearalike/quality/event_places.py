"""The places that a run gave recommendations, in the lists of the control and of each variant."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc

from wearalike.experiment_settings import CONTROL, INTERLEAVED
from wearalike.quality.event_files import SiteEvent
from wearalike.storage import run_tables
from wearalike.tables import (
    LIST_VARIANTS,
    PRODUCTS,
    SIMILAR_PRODUCTS,
    SIMILAR_PRODUCTS_VARIANTS,
)

_PAIR_COLUMNS = ["product_id", "similar_product_id", "rank", "rule", "encoder"]


class RunPlaces:
    """Rank, rule, encoder, category and shop of each pair on the pages of some products.

    Args:
        root: The data folder.
        run: The run.
        product_ids: The products whose pages are asked for.

    Attributes:
        run: The run.
        experiment: Its experiment; None without one.

    Raises:
        TableNotFound: The run's tables are not in the data folder.
    """

    def __init__(self, root: Path, run: str, product_ids: Iterable[str]) -> None:
        self.run = run
        wanted = pc.field("product_id").isin(sorted(product_ids))
        products = run_tables.open_dataset(root, PRODUCTS, run)
        facts = {
            row.pop("product_id"): row
            for row in products.to_table(
                ["product_id", "category", "shop_id"], filter=wanted
            ).to_pylist()
        }
        self._places: dict[tuple[str, str, str], dict[str, Any]] = {}

        def add(variant: str, row: dict[str, Any]) -> None:
            key = row.pop("product_id"), row.pop("similar_product_id")
            self._places[(variant, *key)] = {**row, **facts[key[0]]}

        pairs = run_tables.open_dataset(root, SIMILAR_PRODUCTS, run)
        for row in pairs.to_table(_PAIR_COLUMNS, filter=wanted).to_pylist():
            add(CONTROL, row)
        rows = []
        if run_tables.is_complete(root, LIST_VARIANTS, run):
            rows = run_tables.read_table(root, LIST_VARIANTS, run).to_pylist()
            pairs = run_tables.open_dataset(root, SIMILAR_PRODUCTS_VARIANTS, run)
            for row in pairs.to_table(["variant", *_PAIR_COLUMNS], filter=wanted).to_pylist():
                add(row.pop("variant"), row)
        self.experiment: str | None = rows[0]["experiment"] if rows else None
        self._names = {row["variant"] for row in rows} or {CONTROL}
        self._is_interleaved = any(row["assignment"] == "interleave" for row in rows)

    def describe_unknown(self, event: SiteEvent) -> str | None:
        """Return what is wrong with the variant or the team of an event; None for nothing."""
        known = {*self._names, *([INTERLEAVED] if self._is_interleaved else [])}
        for what, name, allowed in (
            ("variant", event.variant, known),
            ("team", event.team, self._names),
        ):
            if name is not None and name not in allowed:
                return f"run {self.run}: {what} {name!r}, wanted {', '.join(sorted(allowed))}"
        return None

    def find(self, event: SiteEvent) -> dict[str, Any] | None:
        """Return the place of an event's pair in the list that was seen; None if it is not there.

        A pick of no team is looked for in both lists.
        """
        names: Iterable[str] = [event.team or event.variant or CONTROL]
        if event.variant == INTERLEAVED and event.team is None:
            names = sorted(self._names, key=lambda name: (name != CONTROL, name))
        for name in names:
            place = self._places.get((name, event.product_id, event.similar_product_id))
            if place is not None:
                is_of_experiment = self.experiment is not None and event.variant is not None
                return {**place, "experiment": self.experiment if is_of_experiment else None}
        return None
