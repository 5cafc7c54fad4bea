"""How long POST /v1/photo takes over 100,000 products: the night of the sample shops, made that large, asked over HTTP.

python tests/benchmarks/photo_speed.py --night FOLDER      (a folder with root/ of a finished night of the sample shops)

Every product is there many times, under ids of its own, each time with other bits of its codes flipped. The server is held to two
cores. Says the time until the first answer, of the next ones p50, p90 and p99, the processor time of one, and the server's memory.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict
from pathlib import Path

import httpx
import numpy as np
import pyarrow as pa

from wearalike import indexes, matches, publish, store
from wearalike.tables import CODES, ENTRIES, MATCHES, PRODUCTS, PUBLISHED, SuperCategory
from wearalike.warehouse import open_warehouse

RUN = "large"
FLIPPED_RATIO = 0.08
CORES = "0,1"


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--night", type=Path, required=True, help="folder with the root/ of a night")
    made.add_argument("--run", default="day-1", help="the night's run (default: %(default)s)")
    made.add_argument("--products", type=int, default=100_000)
    made.add_argument("--photos", type=int, default=200, help="photos asked about once warm (default: %(default)s)")
    return made


def enlarge(root: Path, run: str, target: Path, count: int) -> None:
    """A run of `count` products that can be searched, loaded and published, out of a night's."""
    entries = store.read(root, ENTRIES, run).to_pandas()
    products = store.read(root, PRODUCTS, run).to_pandas()
    products = products[products["product_id"].isin(entries["product_id"])]
    times = -(-count // len(products))
    rng = np.random.default_rng(5)
    made_products, made_entries = [], []
    for n in range(times):
        made_products.append(products.assign(product_id=products["product_id"] + f"~{n}", group_id=None))
        flips = {name: rng.random((len(entries), 128)) < FLIPPED_RATIO * bool(n) for name in ("shape", "colour")}
        codes = {name: [_flipped(c, f) for c, f in zip(entries[name], flips[name], strict=True)] for name in flips}
        made_entries.append(entries.assign(product_id=entries["product_id"] + f"~{n}", **codes))
    table = pa.concat_tables([pa.Table.from_pandas(p, PRODUCTS.arrow_schema, preserve_index=False) for p in made_products])
    found = pa.concat_tables([pa.Table.from_pandas(e, ENTRIES.arrow_schema, preserve_index=False) for e in made_entries])
    with store.writing(target, PRODUCTS, RUN, "s") as out:
        out.write(table.sort_by("product_id"))
    facts = store.made(root, ENTRIES, run)
    with store.writing(target, ENTRIES, RUN, "s") as out:
        for super_category in SuperCategory:
            here = found.filter(pa.compute.equal(found["super_category"], super_category.value)).sort_by("product_id")
            if here.num_rows:
                ids = np.arange(here.num_rows, dtype=np.int64)
                out.write(here.set_column(here.schema.get_field_index("entry_id"), ENTRIES.arrow_schema.field("entry_id"), pa.array(ids)))
                indexes.write(out.path / f"{super_category}.faiss", ids, indexes.code_array(here["shape"], here["colour"]))
        out.more = {"detector": facts["detector"], "encoder": facts["encoder"]}
    rules = {**asdict(matches.Rules()), "merchandise": []}
    for empty in (CODES, MATCHES, *(t for t in PUBLISHED if t is not PRODUCTS)):
        with store.writing(target, empty, RUN, "s", rules if empty is MATCHES else None) as out:
            out.more = {"encoder": facts["encoder"]} if empty is CODES else {}
    warehouse = open_warehouse(f"duckdb:{target / 'warehouse'}")
    counts = {t.name: store.made(target, t, RUN)["rows"]["written"] for t in PUBLISHED}
    warehouse.load(RUN, {t.name: store.dataset(target, t, RUN) for t in PUBLISHED}, counts, publish.signature_of(target, RUN))
    warehouse.publish(RUN)


def _flipped(code: bytes, flips: np.ndarray) -> bytes:
    return (np.frombuffer(code, np.uint8) ^ np.packbits(flips)).tobytes()


def measure(root: Path, photos: list[bytes], count: int) -> None:
    (root / "wearalike.toml").write_text(f'root = "{root}"\ndevice = "cpu"\n[serve]\nsearches_a_minute = 100000\n', encoding="utf-8")
    serve = [sys.executable, "-m", "wearalike.cli", "serve", "--config", str(root / "wearalike.toml"), "--port", "18997"]
    process = subprocess.Popen(["taskset", "-c", CORES, *serve], stderr=subprocess.DEVNULL)
    try:
        with httpx.Client(base_url="http://127.0.0.1:18997/v1", timeout=600) as client:
            while True:
                try:
                    client.get("/health").raise_for_status()
                    break
                except httpx.HTTPError:
                    time.sleep(0.2)
            start, cpu = time.monotonic(), _cpu_s(process.pid)
            _ask(client, photos[0])
            print(
                f"first answer, models and codes loaded: {time.monotonic() - start:.1f} s, {_cpu_s(process.pid) - cpu:.1f} s of processor"
            )
            for photo in photos[:5]:
                _ask(client, photo)
            took, items, cpu = [], 0, _cpu_s(process.pid)
            for n in range(count):
                start = time.monotonic()
                items += len(_ask(client, photos[n % len(photos)])["items"])
                took.append(time.monotonic() - start)
            used = (_cpu_s(process.pid) - cpu) / count
            p50, p90, p99 = np.percentile(took, [50, 90, 99])
            print(f"{count} photos, {items / count:.1f} items each: p50 {p50:.3f} s, p90 {p90:.3f}, p99 {p99:.3f}")
            print(f"processor time of a photo: {used:.3f} s")
            live = _live(client, root)
            print(f"live list: p50 {np.percentile(live, 50):.3f} s, p99 {np.percentile(live, 99):.3f}")
            print(f"memory {int(Path(f'/proc/{process.pid}/statm').read_text().split()[1]) * os.sysconf('SC_PAGE_SIZE') / 1e9:.2f} GB")
    finally:
        process.terminate()
        process.wait(60)


def _live(client: httpx.Client, root: Path) -> list[float]:
    took = []
    for product_id in store.read(root, PRODUCTS, RUN, ["product_id"])["product_id"].to_pylist()[::1999]:
        start = time.monotonic()
        client.get(f"/products/{product_id}/similar?weights=3:7").raise_for_status()
        took.append(time.monotonic() - start)
    return took


def _ask(client: httpx.Client, photo: bytes) -> dict:
    answer = client.post("/photo", content=photo, headers={"content-type": "image/jpeg"})
    answer.raise_for_status()
    return answer.json()


def _cpu_s(pid: int) -> float:
    user, system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return (int(user) + int(system)) / os.sysconf("SC_CLK_TCK")


def main() -> None:
    args = parser().parse_args()
    root = args.night / "root"
    photos = [store.image_path(root, i).read_bytes() for i in sorted(set(store.read(root, ENTRIES, args.run)["image_id"].to_pylist()))][::3]
    with tempfile.TemporaryDirectory() as folder:
        target = Path(folder).resolve()
        enlarge(root, args.run, target, args.products)
        sizes = [len(store.read(target, ENTRIES, RUN).filter(pa.compute.field("super_category") == s)) for s in SuperCategory]
        print(f"{sum(sizes):,} products, {max(sizes):,} in the largest super-category; load {os.getloadavg()[0]:.1f}")
        measure(target, photos, args.photos)


if __name__ == "__main__":
    main()
