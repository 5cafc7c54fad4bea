"""Labelled photos -> the pictures that an encoder learns from, with what is known of each.

Pictures of one product show the same thing in the same colour: worn, flat, from behind. Products of
one article differ by colour alone. The network may read both from a picture, so shape codes learn
articles and colour codes learn products.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from wearalike.datasets import layouts
from wearalike.datasets.labelled_photos import LabelledDataset, LabelledPhoto
from wearalike.tables import ImageView
from wearalike.training.encoder.garment_regions import GarmentRegion, find_region
from wearalike.training.encoder.street_figures import StreetFigures, read_street_figures

TYPE_LABEL = "type"
# Labels of colour; every other label is one of shape.
COLOUR_LABELS = ("colour", "pattern")
# Views whose pictures show too little of a product to stand for it.
_PARTIAL_VIEWS = (ImageView.BACK, ImageView.DETAIL)


@dataclass(frozen=True, slots=True)
class TrainingPicture:
    """A picture of one item.

    Attributes:
        source: Name of the set, or of the shop if the set is a run.
        path: The picture's file; None for a garment of a street photo.
        box: Box of the item in px: x0, y0, x1, y1; None for what stands out.
        garment: Figure number and label number of a garment in a street photo, else None.
        labels: Value of each known label.
        product: Key of the product, unique among all sets.
        article: Key of the article, unique among all sets.
        name: The set's own name of the product: of a run, its product_id.
        region: Where a garment is worn, None for other things.
        is_flat: True if the set says that nobody wears it; None if the set does not say.
    """

    source: str
    path: Path | None
    box: tuple[int, int, int, int] | None
    garment: tuple[int, int] | None
    labels: Mapping[str, str]
    product: str
    article: str
    name: str
    region: GarmentRegion | None
    is_flat: bool | None


@dataclass(frozen=True, slots=True)
class TrainingSource:
    """A set of labelled photos: its kind, the folder where it lies, and the photos.

    The folder of a run is not read.
    """

    kind: str
    folder: Path
    labelled: LabelledDataset


def read_figures(sources: Sequence[TrainingSource], split: str) -> StreetFigures | None:
    """Read the figures of the first set of street photos; None if there is no such set.

    Args:
        sources: The sets.
        split: Name of the split.
    """
    for source in sources:
        if source.kind == layouts.CCP:
            return read_street_figures(source.folder, split)
    return None


def list_pictures(
    sources: Sequence[TrainingSource], street: StreetFigures | None, split: str
) -> list[TrainingPicture]:
    """List the pictures of one split.

    Args:
        sources: The sets. Two runs are one set: a picture of both is listed once.
        street: `read_figures` of the sets and the split.
        split: Name of the split.

    Returns:
        The pictures, set by set; those of runs last.
    """
    pictures: list[TrainingPicture] = []
    run_photos: dict[str, LabelledPhoto] = {}
    for source in sources:
        name = source.labelled.name
        if source.kind == layouts.CCP:
            pictures += _street_pictures(name, street) if street else []
        elif source.kind == layouts.RUN:
            run_photos |= {photo.id: photo for photo in source.labelled.photos}
        else:
            chosen = [p for p in source.labelled.photos if p.split == split]
            pictures += [_build_picture(name, photo) for photo in chosen]
    chosen = [photo for _, photo in sorted(run_photos.items()) if photo.split == split]
    # A shop's words for colours are its own; a product's name begins with its shop.
    return pictures + [
        _build_picture(p.product.partition(":")[0], p) for p in _drop_partial_views(chosen)
    ]


def _street_pictures(name: str, street: StreetFigures) -> list[TrainingPicture]:
    """List the garments of street photos; nobody knows which of them are one product."""
    pictures = []
    for garment in street.iterate_garments():
        figure, label = garment
        key = f"{name}:{figure}:{label}"
        labels = {TYPE_LABEL: street.words[label]}
        pictures.append(
            TrainingPicture(
                source=name,
                path=None,
                box=None,
                garment=garment,
                labels=labels,
                product=key,
                article=key,
                name=key,
                region=None,
                is_flat=False,
            )
        )
    return pictures


def _build_picture(source: str, photo: LabelledPhoto) -> TrainingPicture:
    """Return a labelled photo as a training picture."""
    product = photo.product or photo.id
    article = photo.group or product
    return TrainingPicture(
        source=source,
        path=photo.path,
        box=photo.box,
        garment=None,
        labels=photo.labels,
        product=f"{source}:{article}:{product}",
        article=f"{source}:{article}",
        name=product,
        region=find_region(photo.labels.get(TYPE_LABEL, "")),
        is_flat=photo.view == ImageView.FLAT if photo.view else None,
    )


def _drop_partial_views(photos: Sequence[LabelledPhoto]) -> list[LabelledPhoto]:
    """Leave out backs and details of products that have a better picture."""
    whole = {photo.product for photo in photos if photo.view not in _PARTIAL_VIEWS}
    return [p for p in photos if p.view not in _PARTIAL_VIEWS or p.product not in whole]
