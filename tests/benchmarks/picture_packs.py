"""One object a picture, or packs: on the local disk and on the tests' S3 server.

    python -m tests.benchmarks.picture_packs [PICTURES]

The pictures are random bytes of the size of a shop's photo. Downloads are their writes, encoding
reads each once in their order, pruning removes every other one. The S3 server runs in this process,
so its processor time counts too; a bucket takes 20 to 100 ms a request.
"""

from __future__ import annotations

import hashlib
import random
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pyarrow as pa
from tests.support.s3_server import serve_s3

from wearalike.storage import atomic
from wearalike.storage.image_files import image_path
from wearalike.storage.object_store import ObjectStore
from wearalike.storage.picture_packs import PicturePacks

PICTURE_BYTES = 40_000
_AT_ONCE = 8


def main(count: int = 1000) -> None:
    """Print a line for each way and place."""
    draw = random.Random(1)
    contents = [draw.randbytes(PICTURE_BYTES) for _ in range(count)]
    pictures = {hashlib.sha256(content).hexdigest(): content for content in contents}
    ids = list(pictures)
    with serve_s3() as server, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        (root / "packs").mkdir()

        def report(what: str, started_s: float) -> None:
            requests = len(server.requests)
            server.requests.clear()
            print(
                f"{what:34} {time.process_time() - started_s:7.2f} s CPU {requests:6} requests",
                flush=True,
            )

        server.requests.clear()
        start = time.process_time()
        for image_id in ids:
            atomic.write_bytes(image_path(root, image_id), pictures[image_id], sync_folder=False)
        report("disk, one file each: write", start)
        start = time.process_time()
        for image_id in ids:
            assert hashlib.sha256(image_path(root, image_id).read_bytes()).hexdigest() == image_id
        report("disk, one file each: read", start)

        for name, store in {
            "disk": ObjectStore(f"file://{root}/packs"),
            "S3": ObjectStore(server.url("packs"), server.endpoint),
        }.items():
            packs = PicturePacks(root, store)
            start = time.process_time()
            packs.add(ids)
            report(f"{name}, packs: write", start)
            reader = PicturePacks(root / f"reader-{name}", store)
            reader.indexes.refresh()
            start = time.process_time()
            for first in range(0, count, 64):
                reader.fetch(ids[first : first + 64])
            report(f"{name}, packs: read into a cache", start)
            start = time.process_time()
            packs.remove(pa.chunked_array([ids[::2]]))
            report(f"{name}, packs: remove half", start)

        store = ObjectStore(server.url("single"), server.endpoint)
        with ThreadPoolExecutor(_AT_ONCE) as pool:
            start = time.process_time()
            list(pool.map(lambda i: store.write(i, pictures[i]), ids))
            report("S3, one object each: write", start)
            start = time.process_time()
            read = list(pool.map(store.read, ids))
            assert all(read)
            report("S3, one object each: read", start)
            start = time.process_time()
            list(pool.map(lambda i: store.delete([i]), ids[::2]))
            report("S3, one object each: remove half", start)
        start = time.process_time()
        for image_id in ids[::2]:
            image_path(root, image_id).unlink()
        report("disk, one file each: remove half", start)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
