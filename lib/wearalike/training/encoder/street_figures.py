"""People in street photos with pixel labels: what they wear, where, and grounds beside them."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from wearalike.datasets.layouts import CCP, DATASET_LAYOUTS
from wearalike.datasets.mask_items import read_mask_words
from wearalike.imaging import decode
from wearalike.training.encoder.garment_regions import GarmentRegion
from wearalike.training.encoder.item_cutout import Pixels, Span, mask_span
from wearalike.training.encoder.opencv import import_opencv

# Words of labels that a garment of each region may replace, parted by slashes.
_WORDS_BY_REGION = {
    GarmentRegion.UPPER: "blazer/blouse/bodysuit/cape/cardigan/coat/hoodie/intimate/jacket/jumper/"
    "shirt/suit/sweater/sweatshirt/t-shirt/top/vest/bra",
    GarmentRegion.LOWER: "jeans/leggings/pants/shorts/skirt/panties",
    GarmentRegion.FULL: "dress/romper",
}
_BAG_WORDS = ("bag", "purse", "wallet")
# Things of which a figure wears two, labelled as one: the larger part is the item.
_PAIR_WORDS = (
    *("shoes", "boots", "heels", "flats", "pumps", "sandals"),
    *("sneakers", "loafers", "wedges", "clogs", "earrings"),
)
# A region with fewer labelled pixels, or a lower one, is no place for a garment.
_MIN_PLACE_AREA_PX = 2500
_MIN_PLACE_HEIGHT_PX = 30
# Side of the smallest garment that is an item, and the share of its square it must fill.
_MIN_GARMENT_SIDE_PX = 45
_MIN_GARMENT_FILL_RATIO = 0.4


@dataclass(frozen=True, slots=True)
class StreetFigure:
    """A street photo with pixel labels: rgb uint8 (h, w, 3), labels uint8 (h, w)."""

    rgb: Pixels
    labels: NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class WearingPlace:
    """Where a figure wears something.

    Attributes:
        figure: Number of the figure.
        span: Box of what is worn there, in px.
        torso_px: Median width of the torso there.
        centre_px: Middle of the torso, from the left.
    """

    figure: int
    span: Span
    torso_px: float
    centre_px: float


class StreetFigures:
    """The figures of labelled street photos, and photos without labels as grounds.

    Attributes:
        figures: Photos with labels.
        words: Word of each label number.
        skin: Label number of skin.
        hair: Label number of hair.
        bags: Label numbers of bags.
    """

    def __init__(
        self, figures: Sequence[StreetFigure], grounds: Sequence[Pixels], words: Sequence[str]
    ) -> None:
        """Keep the photos.

        Args:
            figures: Photos with labels.
            grounds: Photos without labels, uint8 (h, w, 3).
            words: Word of each label number.
        """
        self.figures = figures
        self.words = tuple(words)
        self._grounds = grounds
        # Without such a word no pixel has the number.
        self.skin, self.hair = (
            self.words.index(word) if word in self.words else -1 for word in ("skin", "hair")
        )
        self.bags = self._numbers(_BAG_WORDS)
        self._places: dict[GarmentRegion, list[WearingPlace]] = {}

    def _numbers(self, wanted: Sequence[str]) -> list[int]:
        """Return the numbers of the words that there are."""
        return [self.words.index(word) for word in wanted if word in self.words]

    @cached_property
    def _labels_by_region(self) -> dict[GarmentRegion, list[int]]:
        return {r: self._numbers(words.split("/")) for r, words in _WORDS_BY_REGION.items()}

    def worn_labels(self, region: GarmentRegion) -> list[int]:
        """Return the label numbers that a garment of a region may replace."""
        labels = self._labels_by_region
        upper, lower, full = (labels[r] for r in GarmentRegion)
        return {
            GarmentRegion.UPPER: upper + full,
            GarmentRegion.LOWER: lower + full[:1],
            GarmentRegion.FULL: full + upper,
        }[region]

    def wearing_places(self, region: GarmentRegion) -> list[WearingPlace]:
        """Return where figures wear something in a region."""
        if region not in self._places:
            found = (self._find_place(n, region) for n in range(len(self.figures)))
            self._places[region] = [place for place in found if place is not None]
        return self._places[region]

    def _find_place(self, number: int, region: GarmentRegion) -> WearingPlace | None:
        """Return where one figure wears something in a region."""
        labels = self.figures[number].labels
        is_worn = np.isin(labels, self.worn_labels(region))
        if is_worn.sum() <= _MIN_PLACE_AREA_PX:
            return None
        y0, y1, x0, x1 = mask_span(is_worn)
        full = self._labels_by_region[GarmentRegion.FULL]
        is_dress = np.isin(labels[is_worn], full).mean() > 0.5
        # A blouse is laid on the upper half of a dress, a skirt on the lower.
        if region is GarmentRegion.UPPER and is_dress:
            y1 = y0 + int((y1 - y0) * 0.5)
        if region is GarmentRegion.LOWER and is_dress:
            y0 = y0 + int((y1 - y0) * 0.45)
        if y1 - y0 < _MIN_PLACE_HEIGHT_PX:
            return None
        torso_px, centre_px = torso_width(is_worn[y0:y1, x0:x1], 0.3, 0.7)
        return WearingPlace(number, (y0, y1, x0, x1), torso_px, centre_px + x0)

    def iterate_garments(self) -> Iterator[tuple[int, int]]:
        """Yield figure number and label number of each garment that is large enough."""
        others = {0, self.skin, self.hair}
        least_area = _MIN_GARMENT_SIDE_PX**2 * _MIN_GARMENT_FILL_RATIO
        for number, figure in enumerate(self.figures):
            counts = np.bincount(figure.labels.ravel(), minlength=len(self.words))
            for label in np.flatnonzero(counts > least_area).tolist():
                if label not in others:
                    yield number, label

    def garment_mask(self, number: int, label: int) -> Pixels:
        """Return the mask of a garment, uint8 0 or 255 (h, w); of a pair, the larger part's."""
        cv2 = import_opencv()
        is_garment = self.figures[number].labels == label
        if self.words[label] in _PAIR_WORDS:
            count, parts, stats, _ = cv2.connectedComponentsWithStats(is_garment.astype(np.uint8))
            if count > 1:
                is_garment = parts == 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
        return is_garment.astype(np.uint8) * 255

    def draw_ground(self, rng: np.random.Generator, height: int, width: int) -> Pixels:
        """Draw a piece of street from the rim of a photo, uint8 (height, width, 3)."""
        cv2 = import_opencv()
        photos: Sequence[Pixels] = [figure.rgb for figure in self.figures]
        if self._grounds and rng.random() < 0.5:
            photos = self._grounds
        rgb = photos[int(rng.integers(len(photos)))]
        part_height = int(rgb.shape[0] * rng.uniform(0.25, 0.6))
        part_width = int(rgb.shape[1] * rng.uniform(0.2, 0.35))
        top = int(rng.integers(0, rgb.shape[0] - part_height))
        left = 0 if rng.random() < 0.5 else rgb.shape[1] - part_width
        part = rgb[top : top + part_height, left : left + part_width]
        return cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR)


def read_street_figures(folder: Path, split: str) -> StreetFigures | None:
    """Read the figures of a set of kind `ccp`.

    Args:
        folder: The set's folder.
        split: Name of the split.

    Returns:
        The figures; None if no photo of the split has a mask.

    Raises:
        BadDataset: There is no labels.txt.
    """
    layout = DATASET_LAYOUTS[CCP]
    with (folder / layout.csv_file).open(encoding="utf-8-sig", newline="") as file:
        names = [r[layout.image_column] for r in csv.DictReader(file) if r["split"] == split]
    figures, grounds = [], []
    for name in names:
        rgb = decode.decode_image((folder / layout.path_template.format(name)).read_bytes())
        mask_path = layout.mask_path(folder, name)
        if mask_path.is_file():
            figures.append(StreetFigure(rgb, decode.decode_mask(mask_path.read_bytes())))
        else:
            grounds.append(rgb)
    return StreetFigures(figures, grounds, read_mask_words(folder)) if figures else None


def torso_width(mask: NDArray[np.bool_], top: float, bottom: float) -> tuple[float, float]:
    """Return the median width and middle of what a mask covers about its own middle.

    Args:
        mask: bool (height, width), True for the garment.
        top: First row that counts, as a share of the height.
        bottom: End of the rows that count, as a share of the height.

    Returns:
        Width and middle in px; those of the whole mask if no row covers the middle.
    """
    height, width = mask.shape
    middle = int(np.median(np.flatnonzero(mask.any(0))))
    widths, centres = [], []
    for y in range(int(top * height), max(int(top * height) + 1, int(bottom * height))):
        row = mask[min(y, height - 1)]
        if not row[min(middle, width - 1)]:
            continue
        outside = np.flatnonzero(~row)
        left = outside[outside < middle].max(initial=-1)
        right = outside[outside > middle].min(initial=width)
        widths.append(right - left - 1)
        centres.append((right + left) / 2)
    if not widths:
        return float(width), width / 2
    return float(np.median(widths)), float(np.median(centres))
