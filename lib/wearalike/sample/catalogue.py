"""What the sample shops sell on a day: 100 offers each, the same on every machine, and some with something wrong.

On day 2 a few offers are gone, a few are new, some cost more, some are sold out, and one has a new picture.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from PIL import Image

from wearalike.sample.article_types import ARTICLES, HUES, Article
from wearalike.sample.models_wearing import dressed
from wearalike.sample.painting import Cloth, Ground, Pattern, Pose, paint, paint_worn
from wearalike.sample.sketch import Dice

# Offers by their place in the shop's list.
_NEW, _GONE, _NEW_PICTURE = (5, 50, 90), (11, 47, 83), 23


class Flaw(StrEnum):
    """What is wrong with an offer."""

    NO_PICTURE = "no_picture"
    BAD_PRICE = "bad_price"
    PICTURE_GONE = "picture_gone"
    PICTURE_TINY = "picture_tiny"
    PICTURE_IS_PAGE = "picture_is_page"


_FLAWS = {
    ("lipa", 17): Flaw.NO_PICTURE,
    ("lipa", 64): Flaw.PICTURE_TINY,
    ("harbour", 31): Flaw.BAD_PRICE,
    ("harbour", 72): Flaw.PICTURE_GONE,
    ("verano", 40): Flaw.PICTURE_IS_PAGE,
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
_WORN = (
    ("female", (("trousers", 0), ("sneakers", 0), ("T-shirt", 0), ("handbag", 0))),
    ("female", (("jeans", 1), ("boots", 1), ("sweater", 1), ("tote", 1))),
    ("male", (("jeans", 0), ("sneakers", 1), ("T-shirt", 1))),
    ("male", (("trousers", 1), ("boots", 0), ("shirt", 1))),
)


@dataclass(frozen=True, slots=True)
class Shop:
    """rate: units of its currency for a euro."""

    id: str
    name: str
    dialect: str
    currency: str
    rate: float
    brands: tuple[str, ...]
    models: tuple[str, ...]


SHOPS = (
    Shop(
        "lipa", "Липа", "yml", "RUR", 90,
        ("Полынь", "Лён и Ветер", "Север 12", "Тихий Дом"),
        ("Арно", "Вега", "Ладога", "Мира", "Онега", "Рута", "Селена", "Яуза"),
    ),
    Shop(
        "harbour", "Harbour", "google_rss", "USD", 1.1,
        ("Fernby", "Oak & Tide", "Lowfield", "Maren"),
        ("Alder", "Brook", "Cove", "Dune", "Heath", "Linden", "Reed", "Wren"),
    ),
    Shop(
        "verano", "Verano", "admitad", "EUR", 1,
        ("Lumbra", "Casa Nell", "Ostra", "Piovra"),
        ("Aria", "Brisa", "Cima", "Duna", "Luce", "Onda", "Sole", "Vela"),
    ),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Picture:
    """All that decides a picture's pixels. edition: 0, or 1 for a new picture of the same thing."""

    shop_id: str
    offer_id: str
    article: str
    model: str
    cloth: Cloth
    view: int
    edition: int


@dataclass(frozen=True, slots=True)
class Worn:
    """A picture of several things worn together, which the shop shows with each of them. pieces: the packshot of each."""

    shop_id: str
    number: int
    gender: str
    pieces: tuple[Picture, ...]


@dataclass(frozen=True, slots=True)
class Product:
    shop: Shop
    offer_id: str
    group_id: str
    article: Article
    gender: str
    title: str
    brand: str
    colour: str
    price_cents: int
    old_price_cents: int | None
    is_in_stock: bool
    pictures: tuple[Picture | Worn, ...]
    flaw: Flaw | None

    @property
    def worn_with(self) -> tuple[str, ...]:
        """The offer_ids of what the shop shows it with."""
        pieces = (
            piece
            for picture in self.pictures
            if isinstance(picture, Worn)
            for piece in picture.pieces
        )
        return tuple(piece.offer_id for piece in pieces if piece.offer_id != self.offer_id)


def products(shop: Shop, day: int) -> list[Product]:
    """The shop's offers on day 1 or 2, in the shop's order. Raises ValueError for another day."""
    if day not in (1, 2):
        raise ValueError(f"day {day}: wanted 1 or 2")
    places = [(name, gender, number) for name, gender, count in _STOCK for number in range(count)]
    missing = _NEW if day == 1 else _GONE
    return [_product(shop, day, at, places) for at in range(len(places)) if at not in missing]


def draw(picture: Picture | Worn) -> Image.Image:
    """The picture: the cut follows from the model, pose and ground from the offer."""
    if isinstance(picture, Worn):
        return _draw_worn(picture)
    sketch = ARTICLES[picture.article].sketch(Dice(picture.shop_id, picture.model))
    dice = Dice(picture.shop_id, picture.offer_id, picture.view, picture.edition)
    pose = Pose(
        size=dice.between("size", 0.74, 0.9),
        dx=dice.between("dx", -0.03, 0.03),
        dy=dice.between("dy", -0.03, 0.03),
        angle=dice.between("angle", -6, 6),
        flipped=dice.happens("flipped", 0.25),
    )
    busy = dice.one_of("busy", (Ground.STRIPES, Ground.FOLIAGE, Ground.TILES))
    ground = dice.one_of(
        "ground", (Ground.WHITE, Ground.WHITE, Ground.WHITE, Ground.TINTED, Ground.TINTED, busy)
    )
    return paint(sketch, picture.cloth, pose, ground, dice)


def _draw_worn(picture: Worn) -> Image.Image:
    """Each thing in the cut and the cloth of its packshot."""
    dice = Dice(picture.shop_id, "worn", picture.number)
    clothes = [
        (
            "legs" if piece.article in ("trousers", "jeans") else ARTICLES[piece.article].section,
            ARTICLES[piece.article].sketch(Dice(piece.shop_id, piece.model)),
            piece.cloth,
        )
        for piece in picture.pieces
    ]
    pose = Pose(size=dice.between("size", 0.92, 0.95), dx=dice.between("dx", -0.04, 0.04))
    return paint_worn(
        dressed(clothes, dice, picture.gender),
        pose,
        dice.one_of("ground", (Ground.WHITE, Ground.TINTED)),
        dice,
    )


def _packshot(
    shop: Shop, at: int, name: str, gender: str, number: int, view: int = 0, edition: int = 0
) -> Picture:
    offer_id, (model, colour, pattern) = f"{1000 + at}", _looks(shop, name, gender, number)
    return Picture(
        shop.id,
        offer_id,
        name,
        model,
        _cloth(colour, pattern, Dice(shop.id, offer_id)),
        view,
        edition,
    )


def _looks(shop: Shop, name: str, gender: str, number: int) -> tuple[str, str, Pattern]:
    """(model, colour, pattern) of the number-th offer of an article."""
    article = ARTICLES[name]
    model = (
        f"{name} {gender} {number * 2 // 3}"  # of three offers, two are one model in two colours
    )
    colour = article.colours[(number + 2 * SHOPS.index(shop)) % len(article.colours)]
    return model, colour, Dice(shop.id, model).one_of("pattern", article.patterns)


def _worn(shop: Shop, places: list[tuple[str, str, int]], at: int) -> tuple[Worn, ...]:
    """The pictures of several things that the offer at that place is worn in."""
    found = []
    for number, (gender, pieces) in enumerate(_WORN, 1):
        where = [places.index((name, gender, nth)) for name, nth in pieces]
        if at in where:
            found.append(
                Worn(shop.id, number, gender, tuple(_packshot(shop, i, *places[i]) for i in where))
            )
    return tuple(found)


def _product(shop: Shop, day: int, at: int, places: list[tuple[str, str, int]]) -> Product:
    name, gender, number = places[at]
    article, offer_id = ARTICLES[name], f"{1000 + at}"
    model, colour, pattern = _looks(shop, name, gender, number)
    by_model, by_offer = Dice(shop.id, model), Dice(shop.id, offer_id)
    flaw = _FLAWS.get((shop.id, at))
    cents = _price_cents(
        shop, article, by_model, dearer=day == 2 and by_offer.happens("dearer", 0.06)
    )
    edition = int(day == 2 and at == _NEW_PICTURE)
    views = 0 if flaw is Flaw.NO_PICTURE else 2 if by_offer.happens("second view", 0.12) else 1
    packshots = tuple(
        _packshot(shop, at, name, gender, number, view, edition) for view in range(views)
    )
    return Product(
        shop=shop,
        offer_id=offer_id,
        group_id=f"{700 + int(by_model.share('group') * 90_000)}",
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
        brand=by_model.one_of("brand", shop.brands),
        colour=colour,
        price_cents=cents,
        old_price_cents=round(cents * 1.25) if by_offer.happens("sale", 0.2) else None,
        is_in_stock=not by_offer.happens(f"sold out on day {day}", 0.05),
        pictures=(*packshots, *_worn(shop, places, at)),
        flaw=flaw,
    )


def _price_cents(shop: Shop, article: Article, by_model: Dice, dearer: bool) -> int:
    amount = (
        article.price * shop.rate * by_model.between("price", 0.8, 1.3) * (1.1 if dearer else 1)
    )
    return round(amount / 10) * 1000 - 1000 if shop.currency == "RUR" else round(amount) * 100 - 10


def _cloth(colour: str, pattern: Pattern, dice: Dice) -> Cloth:
    """The colour in a shade of its own; a pattern in white, or in dark on light cloth."""
    bright = dice.between("bright", -7, 7)
    r, g, b = (
        min(250, max(20, round(v + bright + dice.between(f"shade {i}", -4, 4))))
        for i, v in enumerate(HUES[colour].colour)
    )
    return Cloth((r, g, b), pattern, (46, 50, 70) if r + g + b > 560 else (246, 244, 238))


def _title(
    shop: Shop, article: Article, gender: str, colour: str, pattern: Pattern, name: str
) -> str:
    if shop.id == "lipa":
        words = {
            Pattern.STRIPED: " в полоску",
            Pattern.DOTTED: " в горошек",
            Pattern.CHECKED: " в клетку",
        }
        return f"{HUES[colour].russian(article.ru_gender).capitalize()} {article.ru}{words.get(pattern, '')} «{name}»"
    whose = {"female": "women's ", "male": "men's "}.get(gender, "")
    figured = f"{pattern} " if pattern in (Pattern.STRIPED, Pattern.DOTTED, Pattern.CHECKED) else ""
    return f"{name} {whose}{figured}{colour} {article.en}"
