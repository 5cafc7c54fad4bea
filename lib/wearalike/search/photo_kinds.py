"""Kinds of a photo's item against those of a gallery.

A leaf classifier's probabilities say what the item may be, or else the products nearest in shape.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wearalike.catalog.kinds import CategoryKinds
from wearalike.search.gallery import Gallery


def expected_kind_distances(
    kinds: CategoryKinds,
    classes: Sequence[str],
    probabilities: NDArray[np.floating],
    names: Sequence[str],
) -> NDArray[np.int32]:
    """Return how far an item is from each of some kinds, on average over what it may be.

    An item that is surely a T-shirt is as far from each kind as T-shirts are. If it may be
    anything, all kinds are much the same, so that kinds hardly count.

    Args:
        kinds: Distances of the kinds; one that it lacks is far from all others.
        classes: Names of the classifier's kinds.
        probabilities: float (classes,). How likely the item is of each.
        names: The kinds that are asked for.

    Returns:
        int32 (names,), 0..64, rounded.
    """
    table = kinds.table.select([*classes, *names])
    at = {name: i for i, name in enumerate(table.names)}
    rows = [at[name] for name in classes]
    columns = [at[name] for name in names]
    chances = np.asarray(probabilities, np.float64)
    expected = chances @ table.distances[np.ix_(rows, columns)] / chances.sum()
    return np.rint(expected).astype(np.int32)


def voted_kind_distances(gallery: Gallery, voters: NDArray[np.int64]) -> NDArray[np.int32]:
    """Return how far some products are from each kind of their gallery, on average.

    Args:
        gallery: The products of one super-category.
        voters: int64 (n,), n >= 1. Rows of the gallery.

    Returns:
        int32 (kinds,), 0..64, rounded, in the order of the gallery's kind_table.
    """
    return np.rint(gallery.kind_table.distances[gallery.kind[voters]].mean(axis=0)).astype(np.int32)
