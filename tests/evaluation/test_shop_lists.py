"""Lists of a labelled set are those of the search by its definition, and the oracle bounds them."""

from pathlib import Path

import numpy as np
import pytest

from wearalike.catalog.colour_names import build_name_table, packaged_colour_names
from wearalike.catalog.kinds import MAX_KIND_DISTANCE
from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.evaluation import shop_lists

TYPES = ("Shirt", "Skirt", "Boots")
COLOURS = ("Navy", "Black", "White", "Strange", "")
GENDERS = ("Women", "Men", "Unisex", "")


def draw_set(seed: int, count: int) -> LabelledDataset:
    """Return photos of drawn labels, some without a colour."""
    rng = np.random.default_rng(seed)
    photos = [
        LabelledPhoto(
            f"{i:03}",
            Path(f"{i}"),
            "test" if rng.random() < 0.5 else "train",
            {
                name: value
                for name, value in (
                    ("type", str(rng.choice(TYPES))),
                    ("colour", str(rng.choice(COLOURS))),
                    ("gender", str(rng.choice(GENDERS))),
                )
                if value
            },
            group=str(rng.choice(["", "a", "b", "c", "d"])),
        )
        for i in range(count)
    ]
    return LabelledDataset("drawn", tuple(photos), ("type", "colour", "gender", "both"))


def expect_list(labelled: LabelledDataset, bits: np.ndarray, row: int) -> list[int]:
    """Return the list of a photo by the definition."""
    names = packaged_colour_names()
    own = labelled.photos[row]
    found = []
    for i, other in enumerate(labelled.photos):
        genders = {
            photo.labels.get("gender", "Unisex").replace("Unisex", "") for photo in (own, other)
        }
        own_group, group = own.group or own.id, other.group or other.id
        if "colour" not in other.labels or group == own_group or len(genders - {""}) > 1:
            continue
        texts = ["+".join(names.find([p.labels["colour"]])) for p in (own, other)]
        table = build_name_table(texts, names.hex_by_id)
        of_names = table.distances[table.names.index(texts[0]), table.names.index(texts[1])]
        differ = bits[row] != bits[i]
        kind = 0 if own.labels["type"] == other.labels["type"] else MAX_KIND_DISTANCE
        found.append((5 * (differ.sum() + of_names) + 6 * kind, i, group))
    best, groups = [], set()
    for _, i, group in sorted(found):
        if group not in groups and len(best) < shop_lists.LIST_K:
            groups.add(group)
            best.append(i)
    return best


@pytest.mark.parametrize("seed", range(6))
def test_the_lists_are_those_of_the_definition(seed):
    labelled = draw_set(seed, 60)
    bits = np.random.default_rng(seed).integers(0, 2, (60, 256)).astype(np.uint8)
    asking = np.array([i for i, photo in enumerate(labelled.photos) if photo.split == "test"])
    asked, values = shop_lists.measure_shop_lists(labelled, bits, asking)
    assert asked.tolist() == [i for i in asking if "colour" in labelled.photos[i].labels]
    for position, row in enumerate(asked.tolist()):
        own = labelled.photos[row].labels
        of_list = [labelled.photos[i].labels for i in expect_list(labelled, bits, row)]
        is_type = np.array([labels["type"] == own["type"] for labels in of_list], bool)
        is_colour = np.array([labels["colour"] == own["colour"] for labels in of_list], bool)
        assert values[shop_lists.LIST_TYPE][position] == is_type.sum() / 5
        assert values[shop_lists.LIST_COLOUR][position] == is_colour.sum() / 5
        assert values[shop_lists.LIST_BOTH][position] == (is_type & is_colour).sum() / 5
    assert (values[shop_lists.LIST_BOTH] <= values[shop_lists.LIST_ORACLE]).all()
    assert 0 < values[shop_lists.LIST_ORACLE].mean() <= 1


def test_a_set_without_both_labels_has_no_lists():
    drawn = draw_set(1, 20)
    assert not len(shop_lists.list_rows(LabelledDataset("x", drawn.photos, ("type", "gender"))))
