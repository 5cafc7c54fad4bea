"""The coarse garment classes of detectors, their super-categories, and their names in data sets.

Every label of a data set is mapped to a class or listed as ignored. An unknown label raises
UnknownLabel.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.tables import SuperCategory as S


class UnknownLabel(ValueError):
    """A label that is neither mapped to a class nor ignored by name."""


@dataclass(frozen=True, slots=True)
class GarmentClass:
    """One garment class.

    Attributes:
        name: Name of the class.
        super_category: Its super-category.
        ccp_tags: Tags of Clothing Co-Parsing's masks.
        article_types: Article types of Fashion Product Images.
        clothing_dataset_labels: Labels of the Clothing dataset.
        is_worn_in_pairs: Left and right are apart: each connected part of a mask is an item.
    """

    name: str
    super_category: S
    ccp_tags: tuple[str, ...] = ()
    article_types: tuple[str, ...] = ()
    clothing_dataset_labels: tuple[str, ...] = ()
    is_worn_in_pairs: bool = False


GARMENT_CLASSES = (
    GarmentClass(
        "top",
        S.UPPER_WEAR,
        ("t-shirt", "top", "vest", "bodysuit"),
        ("Tshirts", "Tops", "Camisoles", "Waistcoat"),
        ("T-Shirt", "Longsleeve", "Polo", "Undershirt", "Top"),
    ),
    GarmentClass("shirt", S.UPPER_WEAR, ("shirt", "blouse"), ("Shirts",), ("Shirt", "Blouse")),
    GarmentClass("tunic", S.UPPER_WEAR, (), ("Kurtas", "Kurtis", "Tunics"), ()),
    GarmentClass(
        "knitwear",
        S.UPPER_WEAR,
        ("sweater", "cardigan", "jumper", "sweatshirt", "hoodie"),
        ("Sweaters", "Sweatshirts", "Shrug"),
        ("Hoodie",),
    ),
    GarmentClass(
        "outerwear",
        S.OUTERWEAR,
        ("coat", "jacket", "blazer", "cape", "suit"),
        ("Jackets", "Blazers", "Rain Jacket", "Nehru Jackets"),
        ("Outwear", "Blazer"),
    ),
    GarmentClass(
        "dress",
        S.FULL_BODY,
        ("dress", "romper"),
        ("Dresses", "Jumpsuit", "Kurta Sets", "Sarees"),
        ("Dress",),
    ),
    GarmentClass(
        "trousers",
        S.LOWER_WEAR,
        ("pants", "jeans", "leggings"),
        (
            "Trousers",
            "Jeans",
            "Track Pants",
            "Leggings",
            "Jeggings",
            "Capris",
            "Churidar",
            "Salwar",
            "Patiala",
            "Lounge Pants",
        ),
        ("Pants",),
    ),
    GarmentClass("shorts", S.LOWER_WEAR, ("shorts",), ("Shorts", "Lounge Shorts"), ("Shorts",)),
    GarmentClass("skirt", S.LOWER_WEAR, ("skirt",), ("Skirts",), ("Skirt",)),
    GarmentClass(
        "shoe",
        S.FOOT_WEAR,
        ("shoes", "flats", "loafers", "sneakers", "pumps", "heels", "wedges", "clogs"),
        ("Casual Shoes", "Sports Shoes", "Formal Shoes", "Heels", "Flats", "Shoes"),
        ("Shoes",),
        is_worn_in_pairs=True,
    ),
    GarmentClass(
        "sandal",
        S.FOOT_WEAR,
        ("sandals",),
        ("Sandals", "Flip Flops", "Sports Sandals"),
        (),
        is_worn_in_pairs=True,
    ),
    GarmentClass("boot", S.FOOT_WEAR, ("boots",), (), (), is_worn_in_pairs=True),
    GarmentClass(
        "bag",
        S.BAGS,
        ("bag", "purse"),
        (
            "Handbags",
            "Backpacks",
            "Clutches",
            "Laptop Bag",
            "Duffel Bag",
            "Messenger Bag",
            "Waist Pouch",
            "Rucksacks",
            "Mobile Pouch",
            "Tablet Sleeve",
            "Trolley Bag",
        ),
        (),
    ),
    GarmentClass("wallet", S.ACCESSORIES, ("wallet",), ("Wallets",), ()),
    GarmentClass("hat", S.ACCESSORIES, ("hat",), ("Caps", "Hat"), ("Hat",)),
    GarmentClass("belt", S.ACCESSORIES, ("belt",), ("Belts",), ()),
    GarmentClass("eyewear", S.ACCESSORIES, ("sunglasses", "glasses"), ("Sunglasses",), ()),
    GarmentClass(
        "scarf", S.ACCESSORIES, ("scarf",), ("Scarves", "Mufflers", "Stoles", "Dupatta"), ()
    ),
    GarmentClass("tie", S.ACCESSORIES, ("tie",), ("Ties",), ()),
    GarmentClass("watch", S.ACCESSORIES, ("watch",), ("Watches",), (), is_worn_in_pairs=True),
    GarmentClass("socks", S.ACCESSORIES, ("socks",), ("Socks",), (), is_worn_in_pairs=True),
    GarmentClass(
        "hosiery",
        S.UNDERWEAR,
        ("stockings", "tights"),
        ("Stockings", "Tights"),
        (),
        is_worn_in_pairs=True,
    ),
    GarmentClass(
        "underwear",
        S.UNDERWEAR,
        ("bra", "panties", "intimate", "swimwear"),
        ("Briefs", "Innerwear Vests", "Trunk", "Bra", "Boxers", "Shapewear", "Swimwear"),
        (),
    ),
)

# Not worn, too small to recognise at the detector's size, or several items at once.
IGNORED_CCP_TAGS = (
    "null",
    "skin",
    "hair",
    "accessories",
    "bracelet",
    "earrings",
    "gloves",
    "necklace",
    "ring",
)
IGNORED_ARTICLE_TYPES = (
    "Accessory Gift Set",
    "Bath Robe",
    "Baby Dolls",
    "Body Lotion",
    "Booties",
    "Bracelet",
    "Bangle",
    "Clothing Set",
    "Cufflinks",
    "Cushion Covers",
    "Deodorant",
    "Earrings",
    "Free Gifts",
    "Gloves",
    "Headband",
    "Jewellery Set",
    "Key chain",
    "Necklace and Chains",
    "Night suits",
    "Nightdress",
    "Pendant",
    "Perfume and Body Mist",
    "Ring",
    "Robe",
    "Rompers",
    "Shoe Accessories",
    "Shoe Laces",
    "Suits",
    "Suspenders",
    "Ties and Cufflinks",
    "Tracksuits",
    "Travel Accessory",
    "Umbrellas",
    "Water Bottle",
    "Wristbands",
)
IGNORED_CLOTHING_DATASET_LABELS = ("Not sure", "Other", "Skip", "Body")

CLASS_NAMES = tuple(g.name for g in GARMENT_CLASSES)
# The number of each class's super-category: two boxes on one item are of one group.
CLASS_GROUPS: NDArray[np.int64] = np.array(
    [list(S).index(g.super_category) for g in GARMENT_CLASSES]
)
GARMENT_CLASS_BY_NAME: Mapping[str, GarmentClass] = {g.name: g for g in GARMENT_CLASSES}
_CLASS_BY_CCP_TAG = {word: g for g in GARMENT_CLASSES for word in g.ccp_tags} | dict.fromkeys(
    IGNORED_CCP_TAGS
)
_CLASS_BY_ARTICLE_TYPE = {
    word: g for g in GARMENT_CLASSES for word in g.article_types
} | dict.fromkeys(IGNORED_ARTICLE_TYPES)
_CLASS_BY_CLOTHING_DATASET_LABEL = {
    word: g for g in GARMENT_CLASSES for word in g.clothing_dataset_labels
} | dict.fromkeys(IGNORED_CLOTHING_DATASET_LABELS)


def class_of_ccp_tag(tag: str) -> GarmentClass | None:
    """Return the class of a CCP tag; None if ignored. Raises UnknownLabel."""
    return _find_class(_CLASS_BY_CCP_TAG, tag, "street tag")


def class_of_article_type(article_type: str) -> GarmentClass | None:
    """Return the class of an article type; None if ignored. Raises UnknownLabel."""
    return _find_class(_CLASS_BY_ARTICLE_TYPE, article_type, "article type")


def class_of_clothing_dataset_label(label: str) -> GarmentClass | None:
    """Return the class of a Clothing dataset label; None if ignored. Raises UnknownLabel."""
    return _find_class(_CLASS_BY_CLOTHING_DATASET_LABEL, label, "label")


def class_by_name(name: str) -> GarmentClass | None:
    """Return the class of a name. Raises UnknownLabel."""
    return _find_class(GARMENT_CLASS_BY_NAME, name, "class")


def _find_class(
    words: Mapping[str, GarmentClass] | Mapping[str, GarmentClass | None], word: str, kind: str
) -> GarmentClass | None:
    if word not in words:
        raise UnknownLabel(
            f"{kind} {word!r} is neither mapped to a class nor ignored (detection/classes.py)"
        )
    return words[word]
