"""Label files -> what is in them and what is wrong; of two people's labels of the same pictures, how far they agree.

    python -m wearalike.commands.check_labels coco=photos
    python -m wearalike.commands.check_labels coco=anna --second yolo=ben --out build/agreement

KIND is coco (a folder, or one JSON file) or yolo (a folder). Every bad label is printed with its file and line, and the exit code is
1 if there is any. With --second, boxes of one picture are pairs from IoU 0.5 on, the best first, whatever they are called; FOLDER
gets disagreements.csv and disagreements.html, which shows both people's boxes. Pictures are the same where their paths are, but for
folders named images, train, val, valid or test.
"""

from __future__ import annotations

import argparse
import base64
import csv
import io
import sys
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from wearalike.datasets.formats import reading
from wearalike.datasets.formats.record import LabelledImage, LabelledObject
from wearalike.imaging import decode
from wearalike.metrics.agreement import cohen_kappa
from wearalike.metrics.boxes import box_iou
from wearalike.pipeline import job
from wearalike.reports import html

MIN_IOU = 0.5
MAX_IMAGE_SIDE_PX = 480
ALL_CLASSES = "all"
# Folders that a tool puts pictures into, and that say nothing about which picture it is.
_IGNORED_FOLDERS = frozenset(["images", "train", "val", "valid", "test"])


@dataclass(frozen=True, slots=True)
class LabelPair:
    """What two people drew for one thing. first, second: None where that one drew nothing. iou: 0..1, 0 where one is None."""

    picture: str
    first: LabelledObject | None
    second: LabelledObject | None
    iou: float

    @property
    def verdict(self) -> str:
        if self.first is None or self.second is None:
            return "only second" if self.first is None else "only first"
        return "matched" if self.first.category == self.second.category else "other class"

    @property
    def categories(self) -> tuple[str, str]:
        """What the first called it and what the second did; "" where there is no box."""
        return (
            self.first.category if self.first else "",
            self.second.category if self.second else "",
        )


@dataclass(frozen=True, slots=True)
class ClassAgreement:
    """How far two people agree on a class, or on ALL. other_class: pairs that just one of the two calls so. mean_iou: of the
    matched; NaN without any."""

    category: str
    matched: int
    only_first: int
    only_second: int
    other_class: int
    mean_iou: float


def match_boxes(
    picture: str, first: Sequence[LabelledObject], second: Sequence[LabelledObject]
) -> list[LabelPair]:
    """The boxes of one picture, each once: greedily the best IoU first, and of equal ones those of one class."""
    corners = [
        np.array([(o.x0, o.y0, o.x1, o.y1) for o in side], np.float64).reshape(-1, 4)
        for side in (first, second)
    ]
    overlaps = box_iou(*corners)
    near = zip(*(rows.tolist() for rows in np.nonzero(overlaps >= MIN_IOU)), strict=True)
    found: list[LabelPair] = []
    left, right = dict(enumerate(first)), dict(enumerate(second))
    for i, j in sorted(
        near, key=lambda at: (-overlaps[at], first[at[0]].category != second[at[1]].category, at)
    ):
        if i in left and j in right:
            found.append(LabelPair(picture, left.pop(i), right.pop(j), float(overlaps[i, j])))
    return [
        *found,
        *(LabelPair(picture, o, None, 0.0) for o in left.values()),
        *(LabelPair(picture, None, o, 0.0) for o in right.values()),
    ]


def class_agreements(label_pairs: Sequence[LabelPair]) -> list[ClassAgreement]:
    """ALL first, then every class by name."""
    names = sorted({name for pair in label_pairs for name in pair.categories if name})
    return [
        _class_agreement(ALL_CLASSES, label_pairs),
        *(
            _class_agreement(name, [pair for pair in label_pairs if name in pair.categories])
            for name in names
        ),
    ]


def _class_agreement(category: str, label_pairs: Sequence[LabelPair]) -> ClassAgreement:
    counts = Counter(pair.verdict for pair in label_pairs)
    overlaps = [pair.iou for pair in label_pairs if pair.verdict == "matched"]
    matched, only_first, only_second, other = (
        counts[word] for word in ("matched", "only first", "only second", "other class")
    )
    return ClassAgreement(
        category,
        matched,
        only_first,
        only_second,
        other,
        float(np.mean(overlaps)) if overlaps else np.nan,
    )


def index_by_name(
    kind: str, path: Path, images: Sequence[LabelledImage]
) -> dict[str, LabelledImage]:
    """Pictures by what tells them apart in both people's folders. Raises BadLabels where two would be the same."""
    found: dict[str, LabelledImage] = {}
    for image in images:
        parts = image.path.relative_to(reading.images_root(kind, path)).parts
        name = "/".join(part for part in parts if part not in _IGNORED_FOLDERS)
        if name in found:
            raise reading.BadLabels(
                f"{image.path} and {found[name].path}: both are {name} to be compared; compare one split at a time"
            )
        found[name] = image
    return found


def compare_labels(
    first: dict[str, LabelledImage], second: dict[str, LabelledImage]
) -> list[LabelPair]:
    """The pairs of the pictures that both labelled, by name. Raises BadLabels where there are none, or one is of two sizes."""
    shared = sorted(first.keys() & second.keys())
    if not shared:
        raise reading.BadLabels("no picture is in both folders")
    for name in shared:
        sizes = [
            f"{image.path}: {image.width_px} x {image.height_px} px"
            for image in (first[name], second[name])
        ]
        if sizes[0].rpartition(": ")[2] != sizes[1].rpartition(": ")[2]:
            raise reading.BadLabels(f"one picture in two sizes: {sizes[0]}, {sizes[1]}")
    return [
        pair
        for name in shared
        for pair in match_boxes(name, first[name].objects, second[name].objects)
    ]


def write_disagreements_csv(path: Path, label_pairs: Sequence[LabelPair]) -> None:
    """The pairs that differ, one a line."""
    corners = ("x0", "y0", "x1", "y1")
    head = [
        "picture",
        "verdict",
        "first",
        "second",
        "iou",
        *(f"{side}_{c}" for side in ("first", "second") for c in corners),
    ]
    with path.open("w", encoding="utf-8", newline="") as file:
        out = csv.writer(file)
        out.writerow(head)
        for pair in label_pairs:
            if pair.verdict != "matched":
                drawn = [
                    getattr(box, c) if box else ""
                    for box in (pair.first, pair.second)
                    for c in corners
                ]
                out.writerow(
                    [
                        escape_formula(pair.picture),
                        pair.verdict,
                        *map(escape_formula, pair.categories),
                        f"{pair.iou:.3f}",
                        *drawn,
                    ]
                )


def escape_formula(text: str) -> str:
    """A word that no spreadsheet takes for a formula: quoted where it begins like one (OWASP, CSV injection)."""
    return f"'{text}" if text.lstrip()[:1] in ("=", "+", "-", "@", "'") and text.strip() else text


def render_disagreements(
    args: argparse.Namespace, images: dict[str, LabelledImage], label_pairs: Sequence[LabelPair]
) -> str:
    """The page of the pictures that differ, those with most differences first."""
    differing = Counter(pair.picture for pair in label_pairs if pair.verdict != "matched")
    chosen = sorted(differing, key=lambda name: (-differing[name], name))[: args.pictures]
    head, *rows = agreement_table(label_pairs)
    facts = {
        "first": args.labels[1].name,
        "second": args.second[1].name,
        "kappa": kappa_line(label_pairs),
        "head": head,
        "rows": rows,
    }
    pages = [
        page_context(images[name], name, [pair for pair in label_pairs if pair.picture == name])
        for name in chosen
    ]
    return html.render(
        "label_disagreements.html", **facts, pages=pages, pictures_count=len(differing)
    )


def page_context(
    image: LabelledImage, name: str, label_pairs: Sequence[LabelPair]
) -> dict[str, object]:
    rgb, out = decode.decode_image(image.path.read_bytes(), MAX_IMAGE_SIDE_PX), io.BytesIO()
    Image.fromarray(rgb).save(out, "JPEG", quality=80)
    lines = [
        f"{p.verdict}: {' / '.join(filter(None, p.categories))}, {describe_position(p)}"
        for p in label_pairs
        if p.verdict != "matched"
    ]
    return {
        "name": name,
        "uri": f"data:image/jpeg;base64,{base64.b64encode(out.getvalue()).decode()}",
        "shown_px": (rgb.shape[1], rgb.shape[0]),
        "width_px": image.width_px,
        "height_px": image.height_px,
        "boxes": [
            (side, box)
            for p in label_pairs
            for side, box in (("first", p.first), ("second", p.second))
            if box
        ],
        "lines": lines,
    }


def describe_position(pair: LabelPair) -> str:
    """Where a pair is, for a reader: the corner of the box, and how far two overlap."""
    box = pair.first or pair.second
    place = f"at x {box.x0}, y {box.y0}" if box else ""
    return f"{place}, IoU {pair.iou:.2f}" if pair.first and pair.second else place


def agreement_table(label_pairs: Sequence[LabelPair]) -> list[list[str]]:
    head = ["class", "matched", "only first", "only second", "other class", "mean IoU"]
    rows = [
        [
            a.category,
            *map(str, (a.matched, a.only_first, a.only_second, a.other_class)),
            format_figure(a.mean_iou),
        ]
        for a in class_agreements(label_pairs)
    ]
    return [head, *rows]


def kappa_line(label_pairs: Sequence[LabelPair]) -> str:
    n = sum(all(pair.categories) for pair in label_pairs)
    kappa = format_figure(class_kappa(label_pairs))
    return f"Cohen's kappa of the classes of {n} boxes that both drew: {kappa}"


def class_kappa(label_pairs: Sequence[LabelPair]) -> float:
    """Return Cohen's kappa of the classes of the boxes that both people drew; NaN if undefined."""
    kappa = cohen_kappa([pair.categories for pair in label_pairs if all(pair.categories)])
    return np.nan if kappa is None else kappa


def format_figure(value: float) -> str:
    return "–" if np.isnan(value) else f"{value:.3f}"


def format_table(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(v.rjust(w) for v, w in zip(row[1:], widths[1:], strict=True)),
            ]
        )
        for row in rows
    )


def read_labels(kind: str, path: Path) -> tuple[list[LabelledImage], int]:
    """The pictures at a place, and how many problems there are; prints both."""
    images, problems = reading.read_labels(kind, path)
    boxes = Counter(o.category for image in images for o in image.objects)
    in_pictures = Counter(name for image in images for name in {o.category for o in image.objects})
    print(
        f"{path}: {len(images)} pictures, {sum(not i.objects for i in images)} of them without a box, {boxes.total()} boxes"
    )
    print(
        format_table(
            [
                ["class", "boxes", "pictures"],
                *([name, str(boxes[name]), str(in_pictures[name])] for name in sorted(boxes)),
            ]
        )
    )
    for problem in problems:
        print(problem)
    return images, len(problems)


def work(args: argparse.Namespace) -> None:
    sides = [args.labels, *([args.second] if args.second else [])]
    found_in = [(kind, place, *read_labels(kind, place)) for kind, place in sides]
    if count := sum(count for *_, count in found_in):
        raise job.JobRejected(f"{count} bad labels")
    if not args.second:
        return
    first, second = (index_by_name(kind, place, images) for kind, place, images, _ in found_in)
    found = compare_labels(first, second)
    args.out.mkdir(parents=True, exist_ok=True)
    write_disagreements_csv(args.out / "disagreements.csv", found)
    (args.out / "disagreements.html").write_text(
        render_disagreements(args, first, found), encoding="utf-8"
    )
    shared = len(first.keys() & second.keys())
    print(
        f"{shared} pictures compared; only in the first {len(first) - shared}, only in the second {len(second) - shared}"
    )
    print(format_table(agreement_table(found)))
    print(kappa_line(found))


def parse_kind_and_path(text: str) -> tuple[str, Path]:
    kind, _, place = text.partition("=")
    if kind not in reading.LABEL_FORMATS or not place:
        raise argparse.ArgumentTypeError(
            f"{text!r}: wanted KIND=FOLDER, KIND one of {', '.join(reading.LABEL_FORMATS)}"
        )
    return kind, Path(place)


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "labels", type=parse_kind_and_path, metavar="KIND=FOLDER", help="labels to check"
    )
    made.add_argument(
        "--second",
        type=parse_kind_and_path,
        metavar="KIND=FOLDER",
        help="another person's labels of the same pictures",
    )
    made.add_argument(
        "--out",
        type=Path,
        metavar="FOLDER",
        help="where the disagreements go; wanted with --second",
    )
    made.add_argument(
        "--pictures",
        type=int,
        default=100,
        help="at most so many on the page (default: %(default)s)",
    )
    return made


def main(argv: list[str] | None = None) -> int:
    made = parser()
    args = made.parse_args(argv)
    if bool(args.second) != bool(args.out):
        made.error("--second and --out go together")
    return job.run_job(work, made, argv)


if __name__ == "__main__":
    sys.exit(main())
