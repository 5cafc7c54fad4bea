"""Folder layouts of labelled photos: the file names and columns of each kind of set.

Three layouts are those of public data sets: the Clothing dataset, Clothing Co-Parsing (CCP) and
Fashion Product Images. `folder` is a user's own folder; `coco` and `yolo` are label files.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from wearalike.datasets.formats import reading

CLOTHING_DATASET = "clothing-dataset"
CCP = "ccp"
FASHION_PRODUCT_IMAGES = "fashion-product-images"
FOLDER = "folder"
PAIRS = "pairs"
RUN = "run"

# Columns of a user's labels.csv that say which product a picture shows, and how; no labels.
GROUP_COLUMN = "group"
COLOUR_NUMBER_COLUMN = "colour_number"
VIEW_COLUMN = "view"
PRODUCT_COLUMNS = (GROUP_COLUMN, COLOUR_NUMBER_COLUMN, VIEW_COLUMN)


class BadDataset(ValueError):
    """A set that its layout cannot read. The message says file, line, what was found and wanted."""


@dataclass(frozen=True, slots=True)
class DatasetLayout:
    """How a set with a CSV file is laid out.

    Attributes:
        csv_file: Name of the CSV file in the set's folder: UTF-8, column names in line 1.
        image_column: Column that identifies the picture.
        path_template: Path of the picture in the folder, with {} for the value of that column.
        label_columns: Column of each label by the label's name. None takes every column
            except image, split, box and PRODUCT_COLUMNS.
        null_labels: Values that mean "not known".
        mask_template: Path of the mask in the folder, with {} as above. A mask is a PNG of one byte
            a pixel: the line number (from 0) of a word in labels.txt. Each word in a mask is an
            item with that word as its `type`, in the box of its pixels. None: no masks.
    """

    csv_file: str
    image_column: str
    path_template: str
    label_columns: Mapping[str, str] | None = None
    null_labels: frozenset[str] = field(default_factory=frozenset)
    mask_template: str | None = None

    def mask_path(self, folder: Path, name: str) -> Path:
        """Return where the mask of the picture `name` lies; the layout must have masks."""
        return folder / str(self.mask_template).format(name)


DATASET_LAYOUTS = {
    # "Fashion Product Images" (Myntra), one product a photo.
    FASHION_PRODUCT_IMAGES: DatasetLayout(
        "products.csv",
        "id",
        "images/{}.jpg",
        {"type": "article_type", "gender": "gender", "colour": "base_colour"},
    ),
    # "Clothing dataset" (Alexey Grigorev and contributors), people's own photos.
    CLOTHING_DATASET: DatasetLayout(
        "images.csv",
        "image",
        "images/{}.jpg",
        {"type": "label"},
        frozenset({"Not sure", "Other", "Skip"}),
    ),
    # "Clothing Co-Parsing" (Yang, Luo and Lin, CVPR 2014), street photos with masks.
    CCP: DatasetLayout(
        "photos.csv",
        "photo",
        "photos/{}.jpg",
        {},
        # Jewellery covers a few pixels only, and two items tagged `accessories` look unlike.
        frozenset(
            [
                "null",
                "skin",
                "hair",
                "accessories",
                "bracelet",
                "earrings",
                "necklace",
                "ring",
                "intimate",
            ]
        ),
        "masks/{}.png",
    ),
    FOLDER: DatasetLayout("labels.csv", "image", "{}"),
}
# Every kind that `--data KIND=FOLDER` takes.
DATASET_KINDS = (*DATASET_LAYOUTS, *reading.LABEL_FORMATS)
# Kinds that `wearalike evaluate` takes too: worn and flat pictures of garments, and a run's tables.
MEASURED_KINDS = (*DATASET_KINDS, PAIRS, RUN)
