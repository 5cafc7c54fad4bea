"""The kinds of things that the sample shops sell, and their colours, in English and Russian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wearalike.sample import accessories, bags, footwear, garments
from wearalike.sample.cloth import Pattern
from wearalike.sample.sketch import Colour, SeededChoices, Sketch


@dataclass(frozen=True, slots=True)
class ArticleType:
    """One kind of thing.

    Attributes:
        en: Its English name.
        sketch: Draws it.
        section: clothing, shoes, bags or accessories.
        price: A typical price in euros.
        plural_en: The category in an English shop.
        ru: Its Russian name.
        plural_ru: The category in a Russian shop.
        ru_gender: The gender of the Russian name: m, f, n, or p for plural.
        colours: Keys of HUES.
        patterns: The patterns its cloth is chosen from; a repeated one is likelier.
    """

    en: str
    sketch: Callable[[SeededChoices], Sketch]
    section: str
    price: int
    plural_en: str
    ru: str
    plural_ru: str
    ru_gender: str
    colours: tuple[str, ...]
    patterns: tuple[Pattern, ...] = (Pattern.PLAIN,)


# (hard, soft) ending of a Russian adjective by ArticleType.ru_gender.
_ADJECTIVE_ENDINGS = {
    "m": ("ый", "ий"),
    "f": ("ая", "яя"),
    "n": ("ое", "ее"),
    "p": ("ые", "ие"),
}


@dataclass(frozen=True, slots=True)
class Hue:
    """A colour and its Russian adjective.

    Attributes:
        colour: RGB.
        ru: The stem of the adjective.
        is_soft: The adjective has soft endings: синий, unlike красный.
    """

    colour: Colour
    ru: str
    is_soft: bool = False

    def russian_adjective(self, gender: str) -> str:
        """Return the adjective; the gender is an ArticleType.ru_gender."""
        hard, soft = _ADJECTIVE_ENDINGS[gender]
        return self.ru + (soft if self.is_soft else hard)


HUES = {
    "black": Hue((38, 38, 42), "чёрн"),
    "white": Hue((244, 242, 237), "бел"),
    "grey": Hue((142, 145, 150), "сер"),
    "red": Hue((196, 36, 46), "красн"),
    "pink": Hue((232, 146, 170), "розов"),
    "yellow": Hue((230, 190, 62), "жёлт"),
    "green": Hue((56, 122, 84), "зелён"),
    "blue": Hue((52, 98, 178), "син", is_soft=True),
    "navy": Hue((38, 50, 88), "тёмно-син", is_soft=True),
    "beige": Hue((212, 190, 158), "бежев"),
    "brown": Hue((116, 76, 52), "коричнев"),
    "purple": Hue((118, 76, 144), "фиолетов"),
}

_MIXED_PATTERNS = (Pattern.PLAIN,) * 5 + (Pattern.STRIPED, Pattern.DOTTED, Pattern.CHECKED)
_CHECKED_PATTERNS = (Pattern.PLAIN,) * 4 + (Pattern.CHECKED,)
_KNIT = (Pattern.KNIT,)
_DENIM = (Pattern.DENIM,)
_TOPS = ("red", "white", "black", "blue", "green", "yellow")
_SHIRTS = ("white", "blue", "pink", "green", "navy")
_BLOUSES = ("white", "pink", "blue", "red", "yellow")
_SWEATERS = ("grey", "red", "navy", "beige", "green")
_DRESSES = ("red", "black", "blue", "pink", "green", "white")
_SKIRTS = ("black", "red", "beige", "blue", "green", "pink")
_LEGS = ("black", "beige", "navy", "green", "grey")
_JEANS = ("blue", "navy", "black", "grey")
_COATS = ("beige", "black", "grey", "red", "navy")
_JACKETS = ("black", "navy", "green", "brown", "red")
_SNEAKERS = ("white", "black", "red", "blue", "green")
_HEELS = ("black", "red", "beige", "pink", "purple")
_LEATHER = ("black", "brown", "red", "beige")
_BACKPACKS = ("black", "blue", "green", "grey", "yellow")
_TOTES = ("beige", "black", "red", "blue")
_HANDBAGS = ("black", "red", "brown", "purple", "green")
_HATS = ("beige", "black", "brown", "grey")
_CAPS = ("black", "blue", "red", "white")
_GLASSES = ("black", "brown", "red", "blue")

_ARTICLE_TYPES = (
    ArticleType(
        "T-shirt",
        garments.tshirt,
        "clothing",
        18,
        "T-shirts",
        "футболка",
        "Футболки",
        "f",
        _TOPS,
        _MIXED_PATTERNS,
    ),
    ArticleType(
        "shirt",
        garments.shirt,
        "clothing",
        39,
        "Shirts",
        "рубашка",
        "Рубашки",
        "f",
        _SHIRTS,
        _MIXED_PATTERNS,
    ),
    ArticleType(
        "blouse",
        garments.blouse,
        "clothing",
        42,
        "Blouses",
        "блузка",
        "Блузки",
        "f",
        _BLOUSES,
        _MIXED_PATTERNS,
    ),
    ArticleType(
        "sweater",
        garments.sweater,
        "clothing",
        54,
        "Sweaters",
        "свитер",
        "Свитеры",
        "m",
        _SWEATERS,
        _KNIT,
    ),
    ArticleType(
        "mini dress",
        garments.dress_mini,
        "clothing",
        49,
        "Mini dresses",
        "платье мини",
        "Платья мини",
        "n",
        _DRESSES,
        _MIXED_PATTERNS,
    ),
    ArticleType(
        "midi dress",
        garments.dress_midi,
        "clothing",
        69,
        "Midi dresses",
        "платье миди",
        "Платья миди",
        "n",
        _DRESSES,
        _MIXED_PATTERNS,
    ),
    ArticleType(
        "maxi dress",
        garments.dress_maxi,
        "clothing",
        89,
        "Maxi dresses",
        "платье макси",
        "Платья макси",
        "n",
        _DRESSES,
        _MIXED_PATTERNS,
    ),
    ArticleType(
        "skirt",
        garments.skirt,
        "clothing",
        38,
        "Skirts",
        "юбка",
        "Юбки",
        "f",
        _SKIRTS,
        _CHECKED_PATTERNS,
    ),
    ArticleType(
        "trousers",
        garments.trousers,
        "clothing",
        52,
        "Trousers",
        "брюки",
        "Брюки",
        "p",
        _LEGS,
        _CHECKED_PATTERNS,
    ),
    ArticleType(
        "jeans", garments.jeans, "clothing", 59, "Jeans", "джинсы", "Джинсы", "p", _JEANS, _DENIM
    ),
    ArticleType(
        "shorts",
        garments.shorts,
        "clothing",
        29,
        "Shorts",
        "шорты",
        "Шорты",
        "p",
        _LEGS,
        _CHECKED_PATTERNS,
    ),
    ArticleType(
        "coat",
        garments.coat,
        "clothing",
        149,
        "Coats",
        "пальто",
        "Пальто",
        "n",
        _COATS,
        _CHECKED_PATTERNS,
    ),
    ArticleType(
        "jacket", garments.jacket, "clothing", 99, "Jackets", "куртка", "Куртки", "f", _JACKETS
    ),
    ArticleType(
        "sneakers", footwear.sneakers, "shoes", 65, "Sneakers", "кеды", "Кеды", "p", _SNEAKERS
    ),
    ArticleType(
        "heels",
        footwear.heels,
        "shoes",
        79,
        "Heels",
        "туфли на каблуке",
        "Туфли на каблуке",
        "p",
        _HEELS,
    ),
    ArticleType(
        "boots", footwear.boots, "shoes", 109, "Boots", "ботинки", "Ботинки", "p", _LEATHER
    ),
    ArticleType(
        "backpack",
        bags.backpack,
        "bags",
        58,
        "Backpacks",
        "рюкзак",
        "Рюкзаки",
        "m",
        _BACKPACKS,
        _CHECKED_PATTERNS,
    ),
    ArticleType(
        "tote",
        bags.tote,
        "bags",
        45,
        "Totes",
        "сумка-шопер",
        "Шоперы",
        "f",
        _TOTES,
        _MIXED_PATTERNS,
    ),
    ArticleType(
        "handbag", bags.handbag, "bags", 95, "Handbags", "сумка", "Сумки с ручками", "f", _HANDBAGS
    ),
    ArticleType("hat", accessories.hat, "accessories", 35, "Hats", "шляпа", "Шляпы", "f", _HATS),
    ArticleType("cap", accessories.cap, "accessories", 19, "Caps", "кепка", "Кепки", "f", _CAPS),
    ArticleType(
        "belt", accessories.belt, "accessories", 25, "Belts", "ремень", "Ремни", "m", _LEATHER
    ),
    ArticleType(
        "sunglasses",
        accessories.sunglasses,
        "accessories",
        32,
        "Sunglasses",
        "солнечные очки",
        "Солнцезащитные очки",
        "p",
        _GLASSES,
    ),
)
ARTICLE_TYPES = {article.en: article for article in _ARTICLE_TYPES}
