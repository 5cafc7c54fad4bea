"""How long POST /v1/photo takes over 100,000 products: the night of the sample shops,
made that large, asked over HTTP.

A line of make bench; alone: python -m tests.benchmarks.photo_speed --night FOLDER,
with root/ of a finished night in it.

Every product is there many times, under ids of its own, each time with other bits of its codes
flipped. The server is held to two cores. Says the time until the first answer, of the next ones
p50, p90 and p99, the processor time of one, and the server's memory.
"""

from __future__ import annotations

import argparse
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa
from tests.benchmarks import night
from tests.benchmarks.measure import BenchOptions, BenchResult, exponent, seconds
from tests.benchmarks.pictures import load_pictures

from wearalike import search
from wearalike.search import index
from wearalike.storage import content_cache, run_tables
from wearalike.tables import CODES, INDEXES, MATCHES, PRODUCTS, PUBLISHED_TABLES, SuperCategory
from wearalike.warehouse import publish
from wearalike.warehouse.base import open_warehouse

RUN = "large"
FLIPPED_RATIO = 0.08
CORES = 2
PRODUCTS_COUNT, PHOTOS = 100_000, 100


@dataclass(frozen=True, slots=True)
class PhotoTimings:
    """first_s: until the first answer, models and codes loaded. took_s: each of the next ones.
    cpu_s: processor time of one. live_s: lists at other weights. memory_bytes: of the server.
    """

    first_s: float
    latencies_s: list[float]
    items_count: float
    cpu_s: float
    live_latencies_s: list[float]
    memory_bytes: int


def build_parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("--night", type=Path, required=True, help="folder with the root/ of a night")
    made.add_argument("--run", default="day-1", help="the night's run (default: %(default)s)")
    made.add_argument("--products", type=int, default=PRODUCTS_COUNT)
    made.add_argument(
        "--photos",
        type=int,
        default=200,
        help="photos asked about once warm (default: %(default)s)",
    )
    return made


def enlarge_run(root: Path, run: str, target: Path, count: int) -> None:
    """A run of `count` products that can be searched, loaded and published, out of a night's."""
    entries = run_tables.read_table(root, INDEXES, run).to_pandas()
    products = run_tables.read_table(root, PRODUCTS, run).to_pandas()
    products = products[products["product_id"].isin(entries["product_id"])]
    times = -(-count // len(products))
    rng = np.random.default_rng(5)
    made_products, made_entries = [], []
    for n in range(times):
        made_products.append(
            products.assign(
                product_id=products["product_id"] + f"~{n}", group_id=None, article_id=None
            )
        )
        flips = {
            name: rng.random((len(entries), 128)) < FLIPPED_RATIO * bool(n)
            for name in ("shape", "colour")
        }
        codes = {
            name: [_flip_bits(c, f) for c, f in zip(entries[name], flips[name], strict=True)]
            for name in flips
        }
        made_entries.append(entries.assign(product_id=entries["product_id"] + f"~{n}", **codes))
    table = pa.concat_tables(
        [
            pa.Table.from_pandas(p, PRODUCTS.arrow_schema, preserve_index=False)
            for p in made_products
        ]
    )
    found = pa.concat_tables(
        [pa.Table.from_pandas(e, INDEXES.arrow_schema, preserve_index=False) for e in made_entries]
    )
    with run_tables.write_table(target, PRODUCTS, RUN, "s") as out:
        out.write(table.sort_by("product_id"))
    facts = run_tables.read_manifest(root, INDEXES, run)
    with run_tables.write_table(target, INDEXES, RUN, "s") as out:
        for super_category in SuperCategory:
            here = found.filter(
                pa.compute.equal(found["super_category"], super_category.value)
            ).sort_by("product_id")
            if here.num_rows:
                ids = np.arange(here.num_rows, dtype=np.int64)
                out.write(
                    here.set_column(
                        here.schema.get_field_index("entry_id"),
                        INDEXES.arrow_schema.field("entry_id"),
                        pa.array(ids),
                    )
                )
                index.write_index(
                    out.path / f"{super_category}.faiss",
                    ids,
                    index.code_array(here["shape"], here["colour"]),
                )
        out.manifest_extras = {"detector": facts["detector"], "encoder": facts["encoder"]}
    rules = {**asdict(search.ListRules()), "merchandise": []}
    for empty in (CODES, MATCHES, *(t for t in PUBLISHED_TABLES if t is not PRODUCTS)):
        with run_tables.write_table(
            target, empty, RUN, "s", rules if empty is MATCHES else None
        ) as out:
            out.manifest_extras = {"encoder": facts["encoder"]} if empty is CODES else {}
    warehouse = open_warehouse(f"duckdb:{target / 'warehouse'}")
    counts = {
        t.name: run_tables.read_manifest(target, t, RUN)["rows"]["written"]
        for t in PUBLISHED_TABLES
    }
    warehouse.load(
        RUN,
        {t.name: run_tables.open_dataset(target, t, RUN) for t in PUBLISHED_TABLES},
        counts,
        publish.run_signature(target, RUN),
    )
    warehouse.publish(RUN)


def _flip_bits(code: bytes, flips: np.ndarray) -> bytes:
    return (np.frombuffer(code, np.uint8) ^ np.packbits(flips)).tobytes()


def measure_server(root: Path, photos: list[bytes], count: int) -> PhotoTimings:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
    (root / "wearalike.toml").write_text(
        f'data_dir = "{root}"\ndevice = "cpu"\n[serve]\nsearches_a_minute = 100000\n',
        encoding="utf-8",
    )
    serve = [
        sys.executable,
        "-m",
        "wearalike",
        "serve",
        "--config",
        str(root / "wearalike.toml"),
        "--port",
        str(port),
    ]
    cores = ",".join(map(str, sorted(os.sched_getaffinity(0))[:CORES]))
    process = subprocess.Popen(["taskset", "-c", cores, *serve], stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url=f"http://127.0.0.1:{port}/v1", timeout=600) as client:
            _wait_until_ready(client, process)
            first_s = seconds(lambda: _post_photo(client, photos[0]))
            for photo in photos[:5]:
                _post_photo(client, photo)
            took, items, cpu = [], 0, _cpu_time_s(process.pid)
            for n in range(count):
                start = time.monotonic()
                items += len(_post_photo(client, photos[n % len(photos)])["items"])
                took.append(time.monotonic() - start)
            used = (_cpu_time_s(process.pid) - cpu) / count
            memory = int(Path(f"/proc/{process.pid}/statm").read_text().split()[1]) * os.sysconf(
                "SC_PAGE_SIZE"
            )
            return PhotoTimings(
                first_s, took, items / count, used, _time_live_lists(client, root), memory
            )
    finally:
        process.terminate()
        process.wait(60)


def _wait_until_ready(client: httpx.Client, process: subprocess.Popen) -> None:
    while True:
        try:
            client.get("/health").raise_for_status()
            return
        except httpx.HTTPError as error:
            if process.poll() is not None:
                raise RuntimeError(
                    f"the server ended with exit code {process.returncode}"
                ) from error
            time.sleep(0.2)


def _time_live_lists(client: httpx.Client, root: Path) -> list[float]:
    took = []
    for product_id in run_tables.read_table(root, PRODUCTS, RUN, ["product_id"])[
        "product_id"
    ].to_pylist()[::1999]:
        start = time.monotonic()
        client.get(f"/products/{product_id}/similar?weights=3:7").raise_for_status()
        took.append(time.monotonic() - start)
    return took


def _post_photo(client: httpx.Client, photo: bytes) -> dict:
    answer = client.post("/photo", content=photo, headers={"content-type": "image/jpeg"})
    answer.raise_for_status()
    return answer.json()


def _cpu_time_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def sample_photos(root: Path, run: str) -> list[bytes]:
    """Every third picture of a night, to ask about."""
    ids = sorted(set(run_tables.read_table(root, INDEXES, run)["image_id"].to_pylist()))
    return [content_cache.image_path(root, i).read_bytes() for i in ids][::3]


def measure_enlarged(
    root: Path, run: str, photos: list[bytes], products: int, count: int
) -> PhotoTimings:
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder).resolve()
        enlarge_run(root, run, target, products)
        return measure_server(target, photos, count)


def photo(options: BenchOptions) -> BenchResult:
    """Real photos, where the folder of photos is there."""
    root = night.run_two_days(None).folder / "root"
    asked = load_pictures(options, 40) if options.photos else sample_photos(root, "day-1")
    sizes = [PRODUCTS_COUNT // 4, PRODUCTS_COUNT // 2, PRODUCTS_COUNT]
    found = [
        measure_enlarged(
            root, "day-1", asked, size, PHOTOS if size == PRODUCTS_COUNT else PHOTOS // 4
        )
        for size in sizes
    ]
    medians, last = [statistics.median(f.latencies_s) for f in found], found[-1]
    note = (
        f"p99 {np.percentile(last.latencies_s, 99):.3f} s, {last.items_count:.1f} items each, "
        f"{last.cpu_s:.3f} s of processor time"
    )
    more = f"{note}; loaded in {last.first_s:.0f} s; {last.memory_bytes / 1e9:.1f} GB"
    settings = (
        f"0.5 s; p50 of {PHOTOS} photos over HTTP, warm, {PRODUCTS_COUNT} products, "
        f"{CORES} cores, detector and encoder included"
    )
    p50 = medians[-1]
    return BenchResult(
        "photo",
        p50,
        0.5,
        "s",
        p50 / 0.5,
        "≤ 1",
        p50 <= 0.5,
        PHOTOS,
        settings,
        exponent(sizes, medians),
        more,
    )


BENCHES = (photo,)


def main() -> None:
    args = build_parser().parse_args()
    root = args.night / "root"
    told = measure_enlarged(
        root, args.run, sample_photos(root, args.run), args.products, args.photos
    )
    p50, p90, p99 = np.percentile(told.latencies_s, [50, 90, 99])
    print(
        f"first answer, models and codes loaded: {told.first_s:.1f} s; "
        f"load {os.getloadavg()[0]:.1f}"
    )
    print(
        f"{args.photos} photos, {told.items_count:.1f} items each: p50 {p50:.3f} s, p90 {p90:.3f}, "
        f"p99 {p99:.3f}"
    )
    print(f"processor time of a photo: {told.cpu_s:.3f} s")
    print(
        f"live list: p50 {np.percentile(told.live_latencies_s, 50):.3f} s, "
        f"p99 {np.percentile(told.live_latencies_s, 99):.3f}"
    )
    print(f"memory {told.memory_bytes / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
