"""How many pictures have a code that no other product has."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.labelled_photos import LabelledDataset, number_classes
from wearalike.evaluation.distances import WeightedDistance

DISTINCT_CODES = "distinct codes"
# Codes of shape, of colour, and of both.
DISTINCT_WEIGHTS = ("1:0", "0:1", "1:1")


def distinct_code_values(
    codes: NDArray[np.uint8],
    weighted: WeightedDistance,
    labelled: LabelledDataset,
    picture_ids: Sequence[str],
    gallery: NDArray[np.int64],
) -> NDArray[np.float64]:
    """Tell for each picture whether its code is its product's own.

    Args:
        codes: uint8 (n, 32). Codes of shape, then of colour.
        weighted: Distance; a weight of 0 leaves that part of the codes out.
        labelled: The labelled set.
        picture_ids: Hash of each picture's bytes and box.
        gallery: int64 (g,). Rows of the set.

    Returns:
        float64 (g,). 1 if no picture of another product has the code, else 0; NaN for a picture
        that came before. A picture of an unknown product is a product of its own.
    """
    half = codes.shape[1] // 2
    first = 0 if weighted.shape_weight else half
    last = codes.shape[1] if weighted.colour_weight else half
    classes = number_classes([row.tobytes() for row in codes[gallery, first:last]])
    products = [labelled.photos[i].product or picture_ids[i] for i in gallery.tolist()]
    pictures = np.array([picture_ids[i] for i in gallery.tolist()])
    _, first_seen = np.unique(pictures, return_index=True)
    is_first = np.zeros(len(gallery), bool)
    is_first[first_seen] = True
    # A picture that two products share has one code and counts once, as its first product's.
    owners: dict[int, set[str]] = {}
    for position in first_seen.tolist():
        owners.setdefault(int(classes[position]), set()).add(products[position])
    values = np.array([float(len(owners[code]) == 1) for code in classes.tolist()])
    return np.where(is_first, values, np.nan)
