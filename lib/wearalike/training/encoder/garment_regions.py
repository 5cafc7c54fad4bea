"""Parts of a figure on which a garment is worn, by the word for its type."""

from __future__ import annotations

from enum import StrEnum


class GarmentRegion(StrEnum):
    """Parts of a figure."""

    UPPER = "upper"
    LOWER = "lower"
    FULL = "full"


# Words in names of things that are worn elsewhere, whatever else the name holds.
_OTHER_WORDS = ("bracelet", "earring", "necklace", "hair", "sock", "bag", "belt")
# A name belongs to the first region of which it holds a word.
_WORDS = (
    (
        GarmentRegion.FULL,
        "dress/jumpsuit/playsuit/swimsuit/bodysuit/pyjama set/romper/night gown/kurta/tunic/"
        "dungaree/garment set/robe/poncho/suit",
    ),
    (
        GarmentRegion.LOWER,
        "trouser/skirt/shorts/legging/jeans/pants/underwear bottom/swimwear bottom/tights/capris/"
        "pyjama bottom/lounge/track/churidar/salwar/boxers/briefs/outdoor trousers/patiala",
    ),
    (
        GarmentRegion.UPPER,
        "t-shirt/tshirt/top/blouse/shirt/sweater/cardigan/hoodie/jacket/blazer/coat/bra/camisole/"
        "polo/vest/jumper/pullover/longsleeve/outwear/sweatshirt/waistcoat/undershirt/parka/shrug/"
        "turtleneck",
    ),
)


def find_region(type_name: str) -> GarmentRegion | None:
    """Return where a thing is worn; None if it is no garment, or the name is unknown.

    Args:
        type_name: Name of a type in any case, or a leaf such as "men.suits.blazers". The last part
            of a leaf counts most.
    """
    name = type_name.lower()
    if any(word in name for word in _OTHER_WORDS):
        return None
    for part in (name.rsplit(".", 1)[-1], name):
        for region, words in _WORDS:
            if any(word in part for word in words.split("/")):
                return region
    return None
