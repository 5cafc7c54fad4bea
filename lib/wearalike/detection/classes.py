"""The coarse classes that a detector learns, each with its super-category, and what the labelled sets call them.

A word of a set stands under one class or is ignored by name: a word nobody has thought of is an error, not a background.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from wearalike.tables import SuperCategory as S


class BadWord(ValueError):
    """A label that is neither mapped to a class nor ignored by name."""


@dataclass(frozen=True, slots=True)
class Garment:
    """One class. street: tags of the street photos' masks; catalogue: article types; own: labels of people's own photos.
    in_pairs: left and right are worn apart, so that each connected part of a mask is an item."""

    name: str
    super_category: S
    street: tuple[str, ...] = ()
    catalogue: tuple[str, ...] = ()
    own: tuple[str, ...] = ()
    in_pairs: bool = False


# fmt: off
GARMENTS = (
    Garment("top", S.UPPER_WEAR, ("t-shirt", "top", "vest", "bodysuit"),
            ("Tshirts", "Tops", "Camisoles", "Waistcoat"), ("T-Shirt", "Longsleeve", "Polo", "Undershirt", "Top")),
    Garment("shirt", S.UPPER_WEAR, ("shirt", "blouse"), ("Shirts",), ("Shirt", "Blouse")),
    Garment("tunic", S.UPPER_WEAR, (), ("Kurtas", "Kurtis", "Tunics"), ()),
    Garment("knitwear", S.UPPER_WEAR, ("sweater", "cardigan", "jumper", "sweatshirt", "hoodie"),
            ("Sweaters", "Sweatshirts", "Shrug"), ("Hoodie",)),
    Garment("outerwear", S.OUTERWEAR, ("coat", "jacket", "blazer", "cape", "suit"),
            ("Jackets", "Blazers", "Rain Jacket", "Nehru Jackets"), ("Outwear", "Blazer")),
    Garment("dress", S.FULL_BODY, ("dress", "romper"), ("Dresses", "Jumpsuit", "Kurta Sets", "Sarees"), ("Dress",)),
    Garment("trousers", S.LOWER_WEAR, ("pants", "jeans", "leggings"),
            ("Trousers", "Jeans", "Track Pants", "Leggings", "Jeggings", "Capris", "Churidar", "Salwar", "Patiala", "Lounge Pants"),
            ("Pants",)),
    Garment("shorts", S.LOWER_WEAR, ("shorts",), ("Shorts", "Lounge Shorts"), ("Shorts",)),
    Garment("skirt", S.LOWER_WEAR, ("skirt",), ("Skirts",), ("Skirt",)),
    Garment("shoe", S.FOOT_WEAR, ("shoes", "flats", "loafers", "sneakers", "pumps", "heels", "wedges", "clogs"),
            ("Casual Shoes", "Sports Shoes", "Formal Shoes", "Heels", "Flats", "Shoes"), ("Shoes",), in_pairs=True),
    Garment("sandal", S.FOOT_WEAR, ("sandals",), ("Sandals", "Flip Flops", "Sports Sandals"), (), in_pairs=True),
    Garment("boot", S.FOOT_WEAR, ("boots",), (), (), in_pairs=True),
    Garment("bag", S.BAGS, ("bag", "purse"),
            ("Handbags", "Backpacks", "Clutches", "Laptop Bag", "Duffel Bag", "Messenger Bag", "Waist Pouch", "Rucksacks",
             "Mobile Pouch", "Tablet Sleeve", "Trolley Bag"), ()),
    Garment("wallet", S.ACCESSORIES, ("wallet",), ("Wallets",), ()),
    Garment("hat", S.ACCESSORIES, ("hat",), ("Caps", "Hat"), ("Hat",)),
    Garment("belt", S.ACCESSORIES, ("belt",), ("Belts",), ()),
    Garment("eyewear", S.ACCESSORIES, ("sunglasses", "glasses"), ("Sunglasses",), ()),
    Garment("scarf", S.ACCESSORIES, ("scarf",), ("Scarves", "Mufflers", "Stoles", "Dupatta"), ()),
    Garment("tie", S.ACCESSORIES, ("tie",), ("Ties",), ()),
    Garment("watch", S.ACCESSORIES, ("watch",), ("Watches",), (), in_pairs=True),
    Garment("socks", S.ACCESSORIES, ("socks",), ("Socks",), (), in_pairs=True),
    Garment("hosiery", S.UNDERWEAR, ("stockings", "tights"), ("Stockings", "Tights"), (), in_pairs=True),
    Garment("underwear", S.UNDERWEAR, ("bra", "panties", "intimate", "swimwear"),
            ("Briefs", "Innerwear Vests", "Trunk", "Bra", "Boxers", "Shapewear", "Swimwear"), ()),
)

# Not worn, too small to be told at the size looked at, or several things at once.
IGNORED_STREET = ("null", "skin", "hair", "accessories", "bracelet", "earrings", "gloves", "necklace", "ring")
IGNORED_CATALOGUE = (
    "Accessory Gift Set", "Bath Robe", "Baby Dolls", "Body Lotion", "Booties", "Bracelet", "Bangle", "Clothing Set", "Cufflinks",
    "Cushion Covers", "Deodorant", "Earrings", "Free Gifts", "Gloves", "Headband", "Jewellery Set", "Key chain", "Necklace and Chains",
    "Night suits",
    "Nightdress", "Pendant", "Perfume and Body Mist", "Ring", "Robe", "Rompers", "Shoe Accessories", "Shoe Laces", "Suits",
    "Suspenders", "Ties and Cufflinks", "Tracksuits", "Travel Accessory", "Umbrellas", "Water Bottle", "Wristbands",
)
IGNORED_OWN = ("Not sure", "Other", "Skip", "Body")
# fmt: on

CLASSES = tuple(g.name for g in GARMENTS)
# What is compared with what, as a number for each class: two boxes on one thing are of one group, whatever they call it.
GROUPS: NDArray[np.int64] = np.array([list(S).index(g.super_category) for g in GARMENTS])
BY_NAME: Mapping[str, Garment] = {g.name: g for g in GARMENTS}
_STREET = {word: g for g in GARMENTS for word in g.street} | dict.fromkeys(IGNORED_STREET)
_CATALOGUE = {word: g for g in GARMENTS for word in g.catalogue} | dict.fromkeys(IGNORED_CATALOGUE)
_OWN = {word: g for g in GARMENTS for word in g.own} | dict.fromkeys(IGNORED_OWN)


def of_street(tag: str) -> Garment | None:
    """The class of a street mask's tag; None where it is ignored. Raises BadWord."""
    return _found(_STREET, tag, "street tag")


def of_catalogue(article_type: str) -> Garment | None:
    """The class of a catalogue's article type; None where it is ignored. Raises BadWord."""
    return _found(_CATALOGUE, article_type, "article type")


def of_own(label: str) -> Garment | None:
    """The class of the label of somebody's own photo; None where it is ignored. Raises BadWord."""
    return _found(_OWN, label, "label")


def of_name(name: str) -> Garment | None:
    """The class of that name. Raises BadWord."""
    return _found(BY_NAME, name, "class")


def _found(
    words: Mapping[str, Garment] | Mapping[str, Garment | None], word: str, kind: str
) -> Garment | None:
    if word not in words:
        raise BadWord(f"{kind} {word!r} is neither mapped to a class nor ignored (garments.py)")
    return words[word]
