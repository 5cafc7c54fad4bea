"""The kinds that a leaf classifier saw in a run's items."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from wearalike.encoding import encoders
from wearalike.encoding.product_leaves import ItemKinds
from wearalike.models import registry
from wearalike.storage import content_cache


def read_item_kinds(root: Path, items: pa.Table, leaves: registry.Model) -> ItemKinds:
    """Return which kinds the items show, from the cache; those without a code are left out.

    Args:
        root: folder of all tables.
        items: rows with item_id.
        leaves: the classifier.
    """
    seen = content_cache.read_cached(
        root,
        "leaves",
        leaves.version,
        encoders.LEAF_CACHE_SCHEMA,
        items["item_id"].combine_chunks(),
    )
    seen = seen.filter(pc.is_valid(seen["probabilities"])).sort_by("item_id").combine_chunks()
    content = b"".join(seen["probabilities"].to_pylist())
    probabilities = np.frombuffer(content, np.float16).reshape(-1, len(leaves.classes))
    item_ids = seen["item_id"].combine_chunks()
    return ItemKinds(item_ids, probabilities, leaves.classes, leaves.version)
