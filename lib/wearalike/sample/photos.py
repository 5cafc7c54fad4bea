"""A shop of other people's photos: the public clothing data set (Alexey Grigorev and contributors, CC0), or a folder laid out like it.

Either <folder>/images.csv with the columns image, label and maybe kids, beside images/<image>.jpg, or folders named like
the labels, with the photos in them, anywhere below. Of a label that names no garment ("Not sure", "Other") no photo is taken.
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

# mappings/shops/closet.xml says what these words mean to us.
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
    """The folder holds no photo of a label that we know."""


@dataclass(frozen=True, slots=True)
class PhotoOffer:
    """One offer. name: its id, the file's stem. section: the category's path in the shop."""

    name: str
    path: Path
    label: str
    section: str


def list_photos(folder: Path, count: int | None = None) -> list[PhotoOffer]:
    """The photos of a folder, `count` of them at most, the same ones each time, in no order of label. Raises NoPhotosFound."""
    listed = next(iter(sorted(folder.rglob("images.csv"))), None) if folder.is_dir() else None
    found = {
        photo.name: photo
        for photo in (_read_listed_photos(listed) if listed else _find_photos_by_folder(folder))
    }
    if not found:
        raise NoPhotosFound(
            f"{folder}: wanted images.csv beside images/, or folders named {', '.join(SECTION_OF_LABEL)}, with photos"
        )
    return sorted(found.values(), key=lambda photo: hashlib.sha256(photo.name.encode()).digest())[
        :count
    ]


def _read_listed_photos(path: Path) -> Iterator[PhotoOffer]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file)
        if missing := {"image", "label"} - set(rows.fieldnames or ()):
            raise NoPhotosFound(f"{path}: no column {min(missing)!r}; wanted image, label")
        for row in rows:
            label, section = row["label"], SECTION_OF_LABEL.get(row["label"].lower())
            picture = next(
                (
                    p
                    for kind in _PHOTO_SUFFIXES
                    if (p := path.parent / "images" / f"{row['image']}{kind}").is_file()
                ),
                None,
            )
            if section and picture:
                yield PhotoOffer(
                    picture.stem,
                    picture,
                    label,
                    f"Kids > {section}" if row.get("kids") == "True" else section,
                )


def _find_photos_by_folder(folder: Path) -> Iterator[PhotoOffer]:
    for path in sorted(
        p
        for p in folder.rglob("*")
        if p.suffix.lower() in _PHOTO_SUFFIXES and p.parent.name.lower() in SECTION_OF_LABEL
    ):
        yield PhotoOffer(
            path.stem, path, path.parent.name, SECTION_OF_LABEL[path.parent.name.lower()]
        )


@contextlib.contextmanager
def serve_photo_shop(offers: Sequence[PhotoOffer], port: int = 0) -> Iterator[str]:
    """Serves the shop on 127.0.0.1 as long as the block lasts; yields its feed's address."""
    by_path = {f"/{SHOP_ID}/img/{photo.path.name}": photo for photo in offers}

    def answer(path: str, address: str) -> tuple[bytes, str] | None:
        if path == f"/{SHOP_ID}/feed.xml":
            return render_photo_feed(offers, address), "application/xml"
        photo = by_path.get(path)
        return (
            (
                photo.path.read_bytes(),
                "image/png" if photo.path.suffix.lower() == ".png" else "image/jpeg",
            )
            if photo
            else None
        )

    with serve_responses(answer, port) as address:
        yield f"{address}/{SHOP_ID}/feed.xml"


def render_photo_feed(offers: Sequence[PhotoOffer], address: str) -> bytes:
    """The shop's feed in YML. Prices are made up; that nothing says for whom a garment is, is the data set's."""
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
    return E.offer(
        E.url(f"{address}/{SHOP_ID}/p/{photo.name}"),
        E.price(str(5 + hashlib.sha256(photo.name.encode()).digest()[0] % 90)),
        E.currencyId("EUR"),
        E.categoryId(category_id),
        E.picture(f"{address}/{SHOP_ID}/img/{photo.path.name}"),
        E.name(f"{photo.label} {photo.name[:4]}"),
        E.param("Унисекс", name="Пол"),
        id=photo.name,
        available="true",
    )
