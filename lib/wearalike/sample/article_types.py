"""The kinds of things that the sample shops sell, and the colours they come in, in English and Russian."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from wearalike.sample import accessories, garments
from wearalike.sample.painting import Pattern
from wearalike.sample.sketch import Colour, SeededChoices, Sketch


@dataclass(frozen=True, slots=True)
class ArticleType:
    """One kind of thing. en, ru: what one is called, ru_gender (m, f, n, p for plural) as an adjective needs it.
    section: clothing, shoes, bags or accessories. many_en, many_ru: the shops' category. price: of a typical one, in euros.
    colours: keys of HUES. patterns: what its cloth is drawn from, one may stand there more often."""

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


@dataclass(frozen=True, slots=True)
class Hue:
    """A colour and its Russian adjective: the stem, and whether its endings are soft (синий, not красный)."""

    colour: Colour
    ru: str
    is_soft: bool = False

    def russian_adjective(self, gender: str) -> str:
        """The adjective, gender as in Article."""
        hard, soft = {"m": ("ый", "ий"), "f": ("ая", "яя"), "n": ("ое", "ее"), "p": ("ые", "ие")}[
            gender
        ]
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
_KNIT, _DENIM = (Pattern.KNIT,), (Pattern.DENIM,)
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

# fmt: off
_ARTICLE_TYPES = (
    ArticleType("T-shirt", garments.tshirt, "clothing", 18, "T-shirts", "футболка", "Футболки", "f", _TOPS, _MIXED_PATTERNS),
    ArticleType("shirt", garments.shirt, "clothing", 39, "Shirts", "рубашка", "Рубашки", "f", _SHIRTS, _MIXED_PATTERNS),
    ArticleType("blouse", garments.blouse, "clothing", 42, "Blouses", "блузка", "Блузки", "f", _BLOUSES, _MIXED_PATTERNS),
    ArticleType("sweater", garments.sweater, "clothing", 54, "Sweaters", "свитер", "Свитеры", "m", _SWEATERS, _KNIT),
    ArticleType("mini dress", garments.dress_mini, "clothing", 49, "Mini dresses", "платье мини", "Платья мини", "n", _DRESSES, _MIXED_PATTERNS),
    ArticleType("midi dress", garments.dress_midi, "clothing", 69, "Midi dresses", "платье миди", "Платья миди", "n", _DRESSES, _MIXED_PATTERNS),
    ArticleType("maxi dress", garments.dress_maxi, "clothing", 89, "Maxi dresses", "платье макси", "Платья макси", "n", _DRESSES, _MIXED_PATTERNS),
    ArticleType("skirt", garments.skirt, "clothing", 38, "Skirts", "юбка", "Юбки", "f", _SKIRTS, _CHECKED_PATTERNS),
    ArticleType("trousers", garments.trousers, "clothing", 52, "Trousers", "брюки", "Брюки", "p", _LEGS, _CHECKED_PATTERNS),
    ArticleType("jeans", garments.jeans, "clothing", 59, "Jeans", "джинсы", "Джинсы", "p", _JEANS, _DENIM),
    ArticleType("shorts", garments.shorts, "clothing", 29, "Shorts", "шорты", "Шорты", "p", _LEGS, _CHECKED_PATTERNS),
    ArticleType("coat", garments.coat, "clothing", 149, "Coats", "пальто", "Пальто", "n", _COATS, _CHECKED_PATTERNS),
    ArticleType("jacket", garments.jacket, "clothing", 99, "Jackets", "куртка", "Куртки", "f", _JACKETS),
    ArticleType("sneakers", accessories.sneakers, "shoes", 65, "Sneakers", "кеды", "Кеды", "p", _SNEAKERS),
    ArticleType("heels", accessories.heels, "shoes", 79, "Heels", "туфли на каблуке", "Туфли на каблуке", "p", _HEELS),
    ArticleType("boots", accessories.boots, "shoes", 109, "Boots", "ботинки", "Ботинки", "p", _LEATHER),
    ArticleType("backpack", accessories.backpack, "bags", 58, "Backpacks", "рюкзак", "Рюкзаки", "m", _BACKPACKS, _CHECKED_PATTERNS),
    ArticleType("tote", accessories.tote, "bags", 45, "Totes", "сумка-шопер", "Шоперы", "f", _TOTES, _MIXED_PATTERNS),
    ArticleType("handbag", accessories.handbag, "bags", 95, "Handbags", "сумка", "Сумки с ручками", "f", _HANDBAGS),
    ArticleType("hat", accessories.hat, "accessories", 35, "Hats", "шляпа", "Шляпы", "f", _HATS),
    ArticleType("cap", accessories.cap, "accessories", 19, "Caps", "кепка", "Кепки", "f", _CAPS),
    ArticleType("belt", accessories.belt, "accessories", 25, "Belts", "ремень", "Ремни", "m", _LEATHER),
    ArticleType("sunglasses", accessories.sunglasses, "accessories", 32, "Sunglasses", "солнечные очки", "Солнцезащитные очки", "p", _GLASSES),
)
# fmt: on
ARTICLE_TYPES = {article.en: article for article in _ARTICLE_TYPES}
