"""`wearalike check-labels`: what is in label files, what is wrong, how far two people agree."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import click

from wearalike.commands.groups import command
from wearalike.commands.options import PATH, ParsedText, parse_kind_and_folder
from wearalike.datasets.csv_labels import read_labels_csv
from wearalike.datasets.formats import reading
from wearalike.datasets.formats.record import LabelledImage
from wearalike.datasets.label_agreement import compare_labels, index_by_name
from wearalike.datasets.layouts import FOLDER
from wearalike.pipeline import job
from wearalike.reports import label_agreement_page

_LABELS = ParsedText("KIND=FOLDER", parse_kind_and_folder((*reading.LABEL_FORMATS, FOLDER)))


@command("check-labels")
@click.argument("labels", type=_LABELS)
@click.option(
    "--compare-with", type=_LABELS, help="Another person's labels of the same images; wants --out."
)
@click.option("--out", type=PATH, metavar="DIR", help="Folder of the disagreements.")
@click.option(
    "--pictures", type=int, default=100, show_default=True, help="Images on the page at most."
)
def check_labels(
    labels: tuple[str, Path],
    compare_with: tuple[str, Path] | None,
    out: Path | None,
    pictures: int,
) -> None:
    """Check label files, or compare two people's labels of the same images.

    KIND is coco (a folder, or one JSON file), yolo (a folder) or folder (one with a labels.csv).
    Every bad label is printed with its file and line, and the exit code is then 1. Take the sets of
    `wearalike export-labels` as coco or folder.

    With --compare-with, boxes of one image are pairs from IoU 0.5 on, the best first, whatever
    their class. DIR gets disagreements.csv, and disagreements.html with both people's boxes.
    Images are the same where their paths are; folders named images, train, val, valid or test do
    not count.

    \b
    wearalike check-labels coco=photos
    wearalike check-labels coco=anna --compare-with yolo=ben --out build/agreement
    """
    if bool(compare_with) != bool(out):
        raise click.UsageError("--compare-with and --out go together")
    sides = [labels, compare_with] if compare_with else [labels]
    images_by_side = []
    bad_count = 0
    for kind, path in sides:
        images, side_bad_count = print_labels(kind, path)
        images_by_side.append(images)
        bad_count += side_bad_count
    if bad_count:
        raise job.JobRejected(f"{bad_count} bad labels")
    if compare_with is None or out is None:
        return
    first, second = (
        index_by_name(kind, path, images)
        for (kind, path), images in zip(sides, images_by_side, strict=True)
    )
    pairs = compare_labels(first, second)
    out.mkdir(parents=True, exist_ok=True)
    label_agreement_page.write_disagreements_csv(out / "disagreements.csv", pairs)
    names = (labels[1].name, compare_with[1].name)
    page = label_agreement_page.render_disagreements(names, first, pairs, pictures)
    (out / "disagreements.html").write_text(page, encoding="utf-8")
    shared_count = len(first.keys() & second.keys())
    print(
        f"{shared_count} pictures compared; only in the first {len(first) - shared_count}, "
        f"only in the second {len(second) - shared_count}"
    )
    print(format_table(label_agreement_page.agreement_table(pairs)))
    print(label_agreement_page.kappa_line(pairs))
    for line in label_agreement_page.attribute_lines(pairs):
        print(line)


def print_labels(kind: str, path: Path) -> tuple[list[LabelledImage], int]:
    """Read labels, and print what is in them and every bad one.

    Args:
        kind: the label format.
        path: its folder or file.

    Returns:
        The images, and how many labels are bad.
    """
    images, problems = read_labels_csv(path) if kind == FOLDER else reading.read_labels(kind, path)
    boxes = Counter(o.category for image in images for o in image.objects)
    image_counts = Counter(name for image in images for name in {o.category for o in image.objects})
    empty_count = sum(not image.objects for image in images)
    print(
        f"{path}: {len(images)} pictures, {empty_count} of them without a box, "
        f"{boxes.total()} boxes"
    )
    objects = [o for image in images for o in image.objects]
    if mask_count := sum(o.mask is not None for o in objects):
        print(f"{mask_count} boxes with masks")
    if cut_count := sum(o.is_cut for o in objects):
        print(f"{cut_count} boxes cut at the rim")
    for name in sorted({name for o in objects for name in o.attributes}):
        print(f"{name}: said of {sum(name in o.attributes for o in objects)} boxes")
    rows = [[name, str(boxes[name]), str(image_counts[name])] for name in sorted(boxes)]
    print(format_table([["class", "boxes", "pictures"], *rows]))
    for problem in problems:
        print(problem)
    return images, len(problems)


def format_table(rows: Sequence[Sequence[str]]) -> str:
    """Return rows as aligned columns, the first to the left, the others to the right.

    Args:
        rows: texts; rows of equal length.

    Returns:
        One line a row.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [text.rjust(width) for text, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    return "\n".join(lines)
