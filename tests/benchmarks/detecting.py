"""Detecting: bytes to items by the nightly job, beside the network alone on ready tensors."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pyarrow as pa
import torch
from tests.benchmarks import stages
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    SkippedBench,
    exponent,
    median_seconds,
    seconds,
)
from tests.benchmarks.pictures import describe_pictures, load_pictures

from wearalike.detection import detect
from wearalike.detection.networks import base
from wearalike.imaging import decode as imaging_decode
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.pipeline import detect_items
from wearalike.storage import content_cache

PICTURES, PICTURES_FULL = 60, 1_000
TARGET = "≥ 0.8"


def cpu(options: BenchOptions) -> BenchResult | SkippedBench:
    return compare_with_forwards(options, "cpu", PICTURES_FULL if options.full else PICTURES)


def gpu(options: BenchOptions) -> BenchResult | SkippedBench:
    if not torch.cuda.is_available():
        return SkippedBench("detect, GPU", TARGET, "no GPU here")
    return compare_with_forwards(options, "cuda", PICTURES_FULL)


def compare_with_forwards(
    options: BenchOptions, device: str, count: int
) -> BenchResult | SkippedBench:
    """Measure on one device, with street photos if the folder of photos has some in `street`."""
    is_gpu = device == "cuda"
    name = "detect, GPU" if is_gpu else "detect, CPU"
    street = options.photos and options.photos / "street"
    mine = BenchOptions(options.full, street if street and street.is_dir() else options.photos)
    contents = load_pictures(mine, count)
    cores_count = len(os.sched_getaffinity(0))
    try:
        detector = detect.NetworkDetector(
            registry.packaged_model(ModelKind.DETECTOR, detect.CLASSIFYING_DETECTOR).read(), device
        )
    except ImportError as error:
        return SkippedBench(
            name, TARGET, f"{error}: pip install wearalike[yolo], apt-get install libgl1"
        )
    network = detector._network
    squares_network = network._network  # type: ignore[attr-defined]
    forward, batch = squares_network.run, squares_network.batch_size
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        ids = [hashlib.sha256(content).hexdigest() for content in contents]
        for image_id, content in zip(ids, contents, strict=True):
            content_cache.write_atomic(content_cache.image_path(root, image_id), content)
        tensors = [detector_input(content, network) for content in contents]
        ready = [np.concatenate(tensors[i : i + batch]) for i in range(0, len(tensors), batch)]

        def ours(count: int | None = None) -> None:
            shutil.rmtree(root / "cache" / "items", ignore_errors=True)
            detect_items.detect_new_images(root, detector, pa.array(ids[:count]), None)

        def forwards() -> None:
            with ThreadPoolExecutor(1 if is_gpu else cores_count) as cores:
                list(cores.map(forward, ready))

        ours_s, limit_s = median_seconds([ours, forwards])
        sizes = [len(ids) // 4, len(ids) // 2, len(ids)]
        growth = exponent(
            sizes, [*(seconds(lambda size=size: ours(size)) for size in sizes[:2]), ours_s]
        )
        of_picture = {} if is_gpu else detection_stages(contents[:20], detector)
    if of_picture:
        stages.plot_stages("detect", of_picture)
    openvino_engine = (
        f"openvino {openvino.__version__.split('-')[0]}, float32, "
        f"{cores_count} streams of one thread"
    )
    engine = (
        f"torch {torch.__version__} on one {torch.cuda.get_device_name()}, {batch} at a time"
        if is_gpu
        else openvino_engine
    )
    settings = (
        f"forward passes of {detector.version} alone, {engine}, ready tensors; "
        f"{describe_pictures(mine, contents)}"
    )
    ratio = limit_s / ours_s
    rates = [len(ids) / s for s in (ours_s, limit_s)]
    note = stages.format_stages(of_picture) if of_picture else ""
    return BenchResult(
        name, *rates, "images/s", ratio, TARGET, ratio >= 0.8, RUNS, settings, growth, note
    )


def detector_input(content: bytes, network: base.DetectionNetwork) -> np.ndarray:
    """Return a picture as the network takes it, float32 (1, 3, side, side)."""
    return base.normalize_for_backbone(
        imaging_decode.letterbox(
            imaging_decode.decode_image(content, network.side_px), network.side_px
        )[None]
    )


def detection_stages(contents: list[bytes], detector: detect.NetworkDetector) -> dict[str, float]:
    """Return the mean milliseconds of a picture in each stage."""
    network = detector._network
    decode, images = stages.mean_ms(
        lambda content: imaging_decode.decode_image(content, network.side_px), contents
    )
    fit, squares = stages.mean_ms(
        lambda image: imaging_decode.letterbox(image, network.side_px)[None], images
    )
    scale, tensors = stages.mean_ms(base.normalize_for_backbone, squares)
    forward, _ = stages.mean_ms(network._network.run, tensors)  # type: ignore[attr-defined]
    whole, _ = stages.mean_ms(lambda image: detector.detect([image]), images)
    standing, _ = stages.mean_ms(detector._foreground_box, images)
    boxes = max(0.0, whole - fit - scale - forward - standing)
    return {
        "decode": decode,
        "resize": fit,
        "scale": scale,
        "network": forward,
        "boxes": boxes,
        "what stands out": standing,
    }


BENCHES = (cpu, gpu)
