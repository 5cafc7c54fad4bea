"""Encoding: bytes to codes by the night's own job, beside what a notebook does, and beside the network alone."""

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
    median_seconds,
    seconds,
)
from tests.benchmarks.pictures import describe_pictures, load_pictures
from torch import nn

from wearalike.detection import detect
from wearalike.encoding import encoders, hashnet
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.registry import EFFICIENTNET_LITE0
from wearalike.pipeline import encode_items
from wearalike.storage import run_tables
from wearalike.tables import ITEMS

PICTURES, PICTURES_FULL = 120, 2_000
GPU_PICTURES, GPU_PICTURES_FULL = 5_000, 50_000
BYTES_TO_CODES, LIMIT, GPU_LIMIT = "≥ 8", "≥ 0.85", "≥ 0.7"


class EncodingWork:
    """The same items for everybody: pictures in a root of their own, their items as the night's detector sees them."""

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
            run_tables.write_atomic(run_tables.image_path(root, image_id), content)
            rows += detect.detect_items(detector, image_id, content)
        self.items = pa.Table.from_pylist(rows, detect.ITEM_CACHE_SCHEMA).select(ITEMS.column_names)
        self.boxes = [tuple(row[name] for name in ("x0", "y0", "x1", "y1")) for row in rows]
        self.network: nn.Module = hashnet.load_hashnet(self.model.arrays)
        cores = len(os.sched_getaffinity(0))
        self.forward = registry.compile_network(
            self.network, (1, 3, *[EFFICIENTNET_LITE0.input_px] * 2), cores
        )
        crops = [
            decode.crop_boxes(c, [b], self.encoder.side_px)[0]
            for c, b in zip(contents, self.boxes, strict=True)
        ]
        self.tensors = [stages.encoder_input(crop) for crop in crops]

    def encode_ours(self, count: int | None = None) -> pa.Table:
        """The night's job, nothing known: reads, decodes, crops, encodes and keeps."""
        shutil.rmtree(self.root / "cache" / "codes", ignore_errors=True)
        encode_items.encode_and_cache(self.root, self.encoder, self.items.slice(0, count))
        return run_tables.read_cached(
            self.root, "codes", self.encoder.version, encoders.CODE_CACHE_SCHEMA
        )

    def encode_like_notebook(self) -> np.ndarray:
        """One picture after the other, through PIL and eager PyTorch: codes, uint8 (n, 32)."""
        found = []
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
                found.append(
                    np.packbits(self.network(tensor[None])[0, : 2 * registry.CODE_BITS].numpy() > 0)
                )
        return np.stack(found)

    def run_forward_passes(self) -> None:
        """The network alone, on tensors that are ready, one core a tensor."""
        with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as cores:
            list(cores.map(self.forward, self.tensors))

    def decode_crops(self) -> None:
        """All that comes before the network, one core a picture."""
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
        """The network alone on the encoder's own device, in batches as the encoder makes them."""
        forward = self.encoder._forward  # type: ignore[attr-defined]
        for start in range(0, len(self.tensors), forward._batch):
            forward._network(np.concatenate(self.tensors[start : start + forward._batch]))

    def equal_bits_ratio(self) -> float:
        """The share of bits that the notebook's codes have as ours do: it is the same work."""
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
        if alike > 0.98
        else f"OTHER CODES: only {alike:.4f} of the bits are the same"
    )
    is_same, threads = alike > 0.98, len(os.sched_getaffinity(0))
    eager = f"torch {torch.__version__} eager, float32, {torch.get_num_threads()} threads, Pillow, one picture at a time"
    alone = f"the forward passes alone, openvino {openvino.__version__.split('-')[0]}, float32, {threads} streams of one thread, ready tensors"
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


def gpu(options: BenchOptions) -> BenchResult | SkippedBench:
    """Held against what that machine lets through at best: its cores' decoding or its card's forward passes, whichever is slower."""
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
    each = f"decoding alone, {count / decodes_s:,.0f}, and forward passes alone, {count / batches_s:,.0f} images/s"
    settings = f"the slower of {each}; {name}; {what}"
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


BENCHES = (cpu, gpu)
