"""Encoding: bytes to codes by the nightly job, beside a notebook and beside the network alone."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import openvino
import pyarrow as pa
import torch
from PIL import Image, ImageOps
from tests.benchmarks import stages
from tests.benchmarks.measure import (
    RUNS,
    BenchOptions,
    BenchResult,
    SkippedBench,
    exponent,
    median_processor_seconds,
    median_seconds,
    seconds,
)
from tests.benchmarks.pictures import describe_pictures, load_pictures
from torch import nn

from wearalike.detection import detect
from wearalike.encoding import encoders, likeness_net
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.precision import Precision
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.pipeline import item_codes
from wearalike.storage import content_cache
from wearalike.tables import CODE_BITS, ITEMS

PICTURES, PICTURES_FULL = 120, 2_000
GPU_PICTURES, GPU_PICTURES_FULL = 5_000, 50_000
# Targets: speed-up over the notebook, and shares of the limits on CPU and GPU.
BYTES_TO_CODES, LIMIT, GPU_LIMIT, BFLOAT16 = "≥ 8", "≥ 0.85", "≥ 0.7", "≥ 1.6"
# Share of the bits that must equal the notebook's: the rest is rounding.
MIN_EQUAL_BITS = 0.98


class EncodingWork:
    """The same items for every contender: pictures and the items that the detector finds."""

    def __init__(self, root: Path, contents: list[bytes], device: str = "cpu") -> None:
        self.root, self.contents = root, contents
        self.model = registry.packaged_model(
            registry.ModelKind.ENCODER, registry.DEFAULT_ENCODER
        ).read()
        self.encoder = encoders.build_encoder(self.model, device)
        detector = detect.ForegroundDetector()
        rows = []
        for content in contents:
            image_id = hashlib.sha256(content).hexdigest()
            content_cache.write_atomic(content_cache.image_path(root, image_id), content)
            rows += detect.detect_items(detector, image_id, content)
        self.items = pa.Table.from_pylist(rows, detect.ITEM_CACHE_SCHEMA).select(ITEMS.column_names)
        self.boxes = [tuple(row[name] for name in ("x0", "y0", "x1", "y1")) for row in rows]
        self.network: nn.Module = likeness_net.load_likeness_net(
            self.model.arrays, self.model.architecture
        )
        cores = len(os.sched_getaffinity(0))
        self.forward = registry.compile_network(
            self.network, (1, 3, *[EFFICIENTNET_LITE0.input_px] * 2), cores
        )
        crops = [
            decode.crop_boxes(c, [b], self.encoder.side_px)[0]
            for c, b in zip(contents, self.boxes, strict=True)
        ]
        self.tensors = [stages.encoder_input(crop) for crop in crops]

    def encode_ours(
        self, count: int | None = None, encoder: encoders.Encoder | None = None
    ) -> pa.Table:
        """Run the nightly job with an empty cache: read, decode, crop, encode and cache."""
        encoder = encoder or self.encoder
        shutil.rmtree(self.root / "cache" / "codes", ignore_errors=True)
        item_codes.encode_and_cache(self.root, encoder, self.items.slice(0, count))
        return content_cache.read_cached(
            self.root, "codes", encoder.version, encoders.CODE_CACHE_SCHEMA
        )

    def encode_like_notebook(self) -> np.ndarray:
        """Encode picture by picture through PIL and eager PyTorch: codes, uint8 (n, 32)."""
        codes = []
        for content, box in zip(self.contents, self.boxes, strict=True):
            image = Image.open(io.BytesIO(content)).convert("RGB").crop(box)
            square = ImageOps.pad(image, (224, 224), Image.Resampling.BILINEAR, "white")
            tensor = (
                torch.from_numpy(np.array(square))
                .permute(2, 0, 1)
                .float()
                .div(255)
                .sub(0.5)
                .div(0.5)
            )
            with torch.no_grad():
                codes.append(
                    np.packbits(self.network(tensor[None])[0, : 2 * CODE_BITS].numpy() > 0)
                )
        return np.stack(codes)

    def run_forward_passes(self) -> None:
        """Run the network alone on ready tensors, one core a tensor."""
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
            list(cores.map(self.forward, self.tensors))

    def decode_crops(self) -> None:
        """Do all that comes before the network, one core a picture."""
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
            list(
                cores.map(
                    lambda c, b: stages.encoder_input(
                        decode.crop_boxes(c, [b], self.encoder.side_px)[0]
                    ),
                    self.contents,
                    self.boxes,
                )
            )

    def run_batches(self) -> None:
        """Run the network alone on the encoder's device, in batches as the encoder makes them."""
        forward = self.encoder._forward  # type: ignore[attr-defined]
        for start in range(0, len(self.tensors), forward._batch_size):
            forward._network(np.concatenate(self.tensors[start : start + forward._batch_size]))

    def equal_bits_ratio(self) -> float:
        """Return the share of bits that equal the notebook's, to show that it is the same work."""
        found = {
            row["item_id"]: row["shape"] + row["colour"] for row in self.encode_ours().to_pylist()
        }
        mine = np.stack(
            [
                np.frombuffer(found[item_id], np.uint8)
                for item_id in self.items["item_id"].to_pylist()
            ]
        )
        return 1 - float(np.bitwise_count(mine ^ self.encode_like_notebook()).mean()) / 8


def cpu(options: BenchOptions) -> list[BenchResult]:
    contents = load_pictures(options, PICTURES_FULL if options.full else PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        work = EncodingWork(Path(folder), contents)
        count, alike = len(contents), work.equal_bits_ratio()
        sizes = [count // 4, count // 2, count]
        ours_s, peer_s, limit_s = median_seconds(
            [work.encode_ours, work.encode_like_notebook, work.run_forward_passes]
        )
        growth = exponent(
            sizes,
            [*(seconds(lambda size=size: work.encode_ours(size)) for size in sizes[:2]), ours_s],
        )
        of_item = stages.encoding_stages(contents[:60], work.boxes[:60], work.encoder, work.forward)
    stages.plot_stages("encode", of_item)
    rates = [count / s for s in (ours_s, peer_s, limit_s)]
    bits = (
        f"{alike:.4f} of the bits are the same"
        if alike > MIN_EQUAL_BITS
        else f"OTHER CODES: only {alike:.4f} of the bits are the same"
    )
    is_same = alike > MIN_EQUAL_BITS
    threads = len(os.sched_getaffinity(0))
    eager = (
        f"torch {torch.__version__} eager, float32, {torch.get_num_threads()} threads, Pillow, "
        "one picture at a time"
    )
    alone = (
        f"the forward passes alone, openvino {openvino.__version__.split('-')[0]}, float32, "
        f"{threads} streams of one thread, ready tensors"
    )
    settings = f"{eager}; {describe_pictures(options, contents)}"
    ratio, part = peer_s / ours_s, limit_s / ours_s
    unit = "images/s"
    return [
        BenchResult(
            "encode, CPU",
            rates[0],
            rates[1],
            unit,
            ratio,
            BYTES_TO_CODES,
            is_same and ratio >= 8,
            RUNS,
            settings,
            growth,
            bits,
        ),
        BenchResult(
            "encode, CPU limit",
            rates[0],
            rates[2],
            unit,
            part,
            LIMIT,
            part >= 0.85,
            RUNS,
            alone,
            growth,
            stages.format_stages(of_item),
        ),
    ]


def bfloat16(options: BenchOptions) -> BenchResult | SkippedBench:
    """The nightly job in bfloat16 beside the same in float32, by processor time."""
    named = registry.packaged_model(registry.ModelKind.ENCODER, registry.DEFAULT_ENCODER)
    try:
        rough = encoders.build_encoder(named.at_precision(Precision.BFLOAT16).read())
    except registry.BadModel as error:
        return SkippedBench("encode, bfloat16", BFLOAT16, str(error))
    contents = load_pictures(options, PICTURES_FULL if options.full else PICTURES)
    with tempfile.TemporaryDirectory() as folder:
        work = EncodingWork(Path(folder), contents)
        rough_s, exact_s = median_processor_seconds(
            [lambda: work.encode_ours(encoder=rough), work.encode_ours]
        )
        found = [
            np.frombuffer(b"".join(r["shape"] + r["colour"] for r in table.to_pylist()), np.uint8)
            for table in (
                work.encode_ours(encoder=rough).sort_by("item_id"),
                work.encode_ours().sort_by("item_id"),
            )
        ]
    alike = 1 - float(np.bitwise_count(found[0] ^ found[1]).mean()) / 8
    ratio, count = exact_s / rough_s, len(contents)
    return BenchResult(
        "encode, bfloat16",
        count / rough_s,
        count / exact_s,
        "images a second of processor",
        ratio,
        BFLOAT16,
        ratio >= 1.6,
        RUNS,
        f"{work.model.version} in float32, the same job; {describe_pictures(options, contents)}",
        None,
        f"{rough.version}: {alike:.4f} of the bits are the same",
    )


def gpu(options: BenchOptions) -> BenchResult | SkippedBench:
    """Compare with the machine's limit: decoding or forward passes, whichever is slower."""
    if not torch.cuda.is_available():
        return SkippedBench("encode, GPU", GPU_LIMIT, "no GPU here")
    contents = load_pictures(options, GPU_PICTURES_FULL if options.full else GPU_PICTURES)
    return compare_with_limits(
        contents, "cuda", torch.cuda.get_device_name(), describe_pictures(options, contents)
    )


def compare_with_limits(contents: list[bytes], device: str, name: str, what: str) -> BenchResult:
    with tempfile.TemporaryDirectory() as folder:
        work = EncodingWork(Path(folder), contents, device)
        count, runs = len(contents), 3
        ours_s, decodes_s, batches_s = median_seconds(
            [work.encode_ours, work.decode_crops, work.run_batches], runs
        )
        growth = exponent(
            [count // 4, count // 2, count],
            [*(seconds(lambda n=n: work.encode_ours(n)) for n in (count // 4, count // 2)), ours_s],
        )
    limit_s = max(decodes_s, batches_s)
    limits = (
        f"decoding alone, {count / decodes_s:,.0f}, "
        f"and forward passes alone, {count / batches_s:,.0f} images/s"
    )
    settings = f"the slower of {limits}; {name}; {what}"
    ratio = limit_s / ours_s
    return BenchResult(
        "encode, GPU",
        count / ours_s,
        count / limit_s,
        "images/s",
        ratio,
        GPU_LIMIT,
        ratio >= 0.7,
        runs,
        settings,
        growth,
    )


BENCHES = (cpu, bfloat16, gpu)
