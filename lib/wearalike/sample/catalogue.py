"""What the sample shops sell on a day: 100 offers each, the same on every machine, and some with something wrong.

On day 2 a few offers are gone, a few are new, some cost more, some are sold out, and one has a new picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from PIL import Image

from wearalike.sample.article_types import ARTICLE_TYPES, HUES, ArticleType
from wearalike.sample.models_wearing import dress_person
from wearalike.sample.painting import Background, Cloth, Pattern, Pose, paint_garment, paint_outfit
from wearalike.sample.sketch import SeededChoices

# Offers by their place in the shop's list.
_NEW_POSITIONS, _GONE_POSITIONS, _NEW_PICTURE_POSITION = (5, 50, 90), (11, 47, 83), 23


class OfferFlaw(StrEnum):
    """What is wrong with an offer."""

    NO_PICTURE = "no_picture"
    BAD_PRICE = "bad_price"
    PICTURE_GONE = "picture_gone"
    PICTURE_TINY = "picture_tiny"
    PICTURE_IS_PAGE = "picture_is_page"


_OFFER_FLAWS = {
    ("lipa", 17): OfferFlaw.NO_PICTURE,
    ("lipa", 64): OfferFlaw.PICTURE_TINY,
    ("harbour", 31): OfferFlaw.BAD_PRICE,
    ("harbour", 72): OfferFlaw.PICTURE_GONE,
    ("verano", 40): OfferFlaw.PICTURE_IS_PAGE,
}


# Article, for whom, how many in each shop.
_STOCK = (
    *(
        (name, "female", 4)
        for name in (
            "T-shirt",
            "blouse",
            "sweater",
            "mini dress",
            "midi dress",
            "maxi dress",
            "trousers",
            "coat",
        )
    ),
    *((name, "female", 3) for name in ("jeans", "shorts", "jacket", "sneakers", "boots")),
    *((name, "female", 5) for name in ("skirt", "heels")),
    *((name, "male", 4) for name in ("T-shirt", "shirt")),
    *((name, "male", 3) for name in ("sweater", "trousers", "jeans", "jacket", "sneakers")),
    *((name, "male", 2) for name in ("shorts", "boots")),
    ("handbag", "female", 4),
    ("tote", "female", 3),
    ("backpack", "unisex", 4),
    *((name, "unisex", 2) for name in ("hat", "cap", "belt", "sunglasses")),
)


# What each shop shows worn together: for whom, and of each article which one of its number, as they are put on.
_OUTFITS = (
    ("female", (("trousers", 0), ("sneakers", 0), ("T-shirt", 0), ("handbag", 0))),
    ("female", (("jeans", 1), ("boots", 1), ("sweater", 1), ("tote", 1))),
    ("male", (("jeans", 0), ("sneakers", 1), ("T-shirt", 1))),
    ("male", (("trousers", 1), ("boots", 0), ("shirt", 1))),
)


@dataclass(frozen=True, slots=True)
class SampleShop:
    """rate: units of its currency for a euro."""

    id: str
    name: str
    dialect: str
    currency: str
    rate: float
    brands: tuple[str, ...]
    models: tuple[str, ...]


SHOPS = (
    SampleShop(
        "lipa", "Липа", "yml", "RUR", 90,
        ("Полынь", "Лён и Ветер", "Север 12", "Тихий Дом"),
        ("Арно", "Вега", "Ладога", "Мира", "Онега", "Рута", "Селена", "Яуза"),
    ),
    SampleShop(
        "harbour", "Harbour", "google_rss", "USD", 1.1,
        ("Fernby", "Oak & Tide", "Lowfield", "Maren"),
        ("Alder", "Brook", "Cove", "Dune", "Heath", "Linden", "Reed", "Wren"),
    ),
    SampleShop(
        "verano", "Verano", "admitad", "EUR", 1,
        ("Lumbra", "Casa Nell", "Ostra", "Piovra"),
        ("Aria", "Brisa", "Cima", "Duna", "Luce", "Onda", "Sole", "Vela"),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Packshot:
    """All that decides a picture's pixels. edition: 0, or 1 for a new picture of the same thing."""

    shop_id: str
    offer_id: str
    article: str
    model: str
    cloth: Cloth
    view: int
    edition: int


@dataclass(frozen=True, slots=True)
class OutfitPicture:
    """A picture of several things worn together, which the shop shows with each of them. pieces: the packshot of each."""

    shop_id: str
    number: int
    gender: str
    pieces: tuple[Packshot, ...]


@dataclass(frozen=True, slots=True)
class SampleProduct:
    shop: SampleShop
    offer_id: str
    group_id: str
    article: ArticleType
    gender: str
    title: str
    brand: str
    colour: str
    price_cents: int
    old_price_cents: int | None
    is_in_stock: bool
    pictures: tuple[Packshot | OutfitPicture, ...]
    flaw: OfferFlaw | None

    @property
    def worn_with(self) -> tuple[str, ...]:
        """The offer_ids of what the shop shows it with."""
        pieces = (
            piece
            for picture in self.pictures
            if isinstance(picture, OutfitPicture)
            for piece in picture.pieces
        )
        return tuple(piece.offer_id for piece in pieces if piece.offer_id != self.offer_id)


def list_products(shop: SampleShop, day: int) -> list[SampleProduct]:
    """The shop's offers on day 1 or 2, in the shop's order. Raises ValueError for another day."""
    if day not in (1, 2):
        raise ValueError(f"day {day}: wanted 1 or 2")
    places = [(name, gender, number) for name, gender, count in _STOCK for number in range(count)]
    missing = _NEW_POSITIONS if day == 1 else _GONE_POSITIONS
    return [_make_product(shop, day, at, places) for at in range(len(places)) if at not in missing]


def draw_picture(picture: Packshot | OutfitPicture) -> Image.Image:
    """The picture: the cut follows from the model, pose and ground from the offer."""
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
        (
            Background.WHITE,
            Background.WHITE,
            Background.WHITE,
            Background.TINTED,
            Background.TINTED,
            busy,
        ),
    )
    return paint_garment(sketch, picture.cloth, pose, ground, dice)


def _draw_outfit(picture: OutfitPicture) -> Image.Image:
    """Each thing in the cut and the cloth of its packshot."""
    dice = SeededChoices(picture.shop_id, "worn", picture.number)
    clothes = [
        (
            "legs"
            if piece.article in ("trousers", "jeans")
            else ARTICLE_TYPES[piece.article].section,
            ARTICLE_TYPES[piece.article].sketch(SeededChoices(piece.shop_id, piece.model)),
            piece.cloth,
        )
        for piece in picture.pieces
    ]
    pose = Pose(size=dice.between("size", 0.92, 0.95), dx=dice.between("dx", -0.04, 0.04))
    return paint_outfit(
        dress_person(clothes, dice, picture.gender),
        pose,
        dice.choose("ground", (Background.WHITE, Background.TINTED)),
        dice,
    )


def _make_packshot(
    shop: SampleShop,
    position: int,
    name: str,
    gender: str,
    number: int,
    view: int = 0,
    edition: int = 0,
) -> Packshot:
    offer_id, (model, colour, pattern) = (
        f"{1000 + position}",
        _product_variant(shop, name, gender, number),
    )
    return Packshot(
        shop.id,
        offer_id,
        name,
        model,
        _cloth(colour, pattern, SeededChoices(shop.id, offer_id)),
        view,
        edition,
    )


def _product_variant(
    shop: SampleShop, name: str, gender: str, number: int
) -> tuple[str, str, Pattern]:
    """(model, colour, pattern) of the number-th offer of an article."""
    article = ARTICLE_TYPES[name]
    model = (
        f"{name} {gender} {number * 2 // 3}"  # of three offers, two are one model in two colours
    )
    colour = article.colours[(number + 2 * SHOPS.index(shop)) % len(article.colours)]
    return model, colour, SeededChoices(shop.id, model).choose("pattern", article.patterns)


def _outfit_pictures(
    shop: SampleShop, stock: list[tuple[str, str, int]], position: int
) -> tuple[OutfitPicture, ...]:
    """The pictures of several things that the offer at that place is worn in."""
    found = []
    for number, (gender, pieces) in enumerate(_OUTFITS, 1):
        where = [stock.index((name, gender, nth)) for name, nth in pieces]
        if position in where:
            found.append(
                OutfitPicture(
                    shop.id,
                    number,
                    gender,
                    tuple(_make_packshot(shop, i, *stock[i]) for i in where),
                )
            )
    return tuple(found)


def _make_product(
    shop: SampleShop, day: int, position: int, stock: list[tuple[str, str, int]]
) -> SampleProduct:
    name, gender, number = stock[position]
    article, offer_id = ARTICLE_TYPES[name], f"{1000 + position}"
    model, colour, pattern = _product_variant(shop, name, gender, number)
    by_model, by_offer = SeededChoices(shop.id, model), SeededChoices(shop.id, offer_id)
    flaw = _OFFER_FLAWS.get((shop.id, position))
    cents = _price_cents(
        shop, article, by_model, dearer=day == 2 and by_offer.happens("dearer", 0.06)
    )
    edition = int(day == 2 and position == _NEW_PICTURE_POSITION)
    views = 0 if flaw is OfferFlaw.NO_PICTURE else 2 if by_offer.happens("second view", 0.12) else 1
    packshots = tuple(
        _make_packshot(shop, position, name, gender, number, view, edition) for view in range(views)
    )
    return SampleProduct(
        shop=shop,
        offer_id=offer_id,
        group_id=f"{700 + int(by_model.fraction('group') * 90_000)}",
        article=article,
        gender=gender,
        title=_title(
            shop,
            article,
            gender,
            colour,
            pattern,
            shop.models[(ord(name[-1]) + number * 2 // 3) % len(shop.models)],
        ),
        brand=by_model.choose("brand", shop.brands),
        colour=colour,
        price_cents=cents,
        old_price_cents=round(cents * 1.25) if by_offer.happens("sale", 0.2) else None,
        is_in_stock=not by_offer.happens(f"sold out on day {day}", 0.05),
        pictures=(*packshots, *_outfit_pictures(shop, stock, position)),
        flaw=flaw,
    )


def _price_cents(
    shop: SampleShop, article: ArticleType, by_model: SeededChoices, dearer: bool
) -> int:
    amount = (
        article.price * shop.rate * by_model.between("price", 0.8, 1.3) * (1.1 if dearer else 1)
    )
    return round(amount / 10) * 1000 - 1000 if shop.currency == "RUR" else round(amount) * 100 - 10


def _cloth(colour: str, pattern: Pattern, dice: SeededChoices) -> Cloth:
    """The colour in a shade of its own; a pattern in white, or in dark on light cloth."""
    bright = dice.between("bright", -7, 7)
    r, g, b = (
        min(250, max(20, round(v + bright + dice.between(f"shade {i}", -4, 4))))
        for i, v in enumerate(HUES[colour].colour)
    )
    return Cloth((r, g, b), pattern, (46, 50, 70) if r + g + b > 560 else (246, 244, 238))


def _title(
    shop: SampleShop, article: ArticleType, gender: str, colour: str, pattern: Pattern, name: str
) -> str:
    if shop.id == "lipa":
        words = {
            Pattern.STRIPED: " в полоску",
            Pattern.DOTTED: " в горошек",
            Pattern.CHECKED: " в клетку",
        }
        return f"{HUES[colour].russian_adjective(article.ru_gender).capitalize()} {article.ru}{words.get(pattern, '')} «{name}»"
    whose = {"female": "women's ", "male": "men's "}.get(gender, "")
    figured = f"{pattern} " if pattern in (Pattern.STRIPED, Pattern.DOTTED, Pattern.CHECKED) else ""
    return f"{name} {whose}{figured}{colour} {article.en}"
