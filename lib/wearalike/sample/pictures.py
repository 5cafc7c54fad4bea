"""The pictures of the sample shops, as values that decide every pixel, and how they are drawn."""

from __future__ import annotations

from dataclasses import dataclass

from PIL import Image

from wearalike.sample.article_types import ARTICLE_TYPES
from wearalike.sample.background import Background
from wearalike.sample.cloth import Cloth
from wearalike.sample.models_wearing import dress_person
from wearalike.sample.painting import Pose, paint_garment, paint_outfit
from wearalike.sample.sketch import SeededChoices


@dataclass(frozen=True, slots=True)
class Packshot:
    """A picture of one thing: all values that decide its pixels.

    Attributes:
        shop_id: The shop.
        offer_id: The offer; it decides pose and background.
        article: A key of ARTICLE_TYPES.
        model: The model; it decides the cut.
        cloth: The cloth.
        view: 0, or 1 for a second picture of the offer.
        edition: 0, or 1 for a new picture of the same thing.
    """

    shop_id: str
    offer_id: str
    article: str
    model: str
    cloth: Cloth
    view: int
    edition: int


@dataclass(frozen=True, slots=True)
class OutfitPicture:
    """A picture of several things worn together; the shop shows it with each of them.

    Attributes:
        shop_id: The shop.
        number: The number of the outfit, from 1.
        gender: The person's gender.
        pieces: A packshot of each thing, in the order in which they are put on.
    """

    shop_id: str
    number: int
    gender: str
    pieces: tuple[Packshot, ...]


def draw_picture(picture: Packshot | OutfitPicture) -> Image.Image:
    """Draw a picture.

    Args:
        picture: One thing, or an outfit.

    Returns:
        RGB, WIDTH_PX x HEIGHT_PX (painting).
    """
    if isinstance(picture, OutfitPicture):
        return _draw_outfit(picture)
    sketch = ARTICLE_TYPES[picture.article].sketch(SeededChoices(picture.shop_id, picture.model))
    dice = SeededChoices(picture.shop_id, picture.offer_id, picture.view, picture.edition)
    pose = Pose(
        size=dice.between("size", 0.74, 0.9),
        dx=dice.between("dx", -0.03, 0.03),
        dy=dice.between("dy", -0.03, 0.03),
        angle=dice.between("angle", -6, 6),
        is_flipped=dice.happens("flipped", 0.25),
    )
    busy = dice.choose("busy", (Background.STRIPES, Background.FOLIAGE, Background.TILES))
    ground = dice.choose(
        "ground",
        (*[Background.WHITE] * 3, *[Background.TINTED] * 2, busy),
    )
    return paint_garment(sketch, picture.cloth, pose, ground, dice)


def _draw_outfit(picture: OutfitPicture) -> Image.Image:
    """Draw each thing in the cut and the cloth of its packshot."""
    dice = SeededChoices(picture.shop_id, "worn", picture.number)
    clothes = []
    for piece in picture.pieces:
        article = ARTICLE_TYPES[piece.article]
        section = "legs" if piece.article in ("trousers", "jeans") else article.section
        sketch = article.sketch(SeededChoices(piece.shop_id, piece.model))
        clothes.append((section, sketch, piece.cloth))
    pose = Pose(size=dice.between("size", 0.92, 0.95), dx=dice.between("dx", -0.04, 0.04))
    return paint_outfit(
        dress_person(clothes, dice, picture.gender),
        pose,
        dice.choose("ground", (Background.WHITE, Background.TINTED)),
        dice,
    )
