"""Networks and codes are loaded before a photo asks for them, and before a new run takes over."""

import shutil
import time
from pathlib import Path

import httpx
import pyarrow as pa
import pyarrow.compute as pc
import pytest
from tests.support.http_server import serve_site, wait_until_ready

from wearalike import settings
from wearalike.storage import content_cache, run_tables
from wearalike.tables import INDEXES, PRODUCTS
from wearalike.warehouse import publish
from wearalike.warehouse.base import open_warehouse

RUN = "day-1"


@pytest.fixture
def place(night, tmp_path):
    """The night, copied: a test publishes into it."""
    shutil.copytree(night / "root", tmp_path / "root", symlinks=True)
    text = (night / "wearalike.toml").read_text(encoding="utf-8").replace(str(night), str(tmp_path))
    (tmp_path / "wearalike.toml").write_text(text, encoding="utf-8")
    return settings.read_settings(tmp_path / "wearalike.toml")


@pytest.fixture
def pictures(place) -> list[bytes]:
    entries = run_tables.read_table(place.data_dir, INDEXES, RUN).to_pylist()
    paths = [content_cache.image_path(place.data_dir, e["image_id"]) for e in entries[:40:5]]
    return [path.read_bytes() for path in paths]


def ask(address: str, content: bytes) -> tuple[httpx.Response, float]:
    """Search by a photo; return the answer and the seconds that it took."""
    began_s = time.monotonic()
    headers = {"content-type": "image/jpeg"}
    answer = httpx.post(f"{address}/v1/photo", content=content, headers=headers, timeout=120)
    return answer, time.monotonic() - began_s


def publish_again(place, new_title: str) -> None:
    """Publish the run with other tables, as the next night does."""
    rows = run_tables.read_table(place.data_dir, PRODUCTS, RUN).to_pylist()
    refused = run_tables.read_refused(place.data_dir, RUN)
    refused = refused.filter(pc.equal(refused["stage"], PRODUCTS.name))
    rows = [row | {"title": new_title} for row in rows]
    with run_tables.write_table(place.data_dir, PRODUCTS, RUN, "again") as table:
        table.refuse(refused)
        table.write(pa.Table.from_pylist(rows, schema=PRODUCTS.arrow_schema))
    publish.publish_run(place.data_dir, RUN, open_warehouse(place.warehouse), redo=True)


def test_the_first_photo_is_as_fast_as_the_next_and_a_new_run_takes_over_warm(place, pictures):
    with serve_site(place.data_dir.parent / "wearalike.toml") as (address, _):
        early = httpx.get(f"{address}/v1/ready")
        assert early.status_code == 503 and "retry-after" in early.headers
        assert "being loaded" in early.json()["detail"]
        wait_until_ready(address)
        assert httpx.get(f"{address}/v1/ready").json()["photos"] == "warm"
        answers = [ask(address, content) for content in pictures]
        assert all(answer.status_code == 200 for answer, _ in answers)
        first_s, *next_s = [took_s for _, took_s in answers]
        # Loading took 8 s and more; other work on the machine may take some of one.
        assert first_s < 3 * max(next_s) + 0.5, (first_s, next_s)
        published_at = answers[0][0].json()["published_at"]

        publish_again(place, "of the next night")
        seen, slowest_s = [], 0.0
        ends_at_s = time.monotonic() + 120
        while time.monotonic() < ends_at_s:
            answer, took_s = ask(address, pictures[0])
            assert answer.status_code == 200, answer.text
            slowest_s = max(slowest_s, took_s)
            told = answer.json()
            seen.append(told["published_at"] != published_at)
            titles = {row["title"] for item in told["items"] for row in item["results"]}
            assert not titles or (titles == {"of the next night"}) == seen[-1], "no mixed answer"
            if seen[-1]:
                break
        assert seen[-1] and seen == sorted(seen), "the new run takes over, once"
        assert slowest_s < 3 * max(next_s) + 1.0, (slowest_s, next_s)


def test_a_server_without_the_run_s_tables_is_ready_and_says_so(place):
    shutil.rmtree(place.data_dir / INDEXES.name)
    with serve_site(place.data_dir.parent / "wearalike.toml") as (address, _):
        wait_until_ready(address)
        assert httpx.get(f"{address}/v1/ready").json()["photos"] == "unavailable"
        assert httpx.get(f"{address}/v1/products").is_success


def test_warming_can_be_switched_off(place, pictures):
    config = place.data_dir.parent / "wearalike.toml"
    text = config.read_text(encoding="utf-8")
    assert "[serve]" not in text
    config.write_text(f"{text}\n[serve]\nwarm_photos = false\n", encoding="utf-8")
    with serve_site(config) as (address, process):
        assert httpx.get(f"{address}/v1/ready").json()["photos"] == "cold"
        loaded = Path(f"/proc/{process.pid}/maps").read_text()
        assert "libtorch" not in loaded, "nobody has sent a photo"
        assert ask(address, pictures[0])[0].status_code == 200
        assert "libtorch" in Path(f"/proc/{process.pid}/maps").read_text()


def test_a_server_that_loads_ends_when_it_is_told(place):
    with serve_site(place.data_dir.parent / "wearalike.toml") as (address, process):
        assert httpx.get(f"{address}/v1/ready").status_code == 503
        process.terminate()
        assert process.wait(90) == 143
