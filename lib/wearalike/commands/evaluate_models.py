"""Labelled photos -> how good models are: encoders by what they find alike, detectors by what they see. One command, one table.

    python -m wearalike.commands.evaluate_models --data folder=my_photos --encoders promoted build/mine-1/mine-1.safetensors --out build/seen

Encoders: the photos of --split ask, those of the other splits answer; with --split all, or where there is no other split, every
photo asks all the rest. Photos are cropped as the night would: by the box they are labelled with, else by --detector.
Detectors: by boxes where they are labelled or in masks, else by whether the item looked at is of the super-category that the
photo's `type` belongs to. The first of either is the reference that the others are held against, unless --reference names another.

Written into --out: evaluation.html, evaluation.xlsx, evaluation.parquet and evaluation.json (a row a measure, with its 95 %
interval); differences.json, paired; queries.parquet, every query's values, and models.json, whose files were measured: what
promote_model reads; features/, what was described, so that a second evaluation is quick.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import logging
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from wearalike.datasets import labelled_photos, layouts
from wearalike.detection import detect
from wearalike.detection.classes import GarmentClass, UnknownLabel
from wearalike.evaluation import compare_detectors, extract, ground_truth, rank, report, workbook
from wearalike.evaluation import figures as evaluation_figures
from wearalike.evaluation.compare_encoders import (
    EncoderResults,
    EncoderUnderTest,
    compare_encoders,
    format_table,
)
from wearalike.evaluation.descriptors import base
from wearalike.evaluation.descriptors.autoencoder import Autoencoder
from wearalike.evaluation.descriptors.base import Descriptor
from wearalike.evaluation.detectors import (
    ClassAgnosticDetectorAdapter,
    DetectorUnderTest,
    GarmentDetectorAdapter,
)
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.pipeline import job
from wearalike.training.detector.dataset import CLASS_LOOKUP_BY_KIND

log = logging.getLogger("wearalike.evaluate_models")
DEFAULT_ENCODERS = (registry.DEFAULT_ENCODER, "efficientnet-lite0", "hsv", "contour", "phash")
PROMOTED = "promoted"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = made.add_argument
    add(
        "--data",
        type=layouts.parse_kind_and_folder,
        action="append",
        required=True,
        metavar="KIND=FOLDER",
        help="labelled photos",
    )
    known = (
        f"{PROMOTED} (what the nights use), model files, or of {', '.join(base.descriptor_names())}"
    )
    add(
        "--encoders",
        nargs="+",
        metavar="NAME",
        help=f"{known}; default, without --detectors: {' '.join(DEFAULT_ENCODERS)}",
    )
    add(
        "--detectors",
        nargs="+",
        default=[],
        metavar="NAME",
        help=f"{PROMOTED}, model files, or of {', '.join(detect.WEIGHT_FREE_DETECTORS)}",
    )
    add(
        "--distances",
        nargs="+",
        metavar="NAME",
        help='such as cosine "hamming 8:2", where they suit; default: each encoder\'s own',
    )
    add(
        "--split",
        choices=(*labelled_photos.SPLITS, "all"),
        default="test",
        help="who asks (default: %(default)s)",
    )
    add(
        "--reference",
        metavar="NAME",
        help="the encoder that others are held against (default: the first)",
    )
    add(
        "--k",
        type=int,
        nargs="+",
        default=[10],
        help="how many results are looked at (default: 10)",
    )
    add(
        "--detector",
        default=PROMOTED,
        metavar="NAME",
        help="crops what has no box, named as for --detectors (default: %(default)s)",
    )
    add(
        "--weights",
        type=parse_name_and_path,
        action="append",
        default=[],
        metavar="NAME=FILE",
        help="of a network, where torch's cache has none",
    )
    add("--device", choices=("auto", "cpu", "cuda"), default="auto")
    add(
        "--data-dir",
        type=Path,
        help="folder of all tables, where the promoted models lie; default: the settings' root",
    )
    add(
        "--config",
        type=Path,
        help="settings file; default: $WEARALIKE_CONFIG, else ./wearalike.toml",
    )
    add("--out", type=Path, required=True, help="folder to write")
    return made


def parse_name_and_path(text: str) -> tuple[str, Path]:
    name, _, path = text.partition("=")
    if not (name and path):
        raise argparse.ArgumentTypeError(f"{text!r}: wanted NAME=FILE")
    return name, Path(path)


def work(args: argparse.Namespace) -> None:
    args.encoders = args.encoders or ([] if args.detectors else list(DEFAULT_ENCODERS))
    if args.reference and args.reference not in args.encoders:
        raise ValueError(
            f"--reference {args.reference}: not among --encoders {' '.join(args.encoders)}"
        )
    if strange := sorted({name for name, _ in args.weights} - set(args.encoders)):
        raise ValueError(f"--weights {strange[0]}: not among --encoders {' '.join(args.encoders)}")
    if min(args.k) < 1:
        raise ValueError(f"--k {min(args.k)}: wanted 1 or more")
    sets = [
        (kind, labelled_photos.read_dataset(kind, folder), folder) for kind, folder in args.data
    ]
    if len({s.name for _, s, _ in sets}) < len(sets):
        raise ValueError(
            f"--data: wanted folders of different names, got {', '.join(s.name for _, s, _ in sets)}"
        )
    args.device = registry.resolve_device(args.device)
    encoders, seers = load_encoders(args), load_detectors(args)
    results, seen = EncoderResults(), list[compare_detectors.DetectorEvaluation]()
    for kind, of, folder in sets:
        if encoders:
            results.extend(
                compare_encoders(
                    asked := rank.split_query_gallery(of, args.split),
                    prepare_encoders(args, kind, asked, encoders),
                    args.k,
                )
            )
        if seers:
            seen += evaluate_detectors(
                args,
                of.name,
                ground_truth.read_ground_truth(kind, of, folder, args.split),
                seers,
            )
    facts = {
        "photos": ", ".join(f"{kind} {folder.name}" for kind, folder in args.data),
        "split": args.split,
        "cropped by": args.detector,
    }
    write_evaluation(
        args.out,
        results,
        seen,
        {d.version: d.sha256 for d in encoders} | {s.version: s.sha256 for s in seers},
        facts,
    )
    for descriptor in encoders:
        if isinstance(descriptor, Autoencoder) and descriptor.is_fitted:
            descriptor.save(args.out / "autoencoder.safetensors")


def load_encoders(args: argparse.Namespace) -> list[Descriptor]:
    """The encoders, the reference first."""
    names = list(dict.fromkeys([*([args.reference] if args.reference else []), *args.encoders]))
    weights = dict(args.weights)
    resolved = [
        str(registry.resolve_model(job.load_settings(args).data_dir, ModelKind.ENCODER).path)
        if name == PROMOTED
        else name
        for name in names
    ]
    return unique_models(
        [base.load_descriptor(name, args.device, weights.get(name)) for name in resolved]
    )


def load_detectors(args: argparse.Namespace) -> list[DetectorUnderTest]:
    return unique_models([load_detector(args, name) for name in dict.fromkeys(args.detectors)])


def load_detector(args: argparse.Namespace, name: str) -> DetectorUnderTest:
    night = load_pipeline_detector(args, name)
    if not isinstance(night, detect.NetworkDetector):
        return ClassAgnosticDetectorAdapter(night)
    file = (
        Path(name)
        if name.endswith(".safetensors")
        else registry.resolve_model(
            job.load_settings(args).data_dir, ModelKind.DETECTOR, explicit_name(name)
        ).path
    )
    return GarmentDetectorAdapter(registry.read_model(file), args.device)


def load_pipeline_detector(args: argparse.Namespace, name: str) -> detect.Detector:
    if name.endswith(".safetensors"):
        return detect.NetworkDetector(registry.read_model(Path(name)), args.device)
    return detect.load_detector(job.load_settings(args).data_dir, explicit_name(name), args.device)


def explicit_name(name: str) -> str | None:
    return None if name == PROMOTED else name


def unique_models(loaded: list[Any]) -> list[Any]:
    """Each once. Raises ValueError where two different ones have one version."""
    found: dict[str, Any] = {}
    for one in loaded:
        if found.setdefault(one.version, one).sha256 != one.sha256:
            raise ValueError(
                f"two models of version {one.version}, of sha256 {found[one.version].sha256} and {one.sha256}"
            )
    return list(found.values())


def prepare_encoders(
    args: argparse.Namespace,
    kind: str,
    query_gallery: rank.QueryGallerySplit,
    encoders: list[Descriptor],
) -> list[EncoderUnderTest]:
    """Every encoder with what it makes of a set's photos."""

    def class_of(word: str) -> GarmentClass | None:
        try:
            return CLASS_LOOKUP_BY_KIND[kind](word)
        except UnknownLabel:
            return None  # Of a word that is no garment of ours, any item will do.

    features = args.out / "features"
    log.info(
        "%s: %d photos ask, %d answer",
        query_gallery.labelled.name,
        len(query_gallery.queries),
        len(query_gallery.gallery),
    )
    crops = extract.DatasetCrops(
        query_gallery.labelled, load_pipeline_detector(args, args.detector), features, class_of
    )
    made = []
    for descriptor in encoders:
        progress = job.Progress(f"{query_gallery.labelled.name}, {descriptor.version}", len(crops))
        described = extract.extract_features(
            crops, descriptor, query_gallery.gallery, features, progress.update
        )
        distances = [
            d
            for d in args.distances or descriptor.distances
            if rank.is_suitable_distance(d, described.rows)
        ]
        if not distances:
            raise ValueError(
                f"--distances {', '.join(args.distances)}: none of them is for {descriptor.version}"
            )
        made.append(EncoderUnderTest(descriptor.version, described, distances))
    return made


def evaluate_detectors(
    args: argparse.Namespace,
    dataset: str,
    scenes: list[ground_truth.GroundTruthPhoto],
    detectors: list[DetectorUnderTest],
) -> list[compare_detectors.DetectorEvaluation]:
    """What every detector makes of a set's photos."""
    made = []
    for seer in detectors:
        progress = job.Progress(f"{dataset}, {seer.version}", len(scenes))
        made.append(
            compare_detectors.evaluate_detector(
                dataset, args.split, scenes, seer, detect.MIN_CONFIDENCE, progress.update
            )
        )
    return made


def write_evaluation(
    out: Path,
    results: EncoderResults,
    detector_results: list[compare_detectors.DetectorEvaluation],
    model_hashes: dict[str, str | None],
    facts: dict[str, str],
) -> None:
    """The whole evaluation into a folder. seen: of each set in turn, the reference first."""
    out.mkdir(parents=True, exist_ok=True)
    versions = [
        compare_detectors.version_comparison(one, former)
        for one, former in compare_detectors.pair_with_reference(detector_results)
    ]
    page = dataclasses.replace(
        report.build_report("How good the models are", results, facts), versions=versions
    )
    figures = evaluation_figures.retrieval_figures(results.rows)
    for one in detector_results:
        figures += evaluation_figures.category_figures(
            one.kind, one.version, one.dataset, one.split, one.metrics
        )
    rows = [*results.rows, *(row for one in detector_results for row in one.rows)]
    gains = [
        *results.differences,
        *(
            row
            for one, former in compare_detectors.pair_with_reference(detector_results)
            if former
            for row in compare_detectors.paired_differences(one, former)
        ),
    ]
    for name, content in {"evaluation": rows, "differences": gains, "models": model_hashes}.items():
        (out / f"{name}.json").write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    pq.write_table(
        pa.concat_tables([*results.queries, *(one.queries for one in detector_results)]),
        out / "queries.parquet",
    )
    evaluation_figures.write_parquet(out / "evaluation.parquet", figures)
    workbook.write_workbook(out / "evaluation.xlsx", figures)
    report.write_html(out, page)
    print(format_table(rows))


def main(argv: list[str] | None = None) -> int:
    return job.run_job(work, parser(), argv)


if __name__ == "__main__":
    sys.exit(main())
