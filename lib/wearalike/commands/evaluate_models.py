"""`wearalike evaluate`: measure encoders and detectors on labelled photos, in one table."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from wearalike.commands.evaluated_models import PROMOTED, EvaluationRun
from wearalike.commands.evaluation_run import evaluate_models
from wearalike.commands.groups import command
from wearalike.commands.options import (
    PATH,
    ParsedText,
    device_option,
    parse_kind_and_folder,
    parse_name_and_file,
    settings_options,
    strict_labels_option,
)
from wearalike.datasets import labelled_photos, layouts
from wearalike.detection import detect
from wearalike.evaluation.descriptors import base
from wearalike.models import registry
from wearalike.pipeline import job

DEFAULT_ENCODERS = (registry.DEFAULT_ENCODER, "efficientnet-lite0", "hsv", "contour", "phash")


@command("evaluate")
@click.option(
    "--data",
    type=ParsedText("KIND=FOLDER", parse_kind_and_folder(layouts.MEASURED_KINDS)),
    multiple=True,
    required=True,
    help=f"Labelled photos; may be repeated. KIND: {', '.join(layouts.MEASURED_KINDS)}. "
    "run=RUN takes the tables of a run.",
)
@click.option("--out", type=PATH, required=True, metavar="DIR", help="Folder of the report.")
@click.option(
    "--encoder",
    "encoders",
    multiple=True,
    metavar="NAME",
    help=f"May be repeated: {PROMOTED} (used by runs now), a model file, or one of "
    f"{', '.join(base.descriptor_names())}; with +bf16 after its name, one of our own computes in "
    "bfloat16; default, without --detector: "
    f"{' '.join(DEFAULT_ENCODERS)}.",
)
@click.option(
    "--detector",
    "detectors",
    multiple=True,
    metavar="NAME",
    help=f"May be repeated: {PROMOTED}, a model file, or one of "
    f"{', '.join(detect.WEIGHT_FREE_DETECTORS)}.",
)
@click.option(
    "--leaves",
    "leaf_classifiers",
    multiple=True,
    metavar="NAME",
    help=f"May be repeated: {PROMOTED}, a model file or a packaged leaf classifier. It runs beside "
    f"the first --encoder, else the {PROMOTED} one.",
)
@click.option(
    "--distance",
    "distances",
    multiple=True,
    metavar="NAME",
    help='May be repeated, e.g. cosine, "hamming 8:2"; default: each encoder\'s own.',
)
@click.option(
    "--split",
    type=click.Choice([*labelled_photos.SPLITS, "all"]),
    default="test",
    show_default=True,
    help="Photos that are the queries.",
)
@click.option(
    "--baseline",
    metavar="NAME",
    help="Encoder that the others are compared with; default: the first.",
)
@click.option(
    "--k",
    type=int,
    multiple=True,
    default=(10,),
    show_default=True,
    help="Length of lists; may be repeated.",
)
@click.option(
    "--max-queries",
    type=int,
    default=2000,
    show_default=True,
    help="Of more queries so many are drawn, the same for every encoder.",
)
@click.option(
    "--crop-with",
    default=PROMOTED,
    show_default=True,
    metavar="NAME",
    help="Detector that crops photos without a box, named as for --detector.",
)
@click.option(
    "--weights",
    type=ParsedText("NAME=FILE", parse_name_and_file),
    multiple=True,
    help="Weights of a network, where torch's cache has none; may be repeated.",
)
@click.option(
    "--book",
    type=PATH,
    metavar="FILE",
    help="Workbook (.xlsx) of many evaluations, which gains a tab for this one.",
)
@click.option(
    "--name",
    help="Name of its tab, over an earlier one of that name; default: the name of DIR.",
)
@strict_labels_option
@device_option
@settings_options
def evaluate(device: str, data_dir: Path | None, config: Path | None, **options: Any) -> None:
    """Measure encoders and detectors on labelled photos.

    Encoders: the photos of --split are the queries, those of the other splits the gallery. With
    --split all, or where there is no other split, every photo is a query against all others.
    Photos are cropped as a run crops them: by the box they are labelled with, else by --crop-with.

    Leaf classifiers are measured where the photos' `type` means a leaf (mappings/labels.xml): TPR
    and FPR of every kind, in the workbook.

    Detectors are measured by boxes, where photos have boxes or masks. Otherwise the detected item
    must be of the super-category that the photo's `type` belongs to.

    DIR gets evaluation.html, .xlsx, .parquet and .json (one row a metric, with its 95 % interval),
    and differences.json (paired). queries.parquet and models.json are for `wearalike promote`;
    features/ makes a second evaluation quick. --book keeps the figures of many evaluations in one
    workbook, whose formulas compare any two.
    """
    if not (options["encoders"] or options["detectors"] or options["leaf_classifiers"]):
        options["encoders"] = DEFAULT_ENCODERS
    settings = job.read_settings(config, data_dir, needs_feeds=False, needs_deployment=False)
    run = EvaluationRun(
        **options,
        device=registry.resolve_device(device),
        root=settings.data_dir,
        mappings=settings.mappings,
    )
    run.check()
    evaluate_models(run)
