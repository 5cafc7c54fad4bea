"""`wearalike export-labels`: what people labelled on the page /label, as a set to train on."""

from __future__ import annotations

from pathlib import Path

import click

from wearalike.commands.groups import command
from wearalike.commands.options import PATH, settings_options
from wearalike.pipeline import job


@command("export-labels")
@click.option(
    "--out", type=PATH, required=True, metavar="DIR", help="New or empty folder of the set."
)
@click.option(
    "--labeller",
    metavar="NAME",
    help="Write what this person last saved, to compare people by `check-labels`; default: the "
    "corrected set.",
)
@click.option(
    "--only-double",
    is_flag=True,
    help="Leave out pictures that one person alone has labelled.",
)
@settings_options
def export_labels(
    out: Path, labeller: str | None, only_double: bool, data_dir: Path | None, config: Path | None
) -> None:
    """Write the labels of the page /label as COCO and as labels.csv, with their pictures.

    Labels chosen or corrected where people disagreed go first, else those on which all agree.
    Pictures with an open disagreement are left out and counted. DIR gets annotations/labels.json
    (classes of detectors), labels.csv (a line a box: leaf, class, colour, pattern) and images/,
    and tells git to ignore it all.

    \b
    wearalike export-labels --out ../labels
    wearalike check-labels coco=../labels
    wearalike train detector --data coco=../labels --out build/mine
    """
    from wearalike.datasets import label_export, label_review, picture_labels
    from wearalike.detection.classes import GARMENT_CLASSES
    from wearalike.warehouse.base import open_warehouse

    if labeller is not None and only_double:
        raise click.UsageError("--labeller and --only-double exclude each other")
    settings = job.read_settings(config, data_dir, needs_feeds=False)
    history = picture_labels.read_history(open_warehouse(settings.warehouse))
    if labeller is None:
        labels, left_out = label_review.choose_corrected(history, only_double=only_double)
    else:
        labels, left_out = label_review.choose_of_person(history, labeller)
    if not labels:
        reasons = ", ".join(f"{reason} {count}" for reason, count in sorted(left_out.items()))
        raise job.JobRejected(
            f"no labels to write; left out: {reasons or 'none, nothing is saved'}"
        )
    classes = {one.name: str(one.super_category) for one in GARMENT_CLASSES}
    written = label_export.write_label_set(out, labels, settings.data_dir, classes)
    print(f"{out}: {written.pictures_count:,} pictures, {written.boxes_count:,} boxes")
    for reason, count in sorted((left_out + written.left_out).items()):
        print(f"left out, {reason}: {count:,}")
