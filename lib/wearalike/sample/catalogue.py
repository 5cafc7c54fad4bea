"""The offers of the sample shops on a day: 100 each, the same on every machine, some with a flaw.

On day 2 a few offers are gone, a few are new, some cost more, some are sold out, and one has a new
picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from wearalike.sample.article_types import ARTICLE_TYPES, HUES, ArticleType
from wearalike.sample.cloth import Cloth, Pattern
from wearalike.sample.pictures import OutfitPicture, Packshot
from wearalike.sample.sketch import SeededChoices

# Positions in the shop's list: offers that come on day 2, that go, and the one with a new picture.
_NEW_POSITIONS = (5, 50, 90)
_GONE_POSITIONS = (11, 47, 83)
_NEW_PICTURE_POSITION = 23


class OfferFlaw(StrEnum):
    """The flaw of an offer."""

    NO_PICTURE = "no_picture"
    BAD_PRICE = "bad_price"
    PICTURE_GONE = "picture_gone"
    PICTURE_TINY = "picture_tiny"
    PICTURE_IS_PAGE = "picture_is_page"


# The flaw at (shop, position).
_OFFER_FLAWS = {
    ("lipa", 17): OfferFlaw.NO_PICTURE,
    ("lipa", 64): OfferFlaw.PICTURE_TINY,
    ("harbour", 31): OfferFlaw.BAD_PRICE,
    ("harbour", 72): OfferFlaw.PICTURE_GONE,
    ("verano", 40): OfferFlaw.PICTURE_IS_PAGE,
}


# (article, gender, number of offers in each shop).
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


# The outfits of each shop: gender, and for each article the number of its offer, in the order in
# which they are put on.
_OUTFITS = (
    ("female", (("trousers", 0), ("sneakers", 0), ("T-shirt", 0), ("handbag", 0))),
    ("female", (("jeans", 1), ("boots", 1), ("sweater", 1), ("tote", 1))),
    ("male", (("jeans", 0), ("sneakers", 1), ("T-shirt", 1))),
    ("male", (("trousers", 1), ("boots", 0), ("shirt", 1))),
)


@dataclass(frozen=True, slots=True)
class SampleShop:
    """A shop.

    Attributes:
        id: Its id.
        name: Its name.
        dialect: The dialect of its feed.
        currency: ISO 4217, or RUR as some feeds write it.
        rate: Units of the currency for a euro.
        brands: Its brands.
        models: Names of models.
    """

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
class SampleProduct:
    """One offer of a shop on a day; `catalogue` decides all of its values by its position."""

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
        """The offer_ids of the things the shop shows it with."""
        pieces = (
            piece
            for picture in self.pictures
            if isinstance(picture, OutfitPicture)
            for piece in picture.pieces
        )
        return tuple(piece.offer_id for piece in pieces if piece.offer_id != self.offer_id)


def list_products(shop: SampleShop, day: int) -> list[SampleProduct]:
    """List the offers of a shop on a day.

    Args:
        shop: The shop.
        day: 1 or 2.

    Returns:
        The offers, in the shop's order.

    Raises:
        ValueError: Another day.
    """
    if day not in (1, 2):
        raise ValueError(f"day {day}: wanted 1 or 2")
    stock = [(name, gender, number) for name, gender, count in _STOCK for number in range(count)]
    missing = _NEW_POSITIONS if day == 1 else _GONE_POSITIONS
    positions = [position for position in range(len(stock)) if position not in missing]
    return [_make_product(shop, day, position, stock) for position in positions]


def _make_packshot(
    shop: SampleShop,
    position: int,
    name: str,
    gender: str,
    number: int,
    view: int = 0,
    edition: int = 0,
) -> Packshot:
    """Return a picture of the offer at a position."""
    offer_id = f"{1000 + position}"
    model, colour, pattern = _product_variant(shop, name, gender, number)
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
    """Return (model, colour, pattern) of the number-th offer of an article."""
    article = ARTICLE_TYPES[name]
    # Two of three offers are one model in two colours.
    model = f"{name} {gender} {number * 2 // 3}"
    colour = article.colours[(number + 2 * SHOPS.index(shop)) % len(article.colours)]
    return model, colour, SeededChoices(shop.id, model).choose("pattern", article.patterns)


def _outfit_pictures(
    shop: SampleShop, stock: list[tuple[str, str, int]], position: int
) -> tuple[OutfitPicture, ...]:
    """Return the outfits that show the offer at a position."""
    pictures = []
    for number, (gender, pieces) in enumerate(_OUTFITS, 1):
        positions = [stock.index((name, gender, nth)) for name, nth in pieces]
        if position in positions:
            packshots = tuple(_make_packshot(shop, i, *stock[i]) for i in positions)
            pictures.append(OutfitPicture(shop.id, number, gender, packshots))
    return tuple(pictures)


def _make_product(
    shop: SampleShop, day: int, position: int, stock: list[tuple[str, str, int]]
) -> SampleProduct:
    """Return the offer at a position."""
    name, gender, number = stock[position]
    article = ARTICLE_TYPES[name]
    offer_id = f"{1000 + position}"
    model, colour, pattern = _product_variant(shop, name, gender, number)
    model_name = shop.models[(ord(name[-1]) + number * 2 // 3) % len(shop.models)]
    by_model = SeededChoices(shop.id, model)
    by_offer = SeededChoices(shop.id, offer_id)
    flaw = _OFFER_FLAWS.get((shop.id, position))
    cents = _price_cents(
        shop, article, by_model, dearer=day == 2 and by_offer.happens("dearer", 0.06)
    )
    edition = int(day == 2 and position == _NEW_PICTURE_POSITION)
    views = 2 if by_offer.happens("second view", 0.12) else 1
    if flaw is OfferFlaw.NO_PICTURE:
        views = 0
    packshots = tuple(
        _make_packshot(shop, position, name, gender, number, view, edition) for view in range(views)
    )
    return SampleProduct(
        shop=shop,
        offer_id=offer_id,
        group_id=f"{700 + int(by_model.fraction('group') * 90_000)}",
        article=article,
        gender=gender,
        title=_title(shop, article, gender, colour, pattern, model_name),
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
    """Return a price that ends like shops' prices do: in 0 roubles, or in 90 cents."""
    increase = 1.1 if dearer else 1
    amount = article.price * shop.rate * by_model.between("price", 0.8, 1.3) * increase
    if shop.currency == "RUR":
        return round(amount / 10) * 1000 - 1000
    return round(amount) * 100 - 10


def _cloth(colour: str, pattern: Pattern, dice: SeededChoices) -> Cloth:
    """Return cloth in a shade of its own, with a white pattern, or a dark one on light cloth."""
    bright = dice.between("bright", -7, 7)
    r, g, b = (
        min(250, max(20, round(v + bright + dice.between(f"shade {i}", -4, 4))))
        for i, v in enumerate(HUES[colour].colour)
    )
    pattern_colour = (46, 50, 70) if r + g + b > 560 else (246, 244, 238)
    return Cloth((r, g, b), pattern, pattern_colour)


def _title(
    shop: SampleShop, article: ArticleType, gender: str, colour: str, pattern: Pattern, name: str
) -> str:
    """Return a title in the shop's language."""
    if shop.id == "lipa":
        words = {
            Pattern.STRIPED: " в полоску",
            Pattern.DOTTED: " в горошек",
            Pattern.CHECKED: " в клетку",
        }
        adjective = HUES[colour].russian_adjective(article.ru_gender).capitalize()
        return f"{adjective} {article.ru}{words.get(pattern, '')} «{name}»"
    whose = {"female": "women's ", "male": "men's "}.get(gender, "")
    figured = f"{pattern} " if pattern in (Pattern.STRIPED, Pattern.DOTTED, Pattern.CHECKED) else ""
    return f"{name} {whose}{figured}{colour} {article.en}"
