"""Serve a folder of photos as a shop, such as the public clothing data set.

The data set is by Alexey Grigorev and contributors (CC0). The folder has one of two layouts:

- images.csv with the columns image, label and perhaps kids, beside images/<image>.jpg
- folders named like the labels, anywhere below, with the photos in them

Photos with a label that names no garment ("Not sure", "Other") are left out.
"""

from __future__ import annotations

import contextlib
import csv
import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from lxml import etree
from lxml.builder import E

from wearalike.sample.server import serve_responses

# mappings/shops/closet.xml maps the sections.
SHOP_ID = "closet"
SECTION_OF_LABEL = {
    "blazer": "Outerwear > Blazers",
    "blouse": "Tops > Blouses",
    "body": "Baby > Bodysuits",
    "dress": "Dresses",
    "hat": "Accessories > Hats",
    "hoodie": "Tops > Hoodies",
    "longsleeve": "Tops > Long Sleeves",
    "outwear": "Outerwear > Coats & Jackets",
    "pants": "Bottoms > Trousers",
    "polo": "Tops > Polos",
    "shirt": "Tops > Shirts",
    "shoes": "Shoes",
    "shorts": "Bottoms > Shorts",
    "skirt": "Bottoms > Skirts",
    "t-shirt": "Tops > T-Shirts",
    "top": "Tops > Tops",
    "undershirt": "Underwear > Undershirts",
}
_PHOTO_SUFFIXES = (".jpg", ".jpeg", ".png")


class NoPhotosFound(ValueError):
    """The folder holds no photo with a known label."""


@dataclass(frozen=True, slots=True)
class PhotoOffer:
    """One offer.

    Attributes:
        name: Its id, the stem of the file name.
        path: The photo.
        label: The label of the data set.
        section: The category path in the shop.
    """

    name: str
    path: Path
    label: str
    section: str


def list_photos(folder: Path, count: int | None = None) -> list[PhotoOffer]:
    """List the photos of a folder, the same ones each time, shuffled over the labels.

    Args:
        folder: The folder.
        count: The most photos to take; None for all.

    Raises:
        NoPhotosFound: The folder has neither layout.
    """
    listings = sorted(folder.rglob("images.csv")) if folder.is_dir() else []
    photos = _read_listed_photos(listings[0]) if listings else _find_photos_by_folder(folder)
    photo_by_name = {photo.name: photo for photo in photos}
    if not photo_by_name:
        labels = ", ".join(SECTION_OF_LABEL)
        raise NoPhotosFound(
            f"{folder}: wanted images.csv beside images/, or folders named {labels}, with photos"
        )
    return sorted(photo_by_name.values(), key=lambda photo: _name_hash(photo.name))[:count]


def _name_hash(name: str) -> bytes:
    """Return the sha256 of a photo's name."""
    return hashlib.sha256(name.encode()).digest()


def _read_listed_photos(path: Path) -> Iterator[PhotoOffer]:
    """Yield the photos that an images.csv lists."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if missing := {"image", "label"} - set(rows.fieldnames or ()):
            raise NoPhotosFound(f"{path}: no column {min(missing)!r}; wanted image, label")
        for row in rows:
            label = row["label"]
            section = SECTION_OF_LABEL.get(label.lower())
            names = (f"{row['image']}{suffix}" for suffix in _PHOTO_SUFFIXES)
            files = (path.parent / "images" / name for name in names)
            photo = next((file for file in files if file.is_file()), None)
            if section and photo:
                prefix = "Kids > " if row.get("kids") == "True" else ""
                yield PhotoOffer(photo.stem, photo, label, f"{prefix}{section}")


def _find_photos_by_folder(folder: Path) -> Iterator[PhotoOffer]:
    """Yield the photos in folders named like labels."""
    for path in sorted(folder.rglob("*")):
        label = path.parent.name
        section = SECTION_OF_LABEL.get(label.lower())
        if section and path.suffix.lower() in _PHOTO_SUFFIXES:
            yield PhotoOffer(path.stem, path, label, section)


@contextlib.contextmanager
def serve_photo_shop(offers: Sequence[PhotoOffer], port: int = 0) -> Iterator[str]:
    """Serve the shop on 127.0.0.1 while the block lasts.

    Args:
        offers: The photos.
        port: 0 takes a free one.

    Yields:
        The address of the feed.
    """
    by_path = {f"/{SHOP_ID}/img/{photo.path.name}": photo for photo in offers}

    def respond(path: str, address: str) -> tuple[bytes, str] | None:
        if path == f"/{SHOP_ID}/feed.xml":
            return render_photo_feed(offers, address), "application/xml"
        photo = by_path.get(path)
        if photo is None:
            return None
        kind = "png" if photo.path.suffix.lower() == ".png" else "jpeg"
        return photo.path.read_bytes(), f"image/{kind}"

    with serve_responses(respond, port) as address:
        yield f"{address}/{SHOP_ID}/feed.xml"


def render_photo_feed(offers: Sequence[PhotoOffer], address: str) -> bytes:
    """Return the shop's feed in YML.

    Prices are invented. The data set names no audience, so every offer is unisex.

    Args:
        offers: The photos.
        address: The address of the server, without a slash at the end.
    """
    ids: dict[str, str] = {}
    categories = E.categories()
    for section in sorted({photo.section for photo in offers}):
        names = section.split(" > ")
        for depth in range(1, len(names) + 1):
            path = " > ".join(names[:depth])
            if path not in ids:
                parent = {"parentId": ids[" > ".join(names[: depth - 1])]} if depth > 1 else {}
                ids[path] = str(len(ids) + 1)
                categories.append(E.category(names[depth - 1], id=ids[path], **parent))
    shop = E.shop(
        E.name("Closet"),
        E.company("Closet"),
        E.url(f"{address}/{SHOP_ID}/"),
        E.currencies(E.currency(id="EUR", rate="1")),
        categories,
        E.offers(*(_offer_element(photo, ids[photo.section], address) for photo in offers)),
    )
    return etree.tostring(
        E.yml_catalog(shop, date="2026-11-21 04:30"),
        encoding="UTF-8",
        xml_declaration=True,
        pretty_print=True,
    )


def _offer_element(photo: PhotoOffer, category_id: str, address: str) -> etree._Element:
    """Return the offer of a photo."""
    return E.offer(
        E.url(f"{address}/{SHOP_ID}/p/{photo.name}"),
        E.price(str(5 + _name_hash(photo.name)[0] % 90)),
        E.currencyId("EUR"),
        E.categoryId(category_id),
        E.picture(f"{address}/{SHOP_ID}/img/{photo.path.name}"),
        E.name(f"{photo.label} {photo.name[:4]}"),
        E.param("Унисекс", name="Пол"),
        id=photo.name,
        available="true",
    )
