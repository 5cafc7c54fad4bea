"""Where two people's labels differ: a page with both people's boxes, a CSV, and a table."""

from __future__ import annotations

import base64
import csv
import io
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from wearalike.datasets.formats.record import LabelledImage
from wearalike.datasets.label_agreement import (
    MATCHED,
    LabelPair,
    attribute_kappas,
    class_agreements,
    class_kappa,
)
from wearalike.imaging import decode
from wearalike.reports import html

MAX_IMAGE_SIDE_PX = 480
JPEG_QUALITY = 80
_CORNERS = ("x0", "y0", "x1", "y1")


def write_disagreements_csv(path: Path, label_pairs: Sequence[LabelPair]) -> None:
    """Write the pairs that differ, one a line.

    Args:
        path: the file.
        label_pairs: all pairs.
    """
    head = ["picture", "verdict", "first", "second", "iou"]
    head += [f"{side}_{corner}" for side in ("first", "second") for corner in _CORNERS]
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(head)
        for pair in label_pairs:
            if pair.verdict == MATCHED:
                continue
            corners = [
                getattr(box, corner) if box else ""
                for box in (pair.first, pair.second)
                for corner in _CORNERS
            ]
            words = [
                escape_formula(pair.picture),
                pair.verdict,
                *map(escape_formula, pair.categories),
            ]
            out.writerow([*words, f"{pair.iou:.3f}", *corners])


def escape_formula(text: str) -> str:
    """Return a text that no spreadsheet takes for a formula (OWASP, CSV injection).

    Args:
        text: anything.

    Returns:
        The text, with a leading quote if it begins like a formula.
    """
    is_formula = text.strip() and text.lstrip()[0] in ("=", "+", "-", "@", "'")
    return f"'{text}" if is_formula else text


def render_disagreements(
    names: tuple[str, str],
    images: Mapping[str, LabelledImage],
    label_pairs: Sequence[LabelPair],
    max_images: int,
) -> str:
    """Return the page of the images that differ, those with most differences first.

    Args:
        names: of the first person's labels and of the second's.
        images: the first person's images by name.
        label_pairs: all pairs.
        max_images: images shown at most.

    Returns:
        HTML without outside requests.
    """
    differing = Counter(pair.picture for pair in label_pairs if pair.verdict != MATCHED)
    chosen = sorted(differing, key=lambda name: (-differing[name], name))[:max_images]
    pages = [
        _image_context(images[name], name, [pair for pair in label_pairs if pair.picture == name])
        for name in chosen
    ]
    head, *rows = agreement_table(label_pairs)
    return html.render(
        "label_disagreements.html",
        first=names[0],
        second=names[1],
        kappa=kappa_line(label_pairs),
        head=head,
        rows=rows,
        pages=pages,
        pictures_count=len(differing),
    )


def _image_context(
    image: LabelledImage, name: str, label_pairs: Sequence[LabelPair]
) -> dict[str, object]:
    """Return what the template shows of one image."""
    rgb = decode.decode_image(image.path.read_bytes(), MAX_IMAGE_SIDE_PX)
    jpeg = io.BytesIO()
    Image.fromarray(rgb).save(jpeg, "JPEG", quality=JPEG_QUALITY)
    lines = [
        f"{pair.verdict}: {' / '.join(filter(None, pair.categories))}, {_position(pair)}"
        for pair in label_pairs
        if pair.verdict != MATCHED
    ]
    boxes = [
        (side, box)
        for pair in label_pairs
        for side, box in (("first", pair.first), ("second", pair.second))
        if box
    ]
    return {
        "name": name,
        "uri": f"data:image/jpeg;base64,{base64.b64encode(jpeg.getvalue()).decode()}",
        "shown_px": (rgb.shape[1], rgb.shape[0]),
        "width_px": image.width_px,
        "height_px": image.height_px,
        "boxes": boxes,
        "lines": lines,
    }


def _position(pair: LabelPair) -> str:
    """Return the corner of a pair's box, and how far two boxes overlap."""
    box = pair.first or pair.second
    position = f"at x {box.x0}, y {box.y0}" if box else ""
    return f"{position}, IoU {pair.iou:.2f}" if pair.first and pair.second else position


def agreement_table(label_pairs: Sequence[LabelPair]) -> list[list[str]]:
    """Return the counts of every class as texts, the head first.

    Args:
        label_pairs: all pairs.

    Returns:
        Rows of equal length.
    """
    rows = [["class", "matched", "only first", "only second", "other class", "mean IoU"]]
    for agreement in class_agreements(label_pairs):
        counts = (
            agreement.matched,
            agreement.only_first,
            agreement.only_second,
            agreement.other_class,
        )
        rows.append([agreement.category, *map(str, counts), _format(agreement.mean_iou)])
    return rows


def kappa_line(label_pairs: Sequence[LabelPair]) -> str:
    """Return Cohen's kappa as a sentence.

    Args:
        label_pairs: all pairs.

    Returns:
        The sentence, with the number of boxes.
    """
    count = sum(all(pair.categories) for pair in label_pairs)
    kappa = _format(class_kappa(label_pairs))
    return f"Cohen's kappa of the classes of {count} boxes that both drew: {kappa}"


def attribute_lines(label_pairs: Sequence[LabelPair]) -> list[str]:
    """Return Cohen's kappa of further labels, such as colour, a sentence each.

    Args:
        label_pairs: all pairs.
    """
    return [
        f"Cohen's kappa of {name}, of {count} boxes of which both say it: "
        f"{_format(np.nan if kappa is None else kappa)}"
        for name, (count, kappa) in attribute_kappas(label_pairs).items()
    ]


def _format(value: float) -> str:
    """Return three digits; a dash for NaN."""
    return "–" if np.isnan(value) else f"{value:.3f}"
