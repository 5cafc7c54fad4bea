"""The lists a shop would publish of a labelled set: with kinds and colour names, as its feed says.

Types stand for the leaves and colour words for the feed's. The whole set is one super-category, no
two types are of one family, and the rules of lists hold: one result an article, fitting genders.
So `list both` asks how well lists agree with the shop that labelled the set. `list both, oracle` is
the most that any list can reach.
"""

from __future__ import annotations

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from wearalike import catalog, search
from wearalike.catalog.colour_names import packaged_colour_names
from wearalike.catalog.eligibility import is_for_audience
from wearalike.catalog.feed_distances import FeedDistances
from wearalike.catalog.kinds import Families, default_kind_weight
from wearalike.datasets.labelled_photos import LabelledDataset
from wearalike.tables import AgeGroup, Availability, Gender

# Results of a list that are counted.
LIST_K = 5
LIST_TYPE, LIST_COLOUR, LIST_BOTH = "list type", "list colour", "list both"
LIST_ORACLE = "list both, oracle"
# Weights of shape and colour. Only their ratio to the kind's counts: five of each allow its share.
_WEIGHT = 5
_GENDERS = {"women": Gender.FEMALE, "men": Gender.MALE, "girls": Gender.FEMALE, "boys": Gender.MALE}


def list_rows(labelled: LabelledDataset) -> NDArray[np.int64]:
    """Return the photos that have a type and a colour, int64."""
    if not {"type", "colour"} <= set(labelled.label_names):
        return np.empty(0, np.int64)
    return np.array(
        [
            i
            for i, photo in enumerate(labelled.photos)
            if photo.labels.get("type") and photo.labels.get("colour")
        ],
        np.int64,
    )


def measure_shop_lists(
    labelled: LabelledDataset, bits: NDArray[np.uint8], asking: NDArray[np.int64]
) -> tuple[NDArray[np.int64], dict[str, NDArray[np.float64]]]:
    """Measure the lists of some photos among all that have a type and a colour.

    Args:
        labelled: The set.
        bits: uint8 (n, 256), 0 or 1. Codes of all photos.
        asking: int64. Photos whose lists are wanted.

    Returns:
        The photos that asked, int64 (q,), and float64 (q,), 0..1, by measure: the share of the
        first LIST_K places with a result of the photo's type, colour and both.
    """
    rows = list_rows(labelled)
    photos = [labelled.photos[row] for row in rows.tolist()]
    types = np.array([photo.labels["type"] for photo in photos], object)
    colours = np.array([photo.labels["colour"] for photo in photos], object)
    groups = np.array([photo.group or photo.id for photo in photos], object)
    genders = np.array([_gender(photo.labels.get("gender", "")) for photo in photos], object)
    gallery = _build_gallery(bits[rows], types, colours, groups, genders)
    rules = search.ListRules(k=LIST_K, min_score=0.0, max_per_brand=LIST_K)
    places = np.flatnonzero(np.isin(rows, asking))
    values: dict[str, NDArray[np.float64]] = {
        name: np.zeros(len(rows)) for name in (LIST_TYPE, LIST_COLOUR, LIST_BOTH, LIST_ORACLE)
    }
    for lists in search.search_gallery(gallery, 0, len(gallery), rules):
        for found in lists:
            is_type = types[found.results] == types[found.query_row]
            is_colour = colours[found.results] == colours[found.query_row]
            for name, is_right in (
                (LIST_TYPE, is_type),
                (LIST_COLOUR, is_colour),
                (LIST_BOTH, is_type & is_colour),
            ):
                values[name][found.query_row] = is_right.sum() / LIST_K
    for row in places.tolist():
        fits = (types == types[row]) & (colours == colours[row]) & (groups != groups[row])
        may = [
            groups[i]
            for i in np.flatnonzero(fits).tolist()
            if is_for_audience(AgeGroup.ADULT, genders[i], AgeGroup.ADULT, genders[row])
        ]
        values[LIST_ORACLE][row] = min(len(set(may)), LIST_K) / LIST_K
    return rows[places], {name: of_all[places] for name, of_all in values.items()}


def _gender(word: str) -> Gender:
    """Return the audience that a label means."""
    return _GENDERS.get(word.casefold(), Gender.UNISEX)


def _build_gallery(
    bits: NDArray[np.uint8],
    types: NDArray[np.object_],
    colours: NDArray[np.object_],
    groups: NDArray[np.object_],
    genders: NDArray[np.object_],
) -> search.Gallery:
    """Return the photos as products of one shop."""
    count = len(types)
    # Numbers in order, for galleries are in the order of their ids.
    ids = pa.array([f"{i:09}" for i in range(count)])
    names = packaged_colour_names()
    products = pa.table(
        {
            "product_id": ids,
            "shop_id": ["shop"] * count,
            "group_id": pa.array(groups.tolist(), pa.string()),
            "article_id": pa.nulls(count, pa.string()),
            "brand": pa.nulls(count, pa.string()),
            "availability": [Availability.IN_STOCK.value] * count,
            "gender": [str(gender) for gender in genders],
            "age_group": [AgeGroup.ADULT.value] * count,
            "category": pa.array(types.tolist(), pa.string()),
            "price_cents": pa.array([0] * count, pa.int64()),
            "currency": ["EUR"] * count,
            "shape_weight": pa.array([_WEIGHT] * count, pa.int32()),
            "colour_weight": pa.array([_WEIGHT] * count, pa.int32()),
            "kind_weight": pa.array([default_kind_weight(_WEIGHT, _WEIGHT)] * count, pa.int32()),
            "colour_names": pa.array(
                [list(names.find([word])) for word in colours], pa.list_(pa.string())
            ),
        }
    )
    kinds = catalog.CategoryKinds.build({word: word for word in types}, Families({}))
    return search.build_gallery(
        pa.table({"product_id": ids, "item_id": ids}),
        np.packbits(bits.astype(bool), axis=1),
        products,
        FeedDistances(kinds, names.hex_by_id),
    )
