"""make bench-gpu: prove that a card gives the CPU's answers, then measure it, in minutes.

    python -m tests.benchmarks.card [--photos FOLDER] [--again]

Six lines: whether lists, codes and items are the CPU's, and the speed of each. build/bench-gpu.json
is written after each line. Lines that it holds are not measured again: a call that was cut off
goes on. The exit status is 0, 1 where the answers differ, or 2 without a card.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import torch
from tests.benchmarks import catalogue, detecting, encoding, gpu, report
from tests.benchmarks.__main__ import BUILD
from tests.benchmarks.matching import random_codes
from tests.benchmarks.measure import BenchOptions, BenchResult, SkippedBench
from tests.benchmarks.pictures import describe_pictures, load_pictures

from wearalike import search
from wearalike.detection import detect
from wearalike.encoding import encoders
from wearalike.imaging import decode
from wearalike.models import registry
from wearalike.models.files import ModelKind
from wearalike.pipeline.match_task import MatchTask, run_match_task
from wearalike.search.kernels import bitplane, torch_gpu
from wearalike.search.kernels.query_batch import QueryBatch

# Shares that must be equal. A distance is a whole number, and has one answer. A float sum depends
# on the order of adding: a bit whose number is nearly 0, or an edge between two pixels, may move.
EQUAL_LISTS, EQUAL_BITS, EQUAL_ITEMS = 1.0, 0.999, 0.98
# A corner of the same item may be so many pixels away.
_CORNER_PX = 2
# Weights of shape and colour; the last do not fit into one product of float16.
_WEIGHTS = ((1, 1), (2, 8), (8, 2), (200, 55))
Line = BenchResult | SkippedBench


@dataclass(frozen=True, slots=True)
class CardWork:
    """The work that is checked and measured.

    Attributes:
        device: "cuda", or "cpu" for a test of this code.
        options: As of other benches; its photos are encoded and detected.
        checked_codes: Codes in which the lists are compared, and products of the job that is.
        codes: Codes that are searched against the clock.
        queries: Queries of that search.
        checked_pictures: Pictures whose codes and items are compared.
        encoded: Pictures that are encoded against the clock.
        detected: Pictures in which items are detected against the clock.
    """

    device: str
    options: BenchOptions
    checked_codes: int = 200_000
    codes: int = gpu.CODES
    queries: int = gpu.QUERIES
    checked_pictures: int = 300
    encoded: int = encoding.GPU_PICTURES
    detected: int = detecting.PICTURES_FULL

    @property
    def steps(self) -> dict[str, Callable[[], Line]]:
        """The lines by name, in their order."""
        return {
            "match, same lists": self.compare_lists,
            "match, GPU": lambda: gpu.match_on(self.device, self.codes, self.queries),
            "encode, same bits": self.compare_bits,
            "encode, GPU": self.measure_encoding,
            "detect, same items": self.compare_items,
            "detect, GPU": self.measure_detection,
        }

    def compare_lists(self) -> BenchResult:
        """Compare the kernel's lists, with many ties, and the rows of a task of the job."""
        codes, queries = random_codes(self.checked_codes, 3), random_codes(64, 4)
        # Two bits of each byte leave many codes at equal distances.
        codes, queries = (c & np.uint64(0x0303030303030303) for c in (codes, queries))
        tiles = torch_gpu.upload_codes(codes, self.device)
        planes = bitplane.transpose_codes(codes)
        equal = []
        for weights in _WEIGHTS:
            for k in (1, 20, 1000):
                batch = QueryBatch.uniform(queries, *weights)
                found = torch_gpu.nearest_flat(batch, tiles, k)
                wanted = bitplane.nearest_flat(batch, planes, k)
                equal.append(all(map(np.array_equal, found, wanted)))
        with tempfile.TemporaryDirectory() as folder:
            catalogue.write_run(Path(folder), self.checked_codes)
            there, here = (self._match_task(Path(folder), on) for on in (self.device, "cpu"))
        equal.append(there.equals(here))
        return self._compared(
            "match, same lists",
            float(np.mean(equal)),
            EQUAL_LISTS,
            f"the CPU's kernel, {len(equal) - 1} settings over {self.checked_codes:,} codes with"
            f" ties, and {here.num_rows:,} products of the job",
        )

    def _match_task(self, root: Path, device: str) -> pa.RecordBatch:
        """Return the rows of the job's task on a device."""
        stop = min(2048, self.checked_codes)
        rules = search.ListRules()
        return run_match_task(
            MatchTask(
                str(root),
                catalogue.RUN,
                None,
                str(root / f"candidates-{device}"),
                device,
                catalogue.SUPER_CATEGORY,
                0,
                stop,
                k=rules.k,
                min_score=rules.min_score,
                max_per_brand=rules.max_per_brand,
                max_brand_share=rules.max_brand_share,
                diversity=rules.diversity,
                merchandising_rules="[]",
            )
        )

    def compare_bits(self) -> BenchResult:
        """Compare the bits of the default encoder's codes."""
        contents = load_pictures(self.options, self.checked_pictures)
        model = registry.packaged_model(ModelKind.ENCODER, registry.DEFAULT_ENCODER).read()
        made = []
        for device in (self.device, "cpu"):
            encoder = encoders.build_encoder(model, device)
            crops = [decode.decode_image(content, encoder.side_px) for content in contents]
            codes = encoder.encode(crops)
            made.append(np.concatenate([codes.shape, codes.colour], axis=1))
        wrong = np.bitwise_count(made[0] ^ made[1]).sum(axis=1)
        line = self._compared(
            "encode, same bits",
            1 - float(wrong.mean()) / (8 * made[0].shape[1]),
            EQUAL_BITS,
            f"{model.version} on the CPU, {describe_pictures(self.options, contents)}",
        )
        told = (
            f"{int((wrong > 0).sum())} of {len(wrong)} codes differ, by {wrong.max()} bits at most"
        )
        return replace(line, note=told)

    def compare_items(self) -> Line:
        """Compare the items of the detector that names what it sees."""
        contents = load_pictures(self.options, self.checked_pictures)
        try:
            model = registry.packaged_model(ModelKind.DETECTOR, detect.CLASSIFYING_DETECTOR).read()
            there, here = (
                detect.detect_items_batch(
                    detect.NetworkDetector(model, device),
                    [(f"{number:064x}", content) for number, content in enumerate(contents)],
                )
                for device in (self.device, "cpu")
            )
        except ImportError as error:
            return SkippedBench("detect, same items", f"≥ {EQUAL_ITEMS}", str(error))
        return self._compared(
            "detect, same items",
            share_of_equal_items(there, here, len(contents)),
            EQUAL_ITEMS,
            f"{model.version} on the CPU, corners within {_CORNER_PX} px,"
            f" {describe_pictures(self.options, contents)}",
        )

    def _compared(self, name: str, share: float, wanted: float, settings: str) -> BenchResult:
        """Return the line of a comparison with the CPU."""
        target = f"≥ {wanted:g}"
        return BenchResult(
            name, share, 1.0, "share", share, target, share >= wanted, 1, settings, None
        )

    def measure_encoding(self) -> BenchResult:
        """Measure the nightly job of encoding."""
        contents = load_pictures(self.options, self.encoded)
        name, told = gpu.name_device(self.device), describe_pictures(self.options, contents)
        return encoding.compare_with_limits(contents, self.device, name, told)

    def measure_detection(self) -> Line:
        """Measure the nightly job of detecting."""
        line = detecting.compare_with_forwards(self.options, self.device, self.detected)
        return replace(line, bench="detect, GPU")


def share_of_equal_items(
    there: list[dict[str, object]], here: list[dict[str, object]], images: int
) -> float:
    """Return the share of images in which both devices see the same items.

    Args:
        there: Rows of detect.ITEM_CACHE_SCHEMA.
        here: The same of the other device.
        images: Number of images.
    """
    equal = 0
    for number in range(images):
        found, wanted = (
            sorted(
                (
                    str(row["super_category"]),
                    *(int(str(row[c] or 0)) for c in ["x0", "y0", "x1", "y1"]),
                )
                for row in rows
                if row["image_id"] == f"{number:064x}"
            )
            for rows in (there, here)
        )
        equal += len(found) == len(wanted) and all(
            a[0] == b[0]
            and max(abs(p - q) for p, q in zip(a[1:], b[1:], strict=True)) <= _CORNER_PX
            for a, b in zip(found, wanted, strict=True)
        )
    return equal / images


def measure(work: CardWork, path: Path) -> list[Line]:
    """Measure the lines that a file lacks, and write it after each.

    Args:
        work: The work.
        path: The file of lines.

    Returns:
        All lines.
    """
    lines = report.read_results(path) if path.exists() else []
    for name, step in work.steps.items():
        if any(line.bench == name for line in lines):
            continue
        began_at_s = time.monotonic()
        lines.append(step())
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(report.as_json(lines), encoding="utf-8")
        print(f"{name}: {time.monotonic() - began_at_s:.0f} s", file=sys.stderr, flush=True)
    return lines


def main(argv: list[str] | None = None) -> int:
    made = argparse.ArgumentParser(prog="make bench-gpu ARGS=...", description=__doc__)
    made.add_argument("--photos", type=Path, metavar="FOLDER", help="real photos, not drawn ones")
    made.add_argument("--again", action="store_true", help="measure every line anew")
    args = made.parse_args(argv)
    if not torch.cuda.is_available():
        print(
            f"no card: PyTorch {torch.__version__} sees no GPU; wanted an NVIDIA card with its"
            " driver, see nvidia-smi. Nothing was measured",
            file=sys.stderr,
        )
        return 2
    path = BUILD / "bench-gpu.json"
    if args.again:
        path.unlink(missing_ok=True)
    lines = measure(CardWork("cuda", BenchOptions(photos=args.photos)), path)
    print(report.results_table(lines))
    same = [line for line in lines if ", same " in line.bench]
    return int(any(isinstance(line, BenchResult) and not line.reached for line in same))


if __name__ == "__main__":
    sys.exit(main())
