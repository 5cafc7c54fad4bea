"""Ten drawn shops of any size that sell the same models, each in many colours and sizes.

A size is an offer, as most shops write it. The sizes of a colour share a picture. Feeds and
pictures are served from memory.
"""

from __future__ import annotations

import gzip
import itertools
import shutil
from collections.abc import Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from wearalike.sample.article_types import ARTICLE_TYPES, HUES, ArticleType
from wearalike.sample.cloth import Cloth
from wearalike.sample.painting import encode_jpeg
from wearalike.sample.pictures import Packshot, draw_picture
from wearalike.sample.sketch import Colour, SeededChoices

SHOP_IDS = tuple(f"drawn-{number}" for number in range(10))
# The sample shop whose categories they use.
_MAPPED_LIKE = "harbour"
# Colours of a model; sizes of a colour in one shop.
COLOURS = 30
SIZES = 11
OFFERS_A_MODEL = len(SHOP_IDS) * COLOURS * SIZES
BRANDS = 120
# (article, gender), in an order in which few models are of many super-categories.
_KINDS = (
    ("midi dress", "female"),
    ("sneakers", "male"),
    ("handbag", "female"),
    ("jeans", "male"),
    ("T-shirt", "female"),
    ("coat", "female"),
    ("skirt", "female"),
    ("backpack", "unisex"),
    ("sweater", "male"),
    ("boots", "female"),
    ("trousers", "female"),
    ("mini dress", "female"),
    ("shirt", "male"),
    ("hat", "unisex"),
    ("blouse", "female"),
    ("shorts", "male"),
    ("jacket", "female"),
    ("heels", "female"),
    ("belt", "unisex"),
    ("maxi dress", "female"),
    ("tote", "female"),
    ("T-shirt", "male"),
    ("jeans", "female"),
    ("jacket", "male"),
    ("sunglasses", "unisex"),
)


@dataclass(frozen=True, slots=True)
class DrawnModel:
    """A model: its number decides everything."""

    number: int

    @property
    def kind(self) -> tuple[ArticleType, str]:
        """The article and its gender."""
        name, gender = _KINDS[self.number % len(_KINDS)]
        return ARTICLE_TYPES[name], gender

    def cloth(self, colour: int) -> tuple[str, Cloth]:
        """Return the name of a colour, and the cloth: shades of twelve hues."""
        names = tuple(HUES)
        name = names[colour % len(names)]
        dice = SeededChoices("drawn", self.number, colour)
        shade = dice.between("shade", -40, 40) if colour >= len(names) else 0
        r, g, b = (min(250, max(14, round(v + shade))) for v in HUES[name].colour)
        tint: Colour = (r, g, b)
        patterns = self.kind[0].patterns
        pattern = SeededChoices("drawn", self.number).choose("pattern", patterns)
        return name, Cloth(tint, pattern, (46, 50, 70) if r + g + b > 560 else (246, 244, 238))

    def draw(self, colour: int) -> bytes:
        """Return the picture of a colour as JPEG."""
        article, model, cloth = self.kind[0], f"model {self.number}", self.cloth(colour)[1]
        return encode_jpeg(
            draw_picture(Packshot("drawn", f"{model}/{colour}", article.en, model, cloth, 0, 0))
        )


def _draw_model(folder: Path, number: int) -> None:
    """Draw the pictures of a model into a folder, those that it lacks."""
    for colour in range(COLOURS):
        path = folder / f"{number}-{colour}.jpg"
        if not path.exists():
            part = path.with_suffix(".part")
            part.write_bytes(DrawnModel(number).draw(colour))
            part.rename(path)


class DrawnOffers:
    """The shops' feeds and pictures.

    Args:
        count: Offers of all shops together.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self.models = [DrawnModel(n) for n in range(-(-count // OFFERS_A_MODEL))]
        self.pictures: dict[str, bytes] = {}
        self._address = ""

    def draw_pictures(self, folder: Path) -> None:
        """Draw every picture, and keep them in memory.

        Args:
            folder: Keeps them for the next time.
        """
        folder.mkdir(parents=True, exist_ok=True)
        with ProcessPoolExecutor() as pool:
            numbers = [model.number for model in self.models]
            list(pool.map(_draw_model, [folder] * len(numbers), numbers))
        self.pictures = {path.name: path.read_bytes() for path in folder.glob("*.jpg")}

    def write_mappings(self, source: Path, folder: Path) -> None:
        """Write a folder of mappings: those of the sample shops under these shops' names.

        Args:
            source: The folder of mappings.
            folder: The folder to be written.
        """
        shutil.rmtree(folder, ignore_errors=True)
        shutil.copytree(source, folder)
        like = (source / "shops" / f"{_MAPPED_LIKE}.xml").read_text(encoding="utf-8")
        for shop in SHOP_IDS:
            text = like.replace(f'shop="{_MAPPED_LIKE}"', f'shop="{shop}"')
            (folder / "shops" / f"{shop}.xml").write_text(text, encoding="utf-8")

    def respond(self, path: str, address: str) -> tuple[bytes, str] | None:
        """Return the response to a path, as a `Responder` of wearalike.sample.server."""
        shop, _, name = path.removeprefix("/").partition("/")
        if shop not in SHOP_IDS:
            return None
        if name == "feed.xml.gz":
            self._address = address
            return self._feeds[shop], "application/gzip"
        content = self.pictures.get(name.removeprefix("img/"))
        return None if content is None else (content, "image/jpeg")

    @cached_property
    def _feeds(self) -> dict[str, bytes]:
        """The feeds, packed by gzip."""
        return {shop: self.render_feed(shop, self._address) for shop in SHOP_IDS}

    def render_feed(self, shop: str, address: str) -> bytes:
        """Return the feed of a shop, packed by gzip.

        Args:
            shop: One of SHOP_IDS.
            address: The address of the server, without a slash at the end.
        """
        own = self.count // len(SHOP_IDS) + (SHOP_IDS.index(shop) < self.count % len(SHOP_IDS))
        rows = itertools.product(self.models, range(COLOURS), range(SIZES))
        lines = _iter_feed_lines(shop, f"{address}/{shop}", itertools.islice(rows, own))
        return gzip.compress("\n".join(lines).encode(), 1, mtime=0)


def _category_path(model: DrawnModel) -> tuple[str, ...]:
    """Return a model's category, as the sample shop writes it."""
    article, gender = model.kind
    section = article.section.capitalize()
    whose = {"female": ("Women",), "male": ("Men",)}.get(gender, ())
    return (
        *(whose if article.section in ("clothing", "shoes") else ()),
        section,
        article.plural_en,
    )


def _iter_feed_lines(
    shop: str, base: str, rows: Iterable[tuple[DrawnModel, int, int]]
) -> Iterator[str]:
    """Yield the lines of a YML feed; a row is a model, a colour and a size."""
    paths = {_category_path(DrawnModel(number)) for number in range(len(_KINDS))}
    parts = sorted({path[:depth] for path in paths for depth in range(1, len(path) + 1)})
    ids = {part: number for number, part in enumerate(parts, 1)}
    yield '<?xml version="1.0" encoding="UTF-8"?><yml_catalog date="2026-11-21 04:30"><shop>'
    yield f"<name>{shop}</name><company>{shop}</company><url>{base}/</url>"
    yield '<currencies><currency id="EUR" rate="1"/></currencies><categories>'
    for part, number in ids.items():
        parent = f' parentId="{ids[part[:-1]]}"' if part[1:] else ""
        yield f'<category id="{number}"{parent}>{part[-1]}</category>'
    yield "</categories><offers>"
    for model, colour, size in rows:
        article, gender = model.kind
        offer_id = (model.number * COLOURS + colour) * SIZES + size + 1
        by_offer = SeededChoices(shop, offer_id)
        hue = model.cloth(colour)[0]
        price = article.price * SeededChoices(shop, model.number).between("price", 0.8, 1.3)
        yield (
            f'<offer id="{offer_id}" group_id="m{model.number}"'
            f' available="{str(by_offer.happens("in stock", 0.9)).lower()}">'
            f"<url>{base}/p/{offer_id}</url><price>{price:.2f}</price>"
            f"<currencyId>EUR</currencyId><categoryId>{ids[_category_path(model)]}</categoryId>"
            f"<picture>{base}/img/{model.number}-{colour}.jpg</picture>"
            f"<name>{hue.capitalize()} {article.en} {model.number}</name>"
            f"<vendor>Brand {model.number % BRANDS}</vendor>"
            f'<param name="Color">{hue}</param><param name="Size" unit="EU">{34 + 2 * size}</param>'
            f'<param name="Gender">{gender}</param><param name="Age">adult</param></offer>'
        )
    yield "</offers></shop></yml_catalog>"
